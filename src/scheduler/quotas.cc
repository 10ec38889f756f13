#include "scheduler/quotas.h"

#include <algorithm>
#include <utility>

namespace cyxwiz::scheduler {
namespace {

bool Fits(int64_t most, int64_t held, int64_t more) {
  return most < 0 || more == 0 || held + more <= most;
}
// Memory of a GPU without a share of it would be had beside any quota of GPUs.
bool IsUncounted(const Quota& quota, const Resources& more) {
  return quota.gpu_millis >= 0 && more.gpu_millis == 0 && more.gpu_memory_bytes > 0;
}
bool Fits(const Quota& quota, const Resources& held, const Resources& more) {
  return Fits(quota.cpu_millis, held.cpu_millis, more.cpu_millis) &&
         Fits(quota.memory_bytes, held.memory_bytes, more.memory_bytes) &&
         Fits(quota.gpu_millis, held.gpu_millis, more.gpu_millis) && !IsUncounted(quota, more);
}

// Of what a quota is about, so that only that is told.
Resources Limited(const Quota& quota, const Resources& amount) {
  return {quota.cpu_millis < 0 ? 0 : amount.cpu_millis,
          quota.memory_bytes < 0 ? 0 : amount.memory_bytes,
          quota.gpu_millis < 0 ? 0 : amount.gpu_millis};
}

std::string Text(const Quota& quota, const Resources& amount) {
  std::string text;
  auto add = [&text](bool limited, const std::string& part) {
    if (limited) text += (text.empty() ? "" : ", ") + part;
  };
  Resources part = Limited(quota, amount);
  std::string cores = ToString(Resources{part.cpu_millis, 0, 0});
  add(quota.cpu_millis >= 0, cores.substr(0, cores.find(',')));
  add(quota.memory_bytes >= 0, FormatBytes(part.memory_bytes));
  add(quota.gpu_millis >= 0, FormatGpus(part.gpu_millis));
  return text.empty() ? "nothing that it limits" : text;
}

// By how much what is held goes beyond a quota with so much more: "1 core, 2.0 GiB".
std::string Excess(const Quota& quota, const Resources& held, const Resources& more) {
  auto beyond = [](int64_t most, int64_t now, int64_t added) {
    return most >= 0 && added > 0 && now + added > most ? now + added - most : -1;
  };
  const Quota excess{beyond(quota.cpu_millis, held.cpu_millis, more.cpu_millis),
                     beyond(quota.memory_bytes, held.memory_bytes, more.memory_bytes),
                     beyond(quota.gpu_millis, held.gpu_millis, more.gpu_millis)};
  return ToString(excess);
}

std::string Needed(const Quota& quota, const Resources& amount) {
  if (!IsUncounted(quota, amount)) return Text(quota, amount);
  return FormatBytes(amount.gpu_memory_bytes) +
         " of a GPU without a share of it (gpu_share), which no quota of GPUs counts";
}

}  // namespace

std::string ToString(const Quota& quota) {
  return Text(quota, {quota.cpu_millis, quota.memory_bytes, quota.gpu_millis});
}

Quotas::Quotas(std::map<std::string, Quota> quotas) {
  for (auto& [owner, quota] : quotas) {
    size_t colon = owner.find(':');
    owners_[owner] = {owner.substr(0, colon) + " '" + owner.substr(colon + 1) + "'", quota, {}};
  }
}

bool Quotas::Owner::Holds(const Resources& more) const { return Fits(quota, held, more); }
bool Quotas::Owner::IsOver() const { return !Fits(quota, {}, held); }

template <typename Owners, typename F>
void Quotas::ForEach(Owners& owners, const std::string& user, const std::string& project, F f) {
  if (owners.empty()) return;
  for (const std::string& key : {"user:" + user, "project:" + project}) {
    if (auto found = owners.find(key); found != owners.end()) f(found->second);
  }
}

void Quotas::Take(const LineKey& line, const Resources& amount) {
  ForEach(owners_, line.account, line.project, [&](Owner& owner) { owner.held += amount; });
}

void Quotas::GiveBack(const std::string& user, const std::string& project,
                      const Resources& amount) {
  ForEach(owners_, user, project, [&](Owner& owner) { owner.held -= amount; });
}

Standing Quotas::Of(const LineKey& line) const {
  if (owners_.empty()) return Standing::kWithin;
  bool any = false, within = true, blocked = false;
  ForEach(owners_, line.account, line.project, [&](const Owner& owner) {
    any = true;
    if (owner.Holds(TotalOf(line.request))) return;
    within = false;
    blocked |= !owner.quota.borrow;
  });
  if (blocked) return Standing::kBlocked;
  return any && within ? Standing::kWithin : Standing::kBorrows;
}

bool Quotas::IsBorrowing(const std::string& user, const std::string& project) const {
  bool any = false, within = true;
  ForEach(owners_, user, project, [&](const Owner& owner) {
    any = true;
    within &= !owner.IsOver();
  });
  return !owners_.empty() && !(any && within);
}

std::string Quotas::Explain(const LineKey& line) const {
  std::string text;
  ForEach(owners_, line.account, line.project, [&](const Owner& owner) {
    if (owner.Holds(TotalOf(line.request))) return;
    text += (text.empty() ? "" : "; ") + owner.name + " holds " + Text(owner.quota, owner.held) +
            " of a quota of " + ToString(owner.quota) + ", and this needs " +
            Needed(owner.quota, TotalOf(line.request));
  });
  return text.empty() ? "no quota is meant for it" : text;
}

std::string Quotas::SmallestChange(const LineKey& line) const {
  const Resources total = TotalOf(line.request);
  std::string text;
  ForEach(owners_, line.account, line.project, [&](const Owner& owner) {
    if (owner.quota.borrow || owner.Holds(total)) return;
    text += (text.empty() ? "" : ", and ");
    text += IsUncounted(owner.quota, total)
                ? "ask for a share of the GPU (gpu_share)"
                : "jobs of " + owner.name + " must give back " +
                      Excess(owner.quota, owner.held, total) + ", or its quota be raised by that";
  });
  return text;
}

Status Quotas::CouldEverRun(const LineKey& line) const {
  Status status;
  ForEach(owners_, line.account, line.project, [&](const Owner& owner) {
    const Resources total = TotalOf(line.request);
    if (!status.ok() || owner.quota.borrow || Fits(owner.quota, {}, total)) return;
    status =
        FailedPrecondition("the job needs " + Needed(owner.quota, total) + ", and the quota of " +
                               owner.name + " is " + ToString(owner.quota),
                           "ask for less in \"resources\"");
  });
  return status;
}

}  // namespace cyxwiz::scheduler
