// The layers a model may have: one entry a layer, holding everything that is known of it outside of
// the runner. How to add one: docs/contributing/adding-a-layer.md.
#pragma once

#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "spec/model_spec.h"
#include "spec/object_reader.h"
#include "spec/option_list.h"

namespace cyxwiz::spec {

struct LayerCost {
  int64_t flops = 0;             // forward, one sample; a multiply-add counts 2
  int64_t activation_bytes = 0;  // kept from forward to backward, one sample
  // While it goes back, beside the gradients of its inputs and its output, one sample.
  int64_t backward_bytes = 0;
};

// What of a layer is unlike most layers.
struct LayerTraits {
  size_t most_inputs = 1;  // more than 1: at least 2
  // Its values are those of its input, in another order or shape.
  bool moves_values = false;
  // Its input must be whole numbers: the model's input, moved at most.
  bool takes_whole_numbers = false;
  // "activation" is an option of its own, and no activation follows it.
  bool own_activation = false;
};

struct LayerKind {
  std::string_view type;                  // canonical name
  std::vector<std::string_view> aliases;  // compared by SameName, as is type
  // Reads the options into defaults, or writes them; with a reader, checks them too.
  LayerOptions (*read)(OptionList& list);
  void (*write)(const LayerOptions& options, OptionList& list);
  // Shape of the output; nullopt with a problem when the inputs do not fit.
  std::optional<Shape> (*infer)(const LayerOptions& options, const Shapes& inputs,
                                ObjectReader& reader);
  // In the order in which PyTorch draws their initial values; nullptr: none.
  std::vector<TensorSpec> (*tensors)(const LayerOptions& options, const Shapes& inputs);
  LayerCost (*cost)(const LayerOptions& options, const Shapes& inputs, const Shape& output);
  LayerTraits traits = {};
};

const std::vector<LayerKind>& LayerKinds();
// nullptr when there is none of that name.
const LayerKind* FindLayerKind(std::string_view name);

// Values of "activation"; "linear" and "none" are no activation.
std::span<const Choice> ActivationChoices();
std::string_view ActivationName(Activation activation);  // "relu"; "linear" for kNone
std::string ActivationNames();                           // "relu, sigmoid, ..."

// The tensors of a layer, from its options and shapes.
std::vector<TensorSpec> TensorsOf(const LayerSpec& layer);
// Trainable values, and bytes of those that are saved but not trained (running statistics).
int64_t ParametersOf(const LayerSpec& layer);
int64_t BufferBytesOf(const LayerSpec& layer);
// Cost of a layer with its activation, from its options and shapes.
LayerCost CostOf(const LayerSpec& layer);

// Zeros needed in one direction so that `out` windows fit, the odd one at the end.
std::pair<int64_t, int64_t> SamePadding(int64_t in, int64_t out, int64_t window, int64_t stride);
// The same of all directions, as PyTorch's pad takes it: pairs of begin and end, the last direction
// first; empty when there is nothing to pad. input, output: channels and a size in each direction.
std::vector<int64_t> SamePaddings(const Shape& input, const Shape& output, const Sizes& window,
                                  const Sizes& strides);

// How a convolution is padded: zeros that are put around its input first, as SamePaddings has them
// and empty where there are none, and what the convolution adds at both ends by itself, which costs
// nothing.
struct ConvolutionPadding {
  std::vector<int64_t> around;
  Sizes own;
};
// Options: kernel, strides, dilation, padding and padding_sizes.
template <typename Options>
ConvolutionPadding PaddingOf(const Options& conv, const Shape& input, const Shape& output) {
  if (conv.padding != Padding::kSame) return {{}, conv.padding_sizes};
  ConvolutionPadding even{{}, {}};
  Sizes reach;  // of the window
  for (size_t i = 0; i < conv.kernel.size(); ++i) {
    reach.push_back(conv.dilation[i] * (conv.kernel[i] - 1) + 1);
    auto [begin, end] = SamePadding(input[i + 1], output[i + 1], reach[i], conv.strides[i]);
    if (begin == end) even.own.push_back(begin);
  }
  if (even.own.size() == reach.size()) return even;
  return {SamePaddings(input, output, reach, conv.strides), conv.padding_sizes};
}

}  // namespace cyxwiz::spec
