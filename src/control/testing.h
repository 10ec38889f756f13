// For tests of the control core.
#pragma once

#include <gtest/gtest.h>

#include <algorithm>
#include <map>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include "control/control.h"
#include "control/transitions.h"

namespace cyxwiz::control {

constexpr int64_t kGiB = 1ll << 30;

// Drives a Control by hand: one command at a time, on a clock that moves only when told.
class Bench : public Archive {
 public:
  explicit Bench(Options options = {}) : options_(options) {
    options_.archive = this;
    control_ = std::make_unique<Control>(options_);
    control_->Load({}, now());
  }

  Result<std::optional<EndedJob>> FindEnded(const JobId& id) override {
    ++lookups;
    if (!archive_error.ok()) return archive_error;
    auto found = jobs.find(id.value);
    if (found == jobs.end() || !IsFinal(found->second.state)) return std::optional<EndedJob>();
    return std::optional<EndedJob>({found->second, bodies.at(found->second.body)});
  }
  Result<std::vector<Job>> ListEnded(const JobFilter& filter, int64_t before,
                                     size_t most) override {
    if (!archive_error.ok()) return archive_error;
    std::vector<Job> found;
    for (const Job* job : InOrder()) {
      bool wanted = IsFinal(job->state) &&
                    filter.array == (job->member != nullptr ? job->member->array_sequence : 0) &&
                    job->sequence < before && (filter.user.empty() || job->user == filter.user) &&
                    (filter.type == 0 || job->type == filter.type) &&
                    (filter.states.empty() ||
                     std::count(filter.states.begin(), filter.states.end(), job->state) > 0);
      if (wanted) found.insert(found.begin(), *job);
    }
    if (found.size() > most) found.resize(most);
    return found;
  }
  Result<bool> HasPrefix(const std::string& prefix) override {
    if (!archive_error.ok()) return archive_error;
    auto found = jobs.lower_bound(prefix);
    return found != jobs.end() && found->first.starts_with(prefix);
  }

  Now now() const {
    return {{elapsed_.count()}, {1'700'000'000'000 + elapsed_.count() / 1'000'000}};
  }

  // Applies one command; what came of it stands in the members below.
  template <typename C>
  void Do(C command) {
    if constexpr (requires { command.reply_to; }) command.reply_to = 1;
    DoBatch({std::move(command)});
  }
  void DoBatch(std::vector<Command> batch) {
    output_ = {};
    control_->Apply(batch, now(), &output_);
    for (const Record& record : output_.records) Store(record);
  }
  void Pass(Duration time) {
    elapsed_ += time;
    Do(Tick{});
  }
  // As after kill -9: only what was stored remains.
  void Restart() {
    Snapshot snapshot;
    std::set<int64_t> needed;
    for (const Job* job : InOrder()) {
      snapshot.last_sequence = job->sequence;
      if (IsFinal(job->state)) {
        snapshot.ended.push_back({job->user, job->type, job->state, 1, job->member != nullptr});
        if (job->array == nullptr) {
          snapshot.past.push_back({job->user, ProjectOf(*job), job->resources * RanksOf(*job),
                                   job->started_at, job->ended_at});
        }
      } else {
        snapshot.jobs.push_back(*job);
        needed.insert(job->body);
      }
    }
    for (auto& [number, body] : bodies) {
      snapshot.last_body = number;
      if (needed.count(number) > 0) snapshot.bodies.push_back({number, body});
    }
    for (auto& [k, n] : nodes) snapshot.nodes.push_back(n);
    for (auto& [k, r] : removed) snapshot.removed.push_back(r);
    for (auto& [k, c] : cancellations) snapshot.cancellations.push_back(c);
    if (!events.empty()) {
      snapshot.first_event = events.begin()->first;
      snapshot.last_event = events.rbegin()->first;
    }
    control_ = std::make_unique<Control>(options_);
    control_->Load(std::move(snapshot), now());
    Do(Tick{});
  }

