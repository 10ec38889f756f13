#include "runner/operations.h"

namespace cyxwiz::runner {
namespace {

Operation Dense(const spec::LayerSpec&, const LayerTensors& tensors) {
  return [weight = tensors("weight"), bias = tensors("bias")](Inputs x, bool) {
    return at::linear(x[0], weight, bias);
  };
}

Operation Dropout(const spec::LayerSpec& layer, const LayerTensors&) {
  return [rate = OptionsOf<spec::DropoutOptions>(layer).rate](Inputs x, bool training) {
    return at::dropout(x[0], rate, training);
  };
}

// Features are floats, those of the data that are meant as numbers of rows too.
at::Tensor RowNumbers(const at::Tensor& x, int64_t rows, const std::string& layer) {
  at::NoGradGuard no_grad;
  at::Tensor numbers = x.to(at::kLong);
  at::Tensor wrong = x.lt(0).logical_or_(x.ge(rows)).logical_or_(numbers.ne(x));
  if (wrong.any().item<bool>()) {
    int64_t place = wrong.flatten().nonzero()[0][0].item<int64_t>();
    int64_t in_sample = x.numel() / x.size(0);
    at::Tensor value = x.flatten()[place];
    char shown[32];
    std::snprintf(shown, sizeof shown, "%g", value.item<double>());
    throw BadInputError(std::string("holds ") + shown + " in place " +
                            std::to_string(place % in_sample) + ", but the embedding '" + layer +
                            "' takes whole numbers from 0 to " + std::to_string(rows - 1),
                        place / in_sample);
  }
  return numbers;
}

Operation Embedding(const spec::LayerSpec& layer, const LayerTensors& tensors) {
  int64_t rows = OptionsOf<spec::EmbeddingOptions>(layer).input_dim;
  return [=, weight = tensors("weight"), name = layer.name](Inputs x, bool) {
    return at::embedding(weight, RowNumbers(x[0], rows, name));
  };
}

Operation PositionalEmbedding(const spec::LayerSpec&, const LayerTensors& tensors) {
  return [weight = tensors("weight")](Inputs x, bool) {
    return x[0] + weight.narrow(0, 0, x[0].size(1));
  };
}

}  // namespace

std::vector<OperationKind> BasicOperations() {
  return {
      {"dense", Dense, /*fresh=*/true},
      {"dropout", Dropout},
      {"embedding", Embedding},
      {"positional_embedding", PositionalEmbedding, /*fresh=*/true},
  };
}

}  // namespace cyxwiz::runner
