#include "scheduler/forecast.h"

#include <algorithm>

namespace cyxwiz::scheduler {
namespace {

class Future {
 public:
  Future(Prospect prospect, const Target& target,
         const std::function<std::optional<Duration>(int64_t)>& duration)
      : prospect_(std::move(prospect)), target_(target), duration_(duration) {
    for (Running& one : prospect_.running) {
      if (!one.remaining) continue;
      const Duration at = *one.remaining;
      At(at, [this, ends = std::move(one)] { End(ends); });
    }
    for (const auto& [node, time] : prospect_.resting) {
      At(time, [this, id = node] {
        prospect_.fleet.Change(id, [](NodeState& state) { state.held = false; });
      });
    }
    if (target_.not_before > Duration::zero()) LetTargetWait();
  }

  std::optional<Forecast> Start(size_t most_steps) {
    for (size_t steps = 0; steps <= most_steps; ++steps) {
      if (auto node = Pass()) return Forecast{*node, passed_};
      if (to_come_.empty()) return std::nullopt;
      passed_ = std::max(passed_, to_come_.begin()->first);
      while (!to_come_.empty() && to_come_.begin()->first <= passed_)
        to_come_.extract(to_come_.begin()).mapped()();
    }
    return std::nullopt;
  }

 private:
  void At(Duration time, std::function<void()> happens) {
    to_come_.emplace(time, std::move(happens));
  }

  void Join(size_t line, const Waiting& one) {
    std::vector<Waiting>& jobs = prospect_.lines[line].jobs;
    auto is_older = [](const Waiting& a, const Waiting& b) { return a.job < b.job; };
    jobs.insert(std::upper_bound(jobs.begin(), jobs.end(), one, is_older), one);
    prospect_.lines[line].fresh = true;
  }

  void LetTargetWait() {
    for (size_t i = 0; i < prospect_.lines.size(); ++i) {
      std::erase_if(prospect_.lines[i].jobs, [&](const Waiting& one) {
        if (one.job != target_.job) return false;
        At(target_.not_before, [this, i, one] { Join(i, one); });
        return true;
      });
    }
  }

  void End(const Running& one) {
    Resources held = one.resources;
    prospect_.fleet.GiveBack(one.node, held);
    prospect_.fleet.EndVictim(one.job, one.node);
    held.gpus = {};
    prospect_.shares.GiveBack(one.account, one.project, held, prospect_.now + passed_);
    prospect_.quotas.GiveBack(one.account, one.project, held);
    auto rest = prospect_.rests.find(one.array);
    if (rest == prospect_.rests.end() || rest->second.members == 0) return;
    rest->second.members--;
    Join(rest->second.line, rest->second.waits);
  }

  // The node on which the target starts; nullopt: it does not yet.
  std::optional<NodeId> Pass() {
    Fleet& fleet = prospect_.fleet;
    size_t kept = 0;
    do {
      kept = fleet.holds().size() + fleet.claims().size();
      for (const Placement& placement : Schedule(&fleet, prospect_.lines, &prospect_.shares,
                                                 prospect_.now + passed_, &prospect_.quotas)) {
        if (placement.job == target_.job && target_.members_before-- == 0) return placement.node;
        Place(placement);
      }
      for (Line& line : prospect_.lines)
        line.fresh = prospect_.quotas.Of(line.key) == Standing::kBlocked;
      for (size_t i = 0; i < fleet.claims().size();) {
        const Claim& claim = fleet.claims()[i];
        if (fleet.IsBeingMade(claim)) {
          ++i;
        } else {
          fleet.DropClaim(claim);
        }
      }
      // What was kept, or claimed, is free for others.
    } while (fleet.holds().size() + fleet.claims().size() < kept);
    return std::nullopt;
  }

  void Place(const Placement& placement) {
    for (Line& line : prospect_.lines) {
      auto found = std::find_if(line.jobs.begin(), line.jobs.end(),
                                [&](const Waiting& one) { return one.job == placement.job; });
      if (found == line.jobs.end()) continue;
      line.jobs.erase(found);
      auto takes = duration_(placement.job);
      if (!takes) return;
      auto begin_on = [&](const NodeId& node, size_t rank) {
        Running one{
            node,          line.key.request.resources,   takes, line.key.account, line.key.project,
            placement.job, rank == 0 ? placement.job : 0};
        if (!placement.gpus.empty()) one.resources.gpus = placement.gpus[rank];
        At(passed_ + *takes, [this, ends = std::move(one)] { End(ends); });
      };
      begin_on(placement.node, 0);
      for (size_t i = 0; i < placement.others.size(); ++i) begin_on(placement.others[i], i + 1);
      return;
    }
  }

  Prospect prospect_;
  Target target_;
  const std::function<std::optional<Duration>(int64_t)>& duration_;
  std::multimap<Duration, std::function<void()>> to_come_;  // of equal times the first that came
  Duration passed_ = {};
};

}  // namespace

std::optional<Forecast> ForecastStart(
    Prospect prospect, const Target& target,
    const std::function<std::optional<Duration>(int64_t)>& duration, size_t most_steps) {
  return Future(std::move(prospect), target, duration).Start(most_steps);
}

}  // namespace cyxwiz::scheduler
