// Activations as layers.
#include <algorithm>

#include "spec/layer_families.h"

namespace cyxwiz::spec {
namespace {

constexpr Key kAxis = {"dim", "axis"};

template <Activation activation>
void ActivationList(ActivationOptions& options, OptionList& list) {
  options.activation = activation;
  if (list.reader() != nullptr) options.alpha = DefaultAlpha(activation);
  if constexpr (activation == Activation::kLeakyRelu) {
    list.Real({"negative_slope", "alpha"}, &options.alpha, {.min = 0, .max = 1});
  } else if constexpr (activation == Activation::kElu) {
    list.Real({"alpha"}, &options.alpha, {.min = 0, .max = 1e6, .above_min = true});
  } else if constexpr (activation == Activation::kGelu) {
    static constexpr Choice kApproximations[] = {{"none", 0}, {"tanh", 1}};
    list.OneOf({"approximate"}, &options.tanh_approximation, kApproximations);
  } else if constexpr (activation == Activation::kSoftmax) {
    if (list.reader() != nullptr) list.reader()->Find(kAxis);  // looked at with the shape
  }
}

// Over the last dimension, which PyTorch's and Keras's argument may name: 0 is the batch.
std::optional<Shape> InferSoftmax(const LayerOptions&, const Shapes& inputs, ObjectReader& reader) {
  const Json* axis = reader.Find(kAxis);
  const auto last = static_cast<int64_t>(inputs[0].size());
  if (axis != nullptr && *axis != -1 && *axis != last) {
    reader.Refuse(kAxis, "is not supported", "-1 or " + std::to_string(last), "leave it out");
  }
  return inputs[0];
}

template <Activation activation>
LayerKind ActivationKind(std::string_view type, std::vector<std::string_view> aliases = {}) {
  return {type,
          std::move(aliases),
          ReadOptions<ActivationOptions, ActivationList<activation>>,
          WriteOptions<ActivationOptions, ActivationList<activation>>,
          InferSame,
          nullptr,
          CostOfEachValue};
}

}  // namespace

double DefaultAlpha(Activation activation) {
  if (activation == Activation::kLeakyRelu) return 0.01;
  return activation == Activation::kElu ? 1 : 0;
}

std::vector<LayerKind> ActivationLayers() {
  std::vector<LayerKind> kinds = {
      ActivationKind<Activation::kRelu>("relu"),
      ActivationKind<Activation::kRelu6>("relu6"),
      ActivationKind<Activation::kLeakyRelu>("leaky_relu"),
      ActivationKind<Activation::kElu>("elu"),
      ActivationKind<Activation::kSelu>("selu"),
      ActivationKind<Activation::kGelu>("gelu"),
      ActivationKind<Activation::kSilu>("silu", {"swish"}),
      ActivationKind<Activation::kMish>("mish"),
      ActivationKind<Activation::kSoftplus>("softplus"),
      ActivationKind<Activation::kSigmoid>("sigmoid"),
      ActivationKind<Activation::kTanh>("tanh"),
      ActivationKind<Activation::kHardSigmoid>("hard_sigmoid"),
      ActivationKind<Activation::kHardSwish>("hard_swish", {"hard_silu"}),
      ActivationKind<Activation::kSoftmax>("softmax"),
  };
  kinds.back().infer = InferSoftmax;
  return kinds;
}

}  // namespace cyxwiz::spec
