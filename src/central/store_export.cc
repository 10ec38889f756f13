#include "central/store_export.h"

#include <cmath>
#include <optional>
#include <unordered_map>

#include "base/json.h"
#include "central/ended_jobs.h"
#include "cyxwiz/protocol/common.pb.h"
#include "cyxwiz/protocol/job.pb.h"
#include "security/job_token.h"

namespace cyxwiz::central {
namespace {

using control::Job;
using control::JobState;

constexpr size_t kPage = 1000;

Json ToJson(const Resources& resources) {
  Json json = {{"cpu_millis", resources.cpu_millis},
               {"memory_bytes", resources.memory_bytes},
               {"gpu_millis", resources.gpu_millis},
               {"gpu_memory_bytes", resources.gpu_memory_bytes},
               {"disk_bytes", resources.disk_bytes}};
  for (const NamedAmount& one : resources.named) json["named"][one.name] = one.amount;
  return json;
}

// JSON has no NaN.
Json Number(double value) { return std::isfinite(value) ? Json(value) : Json(nullptr); }

Json ToJson(const Job& job, const control::JobBody& body) {
  Json json = {{"record", "job"},
               {"sequence", job.sequence},
               {"job", job.id.value},
               {"name", job.name},
               {"user", job.user},
               {"type", protocol::JobType_Name(job.type)},
               {"priority", protocol::JobPriority_Name(job.priority)},
               {"resources", ToJson(job.resources)},
               {"specification_sha256", security::HexEncode(body.sha256)},
               {"state", control::JobStateName(job.state)},
               {"message", job.message},
               {"cause", control::CauseName(job.cause)},
               {"created_ms", job.created_at.ms},
               {"started_ms", job.started_at.ms},
               {"ended_ms", job.ended_at.ms},
               {"attempts", job.attempt},
               {"node", job.node.value},
               {"retries", job.retries},
               {"preemptions", job.preemptions},
               {"progress", Number(job.progress)},
               {"epoch", job.current_epoch},
               {"epochs", job.total_epochs},
               {"compute_seconds", Number(job.compute_seconds)},
               {"metrics", Json::object()},
               {"artifacts", Json::array()}};
  if (job.array != nullptr) json["array_size"] = job.array->size;
  if (job.member != nullptr) {
    json["array"] = job.member->array.value;
    json["index"] = job.member->number;
  }
  if (!job.retry_of->empty()) json["retry_of"] = job.retry_of->value;
  if (job.terms != nullptr && !job.terms->project.empty()) json["project"] = job.terms->project;
  if (job.error->code != 0 || !job.error->message.empty())
    json["error"] = {{"code", job.error->code}, {"message", job.error->message}};
  for (const auto& [name, value] : *job.metrics) json["metrics"][name] = Number(value);
  for (const control::Artifact& a : *job.artifacts)
    json["artifacts"].push_back({{"name", a.name}, {"sha256", a.sha256}, {"size", a.size}});
  return json;
}

Json ToJson(const control::Node& node) {
  return {{"record", "node"},
          {"node", node.id.value},
          {"endpoint", node.endpoint},
          {"capacity", ToJson(node.capacity)},
          {"labels", node.labels},
          {"registered_ms", node.registered_at.ms},
          {"jobs_completed", node.jobs_completed},
          {"cordoned", node.cordoned},
          {"draining", node.draining},
          {"quarantined", node.quarantined}};
}

Json ToJson(const control::Event& event) {
  Json json = {{"record", "event"},
               {"number", event.number},
               {"time_ms", event.at.ms},
               {"kind", control::EventKindName(event.kind)}};
  if (!event.job.empty()) json["job"] = event.job.value;
  if (!event.node.empty()) json["node"] = event.node.value;
  if (event.attempt != 0) json["attempt"] = event.attempt;
  if (event.kind == control::EventKind::kStateChanged) {
    json["from"] = control::JobStateName(event.from);
    json["to"] = control::JobStateName(event.to);
    json["cause"] = control::CauseName(event.cause);
  }
  if (!event.message.empty()) json["message"] = event.message;
  if (!event.actor.empty()) json["actor"] = event.actor;
  return json;
}

bool IsHeld(JobState state) { return state == JobState::kAssigned || state == JobState::kRunning; }

std::string ToLine(const Json& json) {
  return json.dump(-1, ' ', false, Json::error_handler_t::replace);
}

class Exporter {
 public:
  Exporter(store::JobStore& store, const std::function<Status(std::string_view)>& write)
      : store_(store), write_(write) {}

