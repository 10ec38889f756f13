#include "base/resources.h"

#include <algorithm>
#include <cstdio>
#include <tuple>

namespace cyxwiz {

bool Resources::IsNegative() const {
  return cpu_millis < 0 || memory_bytes < 0 || gpu_millis < 0 || disk_bytes < 0 ||
         gpu_memory_bytes < 0 ||
         std::any_of(named.begin(), named.end(),
                     [](const NamedAmount& n) { return n.amount < 0 && !IsImplicit(n.name); }) ||
         std::any_of(gpus->begin(), gpus->end(),
                     [](const GpuPart& p) { return p.millis < 0 || p.memory_bytes < 0; });
}

Resources Resources::operator*(int64_t times) const {
  Resources product = *this;
  product.cpu_millis *= times;
  product.memory_bytes *= times;
  product.gpu_millis *= times;
  product.disk_bytes *= times;
  product.gpu_memory_bytes *= times;
  for (NamedAmount& n : product.named) n.amount *= times;
  return product;
}

namespace {

// Where an amount of that name is, or would be.
template <typename Amounts>
auto Place(Amounts& named, std::string_view name) {
  return std::lower_bound(named.begin(), named.end(), name,
                          [](const NamedAmount& n, auto key) { return n.name < key; });
}

// As it stands there; 0 when it does not.
int64_t AmountOf(const std::vector<NamedAmount>& named, std::string_view name) {
  auto at = Place(named, name);
  return at != named.end() && at->name == name ? at->amount : 0;
}

}  // namespace

int64_t Resources::Named(std::string_view name) const {
  return AmountOf(named, name) + (IsImplicit(name) ? 1 : 0);
}

Resources Resources::Explicit() const {
  Resources rest = *this;
  std::erase_if(rest.named, [](const NamedAmount& n) { return IsImplicit(n.name); });
  return rest;
}

void Resources::SetNamed(std::string_view name, int64_t amount) {
  auto at = Place(named, name);
  bool there = at != named.end() && at->name == name;
  if (amount == 0) {
    if (there) named.erase(at);
  } else if (there) {
    at->amount = amount;
  } else {
    named.insert(at, {std::string(name), amount});
  }
}

bool Resources::HoldsNamed(const Resources& other) const {
  return std::all_of(other.named.begin(), other.named.end(),
                     [this](const NamedAmount& n) { return n.amount <= Named(n.name); });
}

void Resources::AddNamed(const Resources& o, int64_t sign) {
  for (const NamedAmount& n : o.named) SetNamed(n.name, AmountOf(named, n.name) + sign * n.amount);
}

// ---- GPUs

namespace {

auto PlaceOfGpu(const std::vector<GpuPart>& parts, int32_t index) {
  return std::lower_bound(parts.begin(), parts.end(), index,
                          [](const GpuPart& part, int32_t i) { return part.index < i; });
}

// Nothing of it when it is not there.
GpuPart GpuOf(const std::vector<GpuPart>& parts, int32_t index) {
  auto at = PlaceOfGpu(parts, index);
  return at != parts.end() && at->index == index ? *at : GpuPart{index};
}

bool IsShare(const Resources& request) { return request.gpu_millis < kWholeGpu; }

// What a share takes of this GPU.
GpuPart PartOf(const GpuPart& whole, const Resources& request) {
  int64_t memory = request.gpu_memory_bytes;
  if (memory == 0) {  // exactly, without an overflow
    memory = whole.memory_bytes / kWholeGpu * request.gpu_millis +
             whole.memory_bytes % kWholeGpu * request.gpu_millis / kWholeGpu;
  }
  return {whole.index, request.gpu_millis, memory};
}

bool IsHeldByNobody(const GpuPart& free, const GpuPart& whole) {
  return free.millis == whole.millis && free.memory_bytes == whole.memory_bytes;
}

// Of one that has given all its shares nobody gets memory either.
bool HoldsPart(const GpuPart& free, const GpuPart& part) {
  return free.millis > 0 && part.millis <= free.millis && part.memory_bytes <= free.memory_bytes;
}

// Whether the GPU can be one of the whole ones that are asked for.
bool IsWholeFor(const GpuPart& free, const GpuPart& whole, const Resources& request) {
  return IsHeldByNobody(free, whole) && request.gpu_memory_bytes <= whole.memory_bytes;
}

// The best GPU for a share; nullptr: there is none.
const GpuPart* BestForShare(const Resources& free, const Resources& capacity,
                            const Resources& request) {
  const GpuPart* best = nullptr;
  std::tuple<bool, int64_t, int64_t> best_left;
  for (const GpuPart& whole : *capacity.gpus) {
    const GpuPart there = GpuOf(*free.gpus, whole.index);
    const GpuPart part = PartOf(whole, request);
    if (!HoldsPart(there, part)) continue;
    std::tuple left(IsHeldByNobody(there, whole), there.millis - part.millis,
                    there.memory_bytes - part.memory_bytes);
    if (best != nullptr && !(left < best_left)) continue;
    best = &whole;
    best_left = left;
  }
  return best;
}

}  // namespace

bool Resources::HoldsGpus(const Resources& other) const {
  return std::all_of(other.gpus->begin(), other.gpus->end(), [this](const GpuPart& part) {
    const GpuPart there = GpuOf(*gpus, part.index);
    return part.millis <= there.millis && part.memory_bytes <= there.memory_bytes;
  });
}

void Resources::AddGpuParts(const Resources& o, int64_t sign) {
  std::vector<GpuPart>& parts = gpus.Edit();
  for (const GpuPart& part : *o.gpus) {
    auto at = parts.begin() + (PlaceOfGpu(parts, part.index) - parts.cbegin());
    if (at == parts.end() || at->index != part.index) at = parts.insert(at, {part.index});
    at->millis += sign * part.millis;
    at->memory_bytes += sign * part.memory_bytes;
    if (at->millis == 0 && at->memory_bytes == 0) parts.erase(at);
  }
}

void Resources::AddGpus(int64_t count, int64_t each_memory_bytes) {
  if (count <= 0) return;
  std::vector<GpuPart>& parts = gpus.Edit();
  for (int64_t i = 0; i < count; ++i)
    parts.push_back({static_cast<int32_t>(parts.size()), kWholeGpu, each_memory_bytes});
  gpu_millis += count * kWholeGpu;
  gpu_memory_bytes += count * each_memory_bytes;
}

int64_t TimesOnGpus(const Resources& free, const Resources& capacity, const Resources& request) {
  int64_t times = 0;
  for (const GpuPart& whole : *capacity.gpus) {
    const GpuPart there = GpuOf(*free.gpus, whole.index);
    if (!IsShare(request)) {
      if (IsWholeFor(there, whole, request)) ++times;
      continue;
    }
    const GpuPart part = PartOf(whole, request);
    if (!HoldsPart(there, part)) continue;
    int64_t here = INT64_MAX;
    if (part.millis > 0) here = std::min(here, there.millis / part.millis);
    if (part.memory_bytes > 0) here = std::min(here, there.memory_bytes / part.memory_bytes);
    times += here;
  }
  if (IsShare(request)) return times;
  return request.gpu_millis % kWholeGpu == 0 ? times / (request.gpu_millis / kWholeGpu) : 0;
}

bool HasRoomOnGpus(const Resources& free, const Resources& capacity, const Resources& request) {
  return IsShare(request) ? BestForShare(free, capacity, request) != nullptr
                          : TimesOnGpus(free, capacity, request) > 0;
}

Resources Placed(const Resources& free, const Resources& capacity, const Resources& request) {
  Resources held = request;
  if (!request.AsksForGpu() || !HasRoomOnGpus(free, capacity, request)) return held;
  if (IsShare(request)) {
    const GpuPart* gpu = BestForShare(free, capacity, request);
    held.gpus = std::vector<GpuPart>{PartOf(*gpu, request)};
    return held;
  }
  std::vector<GpuPart> fitting;
  for (const GpuPart& whole : *capacity.gpus) {
    if (IsWholeFor(GpuOf(*free.gpus, whole.index), whole, request)) fitting.push_back(whole);
  }
  std::stable_sort(fitting.begin(), fitting.end(), [](const GpuPart& a, const GpuPart& b) {
    return a.memory_bytes < b.memory_bytes;
  });
  fitting.resize(static_cast<size_t>(request.gpu_millis / kWholeGpu));
  std::sort(fitting.begin(), fitting.end());
  held.gpus = std::move(fitting);
  return held;
}

bool OpensGpu(const Resources& free, const Resources& capacity, const Resources& request) {
  if (!request.AsksForGpu() || !IsShare(request)) return false;
  const GpuPart* gpu = BestForShare(free, capacity, request);
  return gpu != nullptr && IsHeldByNobody(GpuOf(*free.gpus, gpu->index), *gpu);
}

GpuPart LargestGpuPart(const Resources& free, const Resources& request) {
  GpuPart largest;
  auto size = [&request](const GpuPart& part) {
    return request.gpu_millis > 0 ? std::pair(part.millis, part.memory_bytes)
                                  : std::pair(part.memory_bytes, part.millis);
  };
  for (const GpuPart& part : *free.gpus) {
    if (size(part) > size(largest)) largest = part;
  }
  return largest;
}

std::string AntiAffinityToken(std::string_view user, std::string_view group) {
  return "!" + std::string(user) + "/" + std::string(group);
}

bool IsResourceName(std::string_view name) {
  auto letter = [](char c) { return c >= 'a' && c <= 'z'; };
  return !name.empty() && name.size() <= 64 && letter(name[0]) &&
         std::all_of(name.begin(), name.end(), [&](char c) {
           return letter(c) || (c >= '0' && c <= '9') || c == '.' || c == '_' || c == '-';
         });
}

std::string FormatBytes(int64_t bytes) {
  static constexpr const char* kUnits[] = {"KiB", "MiB", "GiB", "TiB", "PiB", "EiB"};
  if (bytes > -1024 && bytes < 1024) return std::to_string(bytes) + " bytes";
  double amount = static_cast<double>(bytes) / 1024;
  size_t unit = 0;
  while ((amount >= 1024 || amount <= -1024) && unit + 1 < std::size(kUnits)) {
    amount /= 1024;
    ++unit;
  }
  char text[32];
  std::snprintf(text, sizeof text, amount >= 100 ? "%.0f %s" : "%.1f %s", amount, kUnits[unit]);
  return text;
}

std::string FormatMillis(int64_t millis) {
  if (millis < 0) return "-" + FormatMillis(-millis);
  std::string text = std::to_string(millis / 1000);
  if (millis % 1000 == 0) return text;
  std::string part = std::to_string(1000 + millis % 1000).substr(1);
  return text + "." + part.substr(0, part.find_last_not_of('0') + 1);
}

std::string FormatGpus(int64_t millis) {
  return FormatMillis(millis) + (millis > 0 && millis <= kWholeGpu ? " GPU" : " GPUs");
}

std::string ToString(const std::vector<GpuPart>& gpus) {
  std::string text;
  for (const GpuPart& part : gpus) {
    text += (text.empty() ? "GPU " : ", GPU ") + std::to_string(part.index) + ": " +
            FormatMillis(part.millis) + " with " + FormatBytes(part.memory_bytes);
  }
  return text.empty() ? "nothing of any GPU" : text;
}

std::string ToString(const Resources& resources) {
  char cores[32];
  if (resources.cpu_millis % 1000 == 0) {
    std::snprintf(cores, sizeof cores, "%lld", static_cast<long long>(resources.cpu_millis / 1000));
  } else {
    std::snprintf(cores, sizeof cores, "%.3g", static_cast<double>(resources.cpu_millis) / 1000);
  }
  std::string text = std::string(cores) + (resources.cpu_millis == 1000 ? " core, " : " cores, ") +
                     FormatBytes(resources.memory_bytes);
  // Of a node it is told of each GPU, elsewhere.
  const int64_t gpu_memory = resources.gpus->empty() ? resources.gpu_memory_bytes : 0;
  if (resources.gpu_millis > 0) {
    text += ", " + FormatGpus(resources.gpu_millis);
    if (gpu_memory > 0) text += " with " + FormatBytes(gpu_memory);
    if (gpu_memory > 0 && resources.gpu_millis > kWholeGpu) text += " each";
  } else if (gpu_memory > 0) {
    text += ", " + FormatBytes(gpu_memory) + " of a GPU";
  }
  if (resources.disk_bytes > 0) text += ", " + FormatBytes(resources.disk_bytes) + " of disk";
  for (const NamedAmount& n : resources.named) {
    if (!IsImplicit(n.name)) text += ", " + std::to_string(n.amount) + " " + n.name;
  }
  return text;
}

}  // namespace cyxwiz
