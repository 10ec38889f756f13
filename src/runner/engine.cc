#include "runner/engine.h"

#include <algorithm>
#include <chrono>
#include <cmath>
#include <cstdio>
#include <ctime>
#include <numeric>
#include <optional>
#include <utility>

#include "runner/batches.h"
#include "runner/dense_network.h"
#include "runner/module.h"
#include "runner/optimizer.h"
#include "runner/permutation.h"

namespace cyxwiz::runner {
namespace {

using Clock = std::chrono::steady_clock;

constexpr std::chrono::milliseconds kBetweenReports(100);
// Forward passes alone need little memory, so evaluation takes larger batches: at most this many
// samples, and values of all layers' outputs together.
constexpr int64_t kMostEvaluationSamples = 1024;
constexpr int64_t kMostEvaluationValues = 8 << 20;

double SecondsSince(Clock::time_point begin) {
  return std::chrono::duration<double>(Clock::now() - begin).count();
}

std::string Format(const char* format, auto... arguments) {
  char text[512];
  std::snprintf(text, sizeof text, format, arguments...);
  return text;
}

int64_t Count(const spec::Shape& shape) {
  return std::accumulate(shape.begin(), shape.end(), int64_t{1}, std::multiplies<>());
}

// Throws what becomes a Failure.
struct FailureError {
  Failure failure;
};

at::Device ChooseDevice(const spec::JobSpec& job) {
  bool wants_gpu = job.device == spec::Device::kCuda ||
                   (job.device == spec::Device::kAny && job.resources.gpus > 0);
  if (job.device != spec::Device::kAny && job.device != spec::Device::kCpu && !wants_gpu) {
    throw FailureError{{"user_error", "the runner trains on cpu and cuda only",
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

// What the loss compares the model's output with.
enum class Target { kClass, kOneHotClass, kNumber };

Target TargetOf(const spec::JobSpec& job, const data::Split& split) {
  if (job.training.loss == spec::Loss::kCrossEntropy) return Target::kClass;
  bool classes = std::holds_alternative<std::vector<int64_t>>(split.labels);
  return classes && job.model.output_shape[0] > 1 ? Target::kOneHotClass : Target::kNumber;
}

// Feeds batches of one split to the model: on the CPU copied straight from the data set into one
// buffer, on a GPU selected from a copy of the whole split there.
class Batches {
 public:
  // most: samples of the largest batch.
  Batches(const spec::JobSpec& job, const data::Split& split, at::Device device, int64_t most)
      : split_(split),
        device_(device),
        target_(TargetOf(job, split)),
        sample_values_(Count(job.model.input_shape)),
        outputs_(job.model.output_shape[0]) {
    at::TensorOptions floats = at::TensorOptions(at::kFloat).device(device);
    std::vector<int64_t> x_shape = job.model.input_shape;
    x_shape.insert(x_shape.begin(), device.is_cpu() ? most : split.samples);
    if (device.is_cpu()) {
      all_x_ = at::empty(x_shape, floats);
      if (target_ != Target::kNumber) classes_ = at::empty({most}, at::kLong);
      all_y_ = target_ == Target::kNumber        ? at::empty({most, 1}, floats)
               : target_ == Target::kOneHotClass ? at::empty({most, outputs_}, floats)
                                                 : classes_;
      return;
    }
    auto to_device = [&](const auto& values, at::IntArrayRef shape, at::ScalarType type) {
      return at::from_blob(const_cast<void*>(static_cast<const void*>(values.data())), shape, type)
          .to(device);
    };
    const auto* bytes = std::get_if<std::vector<uint8_t>>(&split.features);
    all_x_ = bytes != nullptr
                 ? to_device(*bytes, x_shape, at::kByte)
                 : to_device(std::get<std::vector<float>>(split.features), x_shape, at::kFloat);
    const auto* classes = std::get_if<std::vector<int64_t>>(&split.labels);
    all_y_ = classes != nullptr ? to_device(*classes, {split.samples}, at::kLong)
                                : to_device(std::get<std::vector<float>>(split.labels),
                                            {split.samples}, at::kFloat);
  }

  // Makes x, y and classes the samples indices[0 .. count), count at least 1 and at most `most`.
  void Load(const int64_t* indices, int64_t count) {
    if (!device_.is_cpu()) return Select(indices, count);
    if (count_ != count) {
      x_ = all_x_.narrow(0, 0, count);
      y_ = all_y_.narrow(0, 0, count);
      count_ = count;
    }
    GatherFeatures(split_, sample_values_, indices, count, all_x_.data_ptr<float>());
    if (target_ == Target::kNumber) {
      return GatherNumbers(split_, indices, count, all_y_.data_ptr<float>());
    }
    GatherClasses(split_, indices, count, classes_.data_ptr<int64_t>());
    if (target_ == Target::kClass) return;
    float* row = all_y_.data_ptr<float>();
    std::fill_n(row, count * outputs_, 0.0f);
    for (int64_t i = 0; i < count; ++i, row += outputs_) row[classes_.data_ptr<int64_t>()[i]] = 1;
  }

  const at::Tensor& x() const { return x_; }
  const at::Tensor& y() const { return y_; }  // as the loss takes it
  int64_t count() const { return count_; }
  bool classification() const { return target_ != Target::kNumber; }
  int64_t outputs() const { return outputs_; }
  // The class numbers of the batch; on the CPU valid in the first count() places.
  const at::Tensor& classes() const { return classes_; }

 private:
  void Select(const int64_t* indices, int64_t count) {
    count_ = count;
    at::Tensor index = at::from_blob(const_cast<int64_t*>(indices), {count}, at::kLong).to(device_);
    x_ = all_x_.index_select(0, index);
    if (x_.scalar_type() == at::kByte) x_ = x_.to(at::kFloat).div_(255);
    y_ = all_y_.index_select(0, index);
    if (target_ == Target::kNumber) {
      y_ = y_.to(at::kFloat).unsqueeze(1);
      return;
    }
    classes_ = y_;
    if (target_ == Target::kOneHotClass) y_ = at::one_hot(classes_, outputs_).to(at::kFloat);
  }

  const data::Split& split_;
  at::Device device_;
  Target target_;
  int64_t sample_values_, outputs_;
  at::Tensor all_x_, all_y_, x_, y_, classes_;
  int64_t count_ = 0;
};

// Loss and accuracy over batches. On a GPU the sums stay there until they are asked for, so that no
// step waits.
class Score {
 public:
  explicit Score(at::Device device) : device_(device) {}

  // On the CPU.
  void Add(double loss, const at::Tensor& output, const Batches& batch) {
    samples_ += batch.count();
    last_loss_ = loss;
    loss_ += loss * static_cast<double>(batch.count());
    if (!batch.classification()) return;
    const at::Tensor scores = output.contiguous();
    correct_ += CountCorrect(scores.data_ptr<float>(), batch.classes().data_ptr<int64_t>(),
                             batch.count(), batch.outputs());
  }

  void Add(const at::Tensor& loss, const at::Tensor& output, const Batches& batch) {
    if (device_.is_cpu()) return Add(*loss.data_ptr<float>(), output, batch);
    samples_ += batch.count();
    at::NoGradGuard no_grad;
    if (!device_loss_.defined()) {
      device_loss_ = at::zeros({}, at::TensorOptions(at::kDouble).device(device_));
      device_correct_ = at::zeros({}, at::TensorOptions(at::kLong).device(device_));
    }
    device_loss_.add_(loss.detach(), batch.count());
    if (batch.classification()) {
      device_correct_.add_(output.argmax(1).eq(batch.classes()).sum());
    }
  }

  // Whether the loss has become NaN or infinite; on a GPU known only at reports (exact = true waits
  // for it).
  bool Diverged(bool exact) const {
    if (device_.is_cpu()) return !std::isfinite(last_loss_);
    return exact && device_loss_.defined() && !std::isfinite(device_loss_.item<double>());
  }

  void Report(const std::string& part, bool classification, Metrics* metrics) const {
    if (samples_ == 0) return;
    (*metrics)[part + "_loss"] = loss_sum() / static_cast<double>(samples_);
    if (classification) {
      (*metrics)[part + "_accuracy"] =
          static_cast<double>(correct()) / static_cast<double>(samples_);
    }
  }

  double loss_sum() const { return device_loss_.defined() ? device_loss_.item<double>() : loss_; }
  int64_t correct() const {
    return device_correct_.defined() ? device_correct_.item<int64_t>() : correct_;
  }

  // Goes on as after `samples` with these sums.
  void Resume(int64_t samples, double loss_sum, int64_t correct) {
    samples_ = samples;
    loss_ = loss_sum;
    correct_ = correct;
    if (device_.is_cpu() || samples == 0) return;
    device_loss_ = at::full({}, loss_sum, at::TensorOptions(at::kDouble).device(device_));
    device_correct_ = at::full({}, correct, at::TensorOptions(at::kLong).device(device_));
  }

 private:
  at::Device device_;
  int64_t samples_ = 0, correct_ = 0;
  double loss_ = 0, last_loss_ = 0;
  at::Tensor device_loss_, device_correct_;
};

at::ScalarType ScalarTypeOf(DataType type) {
  switch (type) {
    case DataType::kFloat32:
      return at::kFloat;
    case DataType::kInt64:
      return at::kLong;
    case DataType::kUint8:
      return at::kByte;
  }
  return at::kFloat;
}
DataType DataTypeOf(const at::Tensor& tensor) {
  return tensor.scalar_type() == at::kLong   ? DataType::kInt64
         : tensor.scalar_type() == at::kByte ? DataType::kUint8
                                             : DataType::kFloat32;
}

// One training run.
class Trainer {
 public:
  Trainer(const spec::JobSpec& job, const data::Dataset& dataset, int threads_allowed,
          TrainingObserver* observer, std::optional<TrainingState> resume)
      : job_(job),
        training_(job.training),
        dataset_(dataset),
        observer_(observer),
        resume_(std::move(resume)),
        device_(ChooseDevice(job)),
        classification_(TargetOf(job, dataset.train) != Target::kNumber),
        logits_(training_.loss == spec::Loss::kCrossEntropy),
        score_(device_) {
    batch_size_ = std::min(training_.batch_size, dataset.train.samples);
    threads_ = ChooseThreads(3 * job.model.flops * batch_size_, training_.threads, threads_allowed);
  }

  TrainingResult Run() {
    begin_ = Clock::now();
    at::set_num_threads(threads_);
    at::manual_seed(training_.seed);
    model_.emplace(job_.model, device_);
    LogSummary();
    optimizer_ =
        MakeOptimizer(training_, model_->parameters(), model_->gradients(), kFusedOptimizers);
    SplitSamples();
    Batches batches(job_, dataset_.train, device_, batch_size_);
    dense_network_ = DenseNetwork::TryMake(&*model_, training_.loss, batch_size_);
    if (resume_) Resume(*resume_);
    resume_.reset();  // its memory

    TrainingResult result;
    bool finished = true;
    while (epoch_ <= training_.epochs && (finished = RunEpoch(&batches))) {
      ++epoch_;
      samples_ = 0;
      score_ = Score(device_);
    }
    if (finished && dataset_.test.samples > 0) {
      std::vector<int64_t> all(static_cast<size_t>(dataset_.test.samples));
      std::iota(all.begin(), all.end(), 0);
      finished = Evaluate(dataset_.test, all, "test");
    }
    if (asked_ == Directive::kYield) observer_->OnState(State());
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
    ExportWeights(&result);
    observer_->Log("finished:" + MetricsText());
    return result;
  }

 private:
  static long long ToLong(int64_t n) { return n; }

  void LogSummary() {
    std::string layers;
    for (const auto& layer : job_.model.layers) {
      layers += " -> " + layer.name + " " + spec::ToString(layer.output_shape);
    }
    observer_->Log("model: input " + spec::ToString(job_.model.input_shape) + layers + "; " +
                   std::to_string(job_.model.parameters) + " parameters; " + device_.str() + ", " +
                   std::to_string(threads_) + (threads_ == 1 ? " thread" : " threads"));
  }

  // Sets the validation samples aside.
  void SplitSamples() {
    int64_t all = dataset_.train.samples;
    int64_t validation = 0;
    if (training_.validation_split > 0) {
      validation = std::clamp<int64_t>(
          std::llround(training_.validation_split * static_cast<double>(all)), 1, all - 1);
      train_indices_ = Permutation(all, training_.seed, 0);
      validation_indices_.assign(train_indices_.end() - validation, train_indices_.end());
      train_indices_.resize(static_cast<size_t>(all - validation));
      // In the order of the data set: reading goes forward, and the order of a sum is its own.
      std::sort(validation_indices_.begin(), validation_indices_.end());
    } else {
      train_indices_.resize(static_cast<size_t>(all));
      std::iota(train_indices_.begin(), train_indices_.end(), 0);
    }
    samples_per_epoch_ = static_cast<int64_t>(train_indices_.size());
    // Batch statistics of one value do not exist: a last batch of one sample is left out.
    if (model_->needs_two_samples() && samples_per_epoch_ % batch_size_ == 1) --samples_per_epoch_;
    if (samples_per_epoch_ == 0) {
      throw FailureError{{"user_error",
                          "batch_normalization after a dense layer cannot train on batches of one "
                          "sample: they have no variance",
                          "use a batch_size of at least 2", "$.hyperparameters.batch_size"}};
    }
  }

  at::Tensor LossOf(const at::Tensor& output, const Batches& batch) {
    return logits_ ? at::cross_entropy_loss(output, batch.y()) : at::mse_loss(output, batch.y());
  }

  void RunStep(const Batches& batch, Score* score) {
    if (dense_network_ != nullptr) {
      double loss = dense_network_->ComputeGradients(batch.x(), batch.y());
      optimizer_->Step();
      score->Add(loss, dense_network_->output(), batch);
      return;
    }
    at::Tensor output = model_->Forward(batch.x(), /*training=*/true, logits_);
    at::Tensor loss = LossOf(output, batch);
    model_->gradients().zero_();
    loss.backward();
    optimizer_->Step();
    score->Add(loss, output, batch);
  }

  // Whether to go on; asked_ says why not.
  bool GoOn() {
    asked_ = observer_->Asked();
    return asked_ == Directive::kGoOn;
  }

  // What a state holds, sharing memory with the model and the optimizer.
  std::vector<std::pair<std::string, at::Tensor>> StateTensors() {
    std::vector<std::pair<std::string, at::Tensor>> tensors;
    for (const auto& [name, tensor] : model_->state()) {
      tensors.emplace_back("model." + name, tensor.detach());
    }
    for (const auto& [value, flat] : optimizer_->state()) {
      for (const auto& [name, part] : model_->PartsOf(flat)) {
        tensors.emplace_back("optimizer." + value + "." + name, part);
      }
    }
    return tensors;
  }
  // Those of libtorch's generators that the training draws from.
  std::vector<std::pair<std::string, at::Generator>> Generators() {
    std::vector<std::pair<std::string, at::Generator>> generators{
        {"random.cpu", at::globalContext().defaultGenerator(at::kCPU)}};
    if (!device_.is_cpu()) {
      generators.emplace_back("random.cuda", at::globalContext().defaultGenerator(device_));
    }
    return generators;
  }

  TrainingState State() {
    TrainingState state;
    state.epoch = epoch_;
    state.samples = samples_;
    state.step = step_;
    state.loss_sum = score_.loss_sum();
    state.correct = score_.correct();
    if (!std::isfinite(state.loss_sum)) ThrowDiverged();  // on a GPU known only now
    state.metrics = metrics_;
    state.compute_seconds = compute_seconds_before_ + SecondsSince(begin_);
    state.training_seconds = training_seconds_;
    state.training_cpu_seconds = training_cpu_seconds_;
    auto owner = std::make_shared<std::vector<at::Tensor>>();
    auto add = [&](const std::string& name, const at::Tensor& host) {
      owner->push_back(host);
      state.tensors.push_back({name, DataTypeOf(host), host.sizes().vec(), host.data_ptr()});
    };
    for (const auto& [name, tensor] : StateTensors()) {
      add(name, at::empty(tensor.sizes(), tensor.scalar_type()).copy_(tensor));
    }
    for (const auto& [name, generator] : Generators()) add(name, generator.get_state());
    state.owner = owner;
    return state;
  }

  // Leaves everything as it is, and says so, when the state is not one of this training.
  void Resume(const TrainingState& state) {
    std::map<std::string, at::Tensor> given;
    for (const TensorView& view : state.tensors) {
      given[view.name] = at::from_blob(const_cast<void*>(view.data), view.shape,
                                       at::TensorOptions(ScalarTypeOf(view.type)));
    }
    auto fits = [&](const std::string& name, const at::Tensor& like) {
      auto found = given.find(name);
      if (found != given.end() && found->second.sizes() == like.sizes() &&
          found->second.scalar_type() == like.scalar_type()) {
        return true;
      }
      observer_->Log("cannot go on from the checkpoint: its tensor '" + name + "' is " +
                     (found == given.end() ? "missing" : "of another shape or type") +
                     "; beginning at the beginning");
      return false;
    };
    auto tensors = StateTensors();
    auto generators = Generators();
    for (const auto& [name, tensor] : tensors) {
      if (!fits(name, tensor)) return;
    }
    for (const auto& [name, generator] : generators) {
      if (!fits(name, generator.get_state())) return;
    }
    if (state.epoch < 1 || state.epoch > training_.epochs + 1 || state.samples < 0 ||
        state.samples > samples_per_epoch_ || state.step < 0 ||
        (state.samples % batch_size_ != 0 && state.samples != samples_per_epoch_)) {
      observer_->Log(
          Format("cannot go on from the checkpoint: epoch %lld with %lld samples is no "
                 "place in this training; beginning at the beginning",
                 ToLong(state.epoch), ToLong(state.samples)));
      return;
    }
    at::NoGradGuard no_grad;
    for (auto& [name, tensor] : tensors) tensor.copy_(given[name]);
    for (auto& [name, generator] : generators) generator.set_state(given[name].clone());
    optimizer_->Resume(state.step);
    epoch_ = state.epoch;
    samples_ = state.samples;
    step_ = state.step;
    score_.Resume(state.samples, state.loss_sum, state.correct);
    metrics_ = state.metrics;
    compute_seconds_before_ = state.compute_seconds;
    training_seconds_ = state.training_seconds;
    training_cpu_seconds_ = state.training_cpu_seconds;
    resumed_ = {epoch_, step_};
    observer_->Log(
        Format("going on from a checkpoint: epoch %lld of %lld, %lld of its %lld samples"
               " done, step %lld",
               ToLong(std::min(epoch_, training_.epochs)), ToLong(training_.epochs),
               ToLong(epoch_ > training_.epochs ? samples_per_epoch_ : samples_),
               ToLong(samples_per_epoch_), ToLong(step_)));
  }

  void TellStarted() {
    if (std::exchange(started_, true)) return;
    observer_->OnStarted({device_.str(), threads_, job_.model.parameters, resumed_});
  }

  // From samples_ on. false: asked to end.
  bool RunEpoch(Batches* batches) {
    auto begin = Clock::now();
    std::clock_t cpu_begin = std::clock();
    auto last_report = begin;
    const int64_t samples_before = samples_;
    // Of the samples of this call; those of an earlier run were at another speed.
    auto report_training = [&] {
      score_.Report("train", classification_, &metrics_);
      if (samples_ == samples_before) return;
      metrics_["samples_per_second"] =
          static_cast<double>(samples_ - samples_before) / std::max(SecondsSince(begin), 1e-9);
    };
    std::vector<int64_t> order = Permutation(static_cast<int64_t>(train_indices_.size()),
                                             training_.seed, static_cast<uint64_t>(epoch_));
    for (int64_t& place : order) place = train_indices_[static_cast<size_t>(place)];
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
      batches->Load(order.data() + samples_, count);
      try {
        RunStep(*batches, &score_);
      } catch (const BadInputError& error) {
        ThrowBadSample(error, "training", order[static_cast<size_t>(samples_ + error.sample())]);
      }
      samples_ += count;
      ++step_;
      TellStarted();
      auto now = Clock::now();
      bool end = samples_ >= samples_per_epoch_;
      bool report = now - last_report >= kBetweenReports && !end;
      if (score_.Diverged(report || end)) ThrowDiverged();
      observer_->OnStep(step_);
      if (observer_->StateWanted()) {
        count_seconds();
        observer_->OnState(State());
      }
      if (!GoOn()) {
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
    if (!validation_indices_.empty() &&
        !Evaluate(dataset_.train, validation_indices_, "validation")) {
      return false;
    }
    observer_->Log(Format("epoch %lld/%lld:", ToLong(epoch_), ToLong(training_.epochs)) +
                   MetricsText());
    SendProgress(samples_per_epoch_, true);
    return true;
  }

  void SendProgress(int64_t samples_of_epoch, bool end_of_epoch) {
    double epochs_done =
        static_cast<double>(epoch_ - 1) +
        static_cast<double>(samples_of_epoch) / static_cast<double>(samples_per_epoch_);
    observer_->OnProgress({epochs_done / static_cast<double>(training_.epochs), epoch_,
                           training_.epochs, step_, end_of_epoch, metrics_});
  }

  // Adds the loss and accuracy over indices of a split to the metrics; false: asked to end.
  bool Evaluate(const data::Split& split, const std::vector<int64_t>& indices,
                const std::string& part) {
    TellStarted();
    at::NoGradGuard no_grad;
    int64_t values = Count(job_.model.input_shape);
    for (const auto& layer : job_.model.layers) values += Count(layer.output_shape);
    int64_t size = static_cast<int64_t>(indices.size());
    int64_t most = std::clamp(kMostEvaluationValues / values, std::min<int64_t>(batch_size_, 64),
                              kMostEvaluationSamples);
    most = std::min(most, size);
    Batches batches(job_, split, device_, most);
    Score score(device_);
    for (int64_t first = 0; first < size; first += most) {
      batches.Load(indices.data() + first, std::min(most, size - first));
      at::Tensor output;
      try {
        output = model_->Forward(batches.x(), /*training=*/false, logits_);
      } catch (const BadInputError& error) {
        ThrowBadSample(error, &split == &dataset_.test ? "test" : "training",
                       indices[static_cast<size_t>(first + error.sample())]);
      }
      score.Add(LossOf(output, batches), output, batches);
      if (!GoOn()) return false;
    }
    score.Report(part, classification_, &metrics_);
    return true;
  }

  [[noreturn]] static void ThrowBadSample(const BadInputError& error, const char* split,
                                          int64_t sample) {
    throw FailureError{{"user_error",
                        Format("sample %lld of the %s data ", ToLong(sample), split) + error.what(),
                        "correct the data, or raise the embedding's input_dim", "$.dataset"}};
  }

  [[noreturn]] void ThrowDiverged() {
    throw FailureError{{"diverged",
                        Format("the loss is no longer a finite number in epoch %lld, step %lld",
                               ToLong(epoch_), ToLong(step_)),
                        Format("try a smaller learning_rate than %g, or scale the features",
                               training_.learning_rate),
                        "$.hyperparameters.learning_rate"}};
  }

  void ExportWeights(TrainingResult* result) {
    auto owner = std::make_shared<std::vector<at::Tensor>>();
    for (const auto& [name, tensor] : model_->state()) {
      owner->push_back(tensor.detach().to(at::kCPU).contiguous());
      const at::Tensor& host = owner->back();
      result->weights.push_back({name, DataTypeOf(host), host.sizes().vec(), host.data_ptr()});
    }
    result->weights_owner = owner;
  }

  std::string MetricsText() const {
    std::string text;
    for (const auto& [name, value] : metrics_) {
      text += Format(name == "samples_per_second" ? " %s %.0f" : " %s %.4f", name.c_str(), value);
    }
    return text;
  }

  const spec::JobSpec& job_;
  const spec::TrainingSpec& training_;
  const data::Dataset& dataset_;
  TrainingObserver* observer_;
  std::optional<TrainingState> resume_;  // until it is taken over
  at::Device device_;
  bool classification_, logits_;
  int64_t batch_size_ = 0, samples_per_epoch_ = 0;
  int threads_ = 1;
  std::vector<int64_t> train_indices_, validation_indices_;
  std::optional<Model> model_;
  std::unique_ptr<DenseNetwork> dense_network_;  // instead of autograd, where it can
  std::unique_ptr<Optimizer> optimizer_;

  // Where it is; see TrainingState.
  int64_t epoch_ = 1, samples_ = 0, step_ = 0;
  Score score_;
  Metrics metrics_;

  Directive asked_ = Directive::kGoOn;
  bool started_ = false;
  std::optional<Started::Resumed> resumed_;
  Clock::time_point begin_;
  double compute_seconds_before_ = 0;  // the run
  double training_seconds_ = 0, training_cpu_seconds_ = 0;
};

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
    return {"out_of_memory", "training needs more memory than the attempt may use: " + message,
            "ask for more memory, or use a smaller batch_size or model", ""};
  }
  if (Contains(what, "CUDA out of memory")) {
    return {"out_of_gpu_memory", "training needs more memory than the GPU has free: " + message,
            "use a smaller batch_size or model, or a GPU with more memory", ""};
  }
  return {"internal", "training failed in libtorch: " + message, "", ""};
}

}  // namespace

TrainingResult Train(const spec::JobSpec& job, const data::Dataset& dataset, int threads_allowed,
                     TrainingObserver* observer, std::optional<TrainingState> resume) {
  TrainingResult result;
  try {
    return Trainer(job, dataset, threads_allowed, observer, std::move(resume)).Run();
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
