// The state of a training between two steps: taken out, and gone on from.
#include <algorithm>
#include <cmath>
#include <map>
#include <utility>

#include "runner/data_type.h"
#include "runner/format.h"
#include "runner/trainer.h"

namespace cyxwiz::runner {

std::vector<std::pair<std::string, at::Tensor>> Trainer::StateTensors() {
  std::vector<std::pair<std::string, at::Tensor>> tensors;
  for (const auto& [name, tensor] : model_->state()) {
    tensors.emplace_back("model." + name, tensor.detach());
  }
  for (const auto& [value, flat] : optimizer_->state()) {
    for (const auto& [name, part] : model_->PartsOf(flat)) {
      tensors.emplace_back("optimizer." + value + "." + name, part);
    }
  }
  if (training_.accumulation > 1) {
    for (const auto& [name, part] : model_->PartsOf(model_->gradients())) {
      tensors.emplace_back("gradient." + name, part);
    }
  }
  if (wants_average()) {
    for (const auto& [name, part] : model_->PartsOf(average_)) {
      tensors.emplace_back("average." + name, part);
    }
  }
  for (size_t i = 0; i < best_.size(); ++i) {
    tensors.emplace_back("best." + model_->state()[i].first, best_[i]);
  }
  return tensors;
}

std::vector<std::pair<std::string, at::Generator>> Trainer::Generators() {
  std::vector<std::pair<std::string, at::Generator>> generators{
      {"random.cpu", at::globalContext().defaultGenerator(at::kCPU)}};
  if (!device_.is_cpu()) {
    generators.emplace_back("random.cuda", at::globalContext().defaultGenerator(device_));
  }
  return generators;
}

TrainingState Trainer::State() {
  TrainingState state;
  state.epoch = epoch_;
  state.samples = samples_;
  state.step = step_;
  state.loss_sum = score_.loss_sum();
  state.correct = score_.correct();
  if (!std::isfinite(state.loss_sum)) ThrowLossDiverged();  // on a GPU known only now
  CheckFinite();
  state.metrics = metrics_;
  auto add_numbers = [&](const std::string& prefix, const std::map<std::string, double>& numbers) {
    for (const auto& [name, value] : numbers) state.numbers[prefix + name] = value;
  };
  add_numbers("optimizer.", optimizer_->numbers());
  add_numbers("schedule.", schedule_->numbers());
  for (auto [name, improvement] : {std::pair("keep.", &kept_), std::pair("stop.", &stopping_)}) {
    add_numbers(name, {{"best", improvement->best()},
                       {"waited", static_cast<double>(improvement->waited())}});
  }
  if (best_epoch_ > 0) {
    add_numbers("best.", {{"epoch", static_cast<double>(best_epoch_)}});
    add_numbers("best.metric.", best_metrics_);
  }
  if (settles_precision_) {
    state.numbers["precision"] = training_.precision == spec::Precision::kBfloat16 ? 16 : 32;
  }
  state.compute_seconds =
      compute_seconds_before_ + std::chrono::duration<double>(Clock::now() - begin_).count();
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
  optimizer_->Settle();
  return state;
}

namespace {

// Those whose names begin with the prefix, without it.
std::map<std::string, double> Under(const std::map<std::string, double>& numbers,
                                    const std::string& prefix) {
  std::map<std::string, double> under;
  for (auto entry = numbers.lower_bound(prefix);
       entry != numbers.end() && entry->first.starts_with(prefix); ++entry) {
    under[entry->first.substr(prefix.size())] = entry->second;
  }
  return under;
}

}  // namespace

void Trainer::PrepareFor(int64_t step, const std::map<std::string, double>& numbers) {
  auto number = [&](const char* name, double otherwise) {
    auto found = numbers.find(name);
    return found == numbers.end() ? otherwise : found->second;
  };
  optimizer_->Resume(step, Under(numbers, "optimizer."));
  schedule_->Resume(Under(numbers, "schedule."));
  kept_.Resume(number("keep.best", kept_.best()), static_cast<int64_t>(number("keep.waited", 0)));
  stopping_.Resume(number("stop.best", stopping_.best()),
                   static_cast<int64_t>(number("stop.waited", 0)));
  best_epoch_ = static_cast<int64_t>(number("best.epoch", 0));
  best_metrics_ = Under(numbers, "best.metric.");
  best_.clear();
  if (best_epoch_ == 0) return;
  for (const auto& [name, tensor] : model_->state()) {
    best_.push_back(at::empty_like(tensor.detach()));
  }
}

void Trainer::Resume(const TrainingState& state) {
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
  const Improvement kept = kept_, stopping = stopping_;
  auto begin_anew = [&] {
    kept_ = kept;
    stopping_ = stopping;
    PrepareFor(0, {});
  };
  PrepareFor(state.step, state.numbers);
  auto tensors = StateTensors();
  auto generators = Generators();
  for (const auto& [name, tensor] : tensors) {
    if (!fits(name, tensor)) return begin_anew();
  }
  for (const auto& [name, generator] : generators) {
    if (!fits(name, generator.get_state())) return begin_anew();
  }
  if (state.epoch < 1 || state.epoch > training_.epochs + 1 || state.samples < 0 ||
      state.samples > samples_per_epoch_ || state.step < 0 ||
      (state.samples % batch_size_ != 0 && state.samples != samples_per_epoch_)) {
    observer_->Log(
        Format("cannot go on from the checkpoint: epoch %lld with %lld samples is no "
               "place in this training; beginning at the beginning",
               ToLong(state.epoch), ToLong(state.samples)));
    return begin_anew();
  }
  at::NoGradGuard no_grad;
  for (auto& [name, tensor] : tensors) tensor.copy_(given[name]);
  optimizer_->Settle();
  for (auto& [name, generator] : generators) generator.set_state(given[name].clone());
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

}  // namespace cyxwiz::runner
