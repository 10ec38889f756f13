#include "central/convert.h"

#include <algorithm>
#include <cmath>

#include "control/actors.h"
#include "wire/job_config.h"

namespace cyxwiz::central {
namespace {

using control::JobState;

constexpr size_t kMostMessageBytes = 2000;
constexpr std::string_view kUriPrefix = "artifact://sha256/";
constexpr std::string_view kIdPrefix = "sha256:";

void ToError(const control::Job& job, protocol::Error* error) {
  error->set_code(job.error->code);
  error->set_message(job.error->message);
  std::string details = job.error->details;
  if (!job.log_tail->text.empty()) {
    if (!details.empty()) details += "\n";
    details += "last lines of its log:\n" + job.log_tail->text;
  }
  error->set_details(std::move(details));
}

bool HasError(const control::Job& job) {
  return job.error->code != 0 || !job.error->message.empty();
}

}  // namespace

std::string Clip(const std::string& text, size_t most) {
  if (text.size() <= most) return text;
  size_t end = most < 3 ? 0 : most - 3;
  while (end > 0 && (static_cast<unsigned char>(text[end]) & 0xC0) == 0x80) --end;
  return text.substr(0, end) + "...";
}

grpc::Status ToGrpc(const Status& status) {
  if (status.ok()) return grpc::Status::OK;
  std::string message = status.message();
  if (!status.hint().empty()) message += " (" + status.hint() + ")";
  return grpc::Status(static_cast<grpc::StatusCode>(status.code()),
                      Clip(message, kMostMessageBytes));
}

Status FromGrpc(const grpc::Status& status) {
  if (status.ok()) return OkStatus();
  return Status(static_cast<Code>(status.error_code()), status.error_message());
}

protocol::StatusCode ToStatusCode(JobState state) {
  switch (state) {
    case JobState::kQueued:
    case JobState::kAssigned:
    case JobState::kPaused:
      return protocol::STATUS_PENDING;
    case JobState::kRunning:
      return protocol::STATUS_IN_PROGRESS;
    case JobState::kSucceeded:
      return protocol::STATUS_COMPLETED;
    case JobState::kFailed:
      return protocol::STATUS_FAILED;
    case JobState::kCancelled:
      return protocol::STATUS_CANCELLED;
  }
  return protocol::STATUS_UNKNOWN;
}

std::optional<std::vector<JobState>> StatesOf(protocol::StatusCode code) {
  using States = std::vector<JobState>;
  switch (code) {
    case protocol::STATUS_UNKNOWN:
      return States{};
    case protocol::STATUS_PENDING:
      return States{JobState::kQueued, JobState::kAssigned, JobState::kPaused};
    case protocol::STATUS_IN_PROGRESS:
      return States{JobState::kRunning};
    case protocol::STATUS_SUCCESS:
    case protocol::STATUS_COMPLETED:
      return States{JobState::kSucceeded};
    case protocol::STATUS_ERROR:
    case protocol::STATUS_FAILED:
      return States{JobState::kFailed};
    case protocol::STATUS_CANCELLED:
      return States{JobState::kCancelled};
    default:
      return std::nullopt;
  }
}

std::string ClientActor(std::string_view user, std::string_view address) {
  constexpr size_t kMostBytes = 128;
  auto is_plain = [](std::string_view text) {
    return !text.empty() && text.size() <= kMostBytes &&
           std::all_of(text.begin(), text.end(), [](char c) { return c > ' ' && c < '\x7f'; });
  };
  std::string actor = control::kClientActor;
  if (is_plain(user)) actor += ":" + std::string(user);
  if (is_plain(address)) actor += "@" + std::string(address);
  return actor;
}

void ToJobStatus(const control::JobView& view, protocol::JobStatus* status) {
  const control::Job& job = view.job;
  status->set_job_id(job.id.value);
  status->set_status(ToStatusCode(job.state));
  status->set_progress(job.progress);
  if (job.state != JobState::kQueued) status->set_current_node_id(job.node.value);
  status->set_start_time(job.started_at.seconds());
  status->set_end_time(job.ended_at.seconds());
  if (HasError(job)) ToError(job, status->mutable_error());
  auto& metrics = *status->mutable_metrics();
  for (const auto& [name, value] : *job.metrics) metrics[name] = value;
  status->set_current_epoch(job.current_epoch);
  status->set_state(static_cast<protocol::JobState>(job.state));
  status->set_attempt(job.attempt);
  status->set_message(job.message);
  status->set_name(job.name);
  status->set_job_type(static_cast<protocol::JobType>(job.type));
  status->set_priority(static_cast<protocol::JobPriority>(job.priority));
  status->set_created_at(job.created_at.seconds());
  status->set_total_epochs(job.total_epochs);
  ToReasons(view.reasons, status->mutable_reasons());
  if (view.outlook) {
    if (!view.outlook->smallest_change.empty())
      status->set_smallest_change(view.outlook->smallest_change);
    if (view.outlook->queue_position > 0) status->set_queue_position(view.outlook->queue_position);
    if (view.outlook->start) status->set_estimated_start_time(view.outlook->start->seconds());
  }
  status->set_retries(job.retries);
  status->set_user_id(job.user);
  status->set_cause(static_cast<protocol::FailureCause>(job.cause));
  status->set_nodes_lost(job.nodes_lost);
  status->set_preemptions(job.preemptions);
  if (job.terms != nullptr) status->set_project(job.terms->project);
  if (job.array != nullptr) {
    protocol::ArrayCounts* counts = status->mutable_array();
    counts->set_size(job.array->size);
    counts->set_max_parallel(job.array->max_parallel);
    counts->set_waiting(job.array->size - job.array->started);
    counts->set_running(job.array->alive());
    counts->set_succeeded(job.array->succeeded);
    counts->set_failed(job.array->failed);
    counts->set_cancelled(job.array->cancelled);
  }
  if (job.member != nullptr) {
    status->set_array_id(job.member->array.value);
    status->set_array_number(job.member->number);
  }
  if (job.gang != nullptr && !control::NodesWith(job).empty()) {
    for (const control::Gang::Rank& rank : job.gang->ranks) status->add_rank_nodes(rank.node.value);
  }
  if (!job.gpus->empty() && !control::NodesWith(job).empty())
    GpusToWire(*job.gpus, status->mutable_gpus());
  if (job.checkpoint->exists()) ToCheckpoint(*job.checkpoint, status->mutable_checkpoint());
}

void ToJobResult(const control::Job& job, protocol::JobResult* result) {
  result->set_job_id(job.id.value);
  result->set_status(ToStatusCode(job.state));
  for (const control::Artifact& artifact : *job.artifacts) {
    protocol::Artifact* out = result->add_artifacts();
    out->set_name(artifact.name);
    out->set_uri(ArtifactUri(artifact.sha256));
    out->set_sha256(artifact.sha256);
    out->set_size(artifact.size);
  }
  if (!job.artifacts->empty() && job.artifacts->front().name == "weights.safetensors") {
    const control::Artifact& weights = job.artifacts->front();
    result->set_model_weights_uri(ArtifactUri(weights.sha256));
    result->set_model_weights_hash(weights.sha256);
    result->set_model_size(weights.size);
  }
  auto& metrics = *result->mutable_final_metrics();
  for (const auto& [name, value] : *job.metrics) metrics[name] = value;
  result->set_total_compute_time(std::llround(job.compute_seconds));
  if (HasError(job)) ToError(job, result->mutable_error());
}

void ToJobConfig(const control::Job& job, const control::JobBody& body,
                 protocol::JobConfig* config) {
  config->ParseFromString(body.config);
  if (job.member != nullptr) MakeMemberConfig(job.member->number, config);
  config->set_job_id(job.id.value);
  config->set_name(job.name);
  config->set_user_id(job.user);
}

namespace {

// What is free of each GPU, beside what the node has told of it.
void ToGpus(const control::NodeView& view, protocol::NodeInfo* info) {
  int64_t whole = 0;
  auto device = info->mutable_devices()->begin();
  const auto end = info->mutable_devices()->end();
  for (const GpuPart& gpu : *view.node.capacity.gpus) {
    GpuPart free{gpu.index};
    for (const GpuPart& part : *view.available.gpus) {
      if (part.index == gpu.index) free = part;
    }
    if (free == gpu) ++whole;
    auto is_gpu = [](const protocol::DeviceCaps& one) {
      return one.device_type() != protocol::DEVICE_UNKNOWN &&
             one.device_type() != protocol::DEVICE_CPU;
    };
    device = std::find_if(device, end, is_gpu);
    if (device == end) continue;
    device->set_gpu_index(gpu.index);
    device->set_free_share_millis(free.millis);
    device->set_free_memory_bytes(free.memory_bytes);
    ++device;
  }
  protocol::ResourceRequest* available = info->mutable_available();
  available->set_gpus(whole);
  available->set_gpu_share_millis(view.available.gpu_millis - whole * kWholeGpu);
  int64_t memory = 0;
  for (const GpuPart& part : *view.available.gpus) memory += part.memory_bytes;
  available->set_gpu_memory_bytes(memory);
}

}  // namespace

void ToNodeInfo(const control::NodeView& view, protocol::NodeInfo* info) {
  info->ParseFromString(view.node.info);
  info->set_node_id(view.node.id.value);
  info->set_endpoint(view.node.endpoint);
  info->set_is_online(view.online);
  info->set_last_heartbeat(view.last_heartbeat.seconds());
  info->set_total_jobs_completed(view.node.jobs_completed);
  *info->mutable_capacity() = ResourcesToWire(view.node.capacity);
  *info->mutable_available() = ResourcesToWire(view.available);
  ToGpus(view, info);
  info->set_cordoned(view.node.cordoned);
  info->set_draining(view.node.draining);
  info->set_cordon_reason(view.node.cordon_reason);
  info->set_cordon_from(view.node.cordon_from.seconds());
  info->set_cordon_until(view.node.cordon_until.seconds());
  info->set_quarantined(view.node.quarantined);
  info->set_quarantine_reason(view.node.quarantine_reason);
  info->clear_attempts();
  for (const AttemptId& attempt : view.attempts) {
    protocol::AttemptRef* ref = info->add_attempts();
    ref->set_job_id(attempt.job.value);
    ref->set_attempt(attempt.attempt);
  }
}

void ToEvent(const control::Event& event, protocol::Event* out) {
  out->set_number(event.number);
  out->set_time_ms(event.at.ms);
  out->set_kind(static_cast<protocol::EventKind>(event.kind));
  out->set_job_id(event.job.value);
  out->set_node_id(event.node.value);
  out->set_attempt(event.attempt);
  out->set_from(static_cast<protocol::JobState>(event.from));
  out->set_to(static_cast<protocol::JobState>(event.to));
  out->set_cause(static_cast<protocol::FailureCause>(event.cause));
  out->set_message(event.message);
  out->set_actor(event.actor);
}

void ToReasons(const std::vector<scheduler::Reason>& reasons,
               google::protobuf::RepeatedPtrField<protocol::Reason>* list) {
  for (const scheduler::Reason& reason : reasons) {
    protocol::Reason* out = list->Add();
    out->set_code(reason.code);
    out->set_message(reason.message);
    for (const NodeId& node : reason.nodes) out->add_nodes(node.value);
  }
}

void ToProblems(const spec::Problems& problems,
                google::protobuf::RepeatedPtrField<protocol::Problem>* list) {
  for (const spec::Problem& problem : problems.list()) {
    protocol::Problem* out = list->Add();
    out->set_path(problem.path);
    out->set_message(problem.message);
    out->set_expected(problem.expected);
    out->set_found(problem.found);
    out->set_hint(problem.hint);
  }
}

std::vector<AttemptId> FromAttemptRefs(
    const google::protobuf::RepeatedPtrField<protocol::AttemptRef>& refs) {
  std::vector<AttemptId> attempts;
  attempts.reserve(static_cast<size_t>(refs.size()));
  for (const protocol::AttemptRef& ref : refs) attempts.push_back({{ref.job_id()}, ref.attempt()});
  return attempts;
}

void ToCheckpoint(const control::Checkpoint& checkpoint, protocol::Checkpoint* out) {
  out->set_name(checkpoint.name);
  out->set_epoch(checkpoint.epoch);
  out->set_step(checkpoint.step);
  for (const control::Artifact& file : checkpoint.files) {
    protocol::Artifact* artifact = out->add_files();
    artifact->set_name(file.name);
    artifact->set_uri(ArtifactUri(file.sha256));
    artifact->set_sha256(file.sha256);
    artifact->set_size(file.size);
  }
}

Result<control::Checkpoint> FromCheckpoint(const protocol::Checkpoint& checkpoint) {
  constexpr int kMostFiles = 16;
  control::Checkpoint out{checkpoint.name(), checkpoint.epoch(), checkpoint.step(), {}};
  if (checkpoint.files_size() == 0) return out;
  if (!IsValidId(out.name) || out.epoch < 1 || out.step < 0 ||
      checkpoint.files_size() > kMostFiles) {
    return InvalidArgument(
        "checkpoint: expected a plain name, an epoch from 1, steps from 0 and at most " +
        std::to_string(kMostFiles) + " files");
  }
  for (const protocol::Artifact& file : checkpoint.files()) {
    if (!IsValidId(file.name())) {
      return InvalidArgument("checkpoint: a file's name is not a plain name: '" +
                             Clip(file.name(), 100) + "'");
    }
    out.files.push_back({file.name(), file.sha256(), file.size()});
  }
  return out;
}

std::string ArtifactUri(const std::string& sha256) { return std::string(kUriPrefix) + sha256; }

std::string Sha256OfUri(const std::string& uri) {
  for (std::string_view prefix : {kUriPrefix, kIdPrefix}) {
    if (uri.starts_with(prefix)) return uri.substr(prefix.size());
  }
  return "";
}

}  // namespace cyxwiz::central
