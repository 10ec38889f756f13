#include "runner/engine.h"

#include <algorithm>
#include <utility>

#include "runner/model_run.h"
#include "runner/process_group.h"
#include "runner/torch_headers.h"
#include "runner/trainer.h"

namespace cyxwiz::runner {
namespace {

bool Contains(const std::string& text, const char* part) {
  return text.find(part) != std::string::npos;
}

Failure FailureOf(const std::exception& error) {
  std::string what = error.what();
  // Only the first line: the rest is a stack of addresses.
  std::string message = what.substr(0, what.find('\n'));
  if (dynamic_cast<const std::bad_alloc*>(&error) != nullptr ||
      Contains(what, "DefaultCPUAllocator: can't allocate memory") ||
      Contains(what, "DefaultCPUAllocator: not enough memory")) {
    return {"out_of_memory", "the job needs more memory than the attempt may use: " + message,
            "ask for more memory, or use a smaller batch_size or model", ""};
  }
  if (Contains(what, "CUDA out of memory")) {
    return {"out_of_gpu_memory", "the job needs more memory than the GPU has free: " + message,
            "use a smaller batch_size or model, or a GPU with more memory", ""};
  }
  return {"internal", "the job failed in libtorch: " + message, "", ""};
}

}  // namespace

TrainingResult Train(const spec::JobSpec& job, const data::Dataset& dataset, int threads_allowed,
                     TrainingObserver* observer, std::optional<TrainingState> resume,
                     ProcessGroup* group) {
  TrainingResult result;
  try {
    return Trainer(job, dataset, threads_allowed, observer, std::move(resume), group).Run();
  } catch (const FailureError& error) {
    result.failure = error.failure;
  } catch (const StopAskedError&) {
    result.end = TrainingResult::End::kStopped;
  } catch (const PeerLostError& error) {
    result.failure = {"peer_lost", error.what(), "", ""};
  } catch (const std::exception& error) {
    result.failure = FailureOf(error);
  }
  return result;
}

ModelResult RunModel(const spec::JobSpec& job, const data::Dataset& dataset,
                     const SafetensorsFile& weights, int threads_allowed,
                     TrainingObserver* observer, PredictionWriter* predictions) {
  ModelResult result;
  try {
    ModelRun run(job, dataset, threads_allowed, observer);
    run.LoadWeights(weights);
    return job.type == spec::JobType::kInference ? run.Predict(predictions) : run.Evaluate();
  } catch (const FailureError& error) {
    result.failure = error.failure;
  } catch (const std::exception& error) {
    result.failure = FailureOf(error);
  }
  return result;
}

int ChooseThreads(int64_t flops, int64_t requested, int allowed) {
  constexpr int64_t kFlopsPerThread = 20'000'000;
  int64_t threads = requested > 0 ? requested : flops / kFlopsPerThread;
  return static_cast<int>(std::clamp<int64_t>(threads, 1, std::max(allowed, 1)));
}

void WarmUp() {
  at::set_num_threads(1);
  at::Tensor generator_use = at::empty({4}).uniform_();
#ifndef CYXWIZ_LIBTORCH_CUDA
  // Two small models through the whole of training. Not where there is CUDA: backward() would ask
  // the driver for its devices, and a process that has used the driver cannot fork.
  struct Silent : TrainingObserver {
  } silent;
  spec::JobDescription description;
  description.model_definition = R"({"input_shape": [1, 10, 10], "layers": [
      {"type": "conv2d", "filters": 8, "kernel_size": 3, "activation": "relu"},
      {"type": "max_pooling2d"}, {"type": "flatten"},
      {"type": "dense", "units": 16, "activation": "relu"}, {"type": "dense", "units": 4}]})";
  description.dataset_uri = "file:///none";
  description.batch_size = 8;
  description.hyperparameters["validation_split"] = "0.5";
  description.required_device = spec::Device::kCpu;
  spec::Problems problems;
  std::optional<spec::JobSpec> job = spec::CheckJob(description, nullptr, &problems);
  if (!job) return;
  data::Dataset dataset;
  dataset.train.samples = 16;
  dataset.train.features = std::vector<float>(16 * 100, 0.5f);
  dataset.train.labels = std::vector<int64_t>(16, 1);
  for (auto optimizer : {spec::Optimizer::kAdam, spec::Optimizer::kSgd}) {
    job->training.optimizer = optimizer;
    (void)Train(*job, dataset, 1, &silent);
  }
#endif
}

std::string LibtorchVersion() { return TORCH_VERSION; }

}  // namespace cyxwiz::runner
