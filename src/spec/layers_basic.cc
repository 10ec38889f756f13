// dense, dropout, embedding, positional_embedding.
#include "spec/layer_families.h"

namespace cyxwiz::spec {
namespace {

// ---- dense: as PyTorch's Linear, acts on the last dimension, whatever stands before it.

void DenseList(DenseOptions& dense, OptionList& list) {
  list.Whole({"units", "out_features"}, &dense.units, 1, kMaxUnits, OptionList::kRequired);
  list.Bool({"use_bias", "bias"}, &dense.use_bias);
  list.Inferred({"in_features"});
}

std::optional<Shape> InferDense(const LayerOptions& options, const Shapes& inputs,
                                ObjectReader& reader) {
  reader.Matches({"in_features"}, inputs[0].back(),
                 "the last dimension of the input " + ToString(inputs[0]));
  Shape output = inputs[0];
  output.back() = As<DenseOptions>(options).units;
  return output;
}

std::vector<TensorSpec> DenseTensors(const LayerOptions& options, const Shapes& inputs) {
  const auto& dense = As<DenseOptions>(options);
  return LinearTensors("", {dense.units, inputs[0].back()}, dense.use_bias);
}

LayerCost DenseCost(const LayerOptions&, const Shapes& inputs, const Shape& output) {
  return {Product(2, inputs[0].back(), ElementCount(output)),
          Product(kFloatBytes, ElementCount(output))};
}

// ---- dropout

void DropoutList(DropoutOptions& dropout, OptionList& list) {
  list.Real({"rate", "p"}, &dropout.rate, {.min = 0, .max = 1, .below_max = true});
}

LayerCost DropoutCost(const LayerOptions&, const Shapes&, const Shape& output) {
  // The output and the mask.
  return {ElementCount(output), Product(kFloatBytes + 1, ElementCount(output))};
}

// ---- embedding: each whole number becomes a row of the table.

void EmbeddingList(EmbeddingOptions& embedding, OptionList& list) {
  list.Whole({"input_dim", "num_embeddings"}, &embedding.input_dim, 1, int64_t{1} << 31,
             OptionList::kRequired);
  list.Whole({"output_dim", "embedding_dim"}, &embedding.output_dim, 1, kMaxUnits,
             OptionList::kRequired);
}

std::optional<Shape> InferEmbedding(const LayerOptions& options, const Shapes& inputs,
                                    ObjectReader&) {
  Shape output = inputs[0];
  output.push_back(As<EmbeddingOptions>(options).output_dim);
  return output;
}

std::vector<TensorSpec> EmbeddingTensors(const LayerOptions& options, const Shapes&) {
  const auto& embedding = As<EmbeddingOptions>(options);
  return {{"weight", {embedding.input_dim, embedding.output_dim}, {Initial::Kind::kNormal, 1}}};
}

LayerCost EmbeddingCost(const LayerOptions&, const Shapes& inputs, const Shape& output) {
  // The output, and the numbers as int64.
  return {0, Sum(Product(kFloatBytes, ElementCount(output)), Product(8, ElementCount(inputs[0])))};
}

// ---- positional_embedding: adds a trained row to each position of a sequence.

void PositionalEmbeddingList(PositionalEmbeddingOptions& positional, OptionList& list) {
  static constexpr Key kKey = {"sequence_length", "max_length"};
  if (list.reader() == nullptr && positional.positions == 0) return;  // inferred
  list.Whole(kKey, &positional.positions, 1, kMaxUnits);
}

int64_t Positions(const PositionalEmbeddingOptions& positional, const Shape& input) {
  return positional.positions > 0 ? positional.positions : input[0];
}

std::optional<Shape> InferPositionalEmbedding(const LayerOptions& options, const Shapes& inputs,
                                              ObjectReader& reader) {
  const auto& positional = As<PositionalEmbeddingOptions>(options);
  if (!IsSequence(inputs[0], reader)) return std::nullopt;
  if (positional.positions > 0 && positional.positions < inputs[0][0]) {
    reader.Refuse({"sequence_length", "max_length"}, "is less than the input's length",
                  "at least " + std::to_string(inputs[0][0]), "leave it out: it is inferred");
  }
  return inputs[0];
}

std::vector<TensorSpec> PositionalEmbeddingTensors(const LayerOptions& options,
                                                   const Shapes& inputs) {
  // Deviation of the positions of BERT, GPT-2 and ViT.
  return {{"weight",
           {Positions(As<PositionalEmbeddingOptions>(options), inputs[0]), inputs[0][1]},
           {Initial::Kind::kNormal, 0.02}}};
}

}  // namespace

std::vector<LayerKind> BasicLayers() {
  return {
      {"dense",
       {"linear"},
       ReadOptions<DenseOptions, DenseList>,
       WriteOptions<DenseOptions, DenseList>,
       InferDense,
       DenseTensors,
       DenseCost},
      {"dropout",
       {},
       ReadOptions<DropoutOptions, DropoutList>,
       WriteOptions<DropoutOptions, DropoutList>,
       InferSame,
       nullptr,
       DropoutCost},
      {"embedding",
       {},
       ReadOptions<EmbeddingOptions, EmbeddingList>,
       WriteOptions<EmbeddingOptions, EmbeddingList>,
       InferEmbedding,
       EmbeddingTensors,
       EmbeddingCost,
       {.takes_whole_numbers = true}},
      {"positional_embedding",
       {"position_embedding"},
       ReadOptions<PositionalEmbeddingOptions, PositionalEmbeddingList>,
       WriteOptions<PositionalEmbeddingOptions, PositionalEmbeddingList>,
       InferPositionalEmbedding,
       PositionalEmbeddingTensors,
       CostOfEachValue},
  };
}

}  // namespace cyxwiz::spec
