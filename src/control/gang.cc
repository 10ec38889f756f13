// A gang's attempt has a rank on each of several nodes, placed together. It runs once all of them
// have started, and is over once all have ended; what decides how is the first of them that ends
// without being asked to, and from then on the others are asked to.
#include <algorithm>
#include <utility>

#include "control/state.h"

namespace cyxwiz::control {
namespace {

// Whether the attempt ends as this rank does. before: what the ranks that ended earlier have
// decided.
bool Decides(const AttemptEnd& before, int32_t rank, const AttemptEnd& end) {
  using enum AttemptEnd::Kind;
  // The result is whole, whatever becomes of the other ranks.
  if (end.kind == kSucceeded) return rank == 0;
  if (before.kind == kNone) return true;
  // That another rank is gone is no cause, but what that one has to say may be. It says that it was
  // stopped when it was only told to.
  return before.cause == Cause::kPeerLost && end.cause != Cause::kPeerLost &&
         end.cause != Cause::kNodeDrained;
}

}  // namespace

std::vector<NodeId> NodesWith(const Job& job) {
  if (job.array != nullptr || (job.state != JobState::kAssigned && job.state != JobState::kRunning))
    return {};
  if (job.gang == nullptr) return {job.node};
  std::vector<NodeId> nodes;
  for (const Gang::Rank& rank : job.gang->ranks) {
    if (!rank.ended) nodes.push_back(rank.node);
  }
  return nodes;
}

Resources HeldOn(const Job& job, const NodeId& node) {
  Resources held = job.resources;
  if (!held.AsksForGpu()) return held;
  const int32_t rank = RankOn(job, node);
  held.gpus = rank > 0 ? job.gang->ranks[static_cast<size_t>(rank)].gpus : *job.gpus;
  return held;
}

int32_t RankOn(const Job& job, const NodeId& node) {
  if (job.gang == nullptr) return job.node == node ? 0 : -1;
  const std::vector<Gang::Rank>& ranks = job.gang->ranks;
  for (size_t i = 0; i < ranks.size(); ++i) {
    if (ranks[i].node == node) return static_cast<int32_t>(i);
  }
  return -1;
}

RankEntry& Control::State::RankEntryOn(JobEntry& entry, const NodeId& node) {
  const int32_t rank = RankOn(entry.job, node);
  Require(rank >= 0, "a rank is not where it was placed");
  return rank == 0 ? entry.rank : entry.other_ranks->at(static_cast<size_t>(rank - 1));
}

template <typename F>
bool Control::State::AnyLiveRank(JobEntry& entry, F f) {
  if (entry.job.gang == nullptr) return f(entry.rank);
  const std::vector<Gang::Rank>& ranks = entry.job.gang->ranks;
  for (size_t i = 0; i < ranks.size(); ++i) {
    if (!ranks[i].ended && f(i == 0 ? entry.rank : (*entry.other_ranks)[i - 1])) return true;
  }
  return false;
}

bool Control::State::AllStarted(JobEntry& entry) {
  return !AnyLiveRank(entry, [](const RankEntry& rank) { return !rank.started; });
}

void Control::State::BeginRanks(JobEntry& entry, const RankEntry& as) {
  entry.rank = as;
  entry.other_ranks = nullptr;
  if (entry.job.gang != nullptr) {
    entry.other_ranks =
        std::make_unique<std::vector<RankEntry>>(entry.job.gang->ranks.size() - 1, as);
  }
}

void Control::State::DisarmAssign(JobEntry& entry, const RankEntry& of) {
  if (of.accepted) return;
  const bool others =
      AnyLiveRank(entry, [&of](const RankEntry& rank) { return &rank != &of && !rank.accepted; });
  if (!others)  // they were placed together, so the timer is theirs too
    timers.Disarm(of.last_seen + options.assign_timeout, TimerKind::kAssign, entry.job.id.value);
}

void Control::State::EndRank(JobEntry& entry, NodeEntry& node, AttemptEnd end) {
  Job& job = entry.job;
  Release(entry, node);
  if (job.gang == nullptr) return EndAttempt(entry, end);
  const auto asked = [&] {
    return std::pair(IsToStop(entry), IsToStop(entry) && IsToYield(entry));
  };
  const auto before = asked();
  auto gang = std::make_shared<Gang>(*job.gang);
  const int32_t rank = RankOn(job, node.node.id);
  gang->ranks[static_cast<size_t>(rank)].ended = true;
  if (Decides(gang->end, rank, end)) {
    if (end.kind == AttemptEnd::Kind::kFailed) {
      end.error.message = "rank " + std::to_string(rank) + " on node " + node.node.id.value + ": " +
                          end.error.message;
    }
    end.yields = before.second && end.cause == Cause::kNodeDrained;
    gang->end = std::move(end);
  }
  job.gang = std::move(gang);
  if (NodesWith(job).empty()) return EndAttempt(entry, AttemptEnd(job.gang->end));
  if (asked() != before) {
    job.message = StopMessage(entry);
    SendStop(entry, job.message);
  }
  MarkChanged(entry);
}

}  // namespace cyxwiz::control
