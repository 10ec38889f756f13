#include <cmath>
#include <limits>

#include "export/onnx_layers.h"

namespace cyxwiz::exporting {
namespace {

using Inputs = std::span<const std::string>;

// ---- recurrent layers

// Where ONNX has the gates that PyTorch has as input, forget, cell, output (an LSTM), or as reset,
// update, new (a GRU).
std::vector<size_t> GateOrder(bool gru) {
  return gru ? std::vector<size_t>{1, 0, 2} : std::vector<size_t>{0, 3, 1, 2};
}

// A tensor of all gates, their parts in ONNX's order, at the end of `all`.
void AppendGates(std::span<const float> values, const std::vector<size_t>& order,
                 std::vector<float>* all) {
  const size_t part = values.size() / order.size();
  for (size_t gate : order) {
    auto begin = values.begin() + static_cast<int64_t>(gate * part);
    all->insert(all->end(), begin, begin + static_cast<int64_t>(part));
  }
}

// One of the stacked layers, over sequences of length x batch x features.
struct Outputs {
  std::string all, last;  // length x directions x batch x units, directions x batch x units
};
Outputs RecurrentLayer(const spec::RecurrentOptions& options, int64_t number, int64_t features,
                       const std::string& x, LayerWriter& writer) {
  const std::vector<size_t> order = GateOrder(options.gru);
  const int64_t directions = options.bidirectional ? 2 : 1;
  const int64_t rows = static_cast<int64_t>(order.size()) * options.units;
  std::vector<float> input, hidden, bias;
  for (int64_t direction = 0; direction < directions; ++direction) {
    const std::string end = "_l" + std::to_string(number) + (direction == 1 ? "_reverse" : "");
    AppendGates(writer.Values("weight_ih" + end), order, &input);
    AppendGates(writer.Values("weight_hh" + end), order, &hidden);
    AppendGates(writer.Values("bias_ih" + end), order, &bias);
    AppendGates(writer.Values("bias_hh" + end), order, &bias);
  }
  std::vector<std::string> inputs = {x, writer.Constant({directions, rows, features}, input),
                                     writer.Constant({directions, rows, options.units}, hidden)};
  if (options.use_bias) inputs.push_back(writer.Constant({directions, 2 * rows}, bias));
  OnnxAttributes attributes = {{"hidden_size", options.units},
                               {"direction", directions == 2 ? "bidirectional" : "forward"}};
  if (options.gru) attributes.push_back({"linear_before_reset", int64_t{1}});
  std::vector<std::string> outputs =
      writer.Nodes(options.gru ? "GRU" : "LSTM", inputs, attributes, 2);
  return {outputs[0], outputs[1]};
}

std::string Recurrent(const spec::LayerSpec& layer, Inputs x, LayerWriter& writer) {
  const auto& options = OptionsOf<spec::RecurrentOptions>(layer);
  const int64_t directions = options.bidirectional ? 2 : 1;
  const int64_t width = directions * options.units;
  std::string sequence = writer.Transpose(x[0], {1, 0, 2});
  int64_t features = layer.input_shapes[0][1];
  Outputs outputs;
  for (int64_t number = 0; number < options.layers; ++number) {
    outputs = RecurrentLayer(options, number, features, sequence, writer);
    features = width;
    if (number + 1 == options.layers) break;
    // The directions side by side.
    sequence = writer.Node(
        "Reshape", {writer.Transpose(outputs.all, {0, 2, 1, 3}), writer.Integers({0, 0, width})});
  }
  if (options.return_sequences) {
    return writer.Reshape(writer.Transpose(outputs.all, {2, 0, 1, 3}), layer.output_shape);
  }
  return writer.Reshape(writer.Transpose(outputs.last, {1, 0, 2}), {width});
}

// ---- attention

// prefix: of the names of its tensors.
std::string Attend(const spec::AttentionOptions& options, const spec::Shape& shape,
                   const std::string& prefix, const std::string& x, LayerWriter& writer) {
  const int64_t length = shape[0], features = shape[1], width = features / options.heads;
  // Query, key and value side by side -> three of batch x heads x length x width.
  std::string parts = writer.Linear(x, writer.Tensor(prefix + "in_proj_weight"),
                                    writer.Tensor(prefix + "in_proj_bias"));
  parts =
      writer.Transpose(writer.Reshape(parts, {length, 3, options.heads, width}), {2, 0, 3, 1, 4});
  auto part = [&](int64_t index) { return writer.Node("Gather", {parts, writer.Scalar(index)}); };
  std::string query = writer.Node(
      "Mul", {part(0), writer.Constant(static_cast<float>(1 / std::sqrt(double(width))))});
  std::string scores = writer.Node("MatMul", {query, writer.Transpose(part(1), {0, 1, 3, 2})});
  if (options.causal) {
    // Above the diagonal stands what a position must not see.
    std::string nothing =
        writer.Node("Expand", {writer.Constant(-std::numeric_limits<float>::infinity()),
                               writer.Integers({length, length})});
    std::string mask = writer.Node("Trilu", {nothing, writer.Scalar(1)}, {{"upper", int64_t{1}}});
    scores = writer.Node("Add", {scores, mask});
  }
  std::string shares = writer.Node("Softmax", {scores}, {{"axis", int64_t{-1}}});
  std::string sum = writer.Transpose(writer.Node("MatMul", {shares, part(2)}), {0, 2, 1, 3});
  return writer.Linear(writer.Reshape(sum, shape), writer.Tensor(prefix + "out_proj.weight"),
                       writer.Tensor(prefix + "out_proj.bias"));
}

std::string Attention(const spec::LayerSpec& layer, Inputs x, LayerWriter& writer) {
  return Attend(OptionsOf<spec::AttentionOptions>(layer), layer.input_shapes[0], "", x[0], writer);
}

std::string TransformerEncoder(const spec::LayerSpec& layer, Inputs inputs, LayerWriter& writer) {
  const auto& options = OptionsOf<spec::TransformerEncoderOptions>(layer);
  auto normalize = [&](const std::string& x, const std::string& name) {
    std::vector<std::string> parts = {x, writer.Tensor(name + ".weight")};
    if (std::string bias = writer.Tensor(name + ".bias"); !bias.empty()) parts.push_back(bias);
    return writer.Node("LayerNormalization", parts,
                       {{"axis", int64_t{-1}}, {"epsilon", options.epsilon}});
  };
  auto look = [&](const std::string& x) {
    return Attend(options.attention, layer.input_shapes[0], "self_attn.", x, writer);
  };
  auto linear = [&](const std::string& x, const std::string& name) {
    return writer.Linear(x, writer.Tensor(name + ".weight"), writer.Tensor(name + ".bias"));
  };
  auto feed = [&](const std::string& x) {
    return linear(Activate(options.activation, linear(x, "linear1"), writer), "linear2");
  };
  auto sum = [&](const std::string& a, const std::string& b) { return writer.Node("Add", {a, b}); };
  std::string x = inputs[0];
  if (options.norm_first) {
    x = sum(x, look(normalize(x, "norm1")));
    return sum(x, feed(normalize(x, "norm2")));
  }
  x = normalize(sum(x, look(x)), "norm1");
  return normalize(sum(x, feed(x)), "norm2");
}

}  // namespace

std::vector<OnnxKind> SequenceOnnx() {
  return {
      {"lstm", Recurrent},
      {"gru", Recurrent},
      {"multi_head_attention", Attention},
      {"transformer_encoder", TransformerEncoder},
  };
}

}  // namespace cyxwiz::exporting