  Status Run(UnixTime now) {
    RETURN_IF_ERROR(Write({{"record", "export"}, {"format", 1}, {"time_ms", now.ms}}));
    ASSIGN_OR_RETURN(control::Snapshot snapshot, store_.Load());
    for (const control::Node& node : snapshot.nodes) RETURN_IF_ERROR(Write(ToJson(node)));
    std::unordered_map<int64_t, std::shared_ptr<const control::JobBody>> bodies;
    for (const control::PutBody& body : snapshot.bodies) bodies[body.number] = body.body;
    for (const Job& job : snapshot.jobs) {
      auto body = bodies.find(job.body);
      if (body == bodies.end()) return DataLoss("job '" + job.id.value + "' has no specification");
      RETURN_IF_ERROR(WriteJob(job, *body->second));
    }
    RETURN_IF_ERROR(ForEachEnded(store_, snapshot, [this](const Job& job) -> Status {
      ASSIGN_OR_RETURN(auto found, store_.FindEnded(job.id));
      return found ? WriteJob(job, *found->body) : OkStatus();
    }));
    return ForEachEvent({.limit = kPage},
                        [this](const control::Event& event) { return Write(ToJson(event)); });
  }

 private:
  Status Write(const Json& json) { return write_(ToLine(json) + "\n"); }

  Status ForEachEvent(control::EventQuery query,
                      const std::function<Status(const control::Event&)>& take) {
    for (;;) {
      ASSIGN_OR_RETURN(std::vector<control::Event> events, store_.Events(query));
      for (const control::Event& event : events) {
        RETURN_IF_ERROR(take(event));
        query.after = event.number;
      }
      if (events.size() < query.limit) return OkStatus();
    }
  }

  // The job and its attempts, which are what its changes of state tell.
  Status WriteJob(const Job& job, const control::JobBody& body) {
    RETURN_IF_ERROR(Write(ToJson(job, body)));
    Json attempt;  // null: none is under way
    auto take = [&](const control::Event& event) -> Status {
      if (event.kind != control::EventKind::kStateChanged) return OkStatus();
      if (event.to == JobState::kAssigned) {
        attempt = {{"record", "attempt"},
                   {"job", job.id.value},
                   {"attempt", event.attempt},
                   {"node", event.node.value},
                   {"assigned_ms", event.at.ms}};
      } else if (!attempt.is_null() && event.to == JobState::kRunning) {
        attempt["started_ms"] = event.at.ms;
      } else if (!attempt.is_null() && IsHeld(event.from)) {
        attempt["ended_ms"] = event.at.ms;
        attempt["led_to"] = control::JobStateName(event.to);
        attempt["cause"] = control::CauseName(event.cause);
        return Write(std::exchange(attempt, nullptr));
      }
      return OkStatus();
    };
    RETURN_IF_ERROR(ForEachEvent({.limit = kPage, .sequence = job.sequence}, take));
    return attempt.is_null() ? OkStatus() : Write(attempt);
  }

  store::JobStore& store_;
  const std::function<Status(std::string_view)>& write_;
};

}  // namespace

std::string EventLine(const control::Event& event) { return ToLine(ToJson(event)); }

Status ExportHistory(store::JobStore& store, UnixTime now,
                     const std::function<Status(std::string_view line)>& write) {
  return Exporter(store, write).Run(now);
}

}  // namespace cyxwiz::central
