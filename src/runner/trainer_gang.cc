// Training by several ranks: each takes its part of every batch, and all make the same steps.
//
// A batch and its order are those of a single process. Each rank scales its mean loss by how much
// its samples count in the mean over the whole batch, so that the sum of the gradients over the
// ranks is the gradient of that mean. Clipping and the optimizer act on the sum, of which every
// rank has the same bits: weights stay the same everywhere without being sent.
//
// The sums begin while gradients are still being computed (gradient_buckets.h). What else all ranks
// must know of a step, its notes, travels with the first of them.
#include <algorithm>
#include <cmath>
#include <utility>

#include "runner/batches.h"
#include "runner/format.h"
#include "runner/trainer.h"

namespace cyxwiz::runner {
namespace {

// In Model::gradients_and_notes(), behind the gradients. Sums over the ranks in float32, of which
// the loss has no more either.
struct Notes {
  float loss_sum = 0, correct = 0, yields = 0, stops = 0, states = 0;
};
static_assert(sizeof(Notes) <= Model::kNotes * sizeof(float));

Notes* NotesOf(const Model& model) {
  return reinterpret_cast<Notes*>(model.gradients_and_notes().data_ptr<float>() +
                                  model.gradients().numel());
}

// A seed for what a rank draws in one batch (SplitMix64 over the values, one after the other).
uint64_t SeedOf(std::initializer_list<uint64_t> values) {
  uint64_t state = 0;
  for (uint64_t value : values) {
    state = (state ^ value) + 0x9e3779b97f4a7c15;
    state = (state ^ (state >> 30)) * 0xbf58476d1ce4e5b9;
    state = (state ^ (state >> 27)) * 0x94d049bb133111eb;
    state ^= state >> 31;
  }
  return state;
}

}  // namespace

void Trainer::CheckGang() const {
  if (device_.is_cpu()) return;
  throw FailureError{{"user_error", "a job over several nodes trains on CPUs only",
                      "set \"nodes\" to 1, or the required device to cpu", "$.resources.nodes"}};
}

void Trainer::BeginTogether() {
  at::NoGradGuard no_grad;
  // They should be equal: this is for machines whose arithmetic differs.
  if (model_->parameters().numel() > 0) group_->Broadcast(model_->parameters());
  at::Tensor places = at::zeros({group_->size(), 3}, at::kLong);
  places[group_->rank()].copy_(at::tensor({epoch_, samples_, step_}, at::kLong));
  group_->Sum(places);
  for (int64_t rank = 1; rank < group_->size(); ++rank) {
    if (at::equal(places[rank], places[0])) continue;
    throw FailureError{
        {"internal",
         Format("rank %lld begins after step %lld, but rank 0 after step %lld", ToLong(rank),
                ToLong(places[rank][2].item<int64_t>()), ToLong(places[0][2].item<int64_t>())),
         "the log of each rank says which checkpoint it found", ""}};
  }
}

Trainer::Slice Trainer::SliceOf(int64_t count) const {
  Slice slice{0, count, 1};
  if (group_ == nullptr) return slice;
  // Of a small batch some ranks have nothing.
  const int64_t least = model_->needs_two_samples() ? 2 : 1;
  const int64_t ranks = std::clamp<int64_t>(count / least, 1, group_->size());
  const int64_t rank = std::min<int64_t>(group_->rank(), ranks);
  const int64_t end = std::min(count, count * (rank + 1) / ranks);
  slice.begin = count * rank / ranks;
  slice.count = end - slice.begin;
  slice.share = static_cast<double>(slice.count) / static_cast<double>(count);
  return slice;
}

void Trainer::LoadBatch(const int64_t* indices, int64_t count) {
  slice_ = SliceOf(count);
  batch_count_ = count;
  if (slice_.count == 0) return;
  feed_->Load({indices, count, slice_.begin, slice_.count});
  if (group_ == nullptr || !loss_->weighs_classes()) return;
  batch_classes_.resize(static_cast<size_t>(count * positions_));
  GatherClasses(dataset_.train, positions_, indices, count, batch_classes_.data());
  slice_.share = loss_->DivisorOf(batch_classes_.data() + slice_.begin * positions_,
                                  slice_.count * positions_) /
                 loss_->DivisorOf(batch_classes_.data(), count * positions_);
}

double Trainer::ComputeGangGradients(double part, bool anew, bool counted, bool ends_step) {
  at::Tensor loss;
  if (slice_.count > 0) {
    const Feed& batch = *feed_;
    // Other draws on each rank, and the same when training goes on from a checkpoint.
    at::manual_seed(SeedOf({training_.seed, static_cast<uint64_t>(group_->rank()),
                            static_cast<uint64_t>(epoch_), static_cast<uint64_t>(samples_)}));
    Score own = NewScore();
    if (dense_network_ != nullptr) {
      own.Add(dense_network_->Forward(batch.x(), batch.y()), dense_network_->output(), batch);
    } else {
      at::Tensor output = ForwardTraining();
      loss = (*loss_)(output, batch.y());
      own.Add(loss, output, batch);
    }
    own_loss_ += own.loss_sum() / static_cast<double>(slice_.count) * slice_.share *
                 static_cast<double>(batch_count_);
    own_correct_ += own.correct();
  }
  samples_since_step_ += batch_count_;
  if (anew && (dense_network_ == nullptr || slice_.count == 0)) model_->gradients().zero_();
  if (ends_step) {
    const Directive asked = observer_->Asked();
    *NotesOf(*model_) = {
        .loss_sum = static_cast<float>(std::exchange(own_loss_, 0)),
        .correct = static_cast<float>(std::exchange(own_correct_, 0)),
        .yields = asked == Directive::kYield ? 1.0f : 0,
        .stops = asked == Directive::kStop ? 1.0f : 0,
        .states = shares_optimizer() && leads() && observer_->StateWanted() ? 1.0f : 0};
    buckets_->Expect();
  }
  if (loss.defined()) {
    loss.mul(part * slice_.share).backward();
  } else if (slice_.count > 0) {
    dense_network_->Backward(part * slice_.share,
                             [this](int64_t offset) { buckets_->Ready(offset); });
  }
  if (!ends_step) return 0;
  buckets_->BeginRest();
  group_->Wait();

  const Notes sum = *NotesOf(*model_);
  const int64_t samples = std::exchange(samples_since_step_, 0);
  AgreeOn(sum.yields > 0, sum.stops > 0);
  state_agreed_ |= sum.states > 0;
  if (counted) {
    score_.AddSums(samples, static_cast<double>(sum.loss_sum), std::llround(sum.correct));
    if (score_.Diverged(/*exact=*/false)) ThrowLossDiverged();
  }
  return static_cast<double>(sum.loss_sum) / static_cast<double>(samples);
}

void Trainer::AgreeOn(bool yields, bool stops) {
  if (stops) {
    agreed_ = Directive::kStop;
  } else if (yields && agreed_ == Directive::kGoOn) {
    agreed_ = Directive::kYield;
  }
}

bool Trainer::StateWanted() {
  return shares_optimizer() ? std::exchange(state_agreed_, false)
                            : leads() && observer_->StateWanted();
}

bool Trainer::AgreeOnEpoch() {
  const Directive own = leads() ? asked_ : observer_->Asked();
  const auto found = metrics_.find(training_.monitor);
  const bool tells = leads() && found != metrics_.end();
  at::Tensor sums =
      at::tensor({own == Directive::kYield ? 1.0 : 0, own == Directive::kStop ? 1.0 : 0,
                  tells ? 1.0 : 0, tells ? found->second : 0},
                 at::kDouble);
  group_->Sum(sums);
  const double* sum = sums.data_ptr<double>();
  AgreeOn(sum[0] > 0, sum[1] > 0);
  if (!leads() && sum[2] > 0) metrics_[training_.monitor] = sum[3];
  asked_ = agreed_;
  return asked_ == Directive::kGoOn;
}

}  // namespace cyxwiz::runner
