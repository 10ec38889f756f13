#include "spec/layers.h"

#include <algorithm>

#include "spec/layer_families.h"

namespace cyxwiz::spec {
namespace {

constexpr Choice kActivations[] = {
    {"linear", static_cast<int>(Activation::kNone)},
    {"none", static_cast<int>(Activation::kNone), true},
    {"relu", static_cast<int>(Activation::kRelu)},
    {"relu6", static_cast<int>(Activation::kRelu6)},
    {"leaky_relu", static_cast<int>(Activation::kLeakyRelu)},
    {"elu", static_cast<int>(Activation::kElu)},
    {"selu", static_cast<int>(Activation::kSelu)},
    {"gelu", static_cast<int>(Activation::kGelu)},
    {"silu", static_cast<int>(Activation::kSilu)},
    {"swish", static_cast<int>(Activation::kSilu), true},
    {"mish", static_cast<int>(Activation::kMish)},
    {"softplus", static_cast<int>(Activation::kSoftplus)},
    {"sigmoid", static_cast<int>(Activation::kSigmoid)},
    {"tanh", static_cast<int>(Activation::kTanh)},
    {"hard_sigmoid", static_cast<int>(Activation::kHardSigmoid)},
    {"hard_swish", static_cast<int>(Activation::kHardSwish)},
    {"hard_silu", static_cast<int>(Activation::kHardSwish), true},
    {"softmax", static_cast<int>(Activation::kSoftmax)},
};

}  // namespace

const std::vector<LayerKind>& LayerKinds() {
  static const std::vector<LayerKind> kKinds = [] {
    std::vector<LayerKind> all;
    for (auto family : {BasicLayers, ConvolutionLayers, PoolingLayers, NormalizationLayers,
                        SequenceLayers, ShapeLayers, ActivationLayers}) {
      for (LayerKind& kind : family()) all.push_back(std::move(kind));
    }
    return all;
  }();
  return kKinds;
}

const LayerKind* FindLayerKind(std::string_view name) {
  for (const LayerKind& kind : LayerKinds()) {
    if (SameName(name, kind.type)) return &kind;
    for (std::string_view alias : kind.aliases) {
      if (SameName(name, alias)) return &kind;
    }
  }
  return nullptr;
}

std::span<const Choice> ActivationChoices() { return kActivations; }

std::string_view ActivationName(Activation activation) {
  for (const Choice& choice : kActivations) {
    if (choice.value == static_cast<int>(activation)) return choice.name;
  }
  return "linear";
}

std::string ActivationNames() {
  std::string names;
  for (const Choice& choice : kActivations) {
    if (choice.alias || choice.value == static_cast<int>(Activation::kNone)) continue;
    if (!names.empty()) names += ", ";
    names += choice.name;
  }
  return names;
}

std::vector<TensorSpec> TensorsOf(const LayerSpec& layer) {
  const LayerKind* kind = FindLayerKind(layer.type);
  if (kind->tensors == nullptr) return {};
  return kind->tensors(layer.options, layer.input_shapes);
}

int64_t ParametersOf(const LayerSpec& layer) {
  int64_t parameters = 0;
  for (const TensorSpec& tensor : TensorsOf(layer)) {
    if (tensor.trainable) parameters = Sum(parameters, ElementCount(tensor.shape));
  }
  return parameters;
}

int64_t BufferBytesOf(const LayerSpec& layer) {
  int64_t bytes = 0;
  for (const TensorSpec& tensor : TensorsOf(layer)) {
    if (tensor.trainable) continue;
    bytes = Sum(bytes, Product(tensor.whole ? 8 : kFloatBytes, ElementCount(tensor.shape)));
  }
  return bytes;
}

LayerCost CostOf(const LayerSpec& layer) {
  LayerCost cost =
      FindLayerKind(layer.type)->cost(layer.options, layer.input_shapes, layer.output_shape);
  if (layer.activation != Activation::kNone) {
    int64_t elements = ElementCount(layer.output_shape);
    cost.flops = Sum(cost.flops, elements);
    // A ReLU overwrites what it is applied to.
    if (layer.activation != Activation::kRelu) {
      cost.activation_bytes = Sum(cost.activation_bytes, Product(kFloatBytes, elements));
    }
  }
  return cost;
}

bool HasDirections(size_t count, const Shape& input, ObjectReader& reader) {
  if (input.size() == count + 1) return true;
  static constexpr const char* kForms[] = {"[channels, length]", "[channels, height, width]",
                                           "[channels, depth, height, width]"};
  static constexpr const char* kInputs[] = {"a sequence", "an image", "a volume"};
  std::string hint;
  if (input.size() == 1) {
    hint = "put it before the flatten and dense layers";
  } else if (count == 2 && input.size() == 2) {
    hint = "an image of one channel has shape [1, " + std::to_string(input[0]) + ", " +
           std::to_string(input[1]) + "]";
  }
  reader.RefuseObject(std::string("the layer needs ") + kInputs[count - 1] + " as its input",
                      kForms[count - 1], ToString(input), hint);
  return false;
}

bool IsSequence(const Shape& input, ObjectReader& reader) {
  if (input.size() == 2) return true;
  std::string hint;
  if (input.size() == 3 && input[0] == 1) {
    hint = "the rows of an image are a sequence: add {\"type\": \"reshape\", \"target_shape\": [" +
           std::to_string(input[1]) + ", " + std::to_string(input[2]) + "]} before";
  } else if (input.size() == 1) {
    hint = "add {\"type\": \"reshape\", \"target_shape\": [" + std::to_string(input[0]) +
           ", 1]} before, or for whole numbers an embedding";
  }
  reader.RefuseObject("the layer needs a sequence as its input", "[length, features]",
                      ToString(input), hint);
  return false;
}

int64_t WindowSteps(int64_t size, int64_t window, int64_t stride, int64_t padding,
                    int64_t dilation) {
  int64_t reach = dilation * (window - 1) + 1;
  int64_t room = Sum(size, 2 * padding);
  return room < reach ? 0 : (room - reach) / stride + 1;
}

std::optional<Shape> WindowedShape(int64_t channels, const Sizes& sizes, const std::string& window,
                                   const Shape& input, ObjectReader& reader) {
  Shape shape = {channels};
  bool fits = true;
  for (int64_t size : sizes) {
    fits = fits && size > 0;
    shape.push_back(size);
  }
  if (fits) return shape;
  const char* what = sizes.size() == 2 ? "image" : "input";
  reader.RefuseObject("the " + window + " is larger than the " + what,
                      sizes.size() == 2 ? "height and width of at least the window's"
                                        : "sizes of at least the window's",
                      ToString(input),
                      "use a smaller window, \"padding\", or fewer pooling layers before");
  return std::nullopt;
}

std::string ToText(const Sizes& sizes) {
  std::string text;
  for (int64_t size : sizes) text += (text.empty() ? "" : "x") + std::to_string(size);
  return text;
}

std::pair<int64_t, int64_t> SamePadding(int64_t in, int64_t out, int64_t window, int64_t stride) {
  int64_t total = std::max<int64_t>((out - 1) * stride + window - in, 0);
  return {total / 2, total - total / 2};
}

std::vector<int64_t> SamePaddings(const Shape& input, const Shape& output, const Sizes& window,
                                  const Sizes& strides) {
  std::vector<int64_t> paddings;
  bool any = false;
  for (size_t i = window.size(); i-- > 0;) {
    auto [begin, end] = SamePadding(input[i + 1], output[i + 1], window[i], strides[i]);
    paddings.push_back(begin);
    paddings.push_back(end);
    any = any || end > 0;
  }
  if (!any) paddings.clear();
  return paddings;
}

}  // namespace cyxwiz::spec
