// How long to wait after failures.
#pragma once

#include <algorithm>
#include <cstdint>

#include "base/clock.h"
#include "base/ids.h"

namespace cyxwiz::control {

// `wait`, doubled so many times, at most `most`.
inline Duration Doubled(Duration wait, int32_t times, Duration most) {
  for (int32_t i = 0; i < times && wait < most; ++i) wait *= 2;
  return std::min(wait, most);
}

// The same in every run: a part of one that differs from job to job, so that many that failed
// together do not come back together. In [0, 1).
inline double Jitter(const JobId& id, int64_t number) {
  uint64_t hash = 14695981039346656037u;  // FNV-1a
  auto mix = [&hash](unsigned char byte) { hash = (hash ^ byte) * 1099511628211u; };
  for (char c : id.value) mix(static_cast<unsigned char>(c));
  for (int i = 0; i < 8; ++i) mix(static_cast<unsigned char>(number >> (8 * i)));
  return static_cast<double>(hash >> 11) * 0x1p-53;
}

}  // namespace cyxwiz::control
