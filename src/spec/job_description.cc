#include "spec/job_spec.h"

namespace cyxwiz::spec {
namespace {

// The value of `key` in *target when it is there; an error when it has another type.
Status Read(const Json& json, const char* key, std::string* target) {
  auto found = json.find(key);
  if (found == json.end()) return OkStatus();
  if (!found->is_string()) return InvalidArgument(std::string("job: '") + key + "' is not a text");
  *target = found->get<std::string>();
  return OkStatus();
}

Status Read(const Json& json, const char* key, int64_t* target) {
  auto found = json.find(key);
  if (found == json.end()) return OkStatus();
  if (!found->is_number_integer()) {
    return InvalidArgument(std::string("job: '") + key + "' is not a whole number");
  }
  *target = found->get<int64_t>();
  return OkStatus();
}

}  // namespace

Json JobDescription::ToJson() const {
  Json named = Json::object();
  for (const NamedAmount& one : requested.named) named[one.name] = one.amount;
  Json json{{"name", name},
            {"type", static_cast<int>(type)},
            {"model_definition", model_definition},
            {"hyperparameters", hyperparameters},
            {"dataset_uri", dataset_uri},
            {"batch_size", batch_size},
            {"epochs", epochs},
            {"required_device", static_cast<int>(required_device)},
            {"estimated_memory", estimated_memory},
            {"requested",
             {{"cpu_millis", requested.cpu_millis},
              {"memory_bytes", requested.memory_bytes},
              {"gpu_millis", requested.gpu_millis},
              {"gpu_memory_bytes", requested.gpu_memory_bytes},
              {"disk_bytes", requested.disk_bytes},
              {"named", std::move(named)}}}};
  if (model_from != ModelFrom()) {
    json["model_from"] = {{"job_id", model_from.job_id},
                          {"model_sha256", model_from.model_sha256},
                          {"weights_sha256", model_from.weights_sha256},
                          {"weights_bytes", model_from.weights_bytes},
                          {"data", model_from.data}};
  }
  if (!output.empty()) json["output"] = output;
  if (dataset_from != DatasetFrom()) {
    json["dataset_from"] = {{"name", dataset_from.name},
                            {"version", dataset_from.version},
                            {"manifest_sha256", dataset_from.manifest_sha256},
                            {"manifest_bytes", dataset_from.manifest_bytes},
                            {"bytes", dataset_from.bytes},
                            {"files_state", dataset_from.files_state}};
  }
  if (!output_dataset.empty()) json["output_dataset"] = output_dataset;
  return json;
}

Result<JobDescription> JobDescription::FromJson(const Json& json) {
  if (!json.is_object()) return InvalidArgument("job: not an object");
  JobDescription job;
  int64_t type = static_cast<int64_t>(job.type), device = 0;
  RETURN_IF_ERROR(Read(json, "name", &job.name));
  RETURN_IF_ERROR(Read(json, "type", &type));
  RETURN_IF_ERROR(Read(json, "model_definition", &job.model_definition));
  RETURN_IF_ERROR(Read(json, "dataset_uri", &job.dataset_uri));
  RETURN_IF_ERROR(Read(json, "batch_size", &job.batch_size));
  RETURN_IF_ERROR(Read(json, "epochs", &job.epochs));
  RETURN_IF_ERROR(Read(json, "required_device", &device));
  RETURN_IF_ERROR(Read(json, "estimated_memory", &job.estimated_memory));
  RETURN_IF_ERROR(Read(json, "output", &job.output));
  if (auto from = json.find("model_from"); from != json.end()) {
    if (!from->is_object()) return InvalidArgument("job: 'model_from' is not an object");
    RETURN_IF_ERROR(Read(*from, "job_id", &job.model_from.job_id));
    RETURN_IF_ERROR(Read(*from, "model_sha256", &job.model_from.model_sha256));
    RETURN_IF_ERROR(Read(*from, "weights_sha256", &job.model_from.weights_sha256));
    RETURN_IF_ERROR(Read(*from, "weights_bytes", &job.model_from.weights_bytes));
    RETURN_IF_ERROR(Read(*from, "data", &job.model_from.data));
  }
  if (auto from = json.find("dataset_from"); from != json.end()) {
    if (!from->is_object()) return InvalidArgument("job: 'dataset_from' is not an object");
    RETURN_IF_ERROR(Read(*from, "name", &job.dataset_from.name));
    RETURN_IF_ERROR(Read(*from, "version", &job.dataset_from.version));
    RETURN_IF_ERROR(Read(*from, "manifest_sha256", &job.dataset_from.manifest_sha256));
    RETURN_IF_ERROR(Read(*from, "manifest_bytes", &job.dataset_from.manifest_bytes));
    RETURN_IF_ERROR(Read(*from, "bytes", &job.dataset_from.bytes));
    RETURN_IF_ERROR(Read(*from, "files_state", &job.dataset_from.files_state));
  }
  RETURN_IF_ERROR(Read(json, "output_dataset", &job.output_dataset));
  job.type = static_cast<JobType>(type);
  job.required_device = static_cast<Device>(device);
  if (auto map = json.find("hyperparameters"); map != json.end()) {
    if (!map->is_object()) return InvalidArgument("job: 'hyperparameters' is not an object");
    for (const auto& [key, value] : map->items()) {
      if (!value.is_string()) {
        return InvalidArgument("job: hyperparameter '" + key + "' is not a text");
      }
      job.hyperparameters[key] = value.get<std::string>();
    }
  }
  if (auto requested = json.find("requested"); requested != json.end()) {
    if (!requested->is_object()) return InvalidArgument("job: 'requested' is not an object");
    RETURN_IF_ERROR(Read(*requested, "cpu_millis", &job.requested.cpu_millis));
    RETURN_IF_ERROR(Read(*requested, "memory_bytes", &job.requested.memory_bytes));
    RETURN_IF_ERROR(Read(*requested, "gpu_millis", &job.requested.gpu_millis));
    RETURN_IF_ERROR(Read(*requested, "gpu_memory_bytes", &job.requested.gpu_memory_bytes));
    RETURN_IF_ERROR(Read(*requested, "disk_bytes", &job.requested.disk_bytes));
    if (auto named = requested->find("named"); named != requested->end()) {
      if (!named->is_object()) return InvalidArgument("job: 'named' is not an object");
      for (const auto& [name, amount] : named->items()) {
        int64_t value = 0;
        RETURN_IF_ERROR(Read(*named, name.c_str(), &value));
        job.requested.SetNamed(name, value);
      }
    }
  }
  return job;
}

}  // namespace cyxwiz::spec
