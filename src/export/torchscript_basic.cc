#include "export/torchscript_layers.h"

namespace cyxwiz::exporting {
namespace {

using Inputs = std::span<const std::string>;

constexpr char kInt64[] = "4";  // c10::ScalarType

std::string Dense(const spec::LayerSpec&, Inputs x, ScriptWriter& writer) {
  return writer.Call("linear", {x[0], writer.Tensor("weight"), writer.Tensor("bias")});
}

std::string Dropout(const spec::LayerSpec& layer, Inputs x, ScriptWriter& writer) {
  return writer.Dropout(x[0], std::get<spec::DropoutOptions>(layer.options).rate);
}

std::string Embedding(const spec::LayerSpec&, Inputs x, ScriptWriter& writer) {
  return writer.Call("embedding", {writer.Tensor("weight"), writer.Call("to", {x[0], kInt64})});
}

std::string PositionalEmbedding(const spec::LayerSpec& layer, Inputs x, ScriptWriter& writer) {
  const std::string length = std::to_string(layer.input_shapes[0][0]);
  return writer.Call("add",
                     {x[0], writer.Call("narrow", {writer.Tensor("weight"), "0", "0", length})});
}

}  // namespace

std::vector<ScriptKind> BasicScript() {
  return {
      {"dense", Dense},
      {"dropout", Dropout},
      {"embedding", Embedding},
      {"positional_embedding", PositionalEmbedding},
  };
}

}  // namespace cyxwiz::exporting
