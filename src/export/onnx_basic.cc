#include "export/onnx_layers.h"

namespace cyxwiz::exporting {
namespace {

using Inputs = std::span<const std::string>;

std::string Dense(const spec::LayerSpec&, Inputs x, LayerWriter& writer) {
  return writer.Linear(x[0], writer.Tensor("weight"), writer.Tensor("bias"));
}

// Does nothing but in training.
std::string Dropout(const spec::LayerSpec&, Inputs x, LayerWriter&) { return x[0]; }

std::string Embedding(const spec::LayerSpec&, Inputs x, LayerWriter& writer) {
  std::string rows =
      writer.Node("Cast", {x[0]}, {{"to", static_cast<int64_t>(ElementType::kInt64)}});
  return writer.Node("Gather", {writer.Tensor("weight"), rows});
}

std::string PositionalEmbedding(const spec::LayerSpec& layer, Inputs x, LayerWriter& writer) {
  std::string rows = writer.Node("Slice", {writer.Tensor("weight"), writer.Integers({0}),
                                           writer.Integers({layer.input_shapes[0][0]})});
  return writer.Node("Add", {x[0], rows});
}

}  // namespace

std::vector<OnnxKind> BasicOnnx() {
  return {
      {"dense", Dense},
      {"dropout", Dropout},
      {"embedding", Embedding},
      {"positional_embedding", PositionalEmbedding},
  };
}

}  // namespace cyxwiz::exporting
