#include "runner/module.h"

#include <algorithm>

#include "spec/count.h"
#include "spec/layers.h"

namespace cyxwiz::runner {
namespace {

using spec::Activation;

constexpr int64_t kAlignment = 16;  // floats: 64 bytes

int64_t Padded(int64_t values) { return (values + kAlignment - 1) / kAlignment * kAlignment; }

// Drawn on the CPU: the same on every device.
at::Tensor InitialValues(const spec::TensorSpec& tensor) {
  using Kind = spec::Initial::Kind;
  const double value = tensor.initial.value;
  at::ScalarType type = tensor.whole ? at::kLong : at::kFloat;
  switch (tensor.initial.kind) {
    case Kind::kConstant:
      return at::full(tensor.shape, value, type);
    case Kind::kUniform:
      return at::empty(tensor.shape, type).uniform_(-value, value);
    case Kind::kNormal:
      return at::empty(tensor.shape, type).normal_(0, value);
    case Kind::kZeroAfterUniform:
      return at::empty(tensor.shape, type).uniform_(-value, value).zero_();
  }
  return {};
}

// The same images with the values of a pixel side by side in memory.
at::Tensor ToChannelsLast(const at::Tensor& images) {
  if (images.size(1) != 1) return images.contiguous(at::MemoryFormat::ChannelsLast);
  // One channel lies the same both ways; the strides alone tell libtorch's kernels which is meant.
  int64_t height = images.size(2), width = images.size(3);
  return images.contiguous().as_strided(images.sizes(), {height * width, 1, width, 1});
}

bool IsActivation(const spec::LayerOptions& options, Activation activation) {
  const auto* o = std::get_if<spec::ActivationOptions>(&options);
  return o != nullptr && o->activation == activation;
}

bool IsMaximum(const spec::LayerOptions& options) {
  const auto* o = std::get_if<spec::PoolingOptions>(&options);
  return o != nullptr && !o->average;
}

bool ConvolvesImages(const spec::LayerOptions& options) {
  if (const auto* o = std::get_if<spec::ConvolutionOptions>(&options)) return o->kernel.size() == 2;
  return std::holds_alternative<spec::DepthwiseConvolutionOptions>(options) ||
         std::holds_alternative<spec::SeparableConvolutionOptions>(options) ||
         std::holds_alternative<spec::TransposedConvolutionOptions>(options);
}

// What a loss on logits takes upon itself.
bool IsProbability(const spec::LayerOptions& options) {
  return IsActivation(options, Activation::kSoftmax) || IsActivation(options, Activation::kSigmoid);
}

}  // namespace

Model::Model(const spec::ModelSpec& spec, at::Device device) {
  int64_t size = 0;
  for (const auto& layer : spec.layers) {
    for (const auto& tensor : spec::TensorsOf(layer)) {
      if (tensor.trainable) size += Padded(spec::ElementCount(tensor.shape));
    }
  }
  parameters_ = at::zeros({size}, at::TensorOptions(at::kFloat).device(device));
  gradients_and_notes_ = at::zeros({size + kNotes}, parameters_.options());
  gradients_ = gradients_and_notes_.narrow(0, 0, size);
  std::vector<size_t> values;  // that each layer gives
  // On the CPU poolings, and gradients of convolutions of few channels, are vectorised over the
  // channels then: whole steps of the usual models of images take 1.05 to 1.8 times less
  // (measured).
  channels_last_ = device.is_cpu() && spec.input_shape.size() == 3 &&
                   std::any_of(spec.layers.begin(), spec.layers.end(),
                               [](const auto& layer) { return ConvolvesImages(layer.options); });
  for (const auto& layer : spec.layers) AddLayer(layer, &values);
  Optimize();
}

at::Tensor Model::AddTensor(const std::string& layer, const spec::TensorSpec& tensor) {
  at::NoGradGuard no_grad;
  at::Tensor initial = InitialValues(tensor);
  const std::string name = layer + "." + tensor.name;
  if (!tensor.trainable) {
    state_.emplace_back(name, initial.to(parameters_.device()));
    return state_.back().second;
  }
  auto part_of = [&](const at::Tensor& flat) {
    at::Tensor part = flat.narrow(0, used_, initial.numel());
    if (!channels_last_ || initial.dim() != 4) return part.view(initial.sizes());
    // As the gradients of convolutions come then: they are added without being turned.
    const int64_t outputs = initial.size(0), inputs = initial.size(1), height = initial.size(2),
                  width = initial.size(3);
    return part.view({outputs, height, width, inputs}).permute({0, 3, 1, 2});
  };
  at::Tensor parameter = part_of(parameters_).copy_(initial).detach().requires_grad_();
  parameter.mutable_grad() = part_of(gradients_);
  used_ += Padded(initial.numel());
  state_.emplace_back(name, parameter);
  return parameter;
}

std::vector<std::pair<std::string, at::Tensor>> Model::PartsOf(const at::Tensor& flat) const {
  std::vector<std::pair<std::string, at::Tensor>> parts;
  for (const auto& [name, tensor] : state_) {
    if (!tensor.requires_grad()) continue;  // a buffer
    parts.emplace_back(name, flat.as_strided(tensor.sizes(), tensor.strides(),
                                             flat.storage_offset() + tensor.storage_offset()));
  }
  return parts;
}

void Model::AddLayer(const spec::LayerSpec& layer, std::vector<size_t>* values) {
  Step step;
  step.options = layer.options;
  step.layer = layer.name;
  for (const auto& tensor : spec::TensorsOf(layer)) {
    step.tensors.Add(tensor.name, AddTensor(layer.name, tensor));
  }
  const OperationKind& kind = FindOperationKind(layer.type);
  step.run = kind.make(layer, step.tensors);
  step.fresh = kind.fresh;
  step.flat_input = layer.input_shapes[0].size() == 1;
  for (int input : layer.inputs) {
    step.inputs.push_back(input == spec::kModelInput ? 0 : (*values)[static_cast<size_t>(input)]);
  }
  steps_.push_back(std::move(step));
  if (layer.activation != Activation::kNone) {
    AddActivation(layer.name, layer.activation);
  }
  values->push_back(steps_.size());
  needs_two_samples_ |= std::holds_alternative<spec::BatchNormalizationOptions>(layer.options) &&
                        spec::ElementCount(layer.input_shapes[0]) == layer.input_shapes[0][0];
}

void Model::AddActivation(const std::string& layer, Activation activation) {
  Step step;
  step.layer = layer;
  step.options = spec::ActivationOptions{activation, spec::DefaultAlpha(activation)};
  step.run = [activation](Inputs x, bool) { return Activate(activation, x[0]); };
  step.inputs = {steps_.size()};
  steps_.push_back(std::move(step));
}

void Model::Optimize() {
  std::vector<size_t> uses(steps_.size() + 1);
  for (const Step& step : steps_) {
    for (size_t value : step.inputs) ++uses[value];
  }
  // relu(max_pool(x)) is max_pool(relu(x)), gradients included, on a quarter of the values.
  for (size_t i = 0; i + 1 < steps_.size(); ++i) {
    if (IsActivation(steps_[i].options, Activation::kRelu) && IsMaximum(steps_[i + 1].options) &&
        steps_[i + 1].inputs[0] == i + 1 && uses[i + 1] == 1) {
      std::swap(steps_[i], steps_[i + 1]);
      std::swap(steps_[i].inputs, steps_[i + 1].inputs);
    }
  }
  for (Step& step : steps_) {
    const size_t value = step.inputs[0];
    if (IsActivation(step.options, Activation::kRelu) && value > 0 && steps_[value - 1].fresh &&
        uses[value] == 1) {
      step.run = [](Inputs x, bool) { return x[0].relu_(); };
    }
  }
  for (Step& step : steps_) {
    for (size_t value : step.inputs) {
      if (--uses[value] == 0) step.released.push_back(value);
    }
  }
}

at::Tensor Model::Forward(at::Tensor input, bool training, bool logits) {
  std::vector<at::Tensor> values(steps_.size() + 1);
  values[0] = channels_last_ ? ToChannelsLast(input) : std::move(input);
  std::vector<at::Tensor> joined;
  for (size_t i = 0; i < steps_.size(); ++i) {
    Step& step = steps_[i];
    bool last = i + 1 == steps_.size();
    if (last && logits && IsProbability(step.options)) {
      return values[step.inputs[0]];
    }
    if (step.inputs.size() == 1) {
      values[i + 1] = step.run(Inputs(&values[step.inputs[0]], 1), training);
    } else {
      for (size_t value : step.inputs) joined.push_back(values[value]);
      values[i + 1] = step.run(joined, training);
      joined.clear();
    }
    if (watch_) watch_(step.layer, values[i + 1]);
    for (size_t value : step.released) values[value].reset();
  }
  return values.back();
}

}  // namespace cyxwiz::runner
