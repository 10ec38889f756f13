// Time is an input: the decisions of the control core and of the node take `Now` as an argument;
// only the outermost loops read a clock.
#pragma once

#include <chrono>
#include <compare>
#include <cstdint>

namespace cyxwiz {

using Duration = std::chrono::nanoseconds;

// A point of the monotonic clock of this process. Leases and deadlines use it: it never jumps.
struct MonotonicTime {
  int64_t ns = 0;

  auto operator<=>(const MonotonicTime&) const = default;
  MonotonicTime operator+(Duration d) const { return {ns + d.count()}; }
  MonotonicTime operator-(Duration d) const { return {ns - d.count()}; }
  Duration operator-(MonotonicTime other) const { return Duration(ns - other.ns); }
  static constexpr MonotonicTime Never() { return {INT64_MAX}; }
};

// Calendar time, for people and for the wire: milliseconds since 1970. It may jump.
struct UnixTime {
  int64_t ms = 0;

  auto operator<=>(const UnixTime&) const = default;
  int64_t seconds() const { return ms / 1000; }
};

struct Now {
  MonotonicTime monotonic;
  UnixTime unix;
};

// Reads the clocks of the machine.
inline Now ReadClocks() {
  using std::chrono::duration_cast;
  return {
      {duration_cast<Duration>(std::chrono::steady_clock::now().time_since_epoch()).count()},
      {duration_cast<std::chrono::milliseconds>(std::chrono::system_clock::now().time_since_epoch())
           .count()}};
}

}  // namespace cyxwiz
