#include "wire/job_config.h"

namespace cyxwiz {

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
  return description;
}

Resources ResourcesFromWire(const protocol::ResourceRequest& wire) {
  return {wire.cpu_millis(), wire.memory_bytes(), wire.gpus()};
}

protocol::ResourceRequest ResourcesToWire(const Resources& resources) {
  protocol::ResourceRequest wire;
  wire.set_cpu_millis(resources.cpu_millis);
  wire.set_memory_bytes(resources.memory_bytes);
  wire.set_gpus(resources.gpus);
  return wire;
}

}  // namespace cyxwiz
