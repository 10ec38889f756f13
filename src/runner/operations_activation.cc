#include "runner/operations.h"

namespace cyxwiz::runner {
namespace {

using spec::Activation;

Operation Activated(const spec::LayerSpec& layer, const LayerTensors&) {
  return [options = OptionsOf<spec::ActivationOptions>(layer)](Inputs x, bool) {
    return Activate(options, x[0]);
  };
}

}  // namespace

at::Tensor Activate(const spec::ActivationOptions& options, const at::Tensor& x) {
  switch (options.activation) {
    case Activation::kNone:
      return x;
    case Activation::kRelu:
      return at::relu(x);
    case Activation::kRelu6:
      return at::hardtanh(x, 0, 6);
    case Activation::kLeakyRelu:
      return at::leaky_relu(x, options.alpha);
    case Activation::kElu:
      return at::elu(x, options.alpha);
    case Activation::kSelu:
      return at::selu(x);
    case Activation::kGelu:
      return at::gelu(x, options.tanh_approximation ? "tanh" : "none");
    case Activation::kSilu:
      return at::silu(x);
    case Activation::kMish:
      return at::mish(x);
    case Activation::kSoftplus:
      return at::softplus(x);
    case Activation::kSigmoid:
      return at::sigmoid(x);
    case Activation::kTanh:
      return at::tanh(x);
    case Activation::kHardSigmoid:
      return at::hardsigmoid(x);
    case Activation::kHardSwish:
      return at::hardswish(x);
    case Activation::kSoftmax:
      return at::softmax(x, -1);
  }
  return x;
}

at::Tensor Activate(Activation activation, const at::Tensor& x) {
  return Activate(spec::ActivationOptions{activation, spec::DefaultAlpha(activation)}, x);
}

std::vector<OperationKind> ActivationOperations() {
  std::vector<OperationKind> kinds;
  for (const char* type :
       {"relu", "relu6", "leaky_relu", "elu", "selu", "gelu", "silu", "mish", "softplus", "sigmoid",
        "tanh", "hard_sigmoid", "hard_swish", "softmax"}) {
    kinds.push_back({type, Activated});
  }
  return kinds;
}

}  // namespace cyxwiz::runner
