// lstm, gru, multi_head_attention, transformer_encoder: what looks along a sequence [length,
// features]. Tensors and their names are those of PyTorch's LSTM, GRU, MultiheadAttention and
// TransformerEncoderLayer.
#include "spec/layer_families.h"

namespace cyxwiz::spec {
namespace {

constexpr int64_t kMaxRecurrentLayers = 64;
constexpr int64_t kMaxHeads = 1 << 16;
constexpr RealRange kDropoutRange = {.min = 0, .max = 1, .below_max = true};

LayerCost operator+(const LayerCost& a, const LayerCost& b) {
  return {Sum(a.flops, b.flops), Sum(a.activation_bytes, b.activation_bytes)};
}

// A linear map of each position, whose output is kept.
LayerCost LinearCost(int64_t length, int64_t in, int64_t out) {
  return {Product(2, length, in, out), Product(kFloatBytes, length, out)};
}

// PyTorch's argument: samples are [length, features], so that a batch comes first.
void BatchFirst(OptionList& list) {
  static constexpr Key kBatchFirst = {"batch_first"};
  if (list.reader() == nullptr || list.reader()->Bool(kBatchFirst).value_or(true)) return;
  list.reader()->Refuse(kBatchFirst, "must be true", "true", "a sample is [length, features]");
}

// ---- lstm, gru

template <bool gru>
void RecurrentList(RecurrentOptions& recurrent, OptionList& list) {
  recurrent.gru = gru;
  list.Whole({"units", "hidden_size"}, &recurrent.units, 1, kMaxUnits, OptionList::kRequired);
  list.Whole({"num_layers"}, &recurrent.layers, 1, kMaxRecurrentLayers);
  list.Bool({"bidirectional"}, &recurrent.bidirectional);
  list.Bool({"return_sequences"}, &recurrent.return_sequences);
  list.Real({"dropout"}, &recurrent.dropout, kDropoutRange);
  list.Bool({"use_bias", "bias"}, &recurrent.use_bias);
  list.Inferred({"input_size"});
  BatchFirst(list);
  if (list.reader() == nullptr) return;
  ObjectReader& reader = *list.reader();
  if (recurrent.dropout > 0 && recurrent.layers == 1) {
    reader.Refuse({"dropout"}, "acts between the layers, and there is one", "0, or num_layers 2",
                  "add {\"type\": \"dropout\"} after the layer");
  }
  // Keras's argument is the cell's own activation, which cannot be chosen.
  static constexpr Choice kTanh[] = {{"tanh", 0}};
  reader.OneOf({"activation"}, kTanh);
}

int64_t Directions(const RecurrentOptions& recurrent) { return recurrent.bidirectional ? 2 : 1; }
int64_t Gates(const RecurrentOptions& recurrent) { return recurrent.gru ? 3 : 4; }

std::optional<Shape> InferRecurrent(const LayerOptions& options, const Shapes& inputs,
                                    ObjectReader& reader) {
  const auto& recurrent = As<RecurrentOptions>(options);
  if (!IsSequence(inputs[0], reader)) return std::nullopt;
  reader.Matches({"input_size"}, inputs[0][1], "the features of the input " + ToString(inputs[0]));
  int64_t features = Product(recurrent.units, Directions(recurrent));
  if (recurrent.return_sequences) return Shape{inputs[0][0], features};
  return Shape{features};
}

std::vector<TensorSpec> RecurrentTensors(const LayerOptions& options, const Shapes& inputs) {
  const auto& recurrent = As<RecurrentOptions>(options);
  const int64_t gates = Product(Gates(recurrent), recurrent.units);
  const Initial initial = {Initial::Kind::kUniform,
                           1 / std::sqrt(static_cast<double>(recurrent.units))};
  std::vector<TensorSpec> tensors;
  int64_t in = inputs[0][1];
  for (int64_t layer = 0; layer < recurrent.layers; ++layer) {
    for (int64_t direction = 0; direction < Directions(recurrent); ++direction) {
      std::string end = "_l" + std::to_string(layer) + (direction == 1 ? "_reverse" : "");
      tensors.push_back({"weight_ih" + end, {gates, in}, initial});
      tensors.push_back({"weight_hh" + end, {gates, recurrent.units}, initial});
      if (!recurrent.use_bias) continue;
      tensors.push_back({"bias_ih" + end, {gates}, initial});
      tensors.push_back({"bias_hh" + end, {gates}, initial});
    }
    in = Product(recurrent.units, Directions(recurrent));
  }
  return tensors;
}

LayerCost RecurrentCost(const LayerOptions& options, const Shapes& inputs, const Shape& output) {
  const auto& recurrent = As<RecurrentOptions>(options);
  const int64_t length = inputs[0][0], gates = Product(Gates(recurrent), recurrent.units);
  LayerCost cost;
  int64_t in = inputs[0][1];
  for (int64_t layer = 0; layer < recurrent.layers; ++layer) {
    LayerCost one = LinearCost(length, Sum(in, recurrent.units), gates);
    // The gates before and after their activations, the cell, copies of what they change, the
    // output and what puts outputs together (measured).
    one.activation_bytes = Product(kFloatBytes, length, recurrent.units, recurrent.gru ? 10 : 13);
    for (int64_t i = 0; i < Directions(recurrent); ++i) cost = cost + one;
    in = Product(recurrent.units, Directions(recurrent));
    if (recurrent.dropout > 0 && layer + 1 < recurrent.layers)  // and its mask
      cost.activation_bytes = Sum(cost.activation_bytes, Product(kFloatBytes + 1, length, in));
  }
  // In the order of the batch, after that of the positions.
  if (recurrent.return_sequences) {
    cost.activation_bytes = Sum(cost.activation_bytes, Product(kFloatBytes, ElementCount(output)));
  }
  return cost;
}

// ---- multi_head_attention: of a sequence to itself.

constexpr Key kHeads = {"num_heads", "nhead"};
constexpr Key kHeadFeatures = {"key_dim"};  // Keras's argument

void AttentionListOf(AttentionOptions& attention, OptionList& list) {
  list.Whole(kHeads, &attention.heads, 1, kMaxHeads, OptionList::kRequired);
  list.Bool({"causal", "is_causal", "use_causal_mask"}, &attention.causal);
  list.Bool({"use_bias", "bias"}, &attention.use_bias);
  BatchFirst(list);
}

void AttentionList(AttentionOptions& attention, OptionList& list) {
  AttentionListOf(attention, list);
  list.Real({"dropout"}, &attention.dropout, kDropoutRange);
  list.Inferred({"embed_dim"});
  list.Inferred(kHeadFeatures);
}

bool HeadsFit(const AttentionOptions& attention, const Shape& input, ObjectReader& reader) {
  if (!IsSequence(input, reader)) return false;
  if (input[1] % attention.heads == 0) return true;
  reader.Refuse(kHeads, "must divide the features of the input",
                "a divisor of " + std::to_string(input[1]));
  return false;
}

std::optional<Shape> InferAttention(const LayerOptions& options, const Shapes& inputs,
                                    ObjectReader& reader) {
  const int64_t heads = As<AttentionOptions>(options).heads;
  if (!HeadsFit(As<AttentionOptions>(options), inputs[0], reader)) return std::nullopt;
  reader.Matches(kHeadFeatures, inputs[0][1] / heads,
                 "a head's part of the features of the input " + ToString(inputs[0]));
  reader.Matches({"embed_dim"}, inputs[0][1], "the features of the input " + ToString(inputs[0]));
  return inputs[0];
}

std::vector<TensorSpec> AttentionTensorsOf(const std::string& prefix,
                                           const AttentionOptions& attention, int64_t features) {
  auto tensors = LinearTensors(prefix + "out_proj.", {features, features}, attention.use_bias);
  if (attention.use_bias) tensors[1].initial.kind = Initial::Kind::kZeroAfterUniform;
  // xavier_uniform_
  const int64_t three = Product(3, features);
  double bound = std::sqrt(3.0) * std::sqrt(2.0 / static_cast<double>(Sum(three, features)));
  tensors.push_back(
      {prefix + "in_proj_weight", {three, features}, {Initial::Kind::kUniform, bound}});
  if (attention.use_bias) tensors.push_back({prefix + "in_proj_bias", {three}, kZeros});
  return tensors;
}

std::vector<TensorSpec> AttentionTensors(const LayerOptions& options, const Shapes& inputs) {
  return AttentionTensorsOf("", As<AttentionOptions>(options), inputs[0][1]);
}

LayerCost AttentionCostOf(const AttentionOptions& attention, const Shape& input) {
  const int64_t length = input[0], features = input[1];
  LayerCost cost =
      LinearCost(length, features, Product(3, features)) + LinearCost(length, features, features);
  // Scores and the sums that they weigh: without dropout the scores are not kept whole.
  LayerCost scores;
  scores.flops = Product(4, length, length, features);
  scores.activation_bytes = Product(kFloatBytes, length, features);
  if (attention.dropout > 0) {
    scores.activation_bytes =
        Sum(scores.activation_bytes, Product(3 * kFloatBytes, attention.heads, length, length));
  }
  return cost + scores;
}

LayerCost AttentionCost(const LayerOptions& options, const Shapes& inputs, const Shape&) {
  return AttentionCostOf(As<AttentionOptions>(options), inputs[0]);
}

// ---- transformer_encoder: attention, then two dense layers, each with a residual connection and a
// layer normalisation.

void TransformerEncoderList(TransformerEncoderOptions& encoder, OptionList& list) {
  static constexpr Choice kActivations[] = {{"relu", static_cast<int>(Activation::kRelu)},
                                            {"gelu", static_cast<int>(Activation::kGelu)}};
  AttentionListOf(encoder.attention, list);
  list.Whole({"feed_forward", "dim_feedforward", "intermediate_dim"}, &encoder.feed_forward, 1,
             kMaxUnits);
  list.OneOf({"activation"}, &encoder.activation, kActivations);
  list.Real({"dropout"}, &encoder.dropout, kDropoutRange);
  list.Bool({"norm_first", "normalize_first"}, &encoder.norm_first);
  list.Real({"epsilon", "layer_norm_eps"}, &encoder.epsilon,
            {.min = 0, .max = 1, .above_min = true});
  list.Inferred({"d_model"});
  encoder.attention.dropout = encoder.dropout;
}

std::optional<Shape> InferTransformerEncoder(const LayerOptions& options, const Shapes& inputs,
                                             ObjectReader& reader) {
  const auto& encoder = As<TransformerEncoderOptions>(options);
  if (!HeadsFit(encoder.attention, inputs[0], reader)) return std::nullopt;
  reader.Matches({"d_model"}, inputs[0][1], "the features of the input " + ToString(inputs[0]));
  return inputs[0];
}

std::vector<TensorSpec> TransformerEncoderTensors(const LayerOptions& options,
                                                  const Shapes& inputs) {
  const auto& encoder = As<TransformerEncoderOptions>(options);
  const int64_t features = inputs[0][1];
  const bool bias = encoder.attention.use_bias;
  auto tensors = AttentionTensorsOf("self_attn.", encoder.attention, features);
  auto add = [&](std::vector<TensorSpec> more) {
    tensors.insert(tensors.end(), more.begin(), more.end());
  };
  add(LinearTensors("linear1.", {encoder.feed_forward, features}, bias));
  add(LinearTensors("linear2.", {features, encoder.feed_forward}, bias));
  for (const char* norm : {"norm1.", "norm2."}) {
    add({{std::string(norm) + "weight", {features}, kOnes}});
    if (bias) add({{std::string(norm) + "bias", {features}, kZeros}});
  }
  return tensors;
}

LayerCost TransformerEncoderCost(const LayerOptions& options, const Shapes& inputs, const Shape&) {
  const auto& encoder = As<TransformerEncoderOptions>(options);
  const Shape& input = inputs[0];
  const int64_t values = ElementCount(input), inner = Product(input[0], encoder.feed_forward);
  LayerCost cost = AttentionCostOf(encoder.attention, input) +
                   LinearCost(input[0], input[1], encoder.feed_forward) +
                   LinearCost(input[0], encoder.feed_forward, input[1]);
  // Two normalisations, two sums, the activation, and three dropouts with their masks.
  cost = cost + LayerCost{Sum(Product(12, values), Product(2, inner)),
                          Sum(Product(4 * kFloatBytes, values), Product(kFloatBytes, inner))};
  if (encoder.dropout > 0) {
    cost.activation_bytes = Sum(cost.activation_bytes, Product(kFloatBytes + 1, inner),
                                Product(2 * (kFloatBytes + 1), values));
  }
  return cost;
}

template <bool gru>
LayerKind Recurrent(std::string_view type) {
  return {type,
          {},
          ReadOptions<RecurrentOptions, RecurrentList<gru>>,
          WriteOptions<RecurrentOptions, RecurrentList<gru>>,
          InferRecurrent,
          RecurrentTensors,
          RecurrentCost,
          {.own_activation = true}};
}

}  // namespace

std::vector<LayerKind> SequenceLayers() {
  using Encoder = TransformerEncoderOptions;
  return {
      Recurrent<false>("lstm"),
      Recurrent<true>("gru"),
      {"multi_head_attention",
       {},
       ReadOptions<AttentionOptions, AttentionList>,
       WriteOptions<AttentionOptions, AttentionList>,
       InferAttention,
       AttentionTensors,
       AttentionCost},
      {"transformer_encoder",
       {"transformer_encoder_layer"},
       ReadOptions<Encoder, TransformerEncoderList>,
       WriteOptions<Encoder, TransformerEncoderList>,
       InferTransformerEncoder,
       TransformerEncoderTensors,
       TransformerEncoderCost,
       {.own_activation = true}},
  };
}

}  // namespace cyxwiz::spec
