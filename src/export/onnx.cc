#include "export/onnx.h"

#include <algorithm>

#include "export/layer_kinds.h"
#include "export/onnx_layers.h"
#include "spec/scale_groups.h"

namespace cyxwiz::exporting {
namespace {

constexpr char kInput[] = "input";

// Values of the data set -> values of the model.
std::string Prepare(const Preprocessing& preprocessing, const spec::Shape& input,
                    LayerWriter& writer) {
  std::string x = kInput;
  if (!preprocessing.fill.empty()) {
    const std::string fill = writer.Constant(preprocessing.shape, preprocessing.fill);
    x = writer.Node("Where", {writer.Node("IsNaN", {x}), fill, x});
  }
  if (!preprocessing.column.empty()) {
    const std::string category = writer.Constant(input, preprocessing.category);
    x = writer.Node("Gather", {x, writer.Integers(preprocessing.column)}, {{"axis", int64_t{1}}});
    const std::string is_it = writer.Node("Cast", {writer.Node("Equal", {x, category})},
                                          {{"to", static_cast<int64_t>(ElementType::kFloat)}});
    x = writer.Node("Where", {writer.Node("IsNaN", {category}), x, is_it});
  }
  if (preprocessing.bytes) {
    x = writer.Node("Cast", {x}, {{"to", static_cast<int64_t>(ElementType::kFloat)}});
  }
  if (preprocessing.divisor != 1) {
    x = writer.Node("Div", {x, writer.Constant(static_cast<float>(preprocessing.divisor))});
  }
  if (!preprocessing.mean.empty()) {
    const spec::Shape each = spec::ScaleGroups(input).shape;
    x = writer.Node("Sub", {x, writer.Constant(each, preprocessing.mean)});
    x = writer.Node("Div", {x, writer.Constant(each, preprocessing.deviation)});
  }
  return x;
}

// A layer "a.weight" beside a layer "a" has the name of that one's tensor.
std::string ValueName(const std::string& layer, const SafetensorsFile& weights) {
  return weights.entries.contains(layer) ? layer + "/output" : layer;
}

// Gives the output of a layer that name, where a node of the layer makes it.
std::string Named(const std::string& value, const std::string& name, size_t first_node,
                  OnnxGraph* graph) {
  auto begin = graph->nodes().begin() + static_cast<int64_t>(first_node);
  auto maker = std::find_if(begin, graph->nodes().end(),
                            [&](const OnnxNode& node) { return node.outputs.front() == value; });
  if (maker == graph->nodes().end()) return value;
  maker->outputs.front() = name;
  return name;
}

}  // namespace

Result<std::string> ToOnnx(const SavedModel& saved) {
  const spec::ModelSpec& model = saved.model;
  RETURN_IF_ERROR(CheckLayers(model, FindOnnxKind, "ONNX"));
  OnnxGraph graph;
  spec::LayerSpec data;
  data.name = kInput;  // the name of no layer
  LayerWriter data_writer(data, saved.weights, &graph);
  const std::string input = Prepare(saved.preprocessing, model.input_shape, data_writer);
  std::vector<std::string> values;  // what each layer gives
  for (const spec::LayerSpec& layer : model.layers) {
    LayerWriter writer(layer, saved.weights, &graph);
    std::vector<std::string> inputs;
    for (int value : layer.inputs) {
      inputs.push_back(value == spec::kModelInput ? input : values[static_cast<size_t>(value)]);
    }
    const size_t first_node = graph.nodes().size();
    std::string value = FindOnnxKind(layer.type)->write(layer, inputs, writer);
    value = Activate(layer.activation, value, writer);
    values.push_back(Named(value, ValueName(layer.name, saved.weights), first_node, &graph));
  }
  // A model may end with a layer that does nothing but in training.
  const std::string output = ValueName(model.layers.back().name, saved.weights);
  if (values.back() != output) graph.Add({"Identity", {values.back()}, {output}, {}});
  return graph.Encode(
      {kInput, saved.preprocessing.bytes ? ElementType::kUint8 : ElementType::kFloat,
       saved.preprocessing.shape},
      {output, ElementType::kFloat, model.output_shape});
}

}  // namespace cyxwiz::exporting
