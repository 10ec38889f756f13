#include "export/onnx_layers.h"

#include "export/layer_kinds.h"

namespace cyxwiz::exporting {
namespace {

template <typename T>
std::string Memory(const std::vector<T>& values) {
  return {reinterpret_cast<const char*>(values.data()), values.size() * sizeof(T)};
}

}  // namespace

std::string LayerWriter::NewName(std::string_view what) {
  return layer_.name + "/" + std::to_string(++names_) + "_" + std::string(what);
}

std::string LayerWriter::Node(std::string_view op, std::vector<std::string> inputs,
                              OnnxAttributes attributes) {
  return Nodes(op, std::move(inputs), std::move(attributes), 1).front();
}

std::vector<std::string> LayerWriter::Nodes(std::string_view op, std::vector<std::string> inputs,
                                            OnnxAttributes attributes, size_t outputs) {
  OnnxNode node{std::string(op), std::move(inputs), {}, std::move(attributes)};
  for (size_t i = 0; i < outputs; ++i) node.outputs.push_back(NewName(op));
  std::vector<std::string> names = node.outputs;
  graph_.Add(std::move(node));
  return names;
}

std::string LayerWriter::Constant(std::vector<int64_t> shape, const std::vector<float>& values) {
  std::string name = NewName("constant");
  graph_.AddOwnedTensor(name, ElementType::kFloat, std::move(shape), Memory(values));
  return name;
}

std::string LayerWriter::Integers(const std::vector<int64_t>& values) {
  std::string name = NewName("integers");
  graph_.AddOwnedTensor(name, ElementType::kInt64, {static_cast<int64_t>(values.size())},
                        Memory(values));
  return name;
}

std::string LayerWriter::Scalar(int64_t value) {
  std::string name = NewName("integer");
  graph_.AddOwnedTensor(name, ElementType::kInt64, {}, Memory(std::vector<int64_t>{value}));
  return name;
}

const SafetensorsFile::Entry* LayerWriter::Find(std::string_view name) const {
  auto found = weights_.entries.find(layer_.name + "." + std::string(name));
  return found == weights_.entries.end() ? nullptr : &found->second;
}

std::string LayerWriter::Tensor(std::string_view name) {
  const SafetensorsFile::Entry* entry = Find(name);
  if (entry == nullptr) return "";
  const std::string full = layer_.name + "." + std::string(name);
  if (!graph_.HasTensor(full)) {
    graph_.AddTensor(
        full, ElementType::kFloat, entry->shape,
        {static_cast<const char*>(weights_.values(*entry)), entry->end - entry->begin});
  }
  return full;
}

std::span<const float> LayerWriter::Values(std::string_view name) const {
  const SafetensorsFile::Entry* entry = Find(name);
  if (entry == nullptr) return {};
  return {static_cast<const float*>(weights_.values(*entry)),
          (entry->end - entry->begin) / sizeof(float)};
}

std::string LayerWriter::Reshape(const std::string& x, const spec::Shape& sample) {
  std::vector<int64_t> shape = {0};  // as it is
  shape.insert(shape.end(), sample.begin(), sample.end());
  return Node("Reshape", {x, Integers(shape)});
}

std::string LayerWriter::Transpose(const std::string& x, std::vector<int64_t> order) {
  return Node("Transpose", {x}, {{"perm", std::move(order)}});
}

std::string LayerWriter::Linear(const std::string& x, const std::string& weight,
                                const std::string& bias) {
  std::string product = Node("MatMul", {x, Transpose(weight, {1, 0})});
  return bias.empty() ? product : Node("Add", {product, bias});
}

const OnnxKind* FindOnnxKind(std::string_view type) {
  static const std::vector<OnnxKind> kKinds =
      AllOf<OnnxKind>({BasicOnnx, ConvolutionOnnx, PoolingOnnx, NormalizationOnnx, SequenceOnnx,
                       ShapeOnnx, ActivationOnnx});
  return FindKind(kKinds, type);
}

}  // namespace cyxwiz::exporting
