// The layers as TorchScript: one entry a layer, the counterpart of runner/operations.h. Functions
// that every libtorch since 1.13 has.
#pragma once

#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "export/saved_model.h"
#include "export/torchscript_source.h"
#include "spec/layers.h"

namespace cyxwiz::exporting {

// Writes one layer into a source, and gives the module its tensors.
class ScriptWriter {
 public:
  ScriptWriter(const spec::LayerSpec& layer, const SafetensorsFile& weights, ScriptSource* source);

  // A variable that has what a function of PyTorch gives: Call("relu", {x}) is "torch.relu(x)".
  std::string Call(std::string_view function, const std::vector<std::string>& arguments);
  std::string Set(const std::string& expression) { return source_.Set(expression); }
  void InTraining(const std::string& statement) { source_.InTraining(statement); }

  // The expression of a tensor of the layer by its name in spec::TensorSpec; "None" when it has
  // none of that name.
  std::string Tensor(std::string_view name) const;
  // Those of all, in the order of the specification: "[a, b]".
  std::string Tensors() const;

  // The same values in another shape; the batch stays.
  std::string Reshape(const std::string& x, const spec::Shape& sample);
  // x · weightᵀ + bias over the last dimension, of the layer's tensors of that name.
  std::string Linear(const std::string& x, const std::string& name);
  // Does nothing but in training.
  std::string Dropout(const std::string& x, double rate);
  // Pairs of begin and end, the last direction first.
  std::string Pad(const std::string& x, const std::vector<int64_t>& around, double value = 0);

 private:
  ScriptSource& source_;
  std::vector<std::pair<std::string, std::string>> tensors_;  // names and expressions
};

struct ScriptKind {
  std::string_view type;  // of LayerSpec
  // inputs: variables. Result: that of the layer's output, before its activation.
  std::string (*write)(const spec::LayerSpec& layer, std::span<const std::string> inputs,
                       ScriptWriter& writer);
};

// nullptr: that layer cannot be written.
const ScriptKind* FindScriptKind(std::string_view type);

std::vector<ScriptKind> BasicScript();
std::vector<ScriptKind> ConvolutionScript();
std::vector<ScriptKind> PoolingScript();
std::vector<ScriptKind> NormalizationScript();
std::vector<ScriptKind> SequenceScript();
std::vector<ScriptKind> ShapeScript();
std::vector<ScriptKind> ActivationScript();

std::string Activate(const spec::ActivationOptions& activation, const std::string& x,
                     ScriptWriter& writer);
// With PyTorch's defaults.
std::string Activate(spec::Activation activation, const std::string& x, ScriptWriter& writer);

}  // namespace cyxwiz::exporting
