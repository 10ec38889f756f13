#include "runner/score.h"

#include <cmath>

#include "runner/batches.h"

namespace cyxwiz::runner {

Score::Score(at::Device device, spec::Task task, bool accuracy, int64_t positions)
    : device_(device),
      task_(task),
      accuracy_(accuracy && task != spec::Task::kNumbers),
      positions_(positions) {}

void Score::Add(double loss, const at::Tensor& output, const Feed& batch) {
  samples_ += batch.count();
  last_loss_ = loss;
  loss_ += loss * static_cast<double>(batch.count());
  if (!accuracy_) return;
  const at::Tensor scores = output.contiguous();
  if (task_ == spec::Task::kBinary) {
    correct_ +=
        CountCorrectSigns(scores.data_ptr<float>(), batch.y().data_ptr<float>(), batch.count());
    return;
  }
  correct_ += CountCorrect(scores.data_ptr<float>(), batch.classes().data_ptr<int64_t>(),
                           batch.count() * positions_, scores.size(-1));
}

void Score::Add(const at::Tensor& loss, const at::Tensor& output, const Feed& batch) {
  if (device_.is_cpu()) return Add(*loss.data_ptr<float>(), output, batch);
  samples_ += batch.count();
  at::NoGradGuard no_grad;
  if (!device_loss_.defined()) {
    device_loss_ = at::zeros({}, at::TensorOptions(at::kDouble).device(device_));
    device_correct_ = at::zeros({}, at::TensorOptions(at::kLong).device(device_));
  }
  device_loss_.add_(loss.detach(), batch.count());
  if (!accuracy_) return;
  device_correct_.add_(task_ == spec::Task::kBinary ? output.gt(0).eq(batch.y().gt(0.5)).sum()
                                                    : output.argmax(-1).eq(batch.classes()).sum());
}

void Score::AddSums(int64_t samples, double loss_sum, int64_t correct) {
  samples_ += samples;
  loss_ += loss_sum;
  last_loss_ = loss_sum;
  correct_ += correct;
}

bool Score::Diverged(bool exact) const {
  if (device_.is_cpu()) return !std::isfinite(last_loss_);
  return exact && device_loss_.defined() && !std::isfinite(device_loss_.item<double>());
}

void Score::Report(const std::string& part, Metrics* metrics) const {
  if (samples_ == 0) return;
  (*metrics)[part + "_loss"] = loss_sum() / static_cast<double>(samples_);
  if (accuracy_) {
    (*metrics)[part + "_accuracy"] =
        static_cast<double>(correct()) / static_cast<double>(samples_ * positions_);
  }
}

void Score::Resume(int64_t samples, double loss_sum, int64_t correct) {
  samples_ = samples;
  loss_ = loss_sum;
  correct_ = correct;
  if (device_.is_cpu() || samples == 0) return;
  device_loss_ = at::full({}, loss_sum, at::TensorOptions(at::kDouble).device(device_));
  device_correct_ = at::full({}, correct, at::TensorOptions(at::kLong).device(device_));
}

}  // namespace cyxwiz::runner
