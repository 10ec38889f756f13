// batch_normalization, layer_normalization, group_normalization, rms_normalization.
#include "spec/layer_families.h"

namespace cyxwiz::spec {
namespace {

constexpr RealRange kEpsilonRange = {.min = 0, .max = 1, .above_min = true};

LayerCost NormalizationCost(const LayerOptions&, const Shapes&, const Shape& output) {
  return {Product(4, ElementCount(output)), Product(kFloatBytes, ElementCount(output))};
}

// What computes in steps keeps two values of each: the input, scaled, comes before the weight.
LayerCost RmsNormalizationCost(const LayerOptions&, const Shapes&, const Shape& output) {
  const int64_t bytes = Product(kFloatBytes, ElementCount(output));
  return {Product(4, ElementCount(output)), Product(2, bytes), bytes};
}

// ---- batch_normalization: each value of a flat sample, or each channel (the first dimension) of
// any other.

void BatchNormalizationList(BatchNormalizationOptions& normalization, OptionList& list) {
  list.Real({"momentum"}, &normalization.momentum, {.min = 0, .max = 1, .above_min = true});
  list.Real({"epsilon", "eps"}, &normalization.epsilon, kEpsilonRange);
  list.Inferred({"num_features"});
}

std::optional<Shape> InferBatchNormalization(const LayerOptions&, const Shapes& inputs,
                                             ObjectReader& reader) {
  const Shape& input = inputs[0];
  reader.Matches({"num_features"}, input[0], "the first dimension of the input " + ToString(input));
  const std::string& type = reader.Find({"type"})->get_ref<const std::string&>();
  if (SameName(type, "BatchNorm1d") && input.size() > 2) {
    reader.RefuseObject("BatchNorm1d needs a flat input", "[features] or [channels, length]",
                        ToString(input), "use BatchNorm2d or batch_normalization");
    return std::nullopt;
  }
  if (SameName(type, "BatchNorm2d") && !HasDirections(2, input, reader)) return std::nullopt;
  if (SameName(type, "BatchNorm3d") && !HasDirections(3, input, reader)) return std::nullopt;
  if (input.size() > 4) {
    reader.RefuseObject("batch_normalization takes at most four dimensions",
                        "[features], [channels, length], [channels, height, width] or [channels, "
                        "depth, height, width]",
                        ToString(input));
    return std::nullopt;
  }
  return input;
}

std::vector<TensorSpec> BatchNormalizationTensors(const LayerOptions&, const Shapes& inputs) {
  const Shape each = {inputs[0][0]};
  return {{"weight", each, kOnes},
          {"bias", each, kZeros},
          {"running_mean", each, kZeros, /*trainable=*/false},
          {"running_var", each, kOnes, /*trainable=*/false},
          {"num_batches_tracked", {}, kZeros, /*trainable=*/false, /*whole=*/true}};
}

// PyTorch's argument of what normalises over the last dimensions.
constexpr Key kNormalizedShape = {"normalized_shape"};

// Whether the shape that it gives, if any, is that of the dimensions that are normalised; a problem
// when not.
void CheckNormalizedShape(const Shape& normalized, ObjectReader& reader) {
  const Json* given = reader.Find(kNormalizedShape);
  if (given == nullptr) return;
  const bool fits = given->is_array() ? given->get<Shape>() == normalized
                                      : normalized.size() == 1 && *given == normalized.back();
  if (fits) return;
  reader.Refuse(kNormalizedShape, "does not fit the last dimensions of the input",
                ToString(normalized), "leave it out: it is inferred");
}

// ---- layer_normalization: over the last dimensions.

void LayerNormalizationList(LayerNormalizationOptions& normalization, OptionList& list) {
  list.Whole({"dimensions"}, &normalization.dimensions, 1, 8);
  list.Real({"epsilon", "eps"}, &normalization.epsilon, kEpsilonRange);
  list.Bool({"scale", "elementwise_affine"}, &normalization.scale);
  list.Bool({"use_bias", "bias", "center"}, &normalization.use_bias);
  if (list.reader() == nullptr) return;
  ObjectReader& reader = *list.reader();
  if (reader.Find({"use_bias", "bias", "center"}) == nullptr) {
    normalization.use_bias = normalization.scale;
  }
  if (!normalization.scale && normalization.use_bias) {
    reader.Refuse({"use_bias", "bias", "center"}, "needs a scale", "false, or \"scale\": true");
  }
  const Json* shape = reader.Find(kNormalizedShape);
  if (shape == nullptr) return;
  if (reader.Find({"dimensions"}) != nullptr) {
    reader.Refuse(kNormalizedShape, "says the same as dimensions", "one of them");
  } else if (shape->is_array()) {
    if (auto given = reader.Shape(kNormalizedShape)) {
      normalization.dimensions = static_cast<int64_t>(given->size());
    }
  } else {
    reader.Whole(kNormalizedShape, 1, kUncountable);
  }
}

Shape NormalizedShape(const LayerOptions& options, const Shape& input) {
  return Shape(input.end() - As<LayerNormalizationOptions>(options).dimensions, input.end());
}

std::optional<Shape> InferLayerNormalization(const LayerOptions& options, const Shapes& inputs,
                                             ObjectReader& reader) {
  const Shape& input = inputs[0];
  const auto& normalization = As<LayerNormalizationOptions>(options);
  if (normalization.dimensions > static_cast<int64_t>(input.size())) {
    reader.RefuseObject("the layer normalises more dimensions than the input has",
                        "at most " + std::to_string(input.size()),
                        std::to_string(normalization.dimensions));
    return std::nullopt;
  }
  CheckNormalizedShape(NormalizedShape(options, input), reader);
  return input;
}

std::vector<TensorSpec> LayerNormalizationTensors(const LayerOptions& options,
                                                  const Shapes& inputs) {
  const auto& normalization = As<LayerNormalizationOptions>(options);
  const Shape shape = NormalizedShape(options, inputs[0]);
  std::vector<TensorSpec> tensors;
  if (normalization.scale) tensors.push_back({"weight", shape, kOnes});
  if (normalization.use_bias) tensors.push_back({"bias", shape, kZeros});
  return tensors;
}

// ---- group_normalization: channels in groups, each group of a sample by itself.

constexpr Key kGroups = {"groups", "num_groups"};

void GroupNormalizationList(GroupNormalizationOptions& normalization, OptionList& list) {
  list.Whole(kGroups, &normalization.groups, 1, kMaxUnits, OptionList::kRequired);
  list.Real({"epsilon", "eps"}, &normalization.epsilon, kEpsilonRange);
  list.Inferred({"num_channels"});
}

std::optional<Shape> InferGroupNormalization(const LayerOptions& options, const Shapes& inputs,
                                             ObjectReader& reader) {
  const Shape& input = inputs[0];
  reader.Matches({"num_channels"}, input[0], "the channels of the input " + ToString(input));
  if (input[0] % As<GroupNormalizationOptions>(options).groups != 0) {
    reader.Refuse(kGroups, "must divide the channels of the input",
                  "a divisor of " + std::to_string(input[0]));
  }
  return input;
}

std::vector<TensorSpec> GroupNormalizationTensors(const LayerOptions&, const Shapes& inputs) {
  return {{"weight", {inputs[0][0]}, kOnes}, {"bias", {inputs[0][0]}, kZeros}};
}

// ---- rms_normalization: the last dimension, by its root mean square.

void RmsNormalizationList(RmsNormalizationOptions& normalization, OptionList& list) {
  list.Real({"epsilon", "eps"}, &normalization.epsilon, kEpsilonRange);
  if (list.reader() == nullptr) return;
  const Json* shape = list.reader()->Find(kNormalizedShape);
  if (shape != nullptr && shape->is_array()) {
    list.reader()->Shape(kNormalizedShape);
  } else {
    list.Inferred(kNormalizedShape);
  }
}

std::optional<Shape> InferRmsNormalization(const LayerOptions&, const Shapes& inputs,
                                           ObjectReader& reader) {
  CheckNormalizedShape({inputs[0].back()}, reader);
  return inputs[0];
}

std::vector<TensorSpec> RmsNormalizationTensors(const LayerOptions&, const Shapes& inputs) {
  return {{"weight", {inputs[0].back()}, kOnes}};
}

}  // namespace

std::vector<LayerKind> NormalizationLayers() {
  using Batch = BatchNormalizationOptions;
  using Layer = LayerNormalizationOptions;
  using Group = GroupNormalizationOptions;
  using Rms = RmsNormalizationOptions;
  return {
      {"batch_normalization",
       {"batch_norm", "batch_norm1d", "batch_norm2d", "batch_norm3d"},
       ReadOptions<Batch, BatchNormalizationList>,
       WriteOptions<Batch, BatchNormalizationList>,
       InferBatchNormalization,
       BatchNormalizationTensors,
       NormalizationCost},
      {"layer_normalization",
       {"layer_norm"},
       ReadOptions<Layer, LayerNormalizationList>,
       WriteOptions<Layer, LayerNormalizationList>,
       InferLayerNormalization,
       LayerNormalizationTensors,
       NormalizationCost},
      {"group_normalization",
       {"group_norm"},
       ReadOptions<Group, GroupNormalizationList>,
       WriteOptions<Group, GroupNormalizationList>,
       InferGroupNormalization,
       GroupNormalizationTensors,
       NormalizationCost},
      {"rms_normalization",
       {"rms_norm"},
       ReadOptions<Rms, RmsNormalizationList>,
       WriteOptions<Rms, RmsNormalizationList>,
       InferRmsNormalization,
       RmsNormalizationTensors,
       RmsNormalizationCost},
  };
}

}  // namespace cyxwiz::spec
