#include "scheduler/shares.h"

#include <algorithm>
#include <cmath>

namespace cyxwiz::scheduler {
namespace {

// Names come from clients: beyond so many, those that hold nothing and held little are forgotten.
constexpr size_t kMostAccounts = 10'000;
constexpr double kLittle = 1e-3;

double InSeconds(Duration d) { return std::chrono::duration<double>(d).count(); }

}  // namespace

Shares::Shares(Duration half_life, std::map<std::string, double> weights)
    : half_life_(half_life), weights_(std::move(weights)) {}

double Shares::Part(const Resources& amount) const {
  double most = 0;
  auto part = [&most](int64_t held, int64_t total) {
    if (total > 0) most = std::max(most, static_cast<double>(held) / static_cast<double>(total));
  };
  part(amount.cpu_millis, total_.cpu_millis);
  part(amount.memory_bytes, total_.memory_bytes);
  part(amount.gpu_millis, total_.gpu_millis);
  part(amount.gpu_memory_bytes, total_.gpu_memory_bytes);
  part(amount.disk_bytes, total_.disk_bytes);
  for (const NamedAmount& n : amount.named) part(n.amount, total_.Named(n.name));
  return most;
}

double Shares::WeightOf(const std::string& account) const {
  auto found = weights_.find(account);
  return found == weights_.end() ? 1 : found->second;
}

// The average moves from what it was to what is held now, exponentially.
double Shares::PastAt(const Account& account, MonotonicTime now) const {
  double kept = std::exp2(-InSeconds(now - account.since) / InSeconds(half_life_));
  return account.past * kept + Part(account.held) * (1 - kept);
}

Shares::Account& Shares::Advance(const std::string& name, MonotonicTime now) {
  auto [found, fresh] = accounts_.try_emplace(name);
  if (fresh && accounts_.size() > kMostAccounts) Prune(now);
  Account& account = accounts_[name];
  if (!fresh) account.past = PastAt(account, now);
  account.since = now;
  return account;
}

void Shares::Prune(MonotonicTime now) {
  double least = kLittle;
  do {
    std::erase_if(accounts_, [&](const auto& one) {
      return one.second.held == Resources() && PastAt(one.second, now) < least;
    });
    least *= 10;
  } while (accounts_.size() > kMostAccounts && least < 100);
}

void Shares::Take(const std::string& account, const Resources& amount, MonotonicTime now) {
  Advance(account, now).held += amount;
}

void Shares::GiveBack(const std::string& name, const Resources& amount, MonotonicTime now) {
  Advance(name, now).held -= amount;
}

void Shares::Remember(const std::string& name, const Resources& amount, Duration from,
                      Duration until, MonotonicTime now) {
  double half_life = InSeconds(half_life_);
  Advance(name, now).past += Part(amount) * (std::exp2(-InSeconds(until) / half_life) -
                                             std::exp2(-InSeconds(from) / half_life));
}

double Shares::Of(const std::string& name, MonotonicTime now) const {
  auto found = accounts_.find(name);
  if (found == accounts_.end()) return 0;
  return (Part(found->second.held) + PastAt(found->second, now)) / WeightOf(name);
}

}  // namespace cyxwiz::scheduler
