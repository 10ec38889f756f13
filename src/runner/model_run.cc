#include "runner/model_run.h"

#include <algorithm>
#include <numeric>

#include "runner/data_type.h"
#include "runner/format.h"
#include "runner/predictions.h"

namespace cyxwiz::runner {
namespace {

constexpr std::chrono::milliseconds kBetweenReports(100);

// As accuracy counts them: the greatest score, the first of equal ones; of a single score whether
// it is above 0.
at::Tensor ClassesOf(const at::Tensor& output, spec::Task task) {
  return task == spec::Task::kBinary ? output.gt(0).to(at::kLong) : output.argmax(-1);
}

}  // namespace

ModelRun::ModelRun(const spec::JobSpec& job, const data::Dataset& dataset, int threads_allowed,
                   TrainingObserver* observer)
    : job_(job),
      whole_(dataset.test.samples == 0),
      split_(whole_ ? dataset.train : dataset.test),  // the test part is what a model has not seen
      observer_(observer),
      device_(ChooseDevice(job)) {
  CheckPrecision(job.training.precision, observer_);
  begin_ = last_report_ = Clock::now();
  // As at the training, so that sums have the same order.
  batch_size_ = std::min(job.training.batch_size, dataset.train.samples);
  threads_ =
      ChooseThreads(3 * job.model.flops * batch_size_, job.training.threads, threads_allowed);
  at::set_num_threads(threads_);
  indices_.resize(static_cast<size_t>(split_.samples));
  std::iota(indices_.begin(), indices_.end(), 0);
  model_.emplace(job.model, device_);
  loss_.emplace(job.training, ClassWeights(job.training, split_, indices_,
                                           job.model.output_shape.back(), device_));
}

void ModelRun::LoadWeights(const SafetensorsFile& weights) {
  at::NoGradGuard no_grad;
  auto refuse = [](const std::string& what) {
    throw FailureError{{"user_error", "the weights are not those of the model: " + what,
                        "name model.json and weights.safetensors of one job", "$.model_from"}};
  };
  for (const auto& [name, tensor] : model_->state()) {
    auto found = weights.entries.find(name);
    if (found == weights.entries.end()) refuse("they have no tensor '" + name + "'");
    const SafetensorsFile::Entry& entry = found->second;
    if (tensor.sizes() != at::IntArrayRef(entry.shape) ||
        tensor.scalar_type() != ScalarTypeOf(entry.type)) {
      refuse("their tensor '" + name + "' has another shape or type");
    }
    tensor.detach().copy_(at::from_blob(const_cast<void*>(weights.values(entry)), entry.shape,
                                        at::TensorOptions(ScalarTypeOf(entry.type))));
  }
  if (weights.entries.size() != model_->state().size()) {
    refuse(Format("expected %lld tensors, found %lld",
                  ToLong(static_cast<int64_t>(model_->state().size())),
                  ToLong(static_cast<int64_t>(weights.entries.size()))));
  }
}

bool ModelRun::GoOn(int64_t done) {
  if (batches_++ == 0) {
    observer_->OnStarted({device_.str(), threads_, job_.model.parameters, {}});
  }
  observer_->OnStep(batches_);
  asked_ = observer_->Asked();
  if (asked_ != Directive::kGoOn) return false;
  auto now = Clock::now();
  if (now - last_report_ < kBetweenReports && batches_ > 1) return true;
  last_report_ = now;
  const double seconds = std::chrono::duration<double>(now - begin_).count();
  observer_->OnProgress(
      {.part = static_cast<double>(done) / static_cast<double>(split_.samples),
       .epoch = 0,
       .epochs = 0,
       .step = batches_,
       .metrics = {{"samples_per_second", static_cast<double>(done) / std::max(seconds, 1e-9)}}});
  return true;
}

ModelResult ModelRun::Evaluate() {
  const bool finished = runner::Evaluate(
      samples(), "test", &*model_, *loss_, /*diverged=*/nullptr,
      [this](int64_t done) { return GoOn(done); }, &result_.metrics, &result_.confusion_matrix);
  return End(finished);
}

ModelResult ModelRun::Predict(PredictionWriter* writer) {
  const spec::Task task = spec::TaskOf(job_.training, job_.model);
  auto write = [&](const Feed&, const at::Tensor& output, int64_t done) {
    const at::Tensor values = loss_->PredictionOf(output).to(at::kCPU, at::kFloat).contiguous();
    at::Tensor classes;
    if (task != spec::Task::kNumbers) classes = ClassesOf(output, task).to(at::kCPU).contiguous();
    Status written =
        writer->Add(values.data_ptr<float>(),
                    classes.defined() ? classes.data_ptr<int64_t>() : nullptr, values.size(0));
    if (!written.ok()) {
      const bool full = written.code() == Code::kResourceExhausted;
      throw FailureError{{full ? "disk_full" : "internal",
                          "cannot write the predictions: " + written.message(), written.hint(),
                          ""}};
    }
    return GoOn(done);
  };
  return End(ForEachBatch(samples(), /*labels=*/false, &*model_, *loss_, write));
}

ModelResult ModelRun::End(bool finished) {
  const double seconds = std::chrono::duration<double>(Clock::now() - begin_).count();
  result_.compute_seconds = seconds;
  result_.samples = split_.samples;
  result_.whole = whole_;
  if (!finished) {
    const bool yielded = asked_ == Directive::kYield;
    result_.end = yielded ? TrainingResult::End::kYielded : TrainingResult::End::kStopped;
    observer_->Log(
        Format("%s after %lld batches", yielded ? "yielded" : "stopped", ToLong(batches_)));
    return std::move(result_);
  }
  result_.end = TrainingResult::End::kSucceeded;
  result_.metrics["samples_per_second"] =
      static_cast<double>(split_.samples) / std::max(seconds, 1e-9);
  std::string text;
  for (const auto& [name, value] : result_.metrics) {
    text += Format(name == "samples_per_second" ? " %s %.0f" : " %s %.4f", name.c_str(), value);
  }
  observer_->Log(Format("finished: %lld samples", ToLong(split_.samples)) + text);
  return std::move(result_);
}

}  // namespace cyxwiz::runner
