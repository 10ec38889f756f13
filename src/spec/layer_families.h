// What the tables of layers share; layers.cc puts them together. One function a family.
#pragma once

#include <cmath>

#include "spec/count.h"
#include "spec/layers.h"

namespace cyxwiz::spec {

std::vector<LayerKind> BasicLayers();  // dense, dropout, embeddings
std::vector<LayerKind> ConvolutionLayers();
std::vector<LayerKind> PoolingLayers();
std::vector<LayerKind> NormalizationLayers();
std::vector<LayerKind> SequenceLayers();  // recurrent layers and attention
std::vector<LayerKind> ShapeLayers();     // flatten, reshape, ..., and those that join values
std::vector<LayerKind> ActivationLayers();

inline constexpr int64_t kFloatBytes = 4;

// read and write of a kind whose options are a struct Options and whose list is `list`.
template <typename Options, void (*list)(Options&, OptionList&)>
LayerOptions ReadOptions(OptionList& reader) {
  Options options;
  list(options, reader);
  return options;
}
template <typename Options, void (*list)(Options&, OptionList&)>
void WriteOptions(const LayerOptions& options, OptionList& writer) {
  Options copy = std::get<Options>(options);
  list(copy, writer);
}

template <typename Options>
const Options& As(const LayerOptions& options) {
  return std::get<Options>(options);
}

// Layers that give back the shape they get.
inline std::optional<Shape> InferSame(const LayerOptions&, const Shapes& inputs, ObjectReader&) {
  return inputs[0];
}

inline LayerCost NoCost(const LayerOptions&, const Shapes&, const Shape&) { return {}; }
// One operation a value, and the output is kept.
inline LayerCost CostOfEachValue(const LayerOptions&, const Shapes&, const Shape& output) {
  return {ElementCount(output), Product(kFloatBytes, ElementCount(output))};
}

// PyTorch's default for Linear and convolutions: kaiming_uniform_(a=sqrt(5)) for the weight and
// 1/sqrt(fan_in) for the bias, computed in its order of operations, so that the last bit is the
// same.
inline Initial WeightInitial(int64_t fan_in) {
  return {Initial::Kind::kUniform,
          std::sqrt(3.0) * (std::sqrt(2.0 / (1 + 5)) / std::sqrt(static_cast<double>(fan_in)))};
}
inline Initial BiasInitial(int64_t fan_in) {
  return {Initial::Kind::kUniform, 1 / std::sqrt(static_cast<double>(fan_in))};
}
inline constexpr Initial kOnes = {Initial::Kind::kConstant, 1};
inline constexpr Initial kZeros = {Initial::Kind::kConstant, 0};

// Weight [out, shape...] and bias [out] of a linear map or a convolution.
inline std::vector<TensorSpec> LinearTensors(const std::string& prefix, Shape weight, bool bias) {
  const int64_t fan_in = ElementCount(weight) / weight[0];
  std::vector<TensorSpec> tensors = {{prefix + "weight", weight, WeightInitial(fan_in)}};
  if (bias) tensors.push_back({prefix + "bias", {weight[0]}, BiasInitial(fan_in)});
  return tensors;
}

// Whether the input has a dimension for the channels and `count` for directions; a problem when
// not.
bool HasDirections(size_t count, const Shape& input, ObjectReader& reader);
// Whether the input is [length, features]; a problem when not.
bool IsSequence(const Shape& input, ObjectReader& reader);

// Positions a window takes along one side; 0 when it does not fit in even once.
int64_t WindowSteps(int64_t size, int64_t window, int64_t stride, int64_t padding,
                    int64_t dilation);
// [channels, sizes...]; nullopt with a problem when a size is 0.
std::optional<Shape> WindowedShape(int64_t channels, const Sizes& sizes, const std::string& window,
                                   const Shape& input, ObjectReader& reader);
std::string ToText(const Sizes& sizes);  // "3x3"

}  // namespace cyxwiz::spec
