#include "runner/divergence.h"

#include <cmath>

namespace cyxwiz::runner {
namespace {

// The layer that a tensor of that name belongs to: "out.weight" to "out". Names may have points.
std::string LayerOf(const Model& model, const std::string& name) {
  std::string found;
  for (const Model::Step& step : model.steps()) {
    if (step.layer.size() > found.size() && name.starts_with(step.layer + ".")) found = step.layer;
  }
  return found;
}

std::string WeightsNotFinite(const Model& model) {
  // Gradients go from the last layer to the first, so the last one that a step has spoilt is the
  // one where it began.
  auto parameters = model.PartsOf(model.parameters());
  for (size_t i = parameters.size(); i-- > 0;) {
    if (IsFinite(parameters[i].second)) continue;
    return "the weights of layer '" + LayerOf(model, parameters[i].first) + "'";
  }
  return "";
}

// Sets a model's watch while it lives.
class Watching {
 public:
  Watching(Model* model, Model::Watch watch) : model_(model) {
    model_->set_watch(std::move(watch));
  }
  ~Watching() { model_->set_watch(nullptr); }
  Watching(const Watching&) = delete;
  Watching& operator=(const Watching&) = delete;

 private:
  Model* model_;
};

}  // namespace

bool IsFinite(const at::Tensor& values) {
  // One value that is none makes the sum none. Finite ones may too: their sum can overflow.
  return std::isfinite(values.sum().item<double>()) || at::isfinite(values).all().item<bool>();
}

std::string PartNotFinite(const Model& model) {
  if (std::string weights = WeightsNotFinite(model); !weights.empty()) return weights;
  for (const auto& [name, tensor] : model.state()) {
    if (!IsFinite(tensor)) return "the statistics of layer '" + LayerOf(model, name) + "'";
  }
  return "";
}

std::string FirstNotFinite(Model* model, const LossFunction& loss, const Feed& batch,
                           const std::function<at::Tensor()>& forward) {
  if (!IsFinite(batch.x())) return "the input";
  if (std::string weights = WeightsNotFinite(*model); !weights.empty())
    return weights + ", whose gradient or step was too large in the step before";
  std::string layer;
  at::Tensor output;
  {
    Watching watching(model, [&](const std::string& name, const at::Tensor& value) {
      if (layer.empty() && !IsFinite(value)) layer = name;
    });
    output = forward();
  }
  if (!layer.empty()) return "the output of layer '" + layer + "'";
  at::Tensor value = loss(output, batch.y());
  if (!IsFinite(value)) return "the loss itself, of outputs that are finite";
  if (!value.requires_grad()) return "";
  model->gradients().zero_();
  value.backward();
  auto gradients = model->PartsOf(model->gradients());
  for (size_t i = gradients.size(); i-- > 0;) {
    if (IsFinite(gradients[i].second)) continue;
    return "the gradient of layer '" + LayerOf(*model, gradients[i].first) + "'";
  }
  return "";
}

}  // namespace cyxwiz::runner
