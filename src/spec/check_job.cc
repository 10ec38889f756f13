#include <algorithm>
#include <span>

#include "spec/check_model.h"
#include "spec/check_training.h"
#include "spec/dataset_reference.h"
#include "spec/estimate.h"
#include "spec/hyperparameters.h"
#include "spec/job_spec.h"
#include "spec/job_terms.h"
#include "spec/layers.h"
#include "spec/model_use.h"
#include "spec/object_reader.h"

namespace cyxwiz::spec {
namespace {

// Of a number from the wire, which may be any.
std::string NameOf(std::span<const char* const> names, int number) {
  return number >= 0 && static_cast<size_t>(number) < names.size() ? names[number]
                                                                   : std::to_string(number);
}

void CheckType(JobType type, Problems* problems) {
  // Clients of the wire leave the type out.
  if (type == JobType::kTraining || type == JobType::kUnknown || UsesModel(type) ||
      type == JobType::kPreprocessing)
    return;
  problems->Add({"$.type", "there are no jobs of this type",
                 "training, evaluation, inference or preprocessing",
                 std::to_string(static_cast<int>(type)), ""});
}

// Which key says how many GPUs, or how much of one.
const char* GpuPath(const Resources& asked) {
  return asked.gpu_millis % kWholeGpu == 0 ? "$.resources.gpus" : "$.resources.gpu_share";
}

void CheckDevice(const JobDescription& job, JobSpec* spec, Problems* problems) {
  static constexpr const char* kNames[] = {"any", "cpu", "cuda", "opencl", "metal", "vulkan"};
  if (job.required_device != Device::kAny && job.required_device != Device::kCpu &&
      job.required_device != Device::kCuda) {
    problems->Add({"$.device", "jobs on this device are not supported", "any, cpu or cuda",
                   NameOf(kNames, static_cast<int>(job.required_device)), ""});
    return;
  }
  spec->device = job.required_device;
  if (!job.requested.AsksForGpu()) return;
  if (spec->device == Device::kCpu) {
    const Resources& asked = job.requested;
    const bool memory = asked.gpu_millis <= 0;
    problems->Add({memory ? "$.resources.gpu_memory" : GpuPath(asked),
                   "a job on the CPU asks for a GPU", "0",
                   memory ? FormatBytes(asked.gpu_memory_bytes) : FormatMillis(asked.gpu_millis),
                   "set \"device\" to \"cuda\", or leave it out"});
  }
  // Who asks for a GPU means to use it.
  spec->device = Device::kCuda;
}

void CheckRequested(const JobDescription& job, Problems* problems) {
  auto check = [&](const char* path, int64_t value, int64_t max, const char* unit) {
    if (value >= 0 && value <= max) return;
    problems->Add({path, "the amount is out of range",
                   "from 0 (estimated) to " + std::to_string(max) + unit, std::to_string(value),
                   ""});
  };
  check("$.resources.cpus", job.requested.cpu_millis, kMaxCpuMillis, " thousandths of a core");
  check("$.resources.memory", job.requested.memory_bytes, kMaxMemoryBytes, " bytes");
  if (job.requested.gpu_millis < 0 || job.requested.gpu_millis > kMaxGpus * kWholeGpu) {
    problems->Add({GpuPath(job.requested), "the amount is out of range",
                   "from 0 to " + std::to_string(kMaxGpus), FormatMillis(job.requested.gpu_millis),
                   "a job has one GPU, or a share of one"});
  }
  check("$.resources.gpu_memory", job.requested.gpu_memory_bytes, kMaxMemoryBytes, " bytes");
  check("$.resources.disk", job.requested.disk_bytes, kMaxMemoryBytes, " bytes");
  CheckNamedResources(job.requested, problems);
  check("$.estimated_memory", job.estimated_memory, kMaxMemoryBytes, " bytes");
}

// What is known of the data; *refused when it is unknown for its own fault.
std::optional<DatasetInfo> Inspect(const JobDescription& job, DatasetInspector* inspector,
                                   JobSpec* spec, bool* refused, Problems* problems) {
  const size_t problems_before = problems->count();
  std::optional<DatasetInfo> info;
  if (auto uri = ParseDatasetUri(job.dataset_uri, problems)) {
    uri->manifest_sha256 = job.dataset_from.manifest_sha256;
    spec->dataset_uri = *uri;
    if (uri->kind == DatasetUri::Kind::kMock) {
      info = MockInfo(*uri);
    } else if (inspector != nullptr) {
      info = inspector->Inspect(*uri, problems);
    }
  }
  // A stored data set that nobody knows has been told by who looked it up.
  *refused = problems->count() > problems_before ||
             (spec->dataset_uri.stored() && spec->dataset_uri.manifest_sha256.empty());
  return info;
}

// A model that is trained already is not at fault when data does not fit it.
void BlameData(const Problems& found, Problems* problems) {
  for (Problem problem : found.list()) {
    problem.path = "$.dataset";
    problem.hint = "take data of the kind that the model was trained on";
    problems->Add(std::move(problem));
  }
}

void CheckSamples(const ModelSpec& model, const DatasetInfo& dataset, Problems* problems) {
  if (dataset.sample_shape == model.input_shape) return;
  problems->Add({"$.dataset", "the samples have not the shape that the model takes",
                 ToString(model.input_shape), ToString(dataset.sample_shape),
                 "take data of the kind that the model was trained on"});
}

// What is mixed are no whole numbers any more.
void CheckMixed(const ModelSpec& model, Problems* problems) {
  for (const LayerSpec& layer : model.layers) {
    if (!FindLayerKind(layer.type)->traits.takes_whole_numbers) continue;
    problems->Add({"$.dataset", "mixup does not go with a layer that takes whole numbers",
                   "nothing", "mixup before '" + layer.name + "' (" + layer.type + ")",
                   "leave mixup out"});
    return;
  }
}

Estimate EstimateOf(const JobSpec& spec, const ModelSpec& model) {
  const DatasetInfo* dataset = spec.dataset ? &*spec.dataset : nullptr;
  const bool gpu = spec.device == Device::kCuda;
  return spec.type == JobType::kTraining
             ? EstimateJob(model, spec.training, dataset, gpu)
             : EstimateUse(spec.type, spec.output, model, spec.training, dataset, gpu);
}

// Whether the samples stay in files: where the URI says so, or, if it does not say, when they do
// not fit into the memory of the job, or into that which data may take.
void DecideStreaming(const JobDescription& job, const ModelSpec& model, JobSpec* spec,
                     Problems* problems) {
  if (!spec->dataset) return;
  const StreamOptions& options = spec->dataset_uri.stream;
  if (!spec->dataset->can_stream) {
    if (options.wanted.value_or(false)) {
      problems->Add({"$.dataset", "the data set cannot be streamed",
                     "files from which samples can be read one by one: not compressed",
                     spec->dataset->description, "unpack them, or leave stream=true out"});
    }
    return;
  }
  const int64_t allowed = NamedMemory(job);
  DatasetInfo& dataset = *spec->dataset;
  const bool too_large = dataset.bytes_in_memory > kMaxInMemoryBytes,
             fits = allowed == 0 || EstimateOf(*spec, model).memory_bytes <= allowed,
             saves = dataset.bytes_streamed < dataset.bytes_in_memory;
  dataset.streams = options.wanted.value_or(too_large || (!fits && saves));
}

// Whether the job has the memory that its data alone takes.
void CheckDataFits(const JobDescription& job, const JobSpec& spec, Problems* problems) {
  if (!spec.dataset) return;
  const DatasetInfo& dataset = *spec.dataset;
  const bool prepares = spec.type == JobType::kPreprocessing;
  const char* hint =
      dataset.streams ? "ask for more memory, or take a smaller stream_memory"
      : !dataset.can_stream
          ? "ask for more memory, or take data that is streamed: arrays and IDX that are not "
            "compressed, images, WebDataset"
      : prepares ? "a preprocessing keeps its data in memory: train on the data itself, which is "
                   "streamed"
                 : "leave stream=false out of its URI";
  if (dataset.can_stream && !dataset.streams && dataset.bytes_in_memory > kMaxInMemoryBytes) {
    problems->Add({"$.dataset", "the data set is too large to be kept in memory",
                   "at most " + FormatBytes(kMaxInMemoryBytes),
                   FormatBytes(dataset.bytes_in_memory), hint});
    return;
  }
  const int64_t allowed = NamedMemory(job),
                needed = dataset.streams ? std::min(dataset.bytes_streamed, dataset.bytes_in_memory)
                                         : dataset.bytes_in_memory;
  if (allowed <= 0 || needed <= allowed) return;
  problems->Add({job.requested.memory_bytes > 0 ? "$.resources.memory" : "$.estimated_memory",
                 std::string("the data set does not fit into the memory of the job") +
                     (dataset.streams ? "" : ", where all of it is kept"),
                 "more than the " + FormatBytes(needed) + " of the data", FormatBytes(allowed),
                 hint});
}

// With data that its URI says all of. The jobs of a search differ in hyperparameters alone: the
// last model that was found right on this thread is not read again.
CheckedModel CheckModelOnce(const JobDescription& job, const DatasetInfo& dataset,
                            Problems* problems) {
  struct Last {
    std::string definition, dataset_uri;
    CheckedModel model;
  };
  static thread_local Last last;
  if (!last.definition.empty() && last.definition == job.model_definition &&
      last.dataset_uri == job.dataset_uri)
    return last.model;
  CheckedModel model = CheckModel(job.model_definition, &dataset, false, problems);
  if (model.complete && problems->empty()) last = {job.model_definition, job.dataset_uri, model};
  return model;
}

Resources Needed(const JobDescription& job, const JobSpec& spec) {
  Resources needed = job.requested;
  if (needed.cpu_millis == 0)
    needed.cpu_millis = 1000 * std::max<int64_t>(1, spec.training.threads);
  needed.memory_bytes = NamedMemory(job);
  if (needed.memory_bytes == 0) needed.memory_bytes = MemoryToAskFor(spec.estimate);
  if (spec.device == Device::kCuda && !needed.AsksForGpu()) needed.gpu_millis = kWholeGpu;
  return needed;
}

// What a preprocessing has is a data set that it reads and one that it makes.
std::optional<JobSpec> CheckPreprocessing(const JobDescription& job, JobSpec spec,
                                          DatasetInspector* inspector, Problems* problems) {
  auto refuse = [problems](const char* path, const std::string& found) {
    problems->Add({path, "means nothing to a preprocessing: nothing is trained", "nothing", found,
                   "leave it out"});
  };
  if (!job.model_definition.empty()) refuse("$.model", "a model");
  for (const auto& [name, value] : job.hyperparameters)
    refuse(Member("$.hyperparameters", name).c_str(), Shown(std::string_view(value)));
  if (job.epochs != 0) refuse("$.epochs", std::to_string(job.epochs));
  if (job.batch_size != 0) refuse("$.batch_size", std::to_string(job.batch_size));
  spec.output_dataset = job.output_dataset;
  if (!ParseFullName(job.output_dataset)) {
    problems->Add(
        {"$.output_dataset",
         job.output_dataset.empty() ? "is missing: the data set to be made"
                                    : "is no name of a data set",
         "\"NAME\" or \"NAME@VERSION\", each of letters, digits, '.', '_' and '-'",
         job.output_dataset.empty() ? "nothing" : Shown(std::string_view(job.output_dataset)), ""});
  }
  bool refused = false;
  spec.dataset = Inspect(job, inspector, &spec, &refused, problems);
  if (spec.dataset_uri.augmentation.any()) {
    problems->Add({"$.dataset", "what differs in each epoch cannot be prepared",
                   "none of flip, crop, brightness, contrast, saturation, hue and mixup",
                   Shown(std::string_view(job.dataset_uri)),
                   "give them to the training, beside dataset://"});
  }
  CheckDataFits(job, spec, problems);
  spec.estimate = EstimatePreprocessing(spec.dataset ? &*spec.dataset : nullptr);
  if (!problems->empty()) return std::nullopt;
  spec.resources = Needed(job, spec);
  return spec;
}

// data_comes_later: a shape that only data tells is no problem when the data is not seen.
std::optional<JobSpec> Check(const JobDescription& description, DatasetInspector* inspector,
                             bool data_comes_later, Problems* problems) {
  JobSpec spec;
  spec.name = description.name;
  const bool prepares = description.type == JobType::kPreprocessing;
  spec.type = UsesModel(description.type) || prepares ? description.type : JobType::kTraining;
  spec.model_from = description.model_from;
  spec.output = FindPredictionFormat(description.output).value_or(PredictionFormat::kNpy);
  const bool trains = spec.type == JobType::kTraining;
  CheckName("$.name", description.name, problems);
  CheckType(description.type, problems);
  CheckDevice(description, &spec, problems);
  CheckRequested(description, problems);
  CheckModelUse(description, problems);
  if (prepares) return CheckPreprocessing(description, std::move(spec), inspector, problems);
  if (!description.output_dataset.empty()) {
    problems->Add({"$.output_dataset", "only preprocessings make a data set", "nothing",
                   Shown(std::string_view(description.output_dataset)),
                   "set \"type\" to \"preprocessing\", or leave it out"});
  }

  const bool has_model = HasModel(description);
  JobDescription plain;
  if (!has_model) TakeOutMisplaced(&(plain = description), problems);
  CheckHyperparameters(has_model ? description : plain, &spec.training, problems);
  // With a wrong loss or batch size, what follows from the default would only confuse.
  auto known = [problems](const char* hyperparameter) {
    return problems->empty() ||
           (!problems->Has(std::string("$.") + hyperparameter) &&
            !problems->Has(std::string("$.hyperparameters.") + hyperparameter));
  };

  bool dataset_refused = false;
  spec.dataset = Inspect(description, inspector, &spec, &dataset_refused, problems);
  if (!has_model) return std::nullopt;
  const DatasetInfo* dataset = spec.dataset ? &*spec.dataset : nullptr;
  // A trained model has its shapes.
  CheckedModel model =
      trains && dataset != nullptr && spec.dataset_uri.kind == DatasetUri::Kind::kMock
          ? CheckModelOnce(description, *dataset, problems)
          : CheckModel(description.model_definition, trains ? dataset : nullptr,
                       trains && (dataset_refused || data_comes_later), problems);
  if (!model.complete) return std::nullopt;

  if (!trains && dataset != nullptr) CheckSamples(model.spec, *dataset, problems);
  if (known("loss") && known("target")) {
    Problems found;
    // Predictions need no labels.
    CheckOutput(model, spec.type == JobType::kInference ? nullptr : dataset, spec.training, &found);
    if (!trains) {
      BlameData(found, problems);
    } else {
      for (const Problem& problem : found.list()) problems->Add(problem);
    }
    CheckMetrics(model.spec, &spec.training, problems);
    if (trains && known("metrics") && known("validation_split") && known("monitor")) {
      CheckMonitor(&spec.training, problems);
    }
  }
  DecideStreaming(description, model.spec, &spec, problems);
  CheckDataFits(description, spec, problems);
  if (known("batch_size")) {
    ChooseBatchSize(description, model.spec, dataset, spec.device, &spec.training, problems);
  }
  if (spec.training.precision == Precision::kBfloat16 && spec.device == Device::kCuda) {
    problems->Add({"$.hyperparameters.precision", "bfloat16 is for the CPU only so far", "float32",
                   "bfloat16", "leave it out"});
  }
  if (!trains && spec.training.precision == Precision::kAuto) {
    problems->Add({"$.hyperparameters.precision", "only a training finds out which is faster",
                   "float32 or bfloat16", "auto", "leave it out"});
  }
  if (trains && known("batch_size") && known("validation_split")) {
    CheckBatchNormalization(model, dataset, spec.training, problems);
    CheckWarmup(dataset, spec.training, problems);
  }
  if (dataset != nullptr && spec.training.validation_split > 0 && dataset->train_samples < 2) {
    problems->Add({"$.hyperparameters.validation_split", "one sample cannot be split",
                   "at least 2 training samples", std::to_string(dataset->train_samples),
                   "leave validation_split out"});
  }
  if (trains && spec.dataset_uri.augmentation.mixup > 0 &&
      (spec.training.balanced_class_weights || !spec.training.class_weights.empty())) {
    problems->Add({"$.hyperparameters.class_weights",
                   "does not go with mixup, whose samples are of two classes", "nothing",
                   spec.training.balanced_class_weights ? "balanced" : "weights",
                   "leave it out, or mixup in the data set's URI"});
  }
  if (trains && spec.dataset_uri.augmentation.mixup > 0) CheckMixed(model.spec, problems);
  spec.model = std::move(model.spec);
  spec.estimate = EstimateOf(spec, spec.model);
  if (spec.estimate.memory_bytes > kMaxMemoryBytes) {
    problems->Add({"$.model", "the job needs more memory than any machine has",
                   "at most " + FormatBytes(kMaxMemoryBytes),
                   FormatBytes(spec.estimate.memory_bytes), "use a smaller batch_size or model"});
  }
  if (!problems->empty()) return std::nullopt;
  spec.resources = Needed(description, spec);
  return spec;
}

}  // namespace

bool IsName(const std::string& text) { return text.size() <= kMaxNameBytes && IsPlainText(text); }

void CheckName(const std::string& path, const std::string& text, Problems* problems) {
  if (IsName(text)) return;
  problems->Add(
      {path, "too long or not plain text",
       "at most " + std::to_string(kMaxNameBytes) + " bytes of UTF-8 without control characters",
       Shown(std::string_view(text)), ""});
}

std::optional<JobSpec> CheckJob(const JobDescription& description, DatasetInspector* inspector,
                                Problems* problems) {
  return Check(description, inspector, /*data_comes_later=*/false, problems);
}

std::optional<JobSpec> CheckJobBeforeData(const JobDescription& description, Problems* problems) {
  return Check(description, nullptr, /*data_comes_later=*/true, problems);
}

}  // namespace cyxwiz::spec
