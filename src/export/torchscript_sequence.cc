#include <cmath>
#include <limits>

#include "export/torchscript_layers.h"

namespace cyxwiz::exporting {
namespace {

using Inputs = std::span<const std::string>;

std::string Recurrent(const spec::LayerSpec& layer, Inputs x, ScriptWriter& writer) {
  const auto& options = std::get<spec::RecurrentOptions>(layer.options);
  const int64_t states = options.layers * (options.bidirectional ? 2 : 1);
  std::string zeros =
      writer.Call("new_zeros", {x[0], "[" + std::to_string(states) + ", torch.size(" + x[0] +
                                          ", 0), " + std::to_string(options.units) + "]"});
  const std::string call =
      "(" + x[0] + ", " + (options.gru ? zeros : "[" + zeros + ", " + zeros + "]") + ", " +
      writer.Tensors() + ", " + ScriptBool(options.use_bias) + ", " +
      std::to_string(options.layers) + ", " + ScriptNumber(options.dropout) + ", self.training, " +
      ScriptBool(options.bidirectional) + ", " + /*batch_first=*/"True)";
  std::string all = writer.Set((options.gru ? "torch.gru" : "torch.lstm") + call);
  if (options.return_sequences) return writer.Set(all + "[0]");
  // What the last layer has after its last position, in each direction.
  std::string last = writer.Set(all + "[1]");
  if (!options.bidirectional) return writer.Call("select", {last, "0", "-1"});
  return writer.Call(
      "cat", {"[torch.select(" + last + ", 0, -2), torch.select(" + last + ", 0, -1)]", "1"});
}

// prefix: of the names of its tensors.
std::string Attend(const spec::AttentionOptions& options, const spec::Shape& shape,
                   const std::string& prefix, const std::string& x, ScriptWriter& writer) {
  const int64_t length = shape[0], features = shape[1], width = features / options.heads;
  // Query, key and value side by side -> three of batch x heads x length x width.
  std::string parts = writer.Call("linear", {x, writer.Tensor(prefix + "in_proj_weight"),
                                             writer.Tensor(prefix + "in_proj_bias")});
  parts = writer.Call(
      "permute", {writer.Reshape(parts, {length, 3, options.heads, width}), "[2, 0, 3, 1, 4]"});
  auto part = [&](const char* index) { return writer.Call("select", {parts, "0", index}); };
  std::string query =
      writer.Call("mul", {part("0"), ScriptNumber(1 / std::sqrt(static_cast<double>(width)))});
  std::string scores =
      writer.Call("matmul", {query, writer.Call("transpose", {part("1"), "-2", "-1"})});
  if (options.causal) {
    // Above the diagonal stands what a position must not see.
    std::string nothing =
        writer.Call("new_full", {scores, ScriptList({length, length}),
                                 ScriptNumber(-std::numeric_limits<double>::infinity())});
    scores = writer.Call("add", {scores, writer.Call("triu", {nothing, "1"})});
  }
  std::string shares = writer.Dropout(writer.Call("softmax", {scores, "-1"}), options.dropout);
  std::string sum =
      writer.Call("transpose", {writer.Call("matmul", {shares, part("2")}), "1", "2"});
  return writer.Linear(writer.Reshape(sum, shape), prefix + "out_proj");
}

std::string Attention(const spec::LayerSpec& layer, Inputs x, ScriptWriter& writer) {
  return Attend(std::get<spec::AttentionOptions>(layer.options), layer.input_shapes[0], "", x[0],
                writer);
}

std::string TransformerEncoder(const spec::LayerSpec& layer, Inputs inputs, ScriptWriter& writer) {
  const auto& options = std::get<spec::TransformerEncoderOptions>(layer.options);
  auto normalize = [&](const std::string& x, const std::string& name) {
    return writer.Call(
        "layer_norm",
        {x, ScriptList({layer.input_shapes[0].back()}), writer.Tensor(name + ".weight"),
         writer.Tensor(name + ".bias"), ScriptNumber(options.epsilon)});
  };
  auto drop = [&](const std::string& x) { return writer.Dropout(x, options.dropout); };
  auto look = [&](const std::string& x) {
    return drop(Attend(options.attention, layer.input_shapes[0], "self_attn.", x, writer));
  };
  auto feed = [&](const std::string& x) {
    std::string inner = Activate(options.activation, writer.Linear(x, "linear1"), writer);
    return drop(writer.Linear(drop(inner), "linear2"));
  };
  auto sum = [&](const std::string& a, const std::string& b) { return writer.Call("add", {a, b}); };
  std::string x = inputs[0];
  if (options.norm_first) {
    x = sum(x, look(normalize(x, "norm1")));
    return sum(x, feed(normalize(x, "norm2")));
  }
  x = normalize(sum(x, look(x)), "norm1");
  return normalize(sum(x, feed(x)), "norm2");
}

}  // namespace

std::vector<ScriptKind> SequenceScript() {
  return {
      {"lstm", Recurrent},
      {"gru", Recurrent},
      {"multi_head_attention", Attention},
      {"transformer_encoder", TransformerEncoder},
  };
}

}  // namespace cyxwiz::exporting
