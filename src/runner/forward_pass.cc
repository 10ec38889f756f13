#include "runner/forward_pass.h"

#include <algorithm>

#include "runner/autocast.h"
#include "runner/evaluation.h"
#include "runner/format.h"
#include "runner/processor.h"
#include "runner/score.h"
#include "spec/count.h"
#include "spec/estimate.h"

namespace cyxwiz::runner {

at::Device ChooseDevice(const spec::JobSpec& job) {
  bool wants_gpu = job.device == spec::Device::kCuda ||
                   (job.device == spec::Device::kAny && job.resources.AsksForGpu());
  if (job.device != spec::Device::kAny && job.device != spec::Device::kCpu && !wants_gpu) {
    throw FailureError{{"user_error", "the runner computes on cpu and cuda only",
                        "set the required device to cpu or cuda", "$.device"}};
  }
  if (!wants_gpu) return at::kCPU;
  if (!at::hasCUDA()) {
    throw FailureError{
        {"internal", "the job needs a CUDA device, but this node's runner sees none",
         "check the driver and that the runner was built against a libtorch with CUDA",
         "$.device"}};
  }
  // Same seed, same weights, also on a GPU as far as its libraries go.
  at::globalContext().setBenchmarkCuDNN(false);
  at::globalContext().setDeterministicCuDNN(true);
  return at::Device(at::kCUDA, 0);
}

void CheckPrecision(spec::Precision precision, TrainingObserver* observer) {
  if (precision != spec::Precision::kBfloat16) return;
#if !CYXWIZ_AUTOCAST
  throw FailureError{{"internal", "this node's libtorch is too old for bfloat16",
                      "set \"precision\" to \"float32\"", "$.hyperparameters.precision"}};
#endif
  if (ComputesBfloat16()) return;
  observer->Log(
      "precision: this machine's processors have no instructions for bfloat16 (avx512_bf16, "
      "amx_bf16), so expect it to be slower here than float32");
}

at::Tensor Forward(Model* model, const at::Tensor& x, bool training, const LossFunction& loss,
                   spec::Precision precision) {
  const bool bfloat16 = precision == spec::Precision::kBfloat16;
  Autocast autocast(bfloat16);
  at::Tensor output = model->Forward(x, training, loss.logits());
  return bfloat16 ? output.to(at::kFloat) : output;
}

void ThrowBadSample(const BadInputError& error, const char* split, int64_t sample) {
  throw FailureError{{"user_error",
                      Format("sample %lld of the %s data ", ToLong(sample), split) + error.what(),
                      "correct the data, or raise the embedding's input_dim", "$.dataset"}};
}

bool ForEachBatch(const Samples& samples, bool labels, Model* model, const LossFunction& loss,
                  const UseBatch& use) {
  at::NoGradGuard no_grad;
  const int64_t size = static_cast<int64_t>(samples.indices.size());
  const int64_t most = std::min(size, spec::ForwardBatch(samples.job.model, samples.batch_size));
  Feed feed(samples.job, samples.split, samples.device, most, labels);
  std::vector<BatchPart> parts;
  for (int64_t first = 0; first < size; first += most) {
    const int64_t count = std::min(most, size - first);
    parts.push_back({samples.indices.data() + first, count, 0, count});
  }
  feed.Begin(/*epoch=*/0, parts);
  int64_t done = 0;
  for (const BatchPart& part : parts) {
    feed.Load(part);
    at::Tensor output;
    try {
      output = Forward(model, feed.x(), /*training=*/false, loss, samples.precision);
    } catch (const BadInputError& error) {
      ThrowBadSample(error, samples.name, part.indices[error.sample()]);
    }
    done += part.count;
    if (!use(feed, output, done)) return false;
  }
  return true;
}

bool Evaluate(const Samples& samples, const std::string& part, Model* model,
              const LossFunction& loss, const std::function<void(const Feed& batch)>& diverged,
              const std::function<bool(int64_t done)>& go_on, Metrics* metrics,
              std::optional<ConfusionMatrix>* confusion_matrix) {
  const spec::JobSpec& job = samples.job;
  const spec::Task task = spec::TaskOf(job.training, job.model);
  Score score(samples.device, task, WantsMetric(job.training, spec::Metric::Kind::kAccuracy),
              PositionsOf(job));
  Evaluation evaluation(job.training, task,
                        task == spec::Task::kNumbers ? spec::ElementCount(job.model.output_shape)
                                                     : job.model.output_shape.back());
  const auto samples_given = static_cast<int64_t>(samples.indices.size());
  auto add = [&](const Feed& feed, at::Tensor output, int64_t done) {
    score.Add(loss(output, feed.y()), output, feed);
    if (diverged && score.Diverged(/*exact=*/done == samples_given)) diverged(feed);
    if (evaluation.wanted()) {
      at::Tensor labels = feed.classes();
      if (task == spec::Task::kClasses) {
        // Each position counts as a sample.
        labels = labels.narrow(0, 0, feed.count()).flatten();
        output = output.flatten(0, -2);
      }
      if (task == spec::Task::kBinary) labels = feed.y().flatten().gt(0.5).to(at::kLong);
      evaluation.Add(output, loss.PredictionOf(output), feed.y(), labels);
    }
    return go_on(done);
  };
  if (!ForEachBatch(samples, /*labels=*/true, model, loss, add)) return false;
  score.Report(part, metrics);
  evaluation.Report(part, metrics);
  *confusion_matrix = evaluation.confusion_matrix(part);
  return true;
}

int64_t PositionsOf(const spec::JobSpec& job) {
  return spec::TaskOf(job.training, job.model) == spec::Task::kClasses &&
                 job.model.output_shape.size() == 2
             ? job.model.output_shape[0]
             : 1;
}

bool WantsMetric(const spec::TrainingSpec& training, spec::Metric::Kind kind) {
  return std::any_of(training.metrics.begin(), training.metrics.end(),
                     [&](const spec::Metric& metric) { return metric.kind == kind; });
}

}  // namespace cyxwiz::runner
