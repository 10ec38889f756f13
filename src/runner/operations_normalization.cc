#include "runner/operations.h"

namespace cyxwiz::runner {
namespace {

Operation BatchNormalization(const spec::LayerSpec& layer, const LayerTensors& tensors) {
  return [options = OptionsOf<spec::BatchNormalizationOptions>(layer), weight = tensors("weight"),
          bias = tensors("bias"), mean = tensors("running_mean"), var = tensors("running_var"),
          batches = tensors("num_batches_tracked")](Inputs x, bool training) {
    if (training) batches.add_(1);
    return at::batch_norm(x[0], weight, bias, mean, var, training, options.momentum,
                          options.epsilon, /*cudnn_enabled=*/true);
  };
}

Operation LayerNormalization(const spec::LayerSpec& layer, const LayerTensors& tensors) {
  const auto& options = OptionsOf<spec::LayerNormalizationOptions>(layer);
  const spec::Shape& input = layer.input_shapes[0];
  spec::Shape normalized(input.end() - options.dimensions, input.end());
  return [options, normalized, weight = tensors("weight"), bias = tensors("bias")](Inputs x, bool) {
    return at::layer_norm(x[0], normalized, weight, bias, options.epsilon);
  };
}

Operation GroupNormalization(const spec::LayerSpec& layer, const LayerTensors& tensors) {
  return [options = OptionsOf<spec::GroupNormalizationOptions>(layer), weight = tensors("weight"),
          bias = tensors("bias")](Inputs x, bool) {
    return at::group_norm(x[0], options.groups, weight, bias, options.epsilon);
  };
}

Operation RmsNormalization(const spec::LayerSpec& layer, const LayerTensors& tensors) {
  return [epsilon = OptionsOf<spec::RmsNormalizationOptions>(layer).epsilon,
          weight = tensors("weight")](Inputs x, bool) {
    at::Tensor scale = x[0].square().mean(-1, /*keepdim=*/true).add_(epsilon).rsqrt();
    return x[0] * scale * weight;
  };
}

}  // namespace

std::vector<OperationKind> NormalizationOperations() {
  return {
      {"batch_normalization", BatchNormalization, /*fresh=*/true},
      {"layer_normalization", LayerNormalization, /*fresh=*/true},
      {"group_normalization", GroupNormalization, /*fresh=*/true},
      {"rms_normalization", RmsNormalization, /*fresh=*/true},
  };
}

}  // namespace cyxwiz::runner
