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
  if (!std::isfinite(state.loss_sum)) ThrowDiverged();  // on a GPU known only now
  state.metrics = metrics_;
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
  return state;
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

}  // namespace cyxwiz::runner
