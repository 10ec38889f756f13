#include "export/torchscript_layers.h"

namespace cyxwiz::exporting {
namespace {

using Inputs = std::span<const std::string>;

std::string BatchNormalization(const spec::LayerSpec& layer, Inputs x, ScriptWriter& writer) {
  const auto& options = std::get<spec::BatchNormalizationOptions>(layer.options);
  writer.InTraining("torch.add_(" + writer.Tensor("num_batches_tracked") + ", 1)");
  return writer.Call("batch_norm", {x[0], writer.Tensor("weight"), writer.Tensor("bias"),
                                    writer.Tensor("running_mean"), writer.Tensor("running_var"),
                                    "self.training", ScriptNumber(options.momentum),
                                    ScriptNumber(options.epsilon), /*cudnn_enabled=*/"True"});
}

std::string LayerNormalization(const spec::LayerSpec& layer, Inputs x, ScriptWriter& writer) {
  const auto& options = std::get<spec::LayerNormalizationOptions>(layer.options);
  const spec::Shape& input = layer.input_shapes[0];
  return writer.Call(
      "layer_norm",
      {x[0], ScriptList({input.end() - options.dimensions, input.end()}), writer.Tensor("weight"),
       writer.Tensor("bias"), ScriptNumber(options.epsilon)});
}

std::string GroupNormalization(const spec::LayerSpec& layer, Inputs x, ScriptWriter& writer) {
  const auto& options = std::get<spec::GroupNormalizationOptions>(layer.options);
  return writer.Call("group_norm", {x[0], std::to_string(options.groups), writer.Tensor("weight"),
                                    writer.Tensor("bias"), ScriptNumber(options.epsilon)});
}

std::string RmsNormalization(const spec::LayerSpec& layer, Inputs x, ScriptWriter& writer) {
  const double epsilon = std::get<spec::RmsNormalizationOptions>(layer.options).epsilon;
  std::string mean = writer.Call("mean", {writer.Call("square", {x[0]}), "[-1]", "True"});
  std::string scale = writer.Call("rsqrt", {writer.Call("add", {mean, ScriptNumber(epsilon)})});
  return writer.Call("mul", {writer.Call("mul", {x[0], scale}), writer.Tensor("weight")});
}

}  // namespace

std::vector<ScriptKind> NormalizationScript() {
  return {
      {"batch_normalization", BatchNormalization},
      {"layer_normalization", LayerNormalization},
      {"group_normalization", GroupNormalization},
      {"rms_normalization", RmsNormalization},
  };
}

}  // namespace cyxwiz::exporting
