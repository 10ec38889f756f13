// A graph in ONNX's form: https://github.com/onnx/onnx/blob/main/onnx/onnx.proto. What is written
// of it, with the numbers of the fields:
//
//   ModelProto     := ir_version 1, producer_name 2, producer_version 3, graph 7, opset_import 8
//   OperatorSetId  := version 2
//   GraphProto     := node 1*, name 2, initializer 5*, input 11*, output 12*
//   NodeProto      := input 1*, output 2*, name 3, op_type 4, attribute 5*
//   AttributeProto := name 1, f 2 | i 3 | s 4 | ints 8*, type 20
//   TensorProto    := dims 1*, data_type 2, name 8, raw_data 9
//   ValueInfoProto := name 1, type 2; TypeProto := tensor_type 1; Tensor := elem_type 1, shape 2;
//                     TensorShapeProto := dim 1*; Dimension := dim_value 1 | dim_param 2
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

#include "base/status.h"
#include "spec/model_spec.h"

namespace cyxwiz::exporting {

inline constexpr int64_t kOnnxOpset = 17, kOnnxIrVersion = 8;
// No message of protobuf is longer.
inline constexpr int64_t kMaxOnnxBytes = (int64_t{1} << 31) - 1;

enum class ElementType { kFloat = 1, kUint8 = 2, kInt64 = 7 };  // TensorProto.DataType

struct OnnxAttribute {
  std::string name;
  std::variant<int64_t, double, std::string, std::vector<int64_t>> value;
};
using OnnxAttributes = std::vector<OnnxAttribute>;

struct OnnxNode {
  std::string op;
  std::vector<std::string> inputs;  // "": one that is left out
  std::vector<std::string> outputs;
  OnnxAttributes attributes;
};

// Values are known by their names, each given to one value alone.
class OnnxGraph {
 public:
  void Add(OnnxNode node) { nodes_.push_back(std::move(node)); }
  // A constant: row-major, as it lies in memory. data lives as long as the graph, or is `owned`.
  void AddTensor(const std::string& name, ElementType type, std::vector<int64_t> shape,
                 std::string_view data);
  void AddOwnedTensor(const std::string& name, ElementType type, std::vector<int64_t> shape,
                      std::string data);
  bool HasTensor(std::string_view name) const;

  std::vector<OnnxNode>& nodes() { return nodes_; }
  const std::vector<OnnxNode>& nodes() const { return nodes_; }

  struct Value {
    std::string name;
    ElementType type = ElementType::kFloat;
    spec::Shape shape;  // of one sample; the batch may have any size
  };
  // The file. RESOURCE_EXHAUSTED when it would be larger than ONNX allows.
  Result<std::string> Encode(const Value& input, const Value& output) const;

 private:
  struct Tensor {
    std::string name;
    ElementType type;
    std::vector<int64_t> shape;
    std::string owned;      // the values, unless they are elsewhere
    std::string_view data;  // elsewhere
  };

  std::vector<OnnxNode> nodes_;
  std::vector<Tensor> tensors_;
};

}  // namespace cyxwiz::exporting
