#include "base/resources.h"

#include <algorithm>
#include <cstdio>

namespace cyxwiz {

bool Resources::IsNegative() const {
  return cpu_millis < 0 || memory_bytes < 0 || gpus < 0 || disk_bytes < 0 ||
         std::any_of(named.begin(), named.end(),
                     [](const NamedAmount& n) { return n.amount < 0 && !IsImplicit(n.name); });
}

Resources Resources::operator*(int64_t times) const {
  Resources product = *this;
  product.cpu_millis *= times;
  product.memory_bytes *= times;
  product.gpus *= times;
  product.disk_bytes *= times;
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

std::string ToString(const Resources& resources) {
  char cores[32];
  if (resources.cpu_millis % 1000 == 0) {
    std::snprintf(cores, sizeof cores, "%lld", static_cast<long long>(resources.cpu_millis / 1000));
  } else {
    std::snprintf(cores, sizeof cores, "%.3g", static_cast<double>(resources.cpu_millis) / 1000);
  }
  std::string text = std::string(cores) + (resources.cpu_millis == 1000 ? " core, " : " cores, ") +
                     FormatBytes(resources.memory_bytes);
  if (resources.gpus > 0)
    text += ", " + std::to_string(resources.gpus) + (resources.gpus == 1 ? " GPU" : " GPUs");
  if (resources.disk_bytes > 0) text += ", " + FormatBytes(resources.disk_bytes) + " of disk";
  for (const NamedAmount& n : resources.named) {
    if (!IsImplicit(n.name)) text += ", " + std::to_string(n.amount) + " " + n.name;
  }
  return text;
}

}  // namespace cyxwiz
