// What a job needs and what a node has: exact integers, so that sums never drift.
#pragma once

#include <compare>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "base/rare.h"

namespace cyxwiz {

// Of a resource that an operator has named, in units of its own; or of one that every node has one
// of without saying so (IsImplicit).
struct NamedAmount {
  std::string name;
  int64_t amount = 0;
  auto operator<=>(const NamedAmount&) const = default;
};

// A part of one GPU of a node, or all of it.
struct GpuPart {
  int32_t index = 0;   // which one, among those of its node
  int64_t millis = 0;  // thousandths of it
  int64_t memory_bytes = 0;
  auto operator<=>(const GpuPart&) const = default;
};
inline constexpr int64_t kWholeGpu = 1000;  // thousandths
inline constexpr int64_t kMostGpusOfANode = 1024;

// Three things have this form: what a node has, or has free: `gpus` says it of each GPU; what a job
// asks for, without saying of which; and what an attempt holds: the same, with the GPUs it got.
struct Resources {
  int64_t cpu_millis = 0;  // thousandths of a core
  int64_t memory_bytes = 0;
  int64_t gpu_millis =
      0;  // thousandths of a GPU; asked for: whole ones, or a share of a single one
  int64_t disk_bytes = 0;          // scratch space
  std::vector<NamedAmount> named;  // by name, no name twice, none with amount 0
  // Asked for: of each GPU; 0: with a share, the same share of its memory. Of a node: of all.
  int64_t gpu_memory_bytes = 0;
  Rare<std::vector<GpuPart>> gpus;  // by index, none twice, none of which there is nothing

  bool operator==(const Resources&) const = default;

  // Whether `other` is nowhere more than this; HasRoom looks at single GPUs that are asked for.
  bool Holds(const Resources& other) const {
    return HoldsAllButGpus(other) && other.gpu_millis <= gpu_millis &&
           (other.gpus->empty() || HoldsGpus(other));
  }
  bool HoldsAllButGpus(const Resources& other) const {
    return other.cpu_millis <= cpu_millis && other.memory_bytes <= memory_bytes &&
           other.disk_bytes <= disk_bytes && (other.named.empty() || HoldsNamed(other));
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
  bool AsksForGpu() const { return gpu_millis > 0 || gpu_memory_bytes > 0; }
  // So many more GPUs of this memory; 0: it is not known.
  void AddGpus(int64_t count, int64_t each_memory_bytes);
  Resources& WithGpus(int64_t count, int64_t each_memory_bytes) {
    AddGpus(count, each_memory_bytes);
    return *this;
  }

 private:
  bool HoldsNamed(const Resources& other) const;
  bool HoldsGpus(const Resources& other) const;
  void Add(const Resources& o, int64_t sign) {
    cpu_millis += sign * o.cpu_millis;
    memory_bytes += sign * o.memory_bytes;
    gpu_millis += sign * o.gpu_millis;
    disk_bytes += sign * o.disk_bytes;
    gpu_memory_bytes += sign * o.gpu_memory_bytes;
    if (!o.named.empty()) AddNamed(o, sign);
    if (!o.gpus->empty()) AddGpuParts(o, sign);
  }
  void AddNamed(const Resources& o, int64_t sign);
  void AddGpuParts(const Resources& o, int64_t sign);
};

// Whether a node of which so much is free has room for what is asked for. Whole GPUs are those that
// nobody shares; a share lies on one GPU, with its memory.
bool HasRoomOnGpus(const Resources& free, const Resources& capacity, const Resources& request);
inline bool HasRoom(const Resources& free, const Resources& capacity, const Resources& request) {
  return free.Holds(request) && (!request.AsksForGpu() || HasRoomOnGpus(free, capacity, request));
}
// What is asked for with the GPUs that it gets there: a share the one already shared that it leaves
// with the least, so that whole ones stay free; whole ones those with the least memory. Without any
// where there is no room.
Resources Placed(const Resources& free, const Resources& capacity, const Resources& request);
// How many times the node has room for GPUs as asked for.
int64_t TimesOnGpus(const Resources& free, const Resources& capacity, const Resources& request);
// Whether a share that is placed there takes a GPU that nobody shares yet.
bool OpensGpu(const Resources& free, const Resources& capacity, const Resources& request);
// The GPU of which the most is free, by its share or, where only memory is asked for, by that;
// nothing of it: none is.
GpuPart LargestGpuPart(const Resources& free, const Resources& request);

// What jobs of one anti-affinity group take of a node, so that no two of them share it: an implicit
// resource of that name. In sums it counts from 0 as the others, so what is free of it is 0 or -1.
std::string AntiAffinityToken(std::string_view user, std::string_view group);
inline bool IsImplicit(std::string_view resource) { return resource.starts_with('!'); }

// Of a resource of the operator's own: 1 to 64 of [a-z0-9._-], beginning with a letter.
bool IsResourceName(std::string_view name);

// "2 cores, 512 MiB" or "1.5 cores, 8.0 GiB, 0.25 GPU with 20.0 GiB, 10 GiB of disk, 2 licence"
std::string ToString(const Resources& resources);
// "GPU 0: 0.25 with 20.0 GiB, GPU 1: 1 with 80.0 GiB"
std::string ToString(const std::vector<GpuPart>& gpus);
// Of thousandths: "0.25", "2"
std::string FormatMillis(int64_t millis);
// "0.25 GPU", "1 GPU", "1.5 GPUs"
std::string FormatGpus(int64_t millis);
// "512 MiB", "1.5 GiB", "17 bytes"
std::string FormatBytes(int64_t bytes);

}  // namespace cyxwiz
