#include "runner/dense_network.h"

namespace cyxwiz::runner {
namespace {

bool IsActivation(const spec::LayerOptions& options, spec::Activation activation) {
  const auto* o = std::get_if<spec::ActivationOptions>(&options);
  return o != nullptr && o->activation == activation;
}

}  // namespace

std::unique_ptr<DenseNetwork> DenseNetwork::TryMake(Model* model, spec::Loss loss, int64_t most) {
  if (!model->parameters().device().is_cpu()) return nullptr;
  std::unique_ptr<DenseNetwork> network(new DenseNetwork);
  network->loss_ = loss;
  std::vector<Part>& parts = network->parts_;
  const std::vector<Model::Step>& steps = model->steps();
  for (size_t i = 0; i < steps.size(); ++i) {
    const Model::Step& step = steps[i];
    bool last = i + 1 == steps.size();
    if (step.inputs != std::vector<size_t>{i}) return nullptr;  // no plain stack
    if (std::holds_alternative<spec::DenseOptions>(step.options)) {
      if (!step.flat_input) return nullptr;
      Part part;
      const at::Tensor weight = step.tensors("weight"), bias = step.tensors("bias");
      part.weight = weight.detach();
      part.weight_gradient = weight.grad();
      if (bias.defined()) {
        part.bias = bias.detach();
        part.bias_gradient = bias.grad();
      }
      part.all_output = at::empty({most, part.weight.size(0)});
      part.all_gradient = at::empty_like(part.all_output);
      parts.push_back(part);
    } else if (IsActivation(step.options, spec::Activation::kRelu) && !parts.empty() &&
               !parts.back().relu) {
      parts.back().relu = true;
    } else if (!(std::holds_alternative<spec::FlattenOptions>(step.options) ||
                 (last && loss == spec::Loss::kCrossEntropy &&
                  IsActivation(step.options, spec::Activation::kSoftmax)))) {
      return nullptr;
    }
  }
  if (parts.empty()) return nullptr;
  network->all_log_softmax_ = at::empty_like(parts.back().all_output);
  return network;
}

void DenseNetwork::SetBatch(int64_t count) {
  if (count == count_) return;
  count_ = count;
  for (Part& part : parts_) {
    part.output = part.all_output.narrow(0, 0, count);
    part.gradient = part.all_gradient.narrow(0, 0, count);
  }
  log_softmax_ = all_log_softmax_.narrow(0, 0, count);
}

double DenseNetwork::LossAndGradient(const at::Tensor& y) {
  Part& last = parts_.back();
  if (loss_ == spec::Loss::kMse) {
    at::sub_out(last.gradient, last.output, y);
    double values = static_cast<double>(last.gradient.numel());
    double loss = last.gradient.square().sum().item<double>() / values;
    last.gradient.mul_(2 / values);
    return loss;
  }
  // d mean(-log softmax(z)[y]) / dz = (softmax(z) - one_hot(y)) / batch
  at::_log_softmax_out(log_softmax_, last.output, 1, false);
  at::exp_out(last.gradient, log_softmax_);
  const float* log_softmax = log_softmax_.data_ptr<float>();
  const int64_t* classes = y.data_ptr<int64_t>();
  float* gradient = last.gradient.data_ptr<float>();
  double sum = 0;
  for (int64_t row = 0; row < count_; ++row) {
    int64_t place = row * last.output.size(1) + classes[row];
    sum -= log_softmax[place];
    gradient[place] -= 1;
  }
  last.gradient.mul_(1 / static_cast<double>(count_));
  return sum / static_cast<double>(count_);
}

double DenseNetwork::Forward(const at::Tensor& x, const at::Tensor& y) {
  at::NoGradGuard no_grad;
  SetBatch(x.size(0));
  input_ = x.dim() == 2 ? x : x.flatten(1);
  const at::Tensor* in = &input_;
  for (Part& part : parts_) {
    if (part.bias.defined()) {
      at::addmm_out(part.output, part.bias, *in, part.weight.t());
    } else {
      at::mm_out(part.output, *in, part.weight.t());
    }
    if (part.relu) part.output.relu_();
    in = &part.output;
  }
  return LossAndGradient(y);
}

void DenseNetwork::Backward(double scale, const std::function<void(int64_t offset)>& ready) {
  at::NoGradGuard no_grad;
  if (scale != 1) parts_.back().gradient.mul_(scale);
  auto tell = [&ready](const at::Tensor& gradient) {
    if (ready) ready(gradient.storage_offset());
  };
  for (size_t i = parts_.size(); i-- > 0;) {
    Part& part = parts_[i];
    // The output after a ReLU says where the sum before it was positive.
    if (part.relu) at::threshold_backward_out(part.gradient, part.gradient, part.output, 0);
    if (part.bias.defined()) {
      at::sum_out(part.bias_gradient, part.gradient, 0);
      tell(part.bias_gradient);
    }
    at::mm_out(part.weight_gradient, part.gradient.t(), i == 0 ? input_ : parts_[i - 1].output);
    tell(part.weight_gradient);
    if (i > 0) at::mm_out(parts_[i - 1].gradient, part.gradient, part.weight);
  }
}

}  // namespace cyxwiz::runner
