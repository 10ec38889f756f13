#include "spec/layers.h"

namespace cyxwiz::spec {

Json ModelToJson(const ModelSpec& model) {
  Json layers = Json::array();
  for (size_t i = 0; i < model.layers.size(); ++i) {
    const LayerSpec& layer = model.layers[i];
    Json json = {{"type", layer.type}, {"name", layer.name}};
    // Left out where it is the layer before.
    if (layer.inputs != std::vector<int>{static_cast<int>(i) - 1}) {
      for (int value : layer.inputs) {
        json["inputs"].push_back(
            value == kModelInput ? "input" : model.layers[static_cast<size_t>(value)].name);
      }
    }
    OptionList options(&json);
    FindLayerKind(layer.type)->write(layer.options, options);
    if (layer.activation != Activation::kNone) {
      json["activation"] = ActivationName(layer.activation);
    }
    json["input_shape"] = layer.input_shapes[0];
    json["output_shape"] = layer.output_shape;
    json["parameters"] = layer.parameters;
    layers.push_back(std::move(json));
  }
  return {{"version", kModelVersion},
          {"input_shape", model.input_shape},
          {"output_shape", model.output_shape},
          {"parameters", model.parameters},
          {"layers", std::move(layers)}};
}

}  // namespace cyxwiz::spec
