#include "export/torchscript.h"

#include "export/layer_kinds.h"
#include "export/torchscript_layers.h"

namespace cyxwiz::exporting {
namespace {

constexpr char kFloat[] = "6";  // c10::ScalarType

// Values of the data set -> values of the model.
std::string Prepare(const Preprocessing& preprocessing, const spec::Shape& shape,
                    ScriptSource* source) {
  std::string x =
      source->Set("torch.to(" + std::string(ScriptSource::kInput) + ", " + kFloat + ")");
  if (preprocessing.divisor != 1) {
    x = source->Set("torch.div(" + x + ", " + ScriptNumber(preprocessing.divisor) + ")");
  }
  if (!preprocessing.mean.empty()) {
    spec::Shape each = {static_cast<int64_t>(preprocessing.mean.size())};
    if (shape.size() == 3) each.insert(each.end(), {1, 1});
    auto add = [&](const char* name, const std::vector<float>& values) {
      return source->AddTensor(name, {name, DataType::kFloat32, each, values.data()},
                               /*trainable=*/false);
    };
    const std::string mean = add("input_mean", preprocessing.mean);
    const std::string deviation = add("input_deviation", preprocessing.deviation);
    x = source->Set("torch.div(torch.sub(" + x + ", " + mean + "), " + deviation + ")");
  }
  return x;
}

}  // namespace

Result<TorchScript> ToTorchScript(const SavedModel& saved) {
  const spec::ModelSpec& model = saved.model;
  RETURN_IF_ERROR(CheckLayers(model, FindScriptKind, "TorchScript"));
  ScriptSource source;
  const std::string input = Prepare(saved.preprocessing, model.input_shape, &source);
  std::vector<std::string> values;  // what each layer gives
  for (const spec::LayerSpec& layer : model.layers) {
    ScriptWriter writer(layer, saved.weights, &source);
    std::vector<std::string> inputs;
    for (int value : layer.inputs) {
      inputs.push_back(value == spec::kModelInput ? input : values[static_cast<size_t>(value)]);
    }
    std::string value = FindScriptKind(layer.type)->write(layer, inputs, writer);
    values.push_back(Activate(layer.activation, value, writer));
  }
  return source.Finish(values.back());
}

}  // namespace cyxwiz::exporting
