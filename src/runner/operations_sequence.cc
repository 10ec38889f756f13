#include <cmath>

#include "runner/operations.h"

namespace cyxwiz::runner {
namespace {

Operation Recurrent(const spec::LayerSpec& layer, const LayerTensors& tensors) {
  const auto& options = OptionsOf<spec::RecurrentOptions>(layer);
  return [options, all = tensors.all()](Inputs x, bool training) {
    const int64_t directions = options.bidirectional ? 2 : 1;
    at::Tensor input = x[0].contiguous();
    at::Tensor zeros =
        at::zeros({options.layers * directions, input.size(0), options.units}, input.options());
    at::Tensor outputs, last;
    if (options.gru) {
      std::tie(outputs, last) =
          at::gru(input, zeros, all, options.use_bias, options.layers, options.dropout, training,
                  options.bidirectional, /*batch_first=*/true);
    } else {
      std::tie(outputs, last, std::ignore) =
          at::lstm(input, {zeros, zeros}, all, options.use_bias, options.layers, options.dropout,
                   training, options.bidirectional, /*batch_first=*/true);
    }
    if (options.return_sequences) return outputs;
    // What the last layer has after its last position, in each direction.
    if (directions == 1) return last[-1];
    return at::cat({last[-2], last[-1]}, 1);
  };
}

struct AttentionTensors {
  AttentionTensors(const LayerTensors& tensors, const std::string& prefix)
      : in_weight(tensors(prefix + "in_proj_weight")),
        in_bias(tensors(prefix + "in_proj_bias")),
        out_weight(tensors(prefix + "out_proj.weight")),
        out_bias(tensors(prefix + "out_proj.bias")) {}
  at::Tensor in_weight, in_bias, out_weight, out_bias;
};

at::Tensor WeighedSum(const at::Tensor& query, const at::Tensor& key, const at::Tensor& value,
                      double dropout, bool causal) {
#if TORCH_VERSION_MAJOR >= 2
  return at::scaled_dot_product_attention(query, key, value, {}, dropout, causal);
#else
  at::Tensor scores =
      at::matmul(query, key.transpose(-2, -1)) / std::sqrt(static_cast<double>(query.size(-1)));
  if (causal) {
    int64_t length = query.size(-2);
    at::Tensor later = at::ones({length, length}, query.options().dtype(at::kBool)).triu(1);
    scores = scores.masked_fill(later, -std::numeric_limits<double>::infinity());
  }
  return at::matmul(at::dropout(at::softmax(scores, -1), dropout, dropout > 0), value);
#endif
}

at::Tensor Attend(const spec::AttentionOptions& options, const AttentionTensors& tensors,
                  const at::Tensor& x, bool training) {
  const int64_t batch = x.size(0), length = x.size(1), features = x.size(2);
  // Query, key and value side by side -> three of batch x heads x length x features of a head.
  at::Tensor parts = at::linear(x, tensors.in_weight, tensors.in_bias)
                         .view({batch, length, 3, options.heads, features / options.heads})
                         .permute({2, 0, 3, 1, 4});
  at::Tensor sum =
      WeighedSum(parts[0], parts[1], parts[2], training ? options.dropout : 0, options.causal);
  return at::linear(sum.transpose(1, 2).reshape({batch, length, features}), tensors.out_weight,
                    tensors.out_bias);
}

Operation Attention(const spec::LayerSpec& layer, const LayerTensors& tensors) {
  return [options = OptionsOf<spec::AttentionOptions>(layer), own = AttentionTensors(tensors, "")](
             Inputs x, bool training) { return Attend(options, own, x[0], training); };
}

Operation TransformerEncoder(const spec::LayerSpec& layer, const LayerTensors& tensors) {
  struct Encoder {
    spec::TransformerEncoderOptions options;
    AttentionTensors attention;
    at::Tensor weight1, bias1, weight2, bias2, norm1, norm1_bias, norm2, norm2_bias;

    at::Tensor Normalize(const at::Tensor& x, const at::Tensor& weight,
                         const at::Tensor& bias) const {
      return at::layer_norm(x, {x.size(-1)}, weight, bias, options.epsilon);
    }
    at::Tensor Drop(const at::Tensor& x, bool training) const {
      return at::dropout(x, options.dropout, training);
    }
    at::Tensor Look(const at::Tensor& x, bool training) const {
      return Drop(Attend(options.attention, attention, x, training), training);
    }
    at::Tensor Feed(const at::Tensor& x, bool training) const {
      at::Tensor inner = Activate(options.activation, at::linear(x, weight1, bias1));
      return Drop(at::linear(Drop(inner, training), weight2, bias2), training);
    }
    at::Tensor operator()(Inputs inputs, bool training) const {
      at::Tensor x = inputs[0];
      if (options.norm_first) {
        x = x + Look(Normalize(x, norm1, norm1_bias), training);
        return x + Feed(Normalize(x, norm2, norm2_bias), training);
      }
      x = Normalize(x + Look(x, training), norm1, norm1_bias);
      return Normalize(x + Feed(x, training), norm2, norm2_bias);
    }
  };
  return Encoder{OptionsOf<spec::TransformerEncoderOptions>(layer),
                 AttentionTensors(tensors, "self_attn."),
                 tensors("linear1.weight"),
                 tensors("linear1.bias"),
                 tensors("linear2.weight"),
                 tensors("linear2.bias"),
                 tensors("norm1.weight"),
                 tensors("norm1.bias"),
                 tensors("norm2.weight"),
                 tensors("norm2.bias")};
}

}  // namespace

std::vector<OperationKind> SequenceOperations() {
  return {
      {"lstm", Recurrent},
      {"gru", Recurrent},
      {"multi_head_attention", Attention, /*fresh=*/true},
      {"transformer_encoder", TransformerEncoder, /*fresh=*/true},
  };
}

}  // namespace cyxwiz::runner
