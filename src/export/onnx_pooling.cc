#include "export/onnx_layers.h"

namespace cyxwiz::exporting {
namespace {

using Inputs = std::span<const std::string>;

std::string Pooling(const spec::LayerSpec& layer, Inputs x, LayerWriter& writer) {
  const auto& pooling = OptionsOf<spec::PoolingOptions>(layer);
  OnnxAttributes attributes = {{"kernel_shape", pooling.pool},
                               {"strides", pooling.strides},
                               {"pads", Pads(pooling, layer, pooling.pool)}};
  if (!pooling.average) return writer.Node("MaxPool", {x[0]}, attributes);
  attributes.push_back(
      {"count_include_pad", int64_t{pooling.padding == spec::Padding::kSame ? 0 : 1}});
  return writer.Node("AveragePool", {x[0]}, attributes);
}

std::string GlobalPooling(const spec::LayerSpec& layer, Inputs x, LayerWriter& writer) {
  const auto& pooling = OptionsOf<spec::GlobalPoolingOptions>(layer);
  std::string one = writer.Node(pooling.average ? "GlobalAveragePool" : "GlobalMaxPool", {x[0]});
  return pooling.keep_dimensions ? one : writer.Reshape(one, layer.output_shape);
}

}  // namespace

std::vector<OnnxKind> PoolingOnnx() {
  return {
      {"max_pooling1d", Pooling},
      {"max_pooling2d", Pooling},
      {"max_pooling3d", Pooling},
      {"average_pooling1d", Pooling},
      {"average_pooling2d", Pooling},
      {"average_pooling3d", Pooling},
      {"global_max_pooling1d", GlobalPooling},
      {"global_max_pooling2d", GlobalPooling},
      {"global_max_pooling3d", GlobalPooling},
      {"global_average_pooling1d", GlobalPooling},
      {"global_average_pooling2d", GlobalPooling},
      {"global_average_pooling3d", GlobalPooling},
  };
}

}  // namespace cyxwiz::exporting
