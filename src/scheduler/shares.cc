#include "scheduler/shares.h"

#include <algorithm>
#include <cmath>
#include <string_view>

namespace cyxwiz::scheduler {
namespace {

// Names come from clients: beyond so many of users, those that hold nothing and held little are
// forgotten, and projects with their last user.
constexpr size_t kMostAccounts = 10'000;
constexpr double kLittle = 1e-3;
constexpr std::string_view kProjectPrefix = "project:";

double InSeconds(Duration d) { return std::chrono::duration<double>(d).count(); }

}  // namespace

Shares::Shares(Duration half_life, const std::map<std::string, double>& weights)
    : half_life_(half_life) {
  for (const auto& [name, weight] : weights) {
    if (name.starts_with(kProjectPrefix)) {
      project_weights_[name.substr(kProjectPrefix.size())] = weight;
    } else {
      user_weights_[name] = weight;
    }
  }
}

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

// The average moves from what it was to what is held now, exponentially.
double Shares::PastAt(const Account& account, MonotonicTime now) const {
  double kept = std::exp2(-InSeconds(now - account.since) / InSeconds(half_life_));
  return account.past * kept + Part(account.held) * (1 - kept);
}

double Shares::ShareOf(const Account& account, const Weights& weights, const std::string& name,
                       MonotonicTime now) const {
  auto weight = weights.find(name);
  return (Part(account.held) + PastAt(account, now)) /
         (weight == weights.end() ? 1 : weight->second);
}

template <typename F>
void Shares::Change(const std::string& user, const std::string& project, MonotonicTime now, F f) {
  auto change = [&](Account& account) {
    account.past = PastAt(account, now);
    account.since = now;
    f(account);
  };
  auto known = projects_.find(project);
  if (known == projects_.end() || known->second.users.count(user) == 0) {
    if (size_ >= kMostAccounts) Prune(now);
    ++size_;
  }
  Project& of = projects_[project];
  if (!project.empty()) change(of.all);
  change(of.users[user]);
}

void Shares::Prune(MonotonicTime now) {
  double least = kLittle;
  do {
    auto counts_little = [&](const auto& one) {
      return one.second.held == Resources() && PastAt(one.second, now) < least;
    };
    for (auto& [name, project] : projects_) size_ -= std::erase_if(project.users, counts_little);
    std::erase_if(projects_, [](const auto& one) { return one.second.users.empty(); });
    least *= 10;
  } while (size_ >= kMostAccounts && least < 100);
}

void Shares::Take(const std::string& user, const std::string& project, const Resources& amount,
                  MonotonicTime now) {
  Change(user, project, now, [&](Account& account) { account.held += amount; });
}

void Shares::GiveBack(const std::string& user, const std::string& project, const Resources& amount,
                      MonotonicTime now) {
  Change(user, project, now, [&](Account& account) { account.held -= amount; });
}

void Shares::Remember(const std::string& user, const std::string& project, const Resources& amount,
                      Duration from, Duration until, MonotonicTime now) {
  const double half_life = InSeconds(half_life_);
  const double past = Part(amount) * (std::exp2(-InSeconds(until) / half_life) -
                                      std::exp2(-InSeconds(from) / half_life));
  Change(user, project, now, [past](Account& account) { account.past += past; });
}

Share Shares::Of(const std::string& user, const std::string& project, MonotonicTime now) const {
  Share share;
  auto of = projects_.find(project);
  if (of == projects_.end()) return share;
  if (auto account = of->second.users.find(user); account != of->second.users.end())
    share.of_user = ShareOf(account->second, user_weights_, user, now);
  share.of_project =
      project.empty() ? share.of_user : ShareOf(of->second.all, project_weights_, project, now);
  return share;
}

}  // namespace cyxwiz::scheduler
