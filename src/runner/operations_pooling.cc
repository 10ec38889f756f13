#include <limits>

#include "runner/operations.h"
#include "spec/layers.h"

namespace cyxwiz::runner {
namespace {

at::Tensor Largest(const at::Tensor& x, at::IntArrayRef pool, at::IntArrayRef strides,
                   at::IntArrayRef padding) {
  if (pool.size() == 2) return at::max_pool2d(x, pool, strides, padding);
  if (pool.size() == 1) return at::max_pool1d(x, pool, strides, padding);
  return at::max_pool3d(x, pool, strides, padding);
}

at::Tensor Mean(const at::Tensor& x, at::IntArrayRef pool, at::IntArrayRef strides,
                at::IntArrayRef padding) {
  if (pool.size() == 2) return at::avg_pool2d(x, pool, strides, padding);
  if (pool.size() == 1) return at::avg_pool1d(x, pool, strides, padding);
  return at::avg_pool3d(x, pool, strides, padding);
}

Operation Pooling(const spec::LayerSpec& layer, const LayerTensors&) {
  const auto& pooling = OptionsOf<spec::PoolingOptions>(layer);
  std::vector<int64_t> around;
  if (pooling.padding == spec::Padding::kSame) {
    around = spec::SamePaddings(layer.input_shapes[0], layer.output_shape, pooling.pool,
                                pooling.strides);
  }
  if (!pooling.average) {
    return [pooling, around](Inputs x, bool) {
      constexpr double kNothing = -std::numeric_limits<double>::infinity();
      return Largest(around.empty() ? x[0] : at::constant_pad_nd(x[0], around, kNothing),
                     pooling.pool, pooling.strides, pooling.padding_sizes);
    };
  }
  // The part of each window that lies in the image.
  at::Tensor share;
  if (!around.empty()) {
    std::vector<int64_t> one = layer.input_shapes[0];
    one[0] = 1;
    one.insert(one.begin(), 1);
    share = Mean(at::constant_pad_nd(at::ones(one), around), pooling.pool, pooling.strides,
                 pooling.padding_sizes);
  }
  return [pooling, around, share](Inputs x, bool) mutable {
    at::Tensor mean = Mean(around.empty() ? x[0] : at::constant_pad_nd(x[0], around), pooling.pool,
                           pooling.strides, pooling.padding_sizes);
    if (!share.defined()) return mean;
    if (share.device() != mean.device()) share = share.to(mean.device());
    return mean.div_(share);
  };
}

Operation GlobalPooling(const spec::LayerSpec& layer, const LayerTensors&) {
  const auto& pooling = OptionsOf<spec::GlobalPoolingOptions>(layer);
  return [pooling, directions = layer.input_shapes[0].size() - 1](Inputs x, bool) {
    at::Tensor values = x[0].flatten(2);
    at::Tensor one = pooling.average ? values.mean(2) : std::get<0>(values.max(2));
    if (!pooling.keep_dimensions) return one;
    std::vector<int64_t> shape(directions + 2, 1);
    shape[0] = one.size(0);
    shape[1] = one.size(1);
    return one.view(shape);
  };
}

}  // namespace

std::vector<OperationKind> PoolingOperations() {
  return {
      {"max_pooling1d", Pooling, /*fresh=*/true},
      {"max_pooling2d", Pooling, /*fresh=*/true},
      {"max_pooling3d", Pooling, /*fresh=*/true},
      {"average_pooling1d", Pooling, /*fresh=*/true},
      {"average_pooling2d", Pooling, /*fresh=*/true},
      {"average_pooling3d", Pooling, /*fresh=*/true},
      {"global_max_pooling1d", GlobalPooling},
      {"global_max_pooling2d", GlobalPooling},
      {"global_max_pooling3d", GlobalPooling},
      {"global_average_pooling1d", GlobalPooling},
      {"global_average_pooling2d", GlobalPooling},
      {"global_average_pooling3d", GlobalPooling},
  };
}

}  // namespace cyxwiz::runner
