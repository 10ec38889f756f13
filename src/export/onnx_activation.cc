#include <cmath>
#include <numbers>

#include "export/onnx_layers.h"

namespace cyxwiz::exporting {
namespace {

using spec::Activation;

std::string Activated(const spec::LayerSpec& layer, std::span<const std::string> x,
                      LayerWriter& writer) {
  return Activate(OptionsOf<spec::ActivationOptions>(layer), x[0], writer);
}

// x / 2 · (1 + inner)
std::string HalfOfOnePlus(const std::string& x, const std::string& inner, LayerWriter& writer) {
  std::string half = writer.Node("Mul", {x, writer.Constant(0.5f)});
  return writer.Node("Mul", {half, writer.Node("Add", {inner, writer.Constant(1)})});
}

std::string Gelu(bool tanh_approximation, const std::string& x, LayerWriter& writer) {
  if (!tanh_approximation) {
    constexpr float kScale = static_cast<float>(1 / std::numbers::sqrt2);
    std::string scaled = writer.Node("Mul", {x, writer.Constant(kScale)});
    return HalfOfOnePlus(x, writer.Node("Erf", {scaled}), writer);
  }
  // tanh(√(2/π) · (x + 0.044715 x³))
  const float scale = static_cast<float>(std::sqrt(2 / std::numbers::pi));
  std::string cube = writer.Node("Mul", {writer.Node("Mul", {x, x}), x});
  std::string inner =
      writer.Node("Add", {x, writer.Node("Mul", {cube, writer.Constant(0.044715f)})});
  inner = writer.Node("Mul", {inner, writer.Constant(scale)});
  return HalfOfOnePlus(x, writer.Node("Tanh", {inner}), writer);
}

}  // namespace

std::string Activate(const spec::ActivationOptions& options, const std::string& x,
                     LayerWriter& writer) {
  switch (options.activation) {
    case Activation::kNone:
      return x;
    case Activation::kRelu:
      return writer.Node("Relu", {x});
    case Activation::kRelu6:
      return writer.Node("Clip", {x, writer.Constant(0), writer.Constant(6)});
    case Activation::kLeakyRelu:
      return writer.Node("LeakyRelu", {x}, {{"alpha", options.alpha}});
    case Activation::kElu:
      return writer.Node("Elu", {x}, {{"alpha", options.alpha}});
    case Activation::kSelu:
      return writer.Node("Selu", {x});
    case Activation::kGelu:
      return Gelu(options.tanh_approximation, x, writer);
    case Activation::kSilu:
      return writer.Node("Mul", {x, writer.Node("Sigmoid", {x})});
    case Activation::kMish:
      return writer.Node("Mul", {x, writer.Node("Tanh", {writer.Node("Softplus", {x})})});
    case Activation::kSoftplus:
      return writer.Node("Softplus", {x});
    case Activation::kSigmoid:
      return writer.Node("Sigmoid", {x});
    case Activation::kTanh:
      return writer.Node("Tanh", {x});
    case Activation::kHardSigmoid:
      return writer.Node("HardSigmoid", {x}, {{"alpha", 1.0 / 6}, {"beta", 0.5}});
    case Activation::kHardSwish:
      return writer.Node("HardSwish", {x});
    case Activation::kSoftmax:
      return writer.Node("Softmax", {x}, {{"axis", int64_t{-1}}});
  }
  return x;
}

std::string Activate(Activation activation, const std::string& x, LayerWriter& writer) {
  return Activate(spec::ActivationOptions{activation, spec::DefaultAlpha(activation)}, x, writer);
}

std::vector<OnnxKind> ActivationOnnx() {
  std::vector<OnnxKind> kinds;
  for (const char* type :
       {"relu", "relu6", "leaky_relu", "elu", "selu", "gelu", "silu", "mish", "softplus", "sigmoid",
        "tanh", "hard_sigmoid", "hard_swish", "softmax"}) {
    kinds.push_back({type, Activated});
  }
  return kinds;
}

}  // namespace cyxwiz::exporting
