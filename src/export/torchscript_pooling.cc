#include <limits>

#include "export/torchscript_layers.h"

namespace cyxwiz::exporting {
namespace {

using Inputs = std::span<const std::string>;

std::string Pooling(const spec::LayerSpec& layer, Inputs x, ScriptWriter& writer) {
  const auto& pooling = std::get<spec::PoolingOptions>(layer.options);
  const std::string directions = std::to_string(pooling.pool.size()) + "d";
  auto pool = [&](const char* function, const std::string& padded) {
    return writer.Call(function + directions,
                       {padded, ScriptList(pooling.pool), ScriptList(pooling.strides),
                        ScriptList(pooling.padding_sizes)});
  };
  std::vector<int64_t> around;
  if (pooling.padding == spec::Padding::kSame) {
    around = spec::SamePaddings(layer.input_shapes[0], layer.output_shape, pooling.pool,
                                pooling.strides);
  }
  if (!pooling.average) {
    constexpr double kNothing = -std::numeric_limits<double>::infinity();
    return pool("max_pool", writer.Pad(x[0], around, kNothing));
  }
  std::string mean = pool("avg_pool", writer.Pad(x[0], around));
  if (around.empty()) return mean;
  // Divided by the part of each window that lies in the image.
  spec::Shape one = layer.input_shapes[0];
  one[0] = 1;
  one.insert(one.begin(), 1);
  std::string ones = writer.Call("new_ones", {x[0], ScriptList(one)});
  return writer.Call("div", {mean, pool("avg_pool", writer.Pad(ones, around))});
}

std::string GlobalPooling(const spec::LayerSpec& layer, Inputs x, ScriptWriter& writer) {
  const auto& pooling = std::get<spec::GlobalPoolingOptions>(layer.options);
  std::vector<int64_t> directions;
  for (size_t i = 1; i < layer.input_shapes[0].size(); ++i) {
    directions.push_back(static_cast<int64_t>(i) + 1);
  }
  return writer.Call(pooling.average ? "mean" : "amax",
                     {x[0], ScriptList(directions), ScriptBool(pooling.keep_dimensions)});
}

}  // namespace

std::vector<ScriptKind> PoolingScript() {
  return {
      {"max_pooling1d", Pooling},
      {"max_pooling2d", Pooling},
      {"max_pooling3d", Pooling},
      {"average_pooling1d", Pooling},
      {"average_pooling2d", Pooling},
      {"average_pooling3d", Pooling},
      {"global_max_pooling1d", GlobalPooling},
      {"global_max_pooling2d", GlobalPooling},
      {"global_max_pooling3d", GlobalPooling},
      {"global_average_pooling1d", GlobalPooling},
      {"global_average_pooling2d", GlobalPooling},
      {"global_average_pooling3d", GlobalPooling},
  };
}

}  // namespace cyxwiz::exporting