  static SubmitJob SubmitCommand(const std::string& id, int64_t cores = 1, int32_t priority = 1,
                                 const std::string& config = "config") {
    Job job{.id = JobId{id},
            .priority = priority,
            .resources = {cores * 1000, kGiB, 0},
            .total_epochs = 5};
    return {.job = job, .body = std::make_shared<JobBody>(JobBody{"sha-" + config, config})};
  }
  static PlanJob PlanCommand(int64_t cores = 1, int32_t priority = 1) {
    return PlanOf(SubmitCommand("fresh", cores, priority));
  }
  static PlanJob PlanOf(SubmitJob submit) {
    return {.job = std::move(submit.job), .body = std::move(submit.body)};
  }
  static SubmitJob GangCommand(const std::string& id, int32_t nodes, int64_t cores = 2,
                               int32_t priority = 1) {
    SubmitJob command = SubmitCommand(id, cores, priority);
    Terms terms;
    terms.nodes = nodes;
    command.job.terms = std::make_shared<const Terms>(terms);
    return command;
  }
  void SubmitWith(const std::string& id, Terms terms, const std::string& config = "config") {
    SubmitJob command = SubmitCommand(id, 1, 1, config);
    command.job.terms = std::make_shared<const Terms>(std::move(terms));
    Do(std::move(command));
  }
  void Submit(const std::string& id, int64_t cores = 1, int32_t priority = 1,
              const std::string& config = "config") {
    Do(SubmitCommand(id, cores, priority, config));
  }
  void Register(const std::string& id, int64_t cores = 2, std::vector<AttemptId> active = {}) {
    Node node{.id = NodeId{id},
              .endpoint = id + ":50052",
              .capacity = {cores * 1000, 8 * kGiB, 0},
              .devices = {1},
              .rendezvous_port = 29500,
              .rendezvous_ports = 100};
    Do(RegisterNode{.node = node, .active = active, .session = "session-" + id});
  }
  // The attempt, told to yield, has written a checkpoint and ended.
  void Yield(const std::string& job, int attempt, const std::string& node) {
    Complete(job, attempt, node, ReportCompletion::Outcome::kCancelled);
  }
  void Beat(const std::string& id, std::vector<AttemptId> active = {}) {
    Do(Heartbeat{.node = NodeId{id}, .session = "session-" + id, .active = active});
  }
  void Accepted(const std::string& job, int attempt, const std::string& node) {
    Do(AssignOutcome{.attempt = {JobId{job}, attempt}, .node = NodeId{node}});
  }
  void Progress(const std::string& job, int attempt, const std::string& node,
                double progress = 0.5) {
    Do(ReportProgress{.node = NodeId{node},
                      .attempt = {JobId{job}, attempt},
                      .progress = progress,
                      .epoch = 1,
                      .metrics = {{"train_loss", progress}}});
  }
  void Complete(const std::string& job, int attempt, const std::string& node,
                ReportCompletion::Outcome outcome = ReportCompletion::Outcome::kSucceeded,
                Cause cause = Cause::kNone, const std::string& message = "") {
    Do(ReportCompletion{.node = NodeId{node},
                        .attempt = {JobId{job}, attempt},
                        .outcome = outcome,
                        .cause = cause,
                        .error = {2, message, ""}});
  }
  Job Get(const std::string& id) {
    Do(GetJob{.job = JobId{id}});
    return reply<JobReply>().view.job;
  }
  std::string StateOf(const std::string& id) { return JobStateName(Get(id).state); }

  const Reply& reply() const {
    for (const Effect& effect : output_.effects) {
      if (const Reply* r = std::get_if<Reply>(&effect)) return *r;
    }
    ADD_FAILURE() << "no reply";
    static const Reply kNone;
    return kNone;
  }
  template <typename T>
  const T& reply() const {
    return std::get<T>(reply().content);
  }
  template <typename T>
  std::vector<T> effects() const {
    std::vector<T> found;
    for (const Effect& effect : output_.effects) {
      if (const T* e = std::get_if<T>(&effect)) found.push_back(*e);
    }
    return found;
  }
  Control& control() { return *control_; }
  size_t records() const { return output_.records.size(); }
  bool answered() const {
    return std::any_of(output_.effects.begin(), output_.effects.end(),
                       [](const Effect& effect) { return std::holds_alternative<Reply>(effect); });
  }
  // Lets the next instant come.
  void GoOn() { Pass(Duration(1)); }

  std::map<std::string, Job> jobs;  // as stored
  int lookups = 0;                  // in the archive
  Status archive_error;             // that it answers with
  std::map<int64_t, std::shared_ptr<const JobBody>> bodies;
  std::map<std::string, Node> nodes;
  std::map<std::string, RemovedJob> removed;
  std::map<int64_t, Event> events;
  std::map<int64_t, Cancellation> cancellations;

 private:
  void Store(const Record& record) {
    if (auto* r = std::get_if<PutJob>(&record)) jobs[r->job.id.value] = r->job;
    if (auto* r = std::get_if<PutBody>(&record)) bodies[r->number] = r->body;
    if (auto* r = std::get_if<PutNode>(&record)) nodes[r->node.id.value] = r->node;
    if (auto* r = std::get_if<DeleteNode>(&record)) nodes.erase(r->id.value);
    if (auto* r = std::get_if<PutCancellation>(&record))
      cancellations[r->cancellation->number] = *r->cancellation;
    if (auto* r = std::get_if<DeleteCancellation>(&record)) cancellations.erase(r->number);
    if (auto* r = std::get_if<DeleteJob>(&record)) jobs.erase(r->id.value);
    if (auto* r = std::get_if<DeleteMembers>(&record)) {
      std::erase_if(jobs, [&](const auto& one) {
        return one.second.member != nullptr && one.second.member->array_sequence == r->array;
      });
    }
    if (auto* r = std::get_if<DeleteBody>(&record)) {
      bool used = std::any_of(jobs.begin(), jobs.end(),
                              [&](const auto& one) { return one.second.body == r->number; });
      if (!used) bodies.erase(r->number);
    }
    if (auto* r = std::get_if<PutRemoved>(&record)) removed[r->removed.id.value] = r->removed;
    if (auto* r = std::get_if<DeleteRemoved>(&record)) removed.erase(r->id.value);
    if (auto* r = std::get_if<PutEvent>(&record)) events[r->event.number] = r->event;
    if (auto* r = std::get_if<DeleteEvents>(&record))
      events.erase(events.begin(), events.lower_bound(r->below));
  }

  std::vector<const Job*> InOrder() const {
    std::vector<const Job*> sorted;
    for (const auto& [id, job] : jobs) sorted.push_back(&job);
    std::sort(sorted.begin(), sorted.end(),
              [](const Job* a, const Job* b) { return a->sequence < b->sequence; });
    return sorted;
  }

  Options options_;
  std::unique_ptr<Control> control_;
  Duration elapsed_ = std::chrono::seconds(100);
  Output output_;
};

}  // namespace cyxwiz::control
