#include "wire/job_config.h"

#include <algorithm>
#include <cstdint>

namespace cyxwiz {
namespace {

int32_t Clamp(int64_t value) {
  return static_cast<int32_t>(std::clamp<int64_t>(value, INT32_MIN, INT32_MAX));
}

}  // namespace

spec::JobDescription DescriptionFromConfig(const protocol::JobConfig& config) {
  spec::JobDescription description;
  description.name = config.name();
  // Clients of the old wire leave job_type out and mean training.
  description.type = config.job_type() == protocol::JOB_TYPE_UNKNOWN
                         ? spec::JobType::kTraining
                         : static_cast<spec::JobType>(config.job_type());
  description.model_definition = config.model_definition();
  for (const auto& [name, value] : config.hyperparameters()) {
    description.hyperparameters[name] = value;
  }
  description.dataset_uri = config.dataset_uri();
  description.batch_size = config.batch_size();
  description.epochs = config.epochs();
  description.required_device = static_cast<spec::Device>(config.required_device());
  description.estimated_memory = config.estimated_memory();
  description.requested = ResourcesFromWire(config.resources());
  const protocol::ModelFrom& from = config.model_from();
  description.model_from = {from.job_id(), from.model_sha256(), from.weights_sha256(),
                            from.weights_size(), from.data()};
  description.output = config.output();
  const protocol::DatasetFrom& dataset = config.dataset_from();
  description.dataset_from = {dataset.name(),          dataset.version(), dataset.manifest_sha256(),
                              dataset.manifest_size(), dataset.size(),    dataset.files_state()};
  description.output_dataset = config.output_dataset();
  return description;
}

void WriteModelUse(const spec::JobDescription& job, protocol::JobConfig* config) {
  if (job.model_from != spec::ModelFrom()) {
    protocol::ModelFrom* from = config->mutable_model_from();
    from->set_job_id(job.model_from.job_id);
    from->set_model_sha256(job.model_from.model_sha256);
    from->set_weights_sha256(job.model_from.weights_sha256);
    from->set_weights_size(job.model_from.weights_bytes);
    from->set_data(job.model_from.data);
  }
  config->set_output(job.output);
}

protocol::JobConfig ConfigFromJobFile(const spec::JobFile& file) {
  const spec::JobDescription& job = file.description;
  protocol::JobConfig config;
  config.set_job_id(file.job_id);
  config.set_user_id(file.user);
  config.set_priority(static_cast<protocol::JobPriority>(file.priority));
  if (file.max_retries) config.set_max_retries(*file.max_retries);
  config.set_name(job.name);
  config.set_job_type(static_cast<protocol::JobType>(job.type));
  config.set_model_definition(job.model_definition);
  config.mutable_hyperparameters()->insert(job.hyperparameters.begin(), job.hyperparameters.end());
  config.set_dataset_uri(job.dataset_uri);
  config.set_batch_size(Clamp(job.batch_size));
  config.set_epochs(Clamp(job.epochs));
  config.set_required_device(static_cast<protocol::DeviceType>(job.required_device));
  config.set_estimated_memory(job.estimated_memory);
  if (job.requested != Resources()) *config.mutable_resources() = ResourcesToWire(job.requested);
  WriteModelUse(job, &config);
  config.set_output_dataset(job.output_dataset);
  const spec::JobLimits& limits = file.terms.limits;
  if (limits.run_seconds != 0) config.mutable_limits()->set_run_seconds(limits.run_seconds);
  if (limits.queue_seconds != 0) config.mutable_limits()->set_queue_seconds(limits.queue_seconds);
  if (limits.deadline != 0) config.mutable_limits()->set_deadline(limits.deadline);
  if (limits.log_bytes != 0) config.mutable_limits()->set_log_bytes(limits.log_bytes);
  if (limits.checkpoint_bytes != 0)
    config.mutable_limits()->set_checkpoint_bytes(limits.checkpoint_bytes);
  for (const spec::JobDependency& one : file.terms.after) {
    protocol::Dependency* wire = config.add_after();
    wire->set_job_id(one.job_id);
    wire->set_condition(one.any_end ? protocol::AFTER_ANY_END : protocol::AFTER_SUCCESS);
  }
  config.set_project(file.terms.project);
  config.set_anti_affinity(file.terms.anti_affinity);
  if (file.terms.nodes != 1) config.set_nodes(Clamp(file.terms.nodes));
  config.set_min_nodes(Clamp(file.terms.min_nodes));
  if (file.terms.processes != 1) config.set_processes(Clamp(file.terms.processes));
  if (file.array != spec::JobArray()) {
    protocol::JobArray* array = config.mutable_array();
    array->set_size(file.array.size);
    array->set_max_parallel(file.array.max_parallel);
    for (const spec::SweepAxis& axis : file.array.grid) {
      protocol::SweepAxis* wire = array->add_grid();
      wire->set_name(axis.name);
      for (const std::string& value : axis.values) wire->add_values(value);
    }
    for (const spec::Hyperparameters& point : file.array.points)
      array->add_points()->mutable_hyperparameters()->insert(point.begin(), point.end());
  }
  config.mutable_node_labels()->insert(file.terms.node_labels.begin(),
                                       file.terms.node_labels.end());
  return config;
}

spec::JobTerms TermsFromConfig(const protocol::JobConfig& config) {
  spec::JobTerms terms;
  const protocol::JobLimits& limits = config.limits();
  terms.limits = {limits.run_seconds(), limits.queue_seconds(), limits.deadline(),
                  limits.log_bytes(), limits.checkpoint_bytes()};
  for (const protocol::Dependency& one : config.after())
    terms.after.push_back({one.job_id(), one.condition() == protocol::AFTER_ANY_END});
  terms.project = config.project();
  terms.anti_affinity = config.anti_affinity();
  terms.nodes = config.nodes() == 0 ? 1 : config.nodes();
  terms.min_nodes = config.min_nodes();
  terms.processes = config.processes() == 0 ? 1 : config.processes();
  terms.node_labels.insert(config.node_labels().begin(), config.node_labels().end());
  return terms;
}

spec::JobArray ArrayFromConfig(const protocol::JobConfig& config) {
  spec::JobArray array;
  array.size = config.array().size();
  array.max_parallel = config.array().max_parallel();
  for (const protocol::SweepAxis& axis : config.array().grid())
    array.grid.push_back({axis.name(), {axis.values().begin(), axis.values().end()}});
  for (const protocol::SweepPoint& point : config.array().points())
    array.points.emplace_back(point.hyperparameters().begin(), point.hyperparameters().end());
  return array;
}

void MakeMemberConfig(int64_t number, protocol::JobConfig* config) {
  spec::Hyperparameters values(config->hyperparameters().begin(), config->hyperparameters().end());
  spec::MakeMember(ArrayFromConfig(*config), number, &values);
  config->mutable_hyperparameters()->clear();
  config->mutable_hyperparameters()->insert(values.begin(), values.end());
  config->clear_array();
}

Resources ResourcesFromWire(const protocol::ResourceRequest& wire) {
  constexpr int64_t kMost = 1'000'000'000'000;  // so that the sum is one
  Resources resources{wire.cpu_millis(), wire.memory_bytes(), 0, wire.disk_bytes(), {}};
  resources.gpu_millis = std::clamp(wire.gpus(), -kMost, kMost) * kWholeGpu +
                         std::clamp(wire.gpu_share_millis(), -kMost, kMost);
  resources.gpu_memory_bytes = wire.gpu_memory_bytes();
  for (const auto& [name, amount] : wire.named()) resources.SetNamed(name, amount);
  return resources;
}

protocol::ResourceRequest ResourcesToWire(const Resources& resources) {
  protocol::ResourceRequest wire;
  wire.set_cpu_millis(resources.cpu_millis);
  wire.set_memory_bytes(resources.memory_bytes);
  int64_t whole = resources.gpu_millis / kWholeGpu;
  if (!resources.gpus->empty()) {
    whole = std::count_if(resources.gpus->begin(), resources.gpus->end(),
                          [](const GpuPart& part) { return part.millis == kWholeGpu; });
  }
  wire.set_gpus(whole);
  wire.set_gpu_share_millis(resources.gpu_millis - whole * kWholeGpu);
  wire.set_gpu_memory_bytes(resources.gpu_memory_bytes);
  wire.set_disk_bytes(resources.disk_bytes);
  for (const NamedAmount& one : resources.named) {
    if (!IsImplicit(one.name)) (*wire.mutable_named())[one.name] = one.amount;
  }
  return wire;
}

std::vector<GpuPart> GpusFromWire(const WireGpuParts& wire) {
  std::vector<GpuPart> gpus;
  for (const protocol::GpuPart& part : wire)
    gpus.push_back({part.index(), part.share_millis(), part.memory_bytes()});
  std::sort(gpus.begin(), gpus.end());
  return gpus;
}

void GpusToWire(const std::vector<GpuPart>& gpus, WireGpuParts* wire) {
  for (const GpuPart& part : gpus) {
    protocol::GpuPart* out = wire->Add();
    out->set_index(part.index);
    out->set_share_millis(part.millis);
    out->set_memory_bytes(part.memory_bytes);
  }
}

}  // namespace cyxwiz
