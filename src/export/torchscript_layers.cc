#include "export/torchscript_layers.h"

#include "export/layer_kinds.h"

namespace cyxwiz::exporting {

ScriptWriter::ScriptWriter(const spec::LayerSpec& layer, const SafetensorsFile& weights,
                           ScriptSource* source)
    : source_(*source) {
  for (const spec::TensorSpec& tensor : spec::TensorsOf(layer)) {
    const std::string name = layer.name + "." + tensor.name;
    const SafetensorsFile::Entry& entry = weights.entries.at(name);
    tensors_.emplace_back(
        tensor.name, source->AddTensor(name, {name, entry.type, entry.shape, weights.values(entry)},
                                       tensor.trainable));
  }
}

std::string ScriptWriter::Call(std::string_view function,
                               const std::vector<std::string>& arguments) {
  std::string list;
  for (const std::string& argument : arguments) list += (list.empty() ? "" : ", ") + argument;
  return Set("torch." + std::string(function) + "(" + list + ")");
}

std::string ScriptWriter::Tensor(std::string_view name) const {
  for (const auto& [own, expression] : tensors_) {
    if (own == name) return expression;
  }
  return "None";
}

std::string ScriptWriter::Tensors() const {
  std::string list;
  for (const auto& [name, expression] : tensors_) list += (list.empty() ? "" : ", ") + expression;
  return "[" + list + "]";
}

std::string ScriptWriter::Reshape(const std::string& x, const spec::Shape& sample) {
  std::string shape = "[torch.size(" + x + ", 0)";
  for (int64_t size : sample) shape += ", " + std::to_string(size);
  return Call("reshape", {x, shape + "]"});
}

std::string ScriptWriter::Linear(const std::string& x, const std::string& name) {
  return Call("linear", {x, Tensor(name + ".weight"), Tensor(name + ".bias")});
}

std::string ScriptWriter::Dropout(const std::string& x, double rate) {
  return rate > 0 ? Call("dropout", {x, ScriptNumber(rate), "self.training"}) : x;
}

std::string ScriptWriter::Pad(const std::string& x, const std::vector<int64_t>& around,
                              double value) {
  return around.empty() ? x : Call("constant_pad_nd", {x, ScriptList(around), ScriptNumber(value)});
}

const ScriptKind* FindScriptKind(std::string_view type) {
  static const std::vector<ScriptKind> kKinds =
      AllOf<ScriptKind>({BasicScript, ConvolutionScript, PoolingScript, NormalizationScript,
                         SequenceScript, ShapeScript, ActivationScript});
  return FindKind(kKinds, type);
}

}  // namespace cyxwiz::exporting
