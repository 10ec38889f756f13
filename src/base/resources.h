// What a job needs and what a node has: exact integers, so that sums never drift.
#pragma once

#include <compare>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace cyxwiz {

// Of a resource that an operator has named, in units of its own; or of one that every node has one
// of without saying so (IsImplicit).
struct NamedAmount {
  std::string name;
  int64_t amount = 0;
  auto operator<=>(const NamedAmount&) const = default;
};

struct Resources {
  int64_t cpu_millis = 0;  // thousandths of a core
  int64_t memory_bytes = 0;
  int64_t gpus = 0;                // whole devices
  int64_t disk_bytes = 0;          // scratch space
  std::vector<NamedAmount> named;  // by name, no name twice, none with amount 0

  bool operator==(const Resources&) const = default;

  // Whether `other` fits into this.
  bool Holds(const Resources& other) const {
    return other.cpu_millis <= cpu_millis && other.memory_bytes <= memory_bytes &&
           other.gpus <= gpus && other.disk_bytes <= disk_bytes &&
           (other.named.empty() || HoldsNamed(other));
  }
  Resources& operator+=(const Resources& o) {
    Add(o, 1);
    return *this;
  }
  Resources& operator-=(const Resources& o) {
    Add(o, -1);
    return *this;
  }
  Resources operator+(const Resources& o) const { return Resources(*this) += o; }
  Resources operator-(const Resources& o) const { return Resources(*this) -= o; }
  Resources operator*(int64_t times) const;
  bool IsNegative() const;
  // 0 when there is none of that name; of an implicit one 1 until it is taken.
  int64_t Named(std::string_view name) const;
  // Without the implicit ones.
  Resources Explicit() const;
  void SetNamed(std::string_view name, int64_t amount);

 private:
  bool HoldsNamed(const Resources& other) const;
  void Add(const Resources& o, int64_t sign) {
    cpu_millis += sign * o.cpu_millis;
    memory_bytes += sign * o.memory_bytes;
    gpus += sign * o.gpus;
    disk_bytes += sign * o.disk_bytes;
    if (!o.named.empty()) AddNamed(o, sign);
  }
  void AddNamed(const Resources& o, int64_t sign);
};

// What jobs of one anti-affinity group take of a node, so that no two of them share it: an implicit
// resource of that name. In sums it counts from 0 as the others, so what is free of it is 0 or -1.
std::string AntiAffinityToken(std::string_view user, std::string_view group);
inline bool IsImplicit(std::string_view resource) { return resource.starts_with('!'); }

// Of a resource of the operator's own: 1 to 64 of [a-z0-9._-], beginning with a letter.
bool IsResourceName(std::string_view name);

// "2 cores, 512 MiB" or "1.5 cores, 8.0 GiB, 1 GPU, 10 GiB of disk, 2 licence"
std::string ToString(const Resources& resources);
// "512 MiB", "1.5 GiB", "17 bytes"
std::string FormatBytes(int64_t bytes);

}  // namespace cyxwiz
