// Windows that take the largest value or the mean, and the same over all positions.
#include "spec/layer_families.h"

namespace cyxwiz::spec {
namespace {

// ---- max_pooling1d, average_pooling2d, ...

template <bool average, size_t count>
void PoolingList(PoolingOptions& pooling, OptionList& list) {
  static constexpr Key kStrides = {"strides", "stride"};
  static constexpr Key kPadding = {"padding"};
  pooling.average = average;
  list.Sizes({"pool_size", "kernel_size"}, &pooling.pool, count, 1, kMaxWindow, 2);
  list.Sizes(kStrides, &pooling.strides, count, 1, kMaxWindow, 1);
  list.Paddings(&pooling.padding, &pooling.padding_sizes, count);
  list.DataFormat();
  if (list.reader() == nullptr) return;
  if (list.reader()->Find(kStrides) == nullptr) pooling.strides = pooling.pool;
  std::string most;
  bool fits = true;
  for (size_t i = 0; i < count; ++i) {
    fits = fits && pooling.padding_sizes[i] <= pooling.pool[i] / 2;
    most += (most.empty() ? "" : " and ") + std::to_string(pooling.pool[i] / 2);
  }
  if (!fits) list.reader()->Refuse(kPadding, "is more than half of the pool", "at most " + most);
}

std::optional<Shape> InferPooling(const LayerOptions& options, const Shapes& inputs,
                                  ObjectReader& reader) {
  const auto& pooling = As<PoolingOptions>(options);
  const size_t count = pooling.pool.size();
  const Shape& input = inputs[0];
  if (!HasDirections(count, input, reader)) return std::nullopt;
  Sizes sizes;
  for (size_t i = 0; i < count; ++i) {
    sizes.push_back(pooling.padding == Padding::kSame
                        ? (input[i + 1] - 1) / pooling.strides[i] + 1
                        : WindowSteps(input[i + 1], pooling.pool[i], pooling.strides[i],
                                      pooling.padding_sizes[i], 1));
  }
  return WindowedShape(input[0], sizes, "pool " + ToText(pooling.pool), input, reader);
}

LayerCost PoolingCost(const LayerOptions& options, const Shapes&, const Shape& output) {
  const auto& pooling = As<PoolingOptions>(options);
  // A maximum keeps the place of each value, 8 bytes.
  return {Product(ElementCount(pooling.pool), ElementCount(output)),
          Product(kFloatBytes + (pooling.average ? 0 : 8), ElementCount(output))};
}

template <bool average, size_t count>
LayerKind Pooling(std::string_view type, std::vector<std::string_view> aliases) {
  return {type,
          std::move(aliases),
          ReadOptions<PoolingOptions, PoolingList<average, count>>,
          WriteOptions<PoolingOptions, PoolingList<average, count>>,
          InferPooling,
          nullptr,
          PoolingCost};
}

// ---- global_max_pooling1d, global_average_pooling2d, ...

template <bool average>
void GlobalPoolingList(GlobalPoolingOptions& pooling, OptionList& list) {
  pooling.average = average;
  list.Bool({"keepdims"}, &pooling.keep_dimensions);
  list.DataFormat();
}

template <size_t count>
std::optional<Shape> InferGlobalPooling(const LayerOptions& options, const Shapes& inputs,
                                        ObjectReader& reader) {
  if (!HasDirections(count, inputs[0], reader)) return std::nullopt;
  Shape output(As<GlobalPoolingOptions>(options).keep_dimensions ? count + 1 : 1, 1);
  output[0] = inputs[0][0];
  return output;
}

LayerCost GlobalPoolingCost(const LayerOptions& options, const Shapes& inputs,
                            const Shape& output) {
  bool average = As<GlobalPoolingOptions>(options).average;
  return {ElementCount(inputs[0]), Product(kFloatBytes + (average ? 0 : 8), ElementCount(output))};
}

template <bool average, size_t count>
LayerKind GlobalPooling(std::string_view type, std::string_view alias) {
  return {type,
          {alias},
          ReadOptions<GlobalPoolingOptions, GlobalPoolingList<average>>,
          WriteOptions<GlobalPoolingOptions, GlobalPoolingList<average>>,
          InferGlobalPooling<count>,
          nullptr,
          GlobalPoolingCost};
}

}  // namespace

std::vector<LayerKind> PoolingLayers() {
  return {
      Pooling<false, 1>("max_pooling1d", {"max_pool1d"}),
      Pooling<false, 2>("max_pooling2d", {"max_pool2d"}),
      Pooling<false, 3>("max_pooling3d", {"max_pool3d"}),
      Pooling<true, 1>("average_pooling1d", {"average_pool1d", "avg_pooling1d", "avg_pool1d"}),
      Pooling<true, 2>("average_pooling2d", {"average_pool2d", "avg_pooling2d", "avg_pool2d"}),
      Pooling<true, 3>("average_pooling3d", {"average_pool3d", "avg_pooling3d", "avg_pool3d"}),
      GlobalPooling<false, 1>("global_max_pooling1d", "global_max_pool1d"),
      GlobalPooling<false, 2>("global_max_pooling2d", "global_max_pool2d"),
      GlobalPooling<false, 3>("global_max_pooling3d", "global_max_pool3d"),
      GlobalPooling<true, 1>("global_average_pooling1d", "global_avg_pool1d"),
      GlobalPooling<true, 2>("global_average_pooling2d", "global_avg_pool2d"),
      GlobalPooling<true, 3>("global_average_pooling3d", "global_avg_pool3d"),
  };
}

}  // namespace cyxwiz::spec
