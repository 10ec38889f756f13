#include "export/torchscript_layers.h"

namespace cyxwiz::exporting {
namespace {

using spec::Activation;

std::string Activated(const spec::LayerSpec& layer, std::span<const std::string> x,
                      ScriptWriter& writer) {
  return Activate(std::get<spec::ActivationOptions>(layer.options), x[0], writer);
}

}  // namespace

std::string Activate(const spec::ActivationOptions& options, const std::string& x,
                     ScriptWriter& writer) {
  switch (options.activation) {
    case Activation::kNone:
      return x;
    case Activation::kRelu:
      return writer.Call("relu", {x});
    case Activation::kRelu6:
      return writer.Call("hardtanh", {x, "0.0", "6.0"});
    case Activation::kLeakyRelu:
      return writer.Call("leaky_relu", {x, ScriptNumber(options.alpha)});
    case Activation::kElu:
      return writer.Call("elu", {x, ScriptNumber(options.alpha)});
    case Activation::kSelu:
      return writer.Call("selu", {x});
    case Activation::kGelu:
      return options.tanh_approximation ? writer.Call("gelu", {x, "approximate=\"tanh\""})
                                        : writer.Call("gelu", {x});
    case Activation::kSilu:
      return writer.Call("silu", {x});
    case Activation::kMish:
      return writer.Call("mish", {x});
    case Activation::kSoftplus:
      return writer.Call("softplus", {x});
    case Activation::kSigmoid:
      return writer.Call("sigmoid", {x});
    case Activation::kTanh:
      return writer.Call("tanh", {x});
    case Activation::kHardSigmoid:
      return writer.Call("hardsigmoid", {x});
    case Activation::kHardSwish:
      return writer.Call("hardswish", {x});
    case Activation::kSoftmax:
      return writer.Call("softmax", {x, "-1"});
  }
  return x;
}

std::string Activate(Activation activation, const std::string& x, ScriptWriter& writer) {
  return Activate(spec::ActivationOptions{activation, spec::DefaultAlpha(activation)}, x, writer);
}

std::vector<ScriptKind> ActivationScript() {
  std::vector<ScriptKind> kinds;
  for (const char* type :
       {"relu", "relu6", "leaky_relu", "elu", "selu", "gelu", "silu", "mish", "softplus", "sigmoid",
        "tanh", "hard_sigmoid", "hard_swish", "softmax"}) {
    kinds.push_back({type, Activated});
  }
  return kinds;
}

}  // namespace cyxwiz::exporting
