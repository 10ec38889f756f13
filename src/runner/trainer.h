// One training run: the loop over epochs and batches, evaluation, and the state between two steps.
#pragma once

#include <chrono>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "runner/dense_network.h"
#include "runner/engine.h"
#include "runner/feed.h"
#include "runner/forward_pass.h"
#include "runner/gradient_buckets.h"
#include "runner/improvement.h"
#include "runner/loss.h"
#include "runner/module.h"
#include "runner/optimizer.h"
#include "runner/process_group.h"
#include "runner/schedule.h"
#include "runner/score.h"

namespace cyxwiz::runner {

// Runs once. job, dataset, observer and group outlive it. One thread; all of it throws FailureError
// and c10::Error, and with a group PeerLostError and StopAskedError.
class Trainer {
 public:
  // group: nullptr: it trains alone.
  Trainer(const spec::JobSpec& job, const data::Dataset& dataset, int threads_allowed,
          TrainingObserver* observer, std::optional<TrainingState> resume, ProcessGroup* group);

  TrainingResult Run();

 private:
  using Clock = std::chrono::steady_clock;

  void LogSummary();
  // What trains without autograd, in float32; nullptr: this training needs it.
  std::unique_ptr<DenseNetwork> TryDenseNetwork();
  // Sets the validation samples aside.
  void SplitSamples();
  // Refuses what the loss cannot take, and only the data tells.
  void CheckTargets() const;

  // The samples in the order in which the epoch in work sees them.
  std::vector<int64_t> OrderOfEpoch() const;

  // ---- the loop (trainer.cc)
  // From samples_ on. false: asked to end.
  bool RunEpoch();
  // Whether a batch completed a step of the optimizer; kGivenUp: it was asked to end within one.
  enum class Step { kNone, kMade, kGivenUp };
  // Trains on the batch of `count` samples of which feed_ has this rank's.
  Step RunStep(int64_t count);
  // The step of an optimizer that searches. false: it was asked to end, and all is as before.
  bool RunSearch(double rate);
  // What a pass of training changes besides gradients, to go back to.
  class Before;
  // Adds `part` times the gradients of that batch to those there are, or with `anew` sets them.
  // Counts the batch in the score when `counted`; throws when its loss is no number.
  double ComputeGradients(double part, bool anew, bool counted);
  void LimitGradients();
  void UpdateAverage();
  // What follows from an epoch's metrics; whether to train on.
  bool EndEpoch();
  // Whether to go on; asked_ says why not.
  bool GoOn();
  // The same of all ranks, which have agreed on it.
  bool GoOnTogether();
  void TellStarted();
  void SendProgress(int64_t samples_of_epoch, bool end_of_epoch);
  std::string MetricsText() const;
  // Throws when a step has left weights or statistics, or their average, that are no finite
  // numbers.
  void CheckFinite();
  // Of the training's loss. Runs the batch in feed_ once more to tell where.
  [[noreturn]] void ThrowLossDiverged();
  // what: "the loss is no longer a finite number". first: as FirstNotFinite.
  [[noreturn]] void ThrowDiverged(const std::string& what, int64_t step, const std::string& first);
  // Of the batch in feed_.
  at::Tensor ForwardTraining();

  // ---- the precision (trainer_precision.cc)
  // Settles job_.training.precision where the machine is to choose it.
  void SettlePrecision();
  // The shortest of some passes of the first batch in each; infinite where there is none.
  struct PassSeconds {
    double float32 = 0, bfloat16 = 0;
  };
  PassSeconds MeasurePasses();

  // ---- one of several ranks (trainer_gang.cc)
  bool leads() const { return group_ == nullptr || group_->leads(); }
  // Refuses what cannot be trained by several ranks.
  void CheckGang() const;
  // Makes this rank's weights those of rank 0, and sees to it that all begin at the same place.
  void BeginTogether();
  // Of the batch in work, or any: the part of it that is this rank's, and how much that counts in
  // the mean over the batch.
  struct Slice {
    int64_t begin = 0, count = 0;
    double share = 1;
  };
  // Of a batch of so many samples, all of them alike.
  Slice SliceOf(int64_t count) const;
  // Loads this rank's part of the batch indices[0 .. count).
  void LoadBatch(const int64_t* indices, int64_t count);
  // As ComputeGradients, of the whole batch. Sums the gradients over the ranks when the step ends
  // with this batch.
  double ComputeGangGradients(double part, bool anew, bool counted, bool ends_step);
  void AgreeOn(bool yields, bool stops);
  // Whether each rank keeps a part of the optimizer's state.
  bool shares_optimizer() const { return group_ != nullptr && training_.shard_optimizer; }
  // Whether rank 0 is to hand over the training's state after this step. Where they share the
  // optimizer all ranks have agreed on it.
  bool StateWanted();
  // Tells all ranks what rank 0 found in the evaluation after an epoch; whether to go on.
  bool AgreeOnEpoch();

