#include <utility>

#include "control/messages.h"
#include "control/state.h"

namespace cyxwiz::control {

const std::vector<scheduler::Reason>& Control::State::Explained(const Job& job) {
  auto [entry, fresh] = explained.try_emplace(LineOf(job));
  if (fresh) {
    scheduler::Request request = RequestOf(job);
    const std::optional<scheduler::Hold>& hold = fleet.hold();
    bool kept = hold && scheduler::IsKeptFrom(*hold, job.priority, request, now.monotonic);
    entry->second = scheduler::Explain(request, fleet.nodes(), kept ? &*hold : nullptr);
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
    if (entry.waits_for > 0) {
      view.reasons.push_back({"DEPENDENCY", WaitMessage(entry), {}});
    } else if (!IsInLine(job)) {
      view.reasons.push_back({"BACKOFF", "waits before the next try", {}});
    } else if (const scheduler::Claim* claim = ClaimOf(job)) {
      view.reasons.push_back({"PREEMPTING", PreemptingMessage(*claim), {claim->node}});
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
  if (Find(c.job) == nullptr) return Answer(c.reply_to, NoSuchJob(c.job));
  pending.push_back({c.reply_to, c.job, false, false});
}

void Control::State::Apply(ListJobs& c) {
  auto page = index.List(c.filter, c.after_sequence, static_cast<size_t>(c.page_size));
  ListReply reply{.jobs = {},
                  .next_after_sequence = page.more ? page.sequences.back() : 0,
                  .total = page.total};
  for (int64_t sequence : page.sequences) reply.jobs.push_back(View(*by_sequence.at(sequence)));
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

}  // namespace cyxwiz::control
