// What every pass of a model over samples shares, whether it trains or not.
#pragma once

#include <cstdint>
#include <functional>
#include <vector>

#include "data/dataset.h"
#include "runner/engine.h"
#include "runner/feed.h"
#include "runner/loss.h"
#include "runner/module.h"
#include "runner/torch_headers.h"
#include "spec/job_spec.h"

namespace cyxwiz::runner {

// Thrown for what becomes a Failure.
struct FailureError {
  Failure failure;
};

// Where the job computes. Throws FailureError when this runner cannot.
at::Device ChooseDevice(const spec::JobSpec& job);
// Throws FailureError when this libtorch cannot compute in it, and logs when this machine is slow
// at it.
void CheckPrecision(spec::Precision precision, TrainingObserver* observer);

// The model's output in float32, logits where the loss takes them. Throws c10::Error and
// BadInputError.
at::Tensor Forward(Model* model, const at::Tensor& x, bool training, const LossFunction& loss,
                   spec::Precision precision);

// split: of the sample, "training" or "test".
[[noreturn]] void ThrowBadSample(const BadInputError& error, const char* split, int64_t sample);

// Which samples a pass goes over. What it refers to outlives it.
struct Samples {
  const spec::JobSpec& job;
  const data::Split& split;
  const char* name;  // of the split, for messages
  const std::vector<int64_t>& indices;
  int64_t batch_size;  // of the training; that of the pass follows from it
  at::Device device;
  spec::Precision precision;  // kAuto: float32
};

// Told a batch, its output, and how many samples are done with it; false: no more.
using UseBatch = std::function<bool(const Feed&, const at::Tensor& output, int64_t done)>;

// Runs the model over the samples, without gradients, in order. labels: whether batches have them.
// False: `use` wanted no more. Throws as Forward, and FailureError for a sample that a layer cannot
// take.
bool ForEachBatch(const Samples& samples, bool labels, Model* model, const LossFunction& loss,
                  const UseBatch& use);

// Loss and metrics over the samples as <part>_<metric>: the one evaluation that there is, of
// trainings and of evaluation jobs. diverged: told the first batch whose loss is no finite number
// (on a GPU, the last batch); nullptr: nobody is. go_on: asked after each batch, with the samples
// done; false: asked to end, and *metrics are as before.
bool Evaluate(const Samples& samples, const std::string& part, Model* model,
              const LossFunction& loss, const std::function<void(const Feed& batch)>& diverged,
              const std::function<bool(int64_t done)>& go_on, Metrics* metrics,
              std::optional<ConfusionMatrix>* confusion_matrix);

// Labels of a sample that are classes.
int64_t PositionsOf(const spec::JobSpec& job);
bool WantsMetric(const spec::TrainingSpec& training, spec::Metric::Kind kind);

}  // namespace cyxwiz::runner
