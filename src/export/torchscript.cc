#include "export/torchscript.h"

#include <type_traits>

#include "export/layer_kinds.h"
#include "export/torchscript_layers.h"
#include "spec/scale_groups.h"

namespace cyxwiz::exporting {
namespace {

constexpr char kFloat[] = "6";  // c10::ScalarType

// Values of the data set -> values of the model.
std::string Prepare(const Preprocessing& preprocessing, const spec::Shape& input,
                    ScriptSource* source) {
  auto add = [&](const char* name, const spec::Shape& shape, const auto& values) {
    constexpr DataType kType =
        std::is_same_v<decltype(values[0]), const int64_t&> ? DataType::kInt64 : DataType::kFloat32;
    return source->AddTensor(name, {name, kType, shape, values.data()}, /*trainable=*/false);
  };
  std::string x =
      source->Set("torch.to(" + std::string(ScriptSource::kInput) + ", " + kFloat + ")");
  if (!preprocessing.fill.empty()) {
    const std::string fill = add("input_fill", preprocessing.shape, preprocessing.fill);
    x = source->Set("torch.where(torch.isnan(" + x + "), " + fill + ", " + x + ")");
  }
  if (!preprocessing.column.empty()) {
    const std::string column = add("input_column", input, preprocessing.column);
    const std::string category = add("input_category", input, preprocessing.category);
    x = source->Set("torch.index_select(" + x + ", 1, " + column + ")");
    const std::string is_it =
        source->Set("torch.to(torch.eq(" + x + ", " + category + "), " + kFloat + ")");
    x = source->Set("torch.where(torch.isnan(" + category + "), " + x + ", " + is_it + ")");
  }
  if (preprocessing.divisor != 1) {
    x = source->Set("torch.div(" + x + ", " + ScriptNumber(preprocessing.divisor) + ")");
  }
  if (!preprocessing.mean.empty()) {
    const spec::Shape each = spec::ScaleGroups(input).shape;
    const std::string mean = add("input_mean", each, preprocessing.mean);
    const std::string deviation = add("input_deviation", each, preprocessing.deviation);
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
