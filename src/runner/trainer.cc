#include "runner/trainer.h"

#include <algorithm>
#include <ctime>
#include <limits>
#include <numeric>
#include <utility>

#include "runner/divergence.h"
#include "runner/format.h"
#include "runner/permutation.h"
#include "runner/sharded_optimizer.h"
#include "runner/trainer_before.h"

namespace cyxwiz::runner {
namespace {

constexpr std::chrono::milliseconds kBetweenReports(100);

double SecondsSince(std::chrono::steady_clock::time_point begin) {
  return std::chrono::duration<double>(std::chrono::steady_clock::now() - begin).count();
}

}  // namespace

Trainer::Trainer(const spec::JobSpec& job, const data::Dataset& dataset, int threads_allowed,
                 TrainingObserver* observer, std::optional<TrainingState> resume,
                 ProcessGroup* group)
    : job_(job),
      training_(job_.training),
      dataset_(dataset),
      observer_(observer),
      resume_(std::move(resume)),
      group_(group),
      device_(ChooseDevice(job)),
      task_(spec::TaskOf(job.training, job.model)),
      wants_accuracy_(WantsMetric(job.training, spec::Metric::Kind::kAccuracy)),
      positions_(PositionsOf(job)),
      settles_precision_(job.training.precision == spec::Precision::kAuto),
      kept_(training_.monitor_greater, 0),
      stopping_(training_.monitor_greater, training_.min_delta),
      score_(NewScore()) {
  batch_size_ = std::min(training_.batch_size, dataset.train.samples);
  CheckPrecision(training_.precision, observer_);
  if (group_ != nullptr) CheckGang();
  const int64_t ranks = group_ == nullptr ? 1 : group_->size();
  threads_ = ChooseThreads(3 * job.model.flops * (batch_size_ / ranks), training_.threads,
                           threads_allowed);
}

TrainingResult Trainer::Run() {
  begin_ = Clock::now();
  at::set_num_threads(threads_);
  at::manual_seed(training_.seed);
  model_.emplace(job_.model, device_);
  LogSummary();
  if (shares_optimizer()) {
    optimizer_ = std::make_unique<ShardedOptimizer>(training_, model_->parameters(),
                                                    model_->gradients(), group_);
  } else {
    optimizer_ = MakeOptimizer(training_, model_->parameters(), model_->gradients(),
                               [this](const at::Tensor& flat) { return model_->PartsOf(flat); });
  }
  if (wants_average()) average_ = at::zeros_like(model_->parameters());
  SplitSamples();
  const int64_t batches = (samples_per_epoch_ + batch_size_ - 1) / batch_size_;
  schedule_.emplace(training_, (batches + training_.accumulation - 1) / training_.accumulation);
  CheckTargets();
  loss_.emplace(training_, ClassWeights(training_, dataset_.train, train_indices_,
                                        job_.model.output_shape.back(), device_));
  feed_.emplace(job_, dataset_.train, device_, batch_size_);
  SettlePrecision();
  if (group_ != nullptr) {
    buckets_ = std::make_unique<GradientBuckets>(
        *model_, [this](const at::Tensor& bucket) { group_->BeginSum(bucket); },
        GradientBuckets::Limits());
  }
  if (training_.precision == spec::Precision::kFloat32) dense_network_ = TryDenseNetwork();
  if (resume_) Resume(*resume_);
  resume_.reset();  // its memory
  if (group_ != nullptr) BeginTogether();

  TrainingResult result;
  bool finished = true;
  while (epoch_ <= training_.epochs && (finished = RunEpoch())) {
    epoch_ = EndEpoch() ? epoch_ + 1 : training_.epochs + 1;
    samples_ = 0;
    score_ = NewScore();
  }
  if (asked_ == Directive::kYield) optimizer_->GatherState();
  if (finished && leads()) {
    UseResultWeights();
    if (dataset_.test.samples > 0) {
      finished = EvaluateTest();
    } else if (training_.keep == spec::Keep::kBest && !validation_indices_.empty() &&
               WantsMetric(training_, spec::Metric::Kind::kConfusionMatrix)) {
      finished = Evaluate(dataset_.train, validation_indices_, "validation");
    }
  }
  if (asked_ == Directive::kYield && leads()) observer_->OnState(State());
  result.compute_seconds = compute_seconds_before_ + SecondsSince(begin_);
  result.training_seconds = training_seconds_;
  result.training_cpu_seconds = training_cpu_seconds_;
  if (!finished) {
    bool yielded = asked_ == Directive::kYield;
    result.end = yielded ? TrainingResult::End::kYielded : TrainingResult::End::kStopped;
    observer_->Log(Format("%s in epoch %lld after step %lld", yielded ? "yielded" : "stopped",
                          ToLong(std::min(epoch_, training_.epochs)), ToLong(step_)));
    return result;
  }
  result.end = TrainingResult::End::kSucceeded;
  result.metrics = metrics_;
  result.confusion_matrix = confusion_matrix_;
  result.precision = training_.precision;
  ExportWeights(&result);
  observer_->Log("finished:" + MetricsText());
  return result;
}

std::unique_ptr<DenseNetwork> Trainer::TryDenseNetwork() {
  // It writes gradients where autograd adds to them, and takes labels of one class.
  if (!loss_->plain() || job_.dataset_uri.augmentation.mixup > 0 || training_.accumulation > 1)
    return nullptr;
  return DenseNetwork::TryMake(&*model_, training_.loss, batch_size_);
}

void Trainer::LogSummary() {
  std::string layers;
  for (const auto& layer : job_.model.layers) {
    layers += " -> " + layer.name + " " + spec::ToString(layer.output_shape);
  }
  observer_->Log("model: input " + spec::ToString(job_.model.input_shape) + layers + "; " +
                 std::to_string(job_.model.parameters) + " parameters; " + device_.str() + ", " +
                 std::to_string(threads_) + (threads_ == 1 ? " thread" : " threads") +
                 (group_ == nullptr ? ""
                                    : "; rank " + std::to_string(group_->rank()) + " of " +
                                          std::to_string(group_->size())));
}

void Trainer::SplitSamples() {
  int64_t all = dataset_.train.samples;
  if (const int64_t validation = spec::ValidationSamples(training_, all); validation > 0) {
    train_indices_ = Permutation(all, training_.seed, 0);
    validation_indices_.assign(train_indices_.end() - validation, train_indices_.end());
    train_indices_.resize(static_cast<size_t>(all - validation));
    // In the order of the data set: reading goes forward, and the order of a sum is its own.
    std::sort(validation_indices_.begin(), validation_indices_.end());
  } else {
    train_indices_.resize(static_cast<size_t>(all));
    std::iota(train_indices_.begin(), train_indices_.end(), 0);
  }
  if (dataset_.train.files != nullptr) {
    // In the order of the files, by which the order of an epoch is made.
    std::sort(train_indices_.begin(), train_indices_.end());
    int64_t file = -1;
    for (size_t i = 0; i < train_indices_.size(); ++i) {
      const int64_t row = dataset_.train.rows[static_cast<size_t>(train_indices_[i])];
      if (file == dataset_.train.files->ShardOf(row)) continue;
      file = dataset_.train.files->ShardOf(row);
      first_of_file_.push_back(static_cast<int64_t>(i));
    }
  }
  samples_per_epoch_ = static_cast<int64_t>(train_indices_.size());
  // Batch statistics of one value do not exist: a last batch of one sample is left out.
  if (model_->needs_two_samples() && (batch_size_ == 1 || samples_per_epoch_ % batch_size_ == 1))
    --samples_per_epoch_;
  if (samples_per_epoch_ == 0) {
    throw FailureError{{"user_error",
                        "batch_normalization after a dense layer cannot train on batches of one "
                        "sample: they have no variance",
                        "use a batch_size of at least 2", "$.hyperparameters.batch_size"}};
  }
}

std::vector<int64_t> Trainer::OrderOfEpoch() const {
  const auto size = static_cast<int64_t>(train_indices_.size());
  const auto epoch = static_cast<uint64_t>(epoch_);
  std::vector<int64_t> order =
      dataset_.train.files == nullptr
          ? Permutation(size, training_.seed, epoch)
          : WindowPermutation(first_of_file_, size, job_.dataset_uri.stream.window, training_.seed,
                              epoch);
  for (int64_t& place : order) place = train_indices_[static_cast<size_t>(place)];
  return order;
}

void Trainer::CheckTargets() const {
  if (training_.loss != spec::Loss::kBinaryCrossEntropy &&
      !(training_.loss == spec::Loss::kKl && training_.target == spec::Target::kInput)) {
    return;
  }
  const bool input = training_.target == spec::Target::kInput;
  const data::ByteScale& scale = dataset_.train.scale;
  if (input && (scale.divisor < 255 || !scale.mean.empty())) {
    throw FailureError{{"user_error",
                        "the loss compares with numbers from 0 to 1, which the inputs are not",
                        scale.mean.empty() ? "set \"loss\" to \"mse\""
                                           : "leave normalize out, or set \"loss\" to \"mse\"",
                        "$.hyperparameters.loss"}};
  }
  if (input && dataset_.train.files != nullptr && dataset_.train.has_floats()) {
    throw FailureError{{"user_error",
                        "the loss compares with numbers from 0 to 1, which streamed data is not "
                        "looked through for",
                        "add stream=false to the data set's URI, or set \"loss\" to \"mse\"",
                        "$.hyperparameters.loss"}};
  }
  for (const data::Split* split : {&dataset_.train, &dataset_.test}) {
    const auto* values = input ? std::get_if<std::vector<float>>(&split->features)
                               : std::get_if<std::vector<float>>(&split->labels);
    if (values == nullptr) continue;  // bytes become 0 to 1; classes are 0 and 1, or one-hot rows
    for (float value : *values) {
      if (value >= 0 && value <= 1) continue;
      throw FailureError{
          {"user_error",
           Format("the loss compares with numbers from 0 to 1, found %g among the %s",
                  static_cast<double>(value), input ? "inputs" : "labels"),
           "scale them, or set \"loss\" to \"mse\"", "$.hyperparameters.loss"}};
    }
  }
}

// ---- the loop

bool Trainer::RunSearch(double rate) {
  const double loss_sum = score_.loss_sum();
  const int64_t correct = score_.correct();
  Before before(*this);
  bool first = true;
  if (optimizer_->Search(rate, [&]() -> std::optional<double> {
        if (!first && !GoOnTogether()) return std::nullopt;
        at::AutoGradMode with_gradients(true);
        return ComputeGradients(1, /*anew=*/true, /*counted=*/std::exchange(first, false));
      })) {
    return true;
  }
  score_.Resume(samples_, loss_sum, correct);
  before.GoBack();
  return false;
}

Trainer::Step Trainer::RunStep(int64_t count) {
  const double rate = schedule_->At(step_, epoch_);
  if (optimizer_->searches()) {
    if (!RunSearch(rate)) return Step::kGivenUp;
  } else if (training_.accumulation == 1) {
    (void)ComputeGradients(1, /*anew=*/true, /*counted=*/true);
    LimitGradients();
    optimizer_->Step(rate);
  } else {
    // The gradients of a step are those of the mean over all its samples, also where its last batch
    // is smaller.
    const int64_t group = training_.accumulation * batch_size_;
    const int64_t before = samples_ % group;
    const int64_t in_group = std::min(group, samples_per_epoch_ - (samples_ - before));
    const bool ends_step = before + count == in_group;
    const double part = static_cast<double>(count) / static_cast<double>(in_group);
    if (group_ != nullptr) {
      (void)ComputeGangGradients(part, /*anew=*/before == 0, /*counted=*/true, ends_step);
    } else {
      (void)ComputeGradients(part, /*anew=*/before == 0, /*counted=*/true);
    }
    if (!ends_step) return Step::kNone;
    LimitGradients();
    optimizer_->Step(rate);
  }
  ++step_;
  UpdateAverage();
  return Step::kMade;
}

double Trainer::ComputeGradients(double part, bool anew, bool counted) {
  if (group_ != nullptr) return ComputeGangGradients(part, anew, counted, /*ends_step=*/true);
  const Feed& batch = *feed_;
  // Before the step that it would spoil.
  auto count = [&](const auto& loss, const at::Tensor& output) {
    if (!counted) return;
    score_.Add(loss, output, batch);
    if (score_.Diverged(/*exact=*/false)) ThrowLossDiverged();
  };
  if (dense_network_ != nullptr) {
    double loss = dense_network_->ComputeGradients(batch.x(), batch.y());
    count(loss, dense_network_->output());
    return loss;
  }
  at::Tensor output = ForwardTraining();
  at::Tensor loss = (*loss_)(output, batch.y());
  count(loss, output);
  if (anew) model_->gradients().zero_();
  (part == 1 ? loss : loss.mul(part)).backward();
  return optimizer_->searches() ? loss.item<double>() : 0;
}

void Trainer::LimitGradients() {
  const at::Tensor& gradients = model_->gradients();
  if (training_.clip_value > 0) {
    gradients.clamp_(-training_.clip_value, training_.clip_value);
  } else if (training_.clip_norm > 0) {
    // As torch.nn.utils.clip_grad_norm_; without waiting for a GPU.
    gradients.mul_(
        at::reciprocal(gradients.norm().add_(1e-6)).mul_(training_.clip_norm).clamp_max_(1));
  }
}

void Trainer::UpdateAverage() {
  if (!wants_average()) return;
  at::NoGradGuard no_grad;
  if (step_ == 1) {
    average_.copy_(model_->parameters());
  } else {
    average_.lerp_(model_->parameters(), 1 - training_.ema_decay);
  }
}

bool Trainer::EndEpoch() {
  if (!training_.monitors()) return true;
  auto found = metrics_.find(training_.monitor);
  const double value =
      found == metrics_.end() ? std::numeric_limits<double>::quiet_NaN() : found->second;
  schedule_->EpochDone(value);
  if (training_.keep == spec::Keep::kBest && kept_.Add(value)) KeepBest();
  if (training_.patience == 0) return true;
  stopping_.Add(value);
  if (stopping_.waited() < training_.patience) return true;
  observer_->Log(Format("stopping early: %s has not improved on %g for %lld epochs",
                        training_.monitor.c_str(), stopping_.best(), ToLong(training_.patience)));
  return false;
}

bool Trainer::GoOn() {
  asked_ = observer_->Asked();
  return asked_ == Directive::kGoOn;
}

bool Trainer::GoOnTogether() {
  if (group_ == nullptr) return GoOn();
  asked_ = agreed_;
  return asked_ == Directive::kGoOn;
}

void Trainer::TellStarted() {
  if (std::exchange(started_, true)) return;
  observer_->OnStarted({device_.str(), threads_, job_.model.parameters, resumed_});
}

bool Trainer::RunEpoch() {
  auto begin = Clock::now();
  std::clock_t cpu_begin = std::clock();
  auto last_report = begin;
  const int64_t samples_before = samples_;
  // Of the samples of this call; those of an earlier run were at another speed.
  auto report_training = [&] {
    score_.Report("train", &metrics_);
    metrics_["learning_rate"] = schedule_->At(std::max<int64_t>(step_ - 1, 0), epoch_);
    if (samples_ == samples_before) return;
    metrics_["samples_per_second"] =
        static_cast<double>(samples_ - samples_before) / std::max(SecondsSince(begin), 1e-9);
  };
  const std::vector<int64_t> order = OrderOfEpoch();
  std::vector<BatchPart> parts;
  for (int64_t first = samples_; first < samples_per_epoch_; first += batch_size_) {
    const int64_t count = std::min(batch_size_, samples_per_epoch_ - first);
    const Slice slice = SliceOf(count);
    if (slice.count > 0) parts.push_back({order.data() + first, count, slice.begin, slice.count});
  }
  feed_->Begin(epoch_, parts);
  auto last_counted = begin;
  auto count_seconds = [&] {
    auto now = Clock::now();
    std::clock_t cpu_now = std::clock();
    training_seconds_ += std::chrono::duration<double>(now - last_counted).count();
    training_cpu_seconds_ += static_cast<double>(cpu_now - cpu_begin) / CLOCKS_PER_SEC;
    last_counted = now;
    cpu_begin = cpu_now;
  };
  while (samples_ < samples_per_epoch_) {
    int64_t count = std::min(batch_size_, samples_per_epoch_ - samples_);
    LoadBatch(order.data() + samples_, count);
    Step step = Step::kNone;
    try {
      step = RunStep(count);
    } catch (const BadInputError& error) {
      ThrowBadSample(error, "training",
                     order[static_cast<size_t>(samples_ + slice_.begin + error.sample())]);
    }
    if (step == Step::kGivenUp) {
      count_seconds();
      return false;
    }
    samples_ += count;
    TellStarted();
    auto now = Clock::now();
    bool end = samples_ >= samples_per_epoch_;
    bool report = now - last_report >= kBetweenReports && !end;
    if (!device_.is_cpu() && score_.Diverged(report || end)) ThrowLossDiverged();
    if (step == Step::kMade) observer_->OnStep(step_);
    if (group_ != nullptr && step == Step::kNone)
      continue;  // they agree, and their gradients are one, at steps
    if (StateWanted()) {
      count_seconds();
      optimizer_->GatherState();
      if (leads()) observer_->OnState(State());
    }
    if (!GoOnTogether()) {
      count_seconds();
      return false;
    }
    if (report) {
      last_report = now;
      report_training();
      SendProgress(samples_, false);
    }
  }
  count_seconds();
  TellStarted();
  report_training();
  CheckFinite();
  if (!EvaluateEpoch()) return false;
  observer_->Log(Format("epoch %lld/%lld:", ToLong(epoch_), ToLong(training_.epochs)) +
                 MetricsText());
  SendProgress(samples_per_epoch_, true);
  return true;
}

void Trainer::SendProgress(int64_t samples_of_epoch, bool end_of_epoch) {
  double epochs_done =
      static_cast<double>(epoch_ - 1) +
      static_cast<double>(samples_of_epoch) / static_cast<double>(samples_per_epoch_);
  observer_->OnProgress({epochs_done / static_cast<double>(training_.epochs), epoch_,
                         training_.epochs, step_, end_of_epoch, metrics_});
}

std::string Trainer::MetricsText() const {
  std::string text;
  for (const auto& [name, value] : metrics_) {
    const char* format = name == "samples_per_second" || name == "best_epoch" ? " %s %.0f"
                         : name == "learning_rate"                            ? " %s %g"
                                                                              : " %s %.4f";
    text += Format(format, name.c_str(), value);
  }
  return text;
}

void Trainer::CheckFinite() {
  at::NoGradGuard no_grad;
  const bool average = !wants_average() || IsFinite(average_);
  const bool model =
      IsFinite(model_->parameters()) &&
      std::all_of(model_->state().begin(), model_->state().end(), [](const auto& part) {
        return part.second.requires_grad() || IsFinite(part.second);
      });
  if (average && model) return;
  ThrowDiverged("the model's values are no longer finite numbers", step_,
                model ? "the average of the weights" : PartNotFinite(*model_));
}

void Trainer::ThrowLossDiverged() {
  std::string first;
  if (slice_.count > 0)
    first = FirstNotFinite(&*model_, *loss_, *feed_, [this] { return ForwardTraining(); });
  ThrowDiverged("the loss is no longer a finite number", device_.is_cpu() ? step_ + 1 : step_,
                first);
}

void Trainer::ThrowDiverged(const std::string& what, int64_t step, const std::string& first) {
  throw FailureError{{"diverged",
                      Format("%s in epoch %lld, step %lld%s%s", what.c_str(),
                             ToLong(std::min(epoch_, training_.epochs)), ToLong(step),
                             first.empty() ? "" : "; the first that is none: ", first.c_str()),
                      first == "the input"
                          ? "look for values in the data that are no finite numbers"
                          : Format("try a smaller learning_rate than %g, clip_norm, or scale the "
                                   "features",
                                   schedule_->At(step_, std::min(epoch_, training_.epochs))),
                      first == "the input" ? "$.dataset" : "$.hyperparameters.learning_rate"}};
}

at::Tensor Trainer::ForwardTraining() {
  return Forward(&*model_, feed_->x(), /*training=*/true, *loss_, training_.precision);
}

}  // namespace cyxwiz::runner
