#include "spec/job_spec.h"
#include "spec/layers.h"

namespace cyxwiz::spec {

Json ModelToJson(const ModelSpec& model) {
  Json layers = Json::array();
  for (const LayerSpec& layer : model.layers) {
    Json json = {{"type", layer.type}, {"name", layer.name}};
    FindLayerKind(layer.type)->write(layer.options, &json);
    if (layer.activation != Activation::kNone) {
      json["activation"] = ActivationName(layer.activation);
    }
    json["input_shape"] = layer.input_shape;
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
