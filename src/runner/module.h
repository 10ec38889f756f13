// A model in libtorch, built from the layers of a checked JobSpec. PyTorch's semantics, default
// initialisation and parameter shapes; a layer's tensors are named "<layer name>.weight" and so on.
#pragma once

#include <functional>
#include <string>
#include <utility>
#include <vector>

#include "runner/operations.h"
#include "runner/torch_headers.h"
#include "spec/model_spec.h"

namespace cyxwiz::runner {

// Owns its tensors. One thread uses it at a time.
class Model {
 public:
  // What runs: layers and, as steps of their own, their activations. Value 0 is the model's input,
  // value i + 1 what steps()[i] gives; the last step gives the model's output.
  struct Step {
    spec::LayerOptions options;
    std::string layer;  // its name
    LayerTensors tensors;
    Operation run;
    bool fresh = false;            // as OperationKind::fresh
    std::vector<size_t> inputs;    // values
    std::vector<size_t> released;  // values that no later step takes
    bool flat_input = false;       // its first input has one dimension
  };

  // Draws the initial values from libtorch's default CPU generator, layer after layer, as PyTorch's
  // modules of the same order would: after the same at::manual_seed they are PyTorch's own.
  Model(const spec::ModelSpec& spec, at::Device device);

  // input: batch x input_shape, float32. Result: batch x output_shape. training switches dropout
  // and batch statistics on. logits leaves out a softmax or sigmoid that ends the model, for a loss
  // that takes logits. Throws c10::Error.
  at::Tensor Forward(at::Tensor input, bool training, bool logits);

  // Told each layer's name and output by Forward; nullptr: nobody is.
  using Watch = std::function<void(const std::string& layer, const at::Tensor& output)>;
  void set_watch(Watch watch) { watch_ = std::move(watch); }

  // All trainable values in one flat tensor, and the flat tensor that backward() adds their
  // gradients to. Layers begin at multiples of 64 bytes; the values between them are zero and stay
  // so. One tensor each makes zeroing and the optimizer's step one call, however many layers there
  // are.
  const at::Tensor& parameters() const { return parameters_; }
  const at::Tensor& gradients() const { return gradients_; }

  // gradients(), and behind them kNotes values that are none: what ranks tell each other with them.
  static constexpr int64_t kNotes = 16;
  const at::Tensor& gradients_and_notes() const { return gradients_and_notes_; }

  // The parts of a flat tensor that is laid out as parameters(), by the parameters' names.
  std::vector<std::pair<std::string, at::Tensor>> PartsOf(const at::Tensor& flat) const;

  // Parameters and buffers (running_mean, running_var, num_batches_tracked) by name, in the order
  // of the layers, sharing memory with the model.
  const std::vector<std::pair<std::string, at::Tensor>>& state() const { return state_; }

  const std::vector<Step>& steps() const { return steps_; }

  // Whether training needs more than one value a channel: batch normalisation of single values.
  bool needs_two_samples() const { return needs_two_samples_; }

 private:
  void AddLayer(const spec::LayerSpec& layer, std::vector<size_t>* values);
  void AddActivation(const std::string& layer, spec::Activation activation);
  void Optimize();
  at::Tensor AddTensor(const std::string& layer, const spec::TensorSpec& tensor);

  std::vector<Step> steps_;
  at::Tensor parameters_, gradients_, gradients_and_notes_;
  int64_t used_ = 0;  // values of parameters_ given out
  std::vector<std::pair<std::string, at::Tensor>> state_;
  bool needs_two_samples_ = false;
  // Images lie in memory pixel after pixel between the layers, not channel after channel; shapes
  // and parameters do not show it.
  bool channels_last_ = false;
  Watch watch_;
};

}  // namespace cyxwiz::runner
