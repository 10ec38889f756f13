#include "runner/module.h"

#include <algorithm>
#include <cmath>
#include <limits>

namespace cyxwiz::runner {
namespace {

using spec::Activation;

template <typename... T>
struct Overloaded : T... {
  using T::operator()...;
};
template <typename... T>
Overloaded(T...) -> Overloaded<T...>;

constexpr int64_t kAlignment = 16;  // floats: 64 bytes

int64_t Padded(int64_t values) { return (values + kAlignment - 1) / kAlignment * kAlignment; }

// Shapes of a layer's trainable tensors: weight, then bias; empty when it has none.
std::vector<std::vector<int64_t>> ParameterShapes(const spec::LayerSpec& layer) {
  using Shapes = std::vector<std::vector<int64_t>>;
  return std::visit(Overloaded{
                        [&](const spec::DenseOptions& o) {
                          Shapes shapes{{o.units, layer.input_shape.back()}};
                          if (o.use_bias) shapes.push_back({o.units});
                          return shapes;
                        },
                        [&](const spec::Conv2dOptions& o) {
                          Shapes shapes{{o.filters, layer.input_shape[0] / o.groups,
                                         o.kernel_height, o.kernel_width}};
                          if (o.use_bias) shapes.push_back({o.filters});
                          return shapes;
                        },
                        [&](const spec::BatchNormalizationOptions&) {
                          return Shapes{{layer.input_shape[0]}, {layer.input_shape[0]}};
                        },
                        [](const auto&) { return Shapes{}; },
                    },
                    layer.options);
}

int64_t Count(const std::vector<int64_t>& shape) {
  int64_t count = 1;
  for (int64_t n : shape) count *= n;
  return count;
}

// PyTorch's default for Linear and Conv2d: kaiming_uniform_(a=sqrt(5)) for the weight and
// 1/sqrt(fan_in) for the bias, computed in its order of operations, so that the last bit is the
// same. Drawn on the CPU: the same on every device.
double WeightBound(double fan_in) {
  return std::sqrt(3.0) * (std::sqrt(2.0 / (1 + 5)) / std::sqrt(fan_in));
}
double BiasBound(double fan_in) { return 1 / std::sqrt(fan_in); }
at::Tensor Uniform(const std::vector<int64_t>& shape, double bound) {
  return at::empty(shape, at::kFloat).uniform_(-bound, bound);
}

// Zeros needed in one dimension so that `out` windows fit, the odd one at the end.
std::pair<int64_t, int64_t> SamePadding(int64_t in, int64_t out, int64_t window, int64_t stride) {
  int64_t total = std::max<int64_t>((out - 1) * stride + window - in, 0);
  return {total / 2, total - total / 2};
}

std::vector<int64_t> SamePadding2d(const spec::LayerSpec& layer, int64_t window_height,
                                   int64_t window_width, int64_t stride_height,
                                   int64_t stride_width) {
  auto [top, bottom] =
      SamePadding(layer.input_shape[1], layer.output_shape[1], window_height, stride_height);
  auto [left, right] =
      SamePadding(layer.input_shape[2], layer.output_shape[2], window_width, stride_width);
  if (top + bottom + left + right == 0) return {};
  return {left, right, top, bottom};
}

at::Tensor Activate(Activation activation, at::Tensor x, bool in_place) {
  switch (activation) {
    case Activation::kNone:
      return x;
    case Activation::kRelu:
      return in_place ? x.relu_() : at::relu(x);
    case Activation::kSigmoid:
      return at::sigmoid(x);
    case Activation::kTanh:
      return at::tanh(x);
    case Activation::kGelu:
      return at::gelu(x);
    case Activation::kSoftmax:
      return at::softmax(x, 1);
  }
  return x;
}

// Whether a layer's result shares memory with nothing, and its gradient does not need the result.
bool ReturnsFreshMemory(const spec::LayerOptions& options) {
  return !std::holds_alternative<spec::FlattenOptions>(options) &&
         !std::holds_alternative<spec::DropoutOptions>(options) &&
         !std::holds_alternative<spec::ActivationOptions>(options);
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

}  // namespace

Model::Model(const spec::ModelSpec& spec, at::Device device) {
  int64_t values = 0;
  for (const auto& layer : spec.layers) {
    for (const auto& shape : ParameterShapes(layer)) values += Padded(Count(shape));
  }
  parameters_ = at::zeros({values}, at::TensorOptions(at::kFloat).device(device));
  gradients_ = at::zeros_like(parameters_);
  for (const auto& layer : spec.layers) AddLayer(layer);
  // On the CPU poolings, and gradients of convolutions of few channels, are vectorised over the
  // channels then: whole steps of the usual models of images take 1.05 to 1.8 times less
  // (measured).
  channels_last_ = device.is_cpu() && std::any_of(steps_.begin(), steps_.end(), [](const Step& s) {
                     return std::holds_alternative<spec::Conv2dOptions>(s.options);
                   });
  // relu(max_pool(x)) is max_pool(relu(x)), gradients included, on a quarter of the values.
  for (size_t i = 0; i + 1 < steps_.size(); ++i) {
    if (IsActivation(steps_[i].options, Activation::kRelu) &&
        std::holds_alternative<spec::MaxPooling2dOptions>(steps_[i + 1].options)) {
      std::swap(steps_[i], steps_[i + 1]);
    }
  }
  for (size_t i = 1; i < steps_.size(); ++i) {
    steps_[i].in_place = IsActivation(steps_[i].options, Activation::kRelu) &&
                         ReturnsFreshMemory(steps_[i - 1].options);
  }
}

at::Tensor Model::AddParameter(const std::string& name, const at::Tensor& initial) {
  at::NoGradGuard no_grad;
  auto part_of = [&](const at::Tensor& flat) {
    return flat.narrow(0, used_, initial.numel()).view(initial.sizes());
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
    parts.emplace_back(
        name, flat.narrow(0, tensor.storage_offset(), tensor.numel()).view(tensor.sizes()));
  }
  return parts;
}

at::Tensor Model::AddBuffer(const std::string& name, const at::Tensor& initial) {
  state_.emplace_back(name, initial.to(parameters_.device()));
  return state_.back().second;
}

void Model::AddLayer(const spec::LayerSpec& layer) {
  Step step{layer.options};
  step.flat_input = layer.input_shape.size() == 1;
  std::vector<std::vector<int64_t>> shapes = ParameterShapes(layer);
  const std::string weight_name = layer.name + ".weight", bias_name = layer.name + ".bias";
  std::visit(
      Overloaded{
          [&](const spec::BatchNormalizationOptions&) {
            step.weight = AddParameter(weight_name, at::ones(shapes[0]));
            step.bias = AddParameter(bias_name, at::zeros(shapes[1]));
            step.running_mean = AddBuffer(layer.name + ".running_mean", at::zeros(shapes[0]));
            step.running_var = AddBuffer(layer.name + ".running_var", at::ones(shapes[0]));
            step.batches = AddBuffer(layer.name + ".num_batches_tracked", at::zeros({}, at::kLong));
            needs_two_samples_ |= Count(layer.input_shape) == layer.input_shape[0];
          },
          [&](const spec::MaxPooling2dOptions& o) {
            if (o.padding == spec::Padding::kSame) {
              step.padding = SamePadding2d(layer, o.pool_height, o.pool_width, o.stride_height,
                                           o.stride_width);
            }
          },
          [&](const spec::AveragePooling2dOptions& o) {
            if (o.padding == spec::Padding::kSame) {
              step.padding = SamePadding2d(layer, o.pool_height, o.pool_width, o.stride_height,
                                           o.stride_width);
            }
            if (step.padding.empty()) return;
            at::Tensor image =
                at::ones({1, 1, layer.input_shape[1], layer.input_shape[2]}, parameters_.options());
            step.share =
                at::avg_pool2d(at::constant_pad_nd(image, step.padding),
                               {o.pool_height, o.pool_width}, {o.stride_height, o.stride_width});
          },
          [&](const auto& o) {
            if (shapes.empty()) return;
            double fan_in = static_cast<double>(Count(shapes[0]) / shapes[0][0]);
            step.weight = AddParameter(weight_name, Uniform(shapes[0], WeightBound(fan_in)));
            if (shapes.size() > 1) {
              step.bias = AddParameter(bias_name, Uniform(shapes[1], BiasBound(fan_in)));
            }
            if constexpr (std::is_same_v<std::decay_t<decltype(o)>, spec::Conv2dOptions>) {
              if (o.padding == spec::Padding::kSame) {
                step.padding = SamePadding2d(layer, o.dilation * (o.kernel_height - 1) + 1,
                                             o.dilation * (o.kernel_width - 1) + 1, o.stride_height,
                                             o.stride_width);
              }
            }
          },
      },
      layer.options);
  steps_.push_back(std::move(step));
  if (layer.activation != Activation::kNone) {
    steps_.push_back({spec::ActivationOptions{layer.activation}});
  }
}

at::Tensor Model::Forward(at::Tensor input, bool training, bool logits) {
  at::Tensor x = channels_last_ ? ToChannelsLast(input) : std::move(input);
  for (size_t i = 0; i < steps_.size(); ++i) {
    bool last = i + 1 == steps_.size();
    if (last && logits && IsActivation(steps_[i].options, Activation::kSoftmax)) break;
    x = Run(steps_[i], x, training);
  }
  return x;
}

at::Tensor Model::Run(Step& step, const at::Tensor& x, bool training) {
  auto around = [&](double value) {
    return step.padding.empty() ? x : at::constant_pad_nd(x, step.padding, value);
  };
  return std::visit(
      Overloaded{
          [&](const spec::DenseOptions&) { return at::linear(x, step.weight, step.bias); },
          [&](const spec::Conv2dOptions& o) {
            return at::conv2d(around(0), step.weight, step.bias, {o.stride_height, o.stride_width},
                              {o.padding_height, o.padding_width}, {o.dilation, o.dilation},
                              o.groups);
          },
          [&](const spec::MaxPooling2dOptions& o) {
            return at::max_pool2d(around(-std::numeric_limits<double>::infinity()),
                                  {o.pool_height, o.pool_width}, {o.stride_height, o.stride_width},
                                  {o.padding_height, o.padding_width});
          },
          [&](const spec::AveragePooling2dOptions& o) {
            at::Tensor mean = at::avg_pool2d(around(0), {o.pool_height, o.pool_width},
                                             {o.stride_height, o.stride_width},
                                             {o.padding_height, o.padding_width});
            return step.share.defined() ? mean.div_(step.share) : mean;
          },
          [&](const spec::FlattenOptions&) { return x.flatten(1); },
          [&](const spec::DropoutOptions& o) { return at::dropout(x, o.rate, training); },
          [&](const spec::BatchNormalizationOptions& o) {
            if (training) step.batches.add_(1);
            return at::batch_norm(x, step.weight, step.bias, step.running_mean, step.running_var,
                                  training, o.momentum, o.epsilon, /*cudnn_enabled=*/true);
          },
          [&](const spec::ActivationOptions& o) {
            return Activate(o.activation, x, step.in_place);
          },
      },
      step.options);
}

}  // namespace cyxwiz::runner
