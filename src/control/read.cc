#include <algorithm>
#include <unordered_map>
#include <unordered_set>
#include <utility>

#include "control/messages.h"
#include "control/state.h"

namespace cyxwiz::control {

const std::vector<scheduler::Reason>& Control::State::Explained(const Job& job) {
  auto [entry, fresh] = explained.try_emplace(LineOf(job));
  if (fresh) {
    scheduler::Request request = RequestOf(job);
    entry->second =
        scheduler::Explain(request, fleet.nodes(), [&](const scheduler::NodeState& node) {
          return scheduler::IsKeptFrom(fleet, node, entry->first, now.monotonic);
        });
    AddQuotaReason(entry->first, &entry->second);
  }
  return entry->second;
}

void Control::State::AddQuotaReason(const LineKey& line,
                                    std::vector<scheduler::Reason>* reasons) const {
  scheduler::Standing standing = quotas.Of(line);
  if (standing == scheduler::Standing::kBlocked) {
    reasons->insert(reasons->begin(), {"QUOTA_EXCEEDED", quotas.Explain(line), {}});
  } else if (standing == scheduler::Standing::kBorrows && !reasons->empty()) {
    reasons->insert(reasons->begin(),
                    {"QUOTA_BORROWING",
                     "gets only what nobody within a quota waits for: " + quotas.Explain(line),
                     {}});
  }
}

JobView Control::State::View(const JobEntry& entry) {
  JobView view{.job = entry.job, .body = entry.body};
  const Job& job = entry.job;
  if (job.state == JobState::kAssigned || job.state == JobState::kRunning) {
    if (const NodeEntry* node = FindNode(job.node)) view.node_endpoint = node->node.endpoint;
  }
  if (job.state == JobState::kQueued) {
    if (auto reason = NotDueReason(entry)) {
      view.reasons.push_back(std::move(*reason));
    } else if (const scheduler::Claim* claim = ClaimOf(job)) {
      view.reasons.push_back(PreemptingReason(*claim));
    }
    const auto& reasons = Explained(job);
    view.reasons.insert(view.reasons.end(), reasons.begin(), reasons.end());
    if (view.reasons.empty())
      view.reasons.push_back({"QUEUED", "waits for its turn behind jobs that go first", {}});
    std::string why;
    for (const scheduler::Reason& reason : view.reasons)
      why += (why.empty() ? "" : "; ") + reason.message;
    view.job.message = job.message.empty() ? why : job.message + "; " + why;
  }
  return view;
}

NodeView Control::State::View(const NodeEntry& entry) const {
  NodeView view{.node = entry.node,
                .online = entry.online,
                .last_heartbeat = entry.last_heartbeat,
                .available = entry.node.capacity - entry.reserved};
  for (const JobId& id : entry.jobs) view.attempts.push_back({id, jobs.at(id)->job.attempt});
  return view;
}

void Control::State::Apply(GetJob& c) {
  if (auto found = Recall(c.job); !found.ok()) {
    auto view = found.status().code() == Code::kNotFound ? ViewUnstarted(c.job) : std::nullopt;
    if (!view) return Answer(c.reply_to, found.status());
    const Member& member = *view->job.member;
    const JobEntry& array = *Find(member.array);
    view->outlook = OutlookOf(array, member.number - array.job.array->started);
    return Answer(c.reply_to, OkStatus(), JobReply{std::move(*view)});
  }
  pending.push_back({c.reply_to, c.job, false, false});
}

void Control::State::Apply(ListJobs& c) {
  if (!c.filter.array_id.empty()) return ListMembers(c);
  const size_t size = static_cast<size_t>(c.page_size);
  auto page = index.List(c.filter, c.after_sequence, size);
  const int64_t others = ended_counts.Count(c.filter);
  std::vector<Job> ended;
  if (others > 0) {
    // Enough of them though some may be in memory, too, or on their way out.
    auto found =
        options.archive->ListEnded(c.filter, c.after_sequence, size + 1 + removed_lately.size());
    if (!found.ok()) return Answer(c.reply_to, found.status());
    ended = std::move(*found);
    std::erase_if(ended, [this](const Job& job) {
      return by_sequence.count(job.sequence) > 0 || removed_lately.count(job.sequence) > 0;
    });
  }
  ListReply reply{.jobs = {}, .next_after_sequence = 0, .total = page.total + others};
  auto in_memory = page.sequences.begin();
  auto stored = ended.begin();
  while (reply.jobs.size() < size && (in_memory != page.sequences.end() || stored != ended.end())) {
    if (stored == ended.end() ||
        (in_memory != page.sequences.end() && *in_memory > stored->sequence)) {
      reply.jobs.push_back(View(*by_sequence.at(*in_memory++)));
    } else {
      reply.jobs.push_back({.job = std::move(*stored++)});
    }
  }
  if (page.more || in_memory != page.sequences.end() || stored != ended.end())
    reply.next_after_sequence = reply.jobs.back().job.sequence;
  Answer(c.reply_to, OkStatus(), std::move(reply));
}

void Control::State::Apply(FindJobs& c) {
  FoundReply reply;
  // Most jobs of a search share few bodies.
  std::unordered_map<const JobBody*, bool> holds;
  for (const auto& [id, entry] : jobs) {
    if (IsFinal(entry->job.state)) continue;
    auto [known, fresh] = holds.try_emplace(entry->body.get());
    if (fresh) known->second = entry->body->config.find(c.text) != std::string::npos;
    if (known->second) reply.jobs.push_back(id);
  }
  std::sort(reply.jobs.begin(), reply.jobs.end());
  Answer(c.reply_to, OkStatus(), std::move(reply));
}

void Control::State::Apply(GetNode& c) {
  NodeEntry* node = FindNode(c.node);
  if (node == nullptr) return Answer(c.reply_to, NoSuchNode(c.node));
  Answer(c.reply_to, OkStatus(), NodeReply{View(*node)});
}

void Control::State::Apply(ListNodes& c) {
  NodesReply reply;
  for (const auto& [id, node] : nodes) reply.nodes.push_back(View(node));
  Answer(c.reply_to, OkStatus(), std::move(reply));
}

void Control::State::Apply(CountWaiting& c) {
  // Other commands wait meanwhile: so many nodes are looked at, some ten milliseconds.
  constexpr int64_t kMostLooks = 100'000;
  WaitingReply reply;
  int64_t looks = 0, due = 0;
  for (const auto& [key, line] : lines) {
    const int64_t waiting = std::ssize(line.jobs);
    due += waiting;
    if (explained.count(key) == 0) looks += std::ssize(fleet.nodes()) + 1;
    if (looks > kMostLooks) {
      reply.jobs["NOT_EXAMINED"] += waiting;
      continue;
    }
    const auto& reasons = Explained(by_sequence.at(*line.jobs.begin())->job);
    if (reasons.empty()) reply.jobs["QUEUED"] += waiting;
    for (const scheduler::Reason& reason : reasons) reply.jobs[reason.code] += waiting;
  }
  if (counters.jobs_by_state[static_cast<int>(JobState::kQueued)] > due)
    CountNotDue(kMostLooks, &reply.jobs);
  Answer(c.reply_to, OkStatus(), std::move(reply));
}

void Control::State::CountNotDue(int64_t most_looks, std::map<std::string, int64_t>* counts) const {
  int64_t rest = counters.jobs_by_state[static_cast<int>(JobState::kQueued)];
  for (const auto& [key, line] : lines) rest -= std::ssize(line.jobs);
  auto count = [&](const char* code, int64_t number) {
    if (number > 0) (*counts)[code] += number;
    rest -= number;
  };
  std::unordered_set<const JobEntry*> dependent;  // one may wait for several
  for (const auto& [id, waiting] : dependents) {
    for (const auto& [one, any_end] : waiting) {
      if (most_looks-- == 0) break;
      const JobEntry* entry = by_sequence.at(one);
      if (entry->job.state == JobState::kQueued && !IsDoomed(*entry)) dependent.insert(entry);
    }
  }
  int64_t doomed = 0;  // but for those among them that run
  for (const auto& [number, one] : cancellations)
    doomed += std::ssize(one.cancellation->jobs) - static_cast<int64_t>(one.done);
  count("CANCELLING", std::min(doomed, rest));
  count("DEPENDENCY", std::ssize(dependent));
  int64_t full = 0;  // arrays that let no more of their members run
  for (const auto& [sequence, of_array] : members) {
    const auto array = by_sequence.find(sequence);
    full += array != by_sequence.end() && array->second->job.state == JobState::kQueued &&
            NotDueOf(*array->second) == NotDue::kArrayParallel;
  }
  count("ARRAY_PARALLEL", full);
  count("MASS_LOSS", std::ssize(held_back));
  count(most_looks < 0 ? "NOT_EXAMINED" : "BACKOFF", rest);
}

}  // namespace cyxwiz::control
