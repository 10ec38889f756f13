// The precision of a training that leaves it to the machine.
//
// Instructions for bfloat16 do not tell: with them a convolutional network of 11 million weights
// still took 1.5 times as long in it, and a small one half as long (measured). So some passes of
// the first batch are timed in both. What that came to is part of the training's state: who goes on
// from a checkpoint goes on in the same.
#include <algorithm>
#include <limits>
#include <utility>
#include <vector>

#include "runner/autocast.h"
#include "runner/format.h"
#include "runner/forward_pass.h"
#include "runner/processor.h"
#include "runner/trainer.h"
#include "runner/trainer_before.h"

namespace cyxwiz::runner {
namespace {

using spec::Precision;

// After one of each to warm up, unless these take so long that they tell.
constexpr int kMostPasses = 3;
constexpr double kMostSeconds = 1;
// bfloat16 is less exact: it must be worth it, and timing is not exact either.
constexpr double kMostPart = 0.9;

constexpr double kNever = std::numeric_limits<double>::infinity();

}  // namespace

void Trainer::SettlePrecision() {
  if (!settles_precision_) return;
  std::optional<double> settled;
  if (resume_) {
    if (auto found = resume_->numbers.find("precision"); found != resume_->numbers.end())
      settled = found->second;
  }
  PassSeconds seconds = !settled        ? MeasurePasses()
                        : settled == 16 ? PassSeconds{1, 0}
                                        : PassSeconds{0, kNever};
  if (group_ != nullptr) {  // all ranks take part, whatever each has found
    at::Tensor sums = at::tensor({seconds.float32, seconds.bfloat16}, at::kDouble);
    group_->Sum(sums);
    seconds = {sums[0].item<double>(), sums[1].item<double>()};
  }
  const bool faster = seconds.bfloat16 < kMostPart * seconds.float32;
  job_.training.precision = faster ? Precision::kBfloat16 : Precision::kFloat32;
  if (settled) return CheckPrecision(job_.training.precision, observer_);
  std::string line = std::string("precision: ") + (faster ? "bfloat16" : "float32");
  if (seconds.bfloat16 < kNever) {
    line += Format("; a pass of a batch takes %.3g ms in bfloat16 and %.3g ms in float32",
                   seconds.bfloat16 * 1e3, seconds.float32 * 1e3);
  }
  observer_->Log(line);
}

Trainer::PassSeconds Trainer::MeasurePasses() {
  if (CYXWIZ_AUTOCAST == 0 || !device_.is_cpu() || !ComputesBfloat16()) return {0, kNever};
  const int64_t count = std::min(batch_size_, samples_per_epoch_);
  const Slice slice = SliceOf(count);
  if (slice.count == 0) return {0, 0};
  Feed batch(job_, dataset_.train, device_, batch_size_);
  const BatchPart part{train_indices_.data(), count, slice.begin, slice.count};
  batch.Begin(/*epoch=*/1, {part});
  batch.Load(part);

  const std::unique_ptr<DenseNetwork> dense = TryDenseNetwork();
  const auto begin = Clock::now();
  auto seconds_since = [](Clock::time_point then) {
    return std::chrono::duration<double>(Clock::now() - then).count();
  };
  auto pass = [&](Precision precision) {
    const auto then = Clock::now();
    if (dense != nullptr && precision == Precision::kFloat32) {
      (void)dense->ComputeGradients(batch.x(), batch.y());
    } else {
      at::Tensor output = Forward(&*model_, batch.x(), /*training=*/true, *loss_, precision);
      (*loss_)(output, batch.y()).backward();
    }
    return seconds_since(then);
  };
  Before before(*this);
  PassSeconds least{kNever, kNever};
  try {
    for (int i = 0; i <= kMostPasses; ++i) {
      const double float32 = pass(Precision::kFloat32), bfloat16 = pass(Precision::kBfloat16);
      const bool slow = seconds_since(begin) > kMostSeconds;
      if (i == 0 && !slow) continue;
      least = {std::min(least.float32, float32), std::min(least.bfloat16, bfloat16)};
      if (slow) break;
    }
  } catch (const BadInputError&) {  // which the training tells
    least = {0, kNever};
  }
  before.GoBack();
  at::NoGradGuard no_grad;
  model_->gradients().zero_();
  return least;
}

}  // namespace cyxwiz::runner
