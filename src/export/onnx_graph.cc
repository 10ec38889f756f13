#include "export/onnx_graph.h"

#include <algorithm>

#include "base/protobuf_writer.h"
#include "base/resources.h"

namespace cyxwiz::exporting {
namespace {

ProtobufWriter Encoded(const OnnxAttribute& attribute) {
  enum Type { kFloat = 1, kInt = 2, kString = 3, kInts = 7 };
  ProtobufWriter message;
  message.Bytes(1, attribute.name);
  if (const auto* number = std::get_if<double>(&attribute.value)) {
    message.Float(2, static_cast<float>(*number));
    message.Int(20, kFloat);
  } else if (const auto* whole = std::get_if<int64_t>(&attribute.value)) {
    message.Int(3, *whole);
    message.Int(20, kInt);
  } else if (const auto* text = std::get_if<std::string>(&attribute.value)) {
    message.Bytes(4, *text);
    message.Int(20, kString);
  } else {
    for (int64_t one : std::get<std::vector<int64_t>>(attribute.value)) message.Int(8, one);
    message.Int(20, kInts);
  }
  return message;
}

ProtobufWriter Encoded(const OnnxNode& node) {
  ProtobufWriter message;
  for (const std::string& input : node.inputs) message.Bytes(1, input);
  for (const std::string& output : node.outputs) message.Bytes(2, output);
  message.Bytes(3, node.outputs.front());
  message.Bytes(4, node.op);
  for (const OnnxAttribute& attribute : node.attributes) message.Message(5, Encoded(attribute));
  return message;
}

ProtobufWriter Encoded(const OnnxGraph::Value& value) {
  ProtobufWriter shape;
  ProtobufWriter batch;
  batch.Bytes(2, "batch");
  shape.Message(1, batch);
  for (int64_t size : value.shape) {
    ProtobufWriter dimension;
    dimension.Int(1, size);
    shape.Message(1, dimension);
  }
  ProtobufWriter tensor;
  tensor.Int(1, static_cast<int>(value.type));
  tensor.Message(2, shape);
  ProtobufWriter type;
  type.Message(1, tensor);
  ProtobufWriter message;
  message.Bytes(1, value.name);
  message.Message(2, type);
  return message;
}

}  // namespace

void OnnxGraph::AddTensor(const std::string& name, ElementType type, std::vector<int64_t> shape,
                          std::string_view data) {
  tensors_.push_back({name, type, std::move(shape), "", data});
}

void OnnxGraph::AddOwnedTensor(const std::string& name, ElementType type,
                               std::vector<int64_t> shape, std::string data) {
  tensors_.push_back({name, type, std::move(shape), std::move(data), {}});
}

bool OnnxGraph::HasTensor(std::string_view name) const {
  return std::any_of(tensors_.begin(), tensors_.end(),
                     [&](const Tensor& tensor) { return tensor.name == name; });
}

Result<std::string> OnnxGraph::Encode(const Value& input, const Value& output) const {
  constexpr size_t kOverhead = 1 << 16;  // of what is around nodes and tensors
  size_t bytes = kOverhead;
  for (const Tensor& tensor : tensors_) {
    bytes += std::max(tensor.owned.size(), tensor.data.size()) + tensor.name.size() + 128;
  }
  for (const OnnxNode& node : nodes_) bytes += Encoded(node).bytes().size() + 16;
  if (bytes > static_cast<size_t>(kMaxOnnxBytes)) {
    return ResourceExhausted("the model needs " + FormatBytes(static_cast<int64_t>(bytes)) +
                                 " in ONNX's form, whose files have at most 2 GiB",
                             "use --format safetensors");
  }
  ProtobufWriter graph;
  for (const OnnxNode& node : nodes_) graph.Message(1, Encoded(node));
  graph.Bytes(2, "model");
  for (const Tensor& tensor : tensors_) {
    ProtobufWriter message;
    for (int64_t size : tensor.shape) message.Int(1, size);
    message.Int(2, static_cast<int>(tensor.type));
    message.Bytes(8, tensor.name);
    message.Bytes(9, tensor.owned.empty() ? tensor.data : std::string_view(tensor.owned));
    graph.Message(5, message);
  }
  graph.Message(11, Encoded(input));
  graph.Message(12, Encoded(output));
  ProtobufWriter opset;
  opset.Int(2, kOnnxOpset);
  ProtobufWriter model;
  model.Int(1, kOnnxIrVersion);
  model.Bytes(2, "cyxwiz");
  model.Bytes(3, CYXWIZ_VERSION);
  model.Message(7, graph);
  model.Message(8, opset);
  return model.bytes();
}

}  // namespace cyxwiz::exporting