  // ---- evaluation and result (trainer_result.cc)
  // Adds loss and metrics over indices of a split to the metrics; false: asked to end.
  bool Evaluate(const data::Split& split, const std::vector<int64_t>& indices,
                const std::string& part);
  // After an epoch's training; false: asked to end.
  bool EvaluateEpoch();
  bool EvaluateTest();
  // Makes the model's weights, and the metrics, those of the result. Once more does nothing.
  void UseResultWeights();
  void KeepBest();
  void ExportWeights(TrainingResult* result);

  // ---- the state (trainer_state.cc)
  // What a state holds, sharing memory with the model and the optimizer.
  std::vector<std::pair<std::string, at::Tensor>> StateTensors();
  // Those of libtorch's generators that the training draws from.
  std::vector<std::pair<std::string, at::Generator>> Generators();
  TrainingState State();
  // Leaves everything as it is, and says so, when the state is not one of this training.
  void Resume(const TrainingState& state);
  // Makes room for what a state with these numbers holds; with none, for what a new one does.
  void PrepareFor(int64_t step, const std::map<std::string, double>& numbers);

  // While it lives the model has the averaged weights, where there are any.
  class Averaged;
  bool wants_average() const { return training_.ema_decay > 0; }

  Score NewScore() const { return Score(device_, task_, wants_accuracy_, positions_); }

  spec::JobSpec job_;
  const spec::TrainingSpec& training_;  // of it
  const data::Dataset& dataset_;
  TrainingObserver* observer_;
  std::optional<TrainingState> resume_;  // until it is taken over
  ProcessGroup* const group_;            // nullptr: alone
  const at::Device device_;
  const spec::Task task_;
  const bool wants_accuracy_;
  const int64_t positions_;       // labels of a sample that are classes
  const bool settles_precision_;  // the job leaves it open
  int64_t batch_size_ = 0, samples_per_epoch_ = 0;
  int threads_ = 1;
  std::vector<int64_t> train_indices_, validation_indices_;
  std::vector<int64_t> first_of_file_;  // of samples in files: places in train_indices_
  std::optional<LossFunction> loss_;
  std::optional<Feed> feed_;  // of the training samples
  std::optional<Model> model_;
  std::unique_ptr<DenseNetwork> dense_network_;  // instead of autograd, where it can
  std::unique_ptr<GradientBuckets> buckets_;     // as one of several ranks
  std::unique_ptr<Optimizer> optimizer_;
  std::optional<LearningRate> schedule_;
  at::Tensor average_;  // as Model::parameters()

  // As one of several ranks: its part of the batch in work; sums over its batches since the last
  // step; what all shall do after that step.
  Slice slice_;
  double own_loss_ = 0;
  int64_t own_correct_ = 0, samples_since_step_ = 0, batch_count_ = 0;
  std::vector<int64_t> batch_classes_;
  Directive agreed_ = Directive::kGoOn;
  bool state_agreed_ = false;

  // Of the best epoch: its weights and buffers, in the order of Model::state(), and its metrics.
  std::vector<at::Tensor> best_;
  Metrics best_metrics_;
  int64_t best_epoch_ = 0;  // 0: none yet
  Improvement kept_, stopping_;
  bool has_result_weights_ = false;

  // Where it is; see TrainingState.
  int64_t epoch_ = 1, samples_ = 0, step_ = 0;
  Score score_;
  Metrics metrics_;

  std::optional<ConfusionMatrix> confusion_matrix_;  // of the last evaluation
  Directive asked_ = Directive::kGoOn;
  bool started_ = false;
  std::optional<Started::Resumed> resumed_;
  Clock::time_point begin_;  // of this run
  double compute_seconds_before_ = 0;
  double training_seconds_ = 0, training_cpu_seconds_ = 0;
};

}  // namespace cyxwiz::runner
