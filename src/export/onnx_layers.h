// The layers as ONNX's operators: one entry a layer, the counterpart of runner/operations.h. What a
// model computes when it does not train is what its graph computes.
#pragma once

#include <span>
#include <string>
#include <string_view>
#include <tuple>
#include <vector>

#include "export/onnx_graph.h"
#include "export/saved_model.h"
#include "spec/layers.h"

namespace cyxwiz::exporting {

// Writes nodes and constants of one layer into a graph. All names begin with the layer's and a
// slash, which the name of no layer holds; the layer's own tensors have their names in the file of
// weights.
class LayerWriter {
 public:
  LayerWriter(const spec::LayerSpec& layer, const SafetensorsFile& weights, OnnxGraph* graph)
      : layer_(layer), weights_(weights), graph_(*graph) {}

  // A node of one output, and the name of that.
  std::string Node(std::string_view op, std::vector<std::string> inputs,
                   OnnxAttributes attributes = {});
  // The same of several outputs.
  std::vector<std::string> Nodes(std::string_view op, std::vector<std::string> inputs,
                                 OnnxAttributes attributes, size_t outputs);

  std::string Constant(std::vector<int64_t> shape, const std::vector<float>& values);
  std::string Constant(float value) { return Constant({}, {value}); }
  std::string Integers(const std::vector<int64_t>& values);  // of one dimension
  std::string Scalar(int64_t value);

  // A tensor of the layer by its name in spec::TensorSpec; "" when it has none of that name.
  std::string Tensor(std::string_view name);
  // Its values, for those that ONNX wants in another order.
  std::span<const float> Values(std::string_view name) const;

  // The same values in another shape; the batch stays.
  std::string Reshape(const std::string& x, const spec::Shape& sample);
  std::string Transpose(const std::string& x, std::vector<int64_t> order);
  // x · weightᵀ + bias over the last dimension. bias: "": none.
  std::string Linear(const std::string& x, const std::string& weight, const std::string& bias);

 private:
  std::string NewName(std::string_view what);
  const SafetensorsFile::Entry* Find(std::string_view name) const;

  const spec::LayerSpec& layer_;
  const SafetensorsFile& weights_;
  OnnxGraph& graph_;
  int names_ = 0;  // given out
};

struct OnnxKind {
  std::string_view type;  // of LayerSpec
  // inputs: names of the layer's inputs. Result: of its output, before its activation.
  std::string (*write)(const spec::LayerSpec& layer, std::span<const std::string> inputs,
                       LayerWriter& writer);
};

// nullptr: ONNX cannot hold that layer.
const OnnxKind* FindOnnxKind(std::string_view type);

std::vector<OnnxKind> BasicOnnx();
std::vector<OnnxKind> ConvolutionOnnx();
std::vector<OnnxKind> PoolingOnnx();
std::vector<OnnxKind> NormalizationOnnx();
std::vector<OnnxKind> SequenceOnnx();
std::vector<OnnxKind> ShapeOnnx();
std::vector<OnnxKind> ActivationOnnx();

std::string Activate(const spec::ActivationOptions& activation, const std::string& x,
                     LayerWriter& writer);
// With PyTorch's defaults.
std::string Activate(spec::Activation activation, const std::string& x, LayerWriter& writer);

// Attribute "pads": what is put before each direction, then what is put after each.
// Options: padding and padding_sizes. window: what a position of the output reaches over.
template <typename Options>
std::vector<int64_t> Pads(const Options& options, const spec::LayerSpec& layer,
                          const spec::Sizes& window) {
  std::vector<int64_t> before = options.padding_sizes, after = options.padding_sizes;
  for (size_t i = 0; options.padding == spec::Padding::kSame && i < window.size(); ++i) {
    std::tie(before[i], after[i]) = spec::SamePadding(
        layer.input_shapes[0][i + 1], layer.output_shape[i + 1], window[i], options.strides[i]);
  }
  before.insert(before.end(), after.begin(), after.end());
  return before;
}

template <typename Options>
const Options& OptionsOf(const spec::LayerSpec& layer) {
  return std::get<Options>(layer.options);
}

}  // namespace cyxwiz::exporting
