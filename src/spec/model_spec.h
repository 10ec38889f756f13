// The model of a checked job: its layers in the order in which they run, each with the values that
// it takes. A sequential model is the case in which each layer takes the output of the one before.
#pragma once

#include <cstdint>
#include <string>
#include <variant>
#include <vector>

#include "base/json.h"

namespace cyxwiz::spec {

using Shape = std::vector<int64_t>;  // of one sample, without the batch dimension; channels first
using Shapes = std::vector<Shape>;
std::string ToString(const Shape& shape);  // "[1, 28, 28]"

enum class Activation {
  kNone,
  kRelu,
  kRelu6,
  kLeakyRelu,
  kElu,
  kSelu,
  kGelu,
  kSilu,
  kMish,
  kSoftplus,
  kSigmoid,
  kTanh,
  kHardSigmoid,
  kHardSwish,
  kSoftmax
};
enum class Padding { kValid, kSame };
using Sizes = std::vector<int64_t>;  // one number for each direction: [height, width]

struct DenseOptions {
  int64_t units = 0;
  bool use_bias = true;
};
// conv1d, conv2d, conv3d: as many directions as `kernel` has numbers.
struct ConvolutionOptions {
  int64_t filters = 0;
  Sizes kernel, strides, dilation;
  // As PyTorch pads: zeros on both sides. kSame (strides 1 only) keeps the sizes and may pad one
  // more at the end.
  Padding padding = Padding::kValid;
  Sizes padding_sizes;  // when given as numbers, else zeros
  int64_t groups = 1;
  bool use_bias = true;
};
struct DepthwiseConvolutionOptions {
  int64_t depth_multiplier = 1;  // outputs of each channel
  Sizes kernel, strides, dilation;
  Padding padding = Padding::kValid;
  Sizes padding_sizes;
  bool use_bias = true;
};
// A depthwise convolution without bias, and a convolution of 1x1 after it.
struct SeparableConvolutionOptions {
  int64_t filters = 0;
  DepthwiseConvolutionOptions depthwise;
  bool use_bias = true;
};
// kSame multiplies height and width by the strides.
struct TransposedConvolutionOptions {
  int64_t filters = 0;
  Sizes kernel, strides, dilation;
  Padding padding = Padding::kValid;
  Sizes padding_sizes, output_padding;
  int64_t groups = 1;
  bool use_bias = true;
};
// kSame, any strides: ceil(size / stride) positions, as Keras; padded values do not count in an
// average. Padding as numbers: as PyTorch, zeros count in an average.
struct PoolingOptions {
  bool average = false;
  Sizes pool;
  Sizes strides;  // default: the pool's sizes
  Padding padding = Padding::kValid;
  Sizes padding_sizes;
};
struct GlobalPoolingOptions {
  bool average = false;
  bool keep_dimensions = false;  // [channels, 1, 1] instead of [channels]
};
struct FlattenOptions {};
struct ReshapeOptions {
  std::vector<int64_t> target;  // one may be -1: what remains
};
struct PermuteOptions {
  std::vector<int64_t> dimensions;  // from 1
};
struct UpsamplingOptions {
  Sizes size = {2, 2};
  bool bilinear = false;  // else the nearest value
};
struct ZeroPaddingOptions {
  int64_t top = 1, bottom = 1, left = 1, right = 1;
};
struct DropoutOptions {
  double rate = 0.5;
};
struct BatchNormalizationOptions {
  double momentum = 0.1;  // PyTorch's meaning: the weight of the new batch
  double epsilon = 1e-5;
};
struct LayerNormalizationOptions {
  int64_t dimensions = 1;  // the last ones
  double epsilon = 1e-5;
  bool scale = true, use_bias = true;
};
struct GroupNormalizationOptions {
  int64_t groups = 0;
  double epsilon = 1e-5;
};
struct RmsNormalizationOptions {
  double epsilon = 1.1920928955078125e-07;  // PyTorch's: the smallest step of a float at 1
};
struct EmbeddingOptions {
  int64_t input_dim = 0;  // values are 0 .. input_dim - 1
  int64_t output_dim = 0;
};
struct PositionalEmbeddingOptions {
  int64_t positions = 0;  // 0: as many as the input has
};
struct RecurrentOptions {
  bool gru = false;  // else an LSTM
  int64_t units = 0;
  int64_t layers = 1;
  bool bidirectional = false;
  bool return_sequences = false;
  double dropout = 0;  // between the layers
  bool use_bias = true;
};
struct AttentionOptions {
  int64_t heads = 0;
  double dropout = 0;
  bool causal = false;
  bool use_bias = true;
};
struct TransformerEncoderOptions {
  AttentionOptions attention;
  int64_t feed_forward = 2048;
  Activation activation = Activation::kRelu;
  double dropout = 0.1;
  bool norm_first = false;
  double epsilon = 1e-5;
};
struct AddOptions {};
struct MultiplyOptions {};
struct ConcatenateOptions {
  int64_t axis = 1;  // from 1
};
struct ActivationOptions {
  Activation activation = Activation::kRelu;
  double alpha = 0;                 // leaky_relu: slope below 0; elu
  bool tanh_approximation = false;  // gelu
};

// PyTorch's, of an activation that has one.
double DefaultAlpha(Activation activation);

using LayerOptions =
    std::variant<DenseOptions, ConvolutionOptions, DepthwiseConvolutionOptions,
                 SeparableConvolutionOptions, TransposedConvolutionOptions, PoolingOptions,
                 GlobalPoolingOptions, FlattenOptions, ReshapeOptions, PermuteOptions,
                 UpsamplingOptions, ZeroPaddingOptions, DropoutOptions, BatchNormalizationOptions,
                 LayerNormalizationOptions, GroupNormalizationOptions, RmsNormalizationOptions,
                 EmbeddingOptions, PositionalEmbeddingOptions, RecurrentOptions, AttentionOptions,
                 TransformerEncoderOptions, AddOptions, MultiplyOptions, ConcatenateOptions,
                 ActivationOptions>;

// How a tensor begins.
struct Initial {
  enum class Kind {
    kConstant,  // all `value`
    kUniform,   // between -value and value
    kNormal,    // of mean 0 and deviation `value`
    // All 0, after values as for kUniform were drawn and thrown away. PyTorch does so, and what is
    // drawn next shall be what it draws.
    kZeroAfterUniform,
  };
  Kind kind = Kind::kConstant;
  double value = 0;
};

// A tensor that belongs to a layer, saved as "<layer>.<name>".
struct TensorSpec {
  std::string name;  // PyTorch's: "weight"
  Shape shape;
  Initial initial;
  bool trainable = true;
  bool whole = false;  // int64, else float32
};

// A value of the model: its input, or what the layer of that place in ModelSpec::layers gives.
inline constexpr int kModelInput = -1;

struct LayerSpec {
  // As given, or "<type>_<n>", n from 1 within its type; in a block after the block's name and the
  // repetition: "stage.0.conv2d_1". Unique; prefix of its tensors' names.
  std::string name;
  std::string type;  // canonical: "dense"
  LayerOptions options;
  Activation activation = Activation::kNone;  // applied after the layer
  std::vector<int> inputs;  // values, each of an earlier place than the layer's own
  Shapes input_shapes;      // as many
  Shape output_shape;
  int64_t parameters = 0;  // trainable values
  int64_t flops = 0;       // forward, one sample; a multiply-add counts 2
};

struct ModelSpec {
  Shape input_shape;
  std::vector<LayerSpec> layers;  // the last one gives the model's output; each leads to it
  Shape output_shape;
  int64_t parameters = 0;
  int64_t flops = 0;
};

inline constexpr int kModelVersion = 1;  // of the model's JSON form
inline constexpr size_t kMaxModelBytes = 1u << 20;
inline constexpr size_t kMaxLayers = 1000;  // blocks written out
inline constexpr int64_t kMaxParameters = 10'000'000'000;
// Values of one sample, at the input and after each layer.
inline constexpr int64_t kMaxSampleElements = int64_t{1} << 31;

// The model in its canonical form (types, all options spelt out, shapes, no blocks), as "model" of
// model.json. It is itself a model_definition, and checking it gives the same ModelSpec.
Json ModelToJson(const ModelSpec& model);

}  // namespace cyxwiz::spec
