// What needs libtorch to be looked at: modules, gradients, optimizers.
#include <gtest/gtest.h>

#include "runner/dense_network.h"
#include "runner/gradient_buckets.h"
#include "runner/module.h"
#include "runner/optimizer.h"
#include "spec/job_spec.h"

namespace cyxwiz::runner {
namespace {

spec::JobSpec Check(const std::string& layers, const std::string& loss = "cross_entropy") {
  spec::JobDescription description;
  description.name = "test";
  description.model_definition = R"({"layers":[)" + layers + "]}";
  description.dataset_uri = "file:///nowhere/data.csv";
  description.hyperparameters = {{"loss", loss}};
  spec::Problems problems;
  std::optional<spec::JobSpec> job = spec::CheckJob(description, nullptr, &problems);
  if (!job) throw std::runtime_error(problems.ToString());
  return *job;
}

// Layers on images of 3 x 9 x 11, ended so that the job is valid.
spec::ModelSpec OnImages(const std::string& layers) {
  return Check(R"({"type":"input","shape":[3,9,11]},)" + layers +
               R"(,{"type":"flatten"},{"type":"dense","units":4})")
      .model;
}

std::vector<int64_t> WithBatch(int64_t n, spec::Shape shape) {
  shape.insert(shape.begin(), n);
  return shape;
}

TEST(Model, EveryLayerReturnsTheShapeThatTheSpecificationSays) {
  for (const char* layers : {
           R"({"type":"dense","units":5})",
           R"({"type":"dense","units":5,"use_bias":false,"activation":"tanh"})",
           R"({"type":"conv2d","filters":6,"kernel_size":3})",
           R"({"type":"conv2d","filters":6,"kernel_size":[2,4],"padding":"same"})",
           R"({"type":"conv2d","filters":6,"kernel_size":3,"strides":2,"padding":1})",
           R"({"type":"conv2d","filters":6,"kernel_size":3,"groups":3,"dilation_rate":2})",
           R"({"type":"max_pooling2d"})",
           R"({"type":"max_pooling2d","pool_size":3,"strides":2,"padding":"same"})",
           R"({"type":"max_pooling2d","pool_size":3,"padding":1})",
           R"({"type":"average_pooling2d","pool_size":[2,3]})",
           R"({"type":"average_pooling2d","pool_size":2,"strides":2,"padding":"same"})",
           R"({"type":"average_pooling2d","pool_size":3,"strides":1,"padding":1})",
           R"({"type":"flatten"})",
           R"({"type":"dropout","rate":0.3})",
           R"({"type":"batch_normalization"})",
           R"({"type":"relu"})",
           R"({"type":"sigmoid"})",
           R"({"type":"tanh"})",
           R"({"type":"gelu"})",
           R"({"type":"flatten"},{"type":"batch_normalization"})",
           R"({"type":"flatten"},{"type":"softmax"})",
       }) {
    SCOPED_TRACE(layers);
    spec::ModelSpec spec = OnImages(layers);
    at::Tensor x = at::rand(WithBatch(2, spec.input_shape));
    int64_t parameters = 0;
    // Each beginning of the model is a model whose output the specification knows.
    for (size_t n = 1; n <= spec.layers.size(); ++n) {
      spec::ModelSpec beginning = spec;
      beginning.layers.resize(n);
      Model model(beginning, at::kCPU);
      at::Tensor out = model.Forward(x, /*training=*/true, /*logits=*/false);
      EXPECT_EQ(out.sizes().vec(), WithBatch(2, spec.layers[n - 1].output_shape));
      parameters = 0;
      for (const auto& [name, tensor] : model.state()) {
        if (tensor.requires_grad()) parameters += tensor.numel();
      }
    }
    EXPECT_EQ(parameters, spec.parameters);
  }
}

// The values are those of torch.nn.Conv2d(2, 1, 2) and torch.nn.Linear(4, 3) after
// torch.manual_seed(1), PyTorch 2.15.
TEST(Model, BeginsWithPyTorchsValues) {
  spec::ModelSpec spec = Check(R"({"type":"input","shape":[2,3,3]},
               {"type":"conv2d","filters":1,"kernel_size":2,"name":"conv"},{"type":"flatten"},
               {"type":"dense","units":3,"name":"out"})")
                             .model;
  at::manual_seed(1);
  Model model(spec, at::kCPU);
  std::vector<float> values;
  std::string names;
  for (const auto& [name, tensor] : model.state()) {
    names += name + " ";
    at::Tensor flat = tensor.detach().flatten();
    values.insert(values.end(), flat.data_ptr<float>(), flat.data_ptr<float>() + flat.numel());
  }
  EXPECT_EQ(names, "conv.weight conv.bias out.weight out.bias ");
  std::vector<float> expected{
      0.182173043f,   -0.156050771f, -0.0685403869f, 0.165946975f,   -0.332848191f, 0.212032065f,
      -0.0727348775f, 0.179868117f,  0.0491499268f,  -0.0612220764f, 0.138680458f,  0.0246658921f,
      0.182614088f,   -0.194850504f, -0.0364543796f, -0.0450136662f, 0.0724719763f, -0.00199741125f,
      0.437083364f,   0.155595064f,  -0.186203122f,  -0.301980674f,  -0.083807826f, -0.215670347f};
  EXPECT_EQ(values, expected);
}

TEST(Model, LogitsLeaveOutTheSoftmaxAtTheEnd) {
  spec::ModelSpec spec =
      Check(R"({"type":"input","shape":[4]},{"type":"dense","units":3,"activation":"softmax"})")
          .model;
  Model model(spec, at::kCPU);
  at::Tensor x = at::rand({2, 4});
  at::Tensor logits = model.Forward(x, false, true), probabilities = model.Forward(x, false, false);
  EXPECT_TRUE(at::allclose(at::softmax(logits, 1), probabilities));
  EXPECT_FALSE(at::allclose(logits, probabilities));
}

TEST(Model, PoolingBeforeTheReluChangesNothing) {
  spec::ModelSpec spec =
      OnImages(R"({"type":"conv2d","filters":2,"kernel_size":2,"activation":"relu","name":"c"},
                  {"type":"max_pooling2d"})");
  Model model(spec, at::kCPU);
  auto state = model.state();
  at::Tensor weight = state[0].second, bias = state[1].second;
  at::Tensor x = at::rand({2, 3, 9, 11}).contiguous(at::MemoryFormat::ChannelsLast);
  at::Tensor reference =
      at::linear(at::max_pool2d(at::relu(at::conv2d(x, weight, bias)), {2, 2}).flatten(1),
                 state[2].second, state[3].second);
  reference.square().sum().backward();
  at::Tensor expected = model.gradients().clone();
  model.gradients().zero_();
  at::Tensor out = model.Forward(x, true, true);
  EXPECT_TRUE(at::equal(out, reference));
  out.square().sum().backward();
  EXPECT_TRUE(at::equal(model.gradients(), expected));
  EXPECT_GT(expected.abs().sum().item<float>(), 0);
}

TEST(Model, ConvolutionsRunWithTheChannelsLast) {
  for (const char* input : {"[1,9,11]", "[3,9,11]"}) {
    spec::ModelSpec spec = Check(R"({"type":"input","shape":)" + std::string(input) + R"(},
               {"type":"conv2d","filters":8,"kernel_size":3,"padding":"same","activation":"tanh"},
               {"type":"max_pooling2d"},{"type":"batch_normalization"},
               {"type":"conv2d","filters":4,"kernel_size":2},{"type":"average_pooling2d"},
               {"type":"flatten"},{"type":"dense","units":5})")
                               .model;
    Model whole(spec, at::kCPU);
    for (const auto& parts :
         {whole.PartsOf(whole.parameters()), whole.PartsOf(whole.gradients())}) {
      for (const auto& [name, part] : parts) {
        const auto format =
            part.dim() == 4 ? at::MemoryFormat::ChannelsLast : at::MemoryFormat::Contiguous;
        EXPECT_TRUE(part.is_contiguous(format)) << name;
      }
    }
    at::Tensor x = at::rand(WithBatch(4, spec.input_shape));
    for (size_t n = 1; n <= 5; ++n) {
      spec::ModelSpec beginning = spec;
      beginning.layers.resize(n);
      at::Tensor out = Model(beginning, at::kCPU).Forward(x, true, true);
      EXPECT_EQ(out.suggest_memory_format(), at::MemoryFormat::ChannelsLast) << n << " layers";
    }
    // As plain PyTorch computes it, with the channels first.
    std::vector<at::Tensor> p;
    for (const auto& [name, tensor] : whole.state()) {
      if (tensor.requires_grad()) p.push_back(tensor);
    }
    at::Tensor h = at::max_pool2d(at::tanh(at::conv2d(x, p[0], p[1], 1, 1)), 2);
    h = at::batch_norm(h, p[2], p[3], {}, {}, true, 0.1, 1e-5, false);
    h = at::avg_pool2d(at::conv2d(h, p[4], p[5]), 2);
    at::Tensor reference = at::linear(h.flatten(1), p[6], p[7]);
    reference.square().sum().backward();
    at::Tensor expected = whole.gradients().clone();
    whole.gradients().zero_();
    at::Tensor out = whole.Forward(x, true, true);
    EXPECT_TRUE(at::allclose(out, reference, 1e-4, 1e-5));
    out.square().sum().backward();
    EXPECT_TRUE(at::allclose(whole.gradients(), expected, 1e-3, 1e-4));
    EXPECT_GT(expected.abs().sum().item<float>(), 0);
  }
}

TEST(Model, PaddedValuesDoNotCountInASameAverage) {
  spec::ModelSpec spec =
      OnImages(R"({"type":"average_pooling2d","pool_size":2,"strides":2,"padding":"same"})");
  spec.layers.resize(1);
  Model model(spec, at::kCPU);
  at::Tensor out = model.Forward(at::ones({1, 3, 9, 11}), false, false);
  EXPECT_TRUE(at::equal(out, at::ones({1, 3, 5, 6})));
}

TEST(Model, AReluNeverOverwritesItsModelsInput) {
  spec::ModelSpec spec =
      Check(R"({"type":"input","shape":[4]},{"type":"relu"},{"type":"dense","units":3})").model;
  Model model(spec, at::kCPU);
  at::Tensor x = at::full({2, 4}, -1.0f);
  model.Forward(x, true, true);
  EXPECT_TRUE(at::equal(x, at::full({2, 4}, -1.0f)));
}

// The value before a ReLU, and that before a pooling, may be overwritten or moved only where nobody
// else takes it.
TEST(Model, AValueThatTwoLayersTakeStaysAsItIs) {
  spec::ModelSpec spec = Check(R"({"type":"input","shape":[1,4,4]},
      {"type":"conv2d","filters":2,"kernel_size":1,"name":"c"},
      {"type":"relu","name":"r"},{"type":"max_pooling2d","name":"p"},
      {"type":"upsampling2d","name":"u"},
      {"type":"add","inputs":["u","r","c"],"name":"s"},{"type":"flatten"},
      {"type":"dense","units":3})")
                             .model;
  Model model(spec, at::kCPU);
  auto state = model.state();
  at::Tensor x = at::randn({2, 1, 4, 4}).contiguous(at::MemoryFormat::ChannelsLast);
  at::Tensor c = at::conv2d(x, state[0].second, state[1].second), r = at::relu(c);
  at::Tensor sum = at::upsample_nearest2d(at::max_pool2d(r, {2, 2}), {4, 4}) + r + c;
  at::Tensor reference = at::linear(sum.flatten(1), state[2].second, state[3].second);
  reference.square().sum().backward();
  at::Tensor expected = model.gradients().clone();
  model.gradients().zero_();
  at::Tensor out = model.Forward(x, true, true);
  EXPECT_TRUE(at::allclose(out, reference));
  out.square().sum().backward();
  EXPECT_TRUE(at::allclose(model.gradients(), expected, 1e-4, 1e-5));
}

TEST(Model, ValuesAreGivenBackWhenTheLastLayerHasTakenThem) {
  spec::ModelSpec spec = Check(R"({"type":"input","shape":[4]},
      {"type":"dense","units":4,"name":"a"},{"type":"dense","units":4,"name":"b"},
      {"type":"add","inputs":["a","b"]},{"type":"dense","units":3})")
                             .model;
  std::vector<std::vector<size_t>> released;
  Model model(spec, at::kCPU);
  for (const Model::Step& step : model.steps()) released.push_back(step.released);
  EXPECT_EQ(released, (std::vector<std::vector<size_t>>{{0}, {}, {1, 2}, {3}}));
}

TEST(DenseNetwork, HasTheGradientsOfAutograd) {
  const std::string layers =
      R"({"type":"input","shape":[2,3]},{"type":"flatten"},
         {"type":"dense","units":7,"activation":"relu"},{"type":"dense","units":6,"use_bias":false},
         {"type":"relu"},{"type":"dense","units":5)";
  for (bool mse : {false, true}) {
    spec::JobSpec job =
        Check(layers + (mse ? "}" : R"(,"activation":"softmax"})"), mse ? "mse" : "cross_entropy");
    Model model(job.model, at::kCPU);
    auto network = DenseNetwork::TryMake(&model, job.training.loss, 8);
    ASSERT_NE(network, nullptr);
    for (int64_t batch : {8, 3, 8}) {
      at::Tensor x = at::randn({batch, 2, 3});
      at::Tensor y = mse ? at::randn({batch, 5}) : at::randint(5, {batch}, at::kLong);
      model.gradients().zero_();
      at::Tensor out = model.Forward(x, true, !mse);
      at::Tensor loss = mse ? at::mse_loss(out, y) : at::cross_entropy_loss(out, y);
      loss.backward();
      at::Tensor expected = model.gradients().clone();
      model.gradients().fill_(99);  // what stands there must not matter
      for (const auto& [name, tensor] : model.state()) tensor.grad().fill_(7);
      double value = network->ComputeGradients(x, y);
      EXPECT_NEAR(value, loss.item<double>(), 1e-6);
      EXPECT_TRUE(at::allclose(network->output(), out.detach()));
      at::Tensor mask = expected.ne(0);
      EXPECT_TRUE(at::allclose(model.gradients().mul(mask), expected, 1e-5, 1e-7));
      for (const auto& [name, tensor] : model.state()) {
        EXPECT_FALSE(tensor.grad().eq(7).any().item<bool>()) << name;
      }
    }
  }
}

TEST(DenseNetwork, LeavesOtherModelsToAutograd) {
  for (const char* layers :
       {R"({"type":"input","shape":[4]},{"type":"dropout"},{"type":"dense","units":3})",
        R"({"type":"input","shape":[4]},{"type":"dense","units":3,"activation":"tanh"})",
        R"({"type":"input","shape":[4]},{"type":"batch_normalization"},{"type":"dense","units":3})",
        R"({"type":"input","shape":[4]},{"type":"dense","units":4,"name":"a"},
          {"type":"dense","units":4},{"type":"add","inputs":["a","dense_1"]},
          {"type":"dense","units":3})"}) {
    spec::JobSpec job = Check(layers);
    Model model(job.model, at::kCPU);
    EXPECT_EQ(DenseNetwork::TryMake(&model, job.training.loss, 8), nullptr) << layers;
  }
}

// Weights at 0, 48 and 128 of the flat gradients, biases at 32, 112 and 160.
constexpr const char* kThreeDense =
    R"({"type":"input","shape":[4]},{"type":"dense","units":8,"activation":"relu"},
       {"type":"dense","units":8,"activation":"relu"},{"type":"dense","units":3})";
constexpr GradientBuckets::Limits kSmallBuckets{.first_bytes = 64, .bytes = 256};

TEST(GradientBuckets, AreFilledFromTheLastParameterToTheFirst) {
  Model model(Check(kThreeDense).model, at::kCPU);
  GradientBuckets buckets(
      model, [](const at::Tensor&) {}, kSmallBuckets);
  EXPECT_EQ(buckets.begins(), (std::vector<int64_t>{160, 48, 0}));
  GradientBuckets one(
      model, [](const at::Tensor&) {}, GradientBuckets::Limits());
  EXPECT_EQ(one.begins(), std::vector<int64_t>{0});
}

TEST(GradientBuckets, SumsBeginWhileGradientsAreComputed) {
  spec::JobSpec job = Check(kThreeDense);
  for (bool by_autograd : {false, true}) {
    SCOPED_TRACE(by_autograd);
    Model model(job.model, at::kCPU);
    auto network = DenseNetwork::TryMake(&model, job.training.loss, 5);
    at::Tensor x = at::randn({5, 4}), y = at::randint(3, {5}, at::kLong);
    std::vector<int64_t> begun, values;
    std::vector<bool> first_layer_there;
    GradientBuckets buckets(
        model,
        [&](const at::Tensor& bucket) {
          begun.push_back(bucket.storage_offset());
          values.push_back(bucket.numel());
          EXPECT_GT(bucket.abs().sum().item<float>(), 0);
          first_layer_there.push_back(model.gradients().narrow(0, 0, 32).any().item<bool>());
        },
        kSmallBuckets);
    for (bool expected : {false, true, true}) {
      model.gradients().zero_();
      begun.clear();
      values.clear();
      first_layer_there.clear();
      if (expected) buckets.Expect();
      if (by_autograd) {
        at::cross_entropy_loss(model.Forward(x, true, true), y).backward();
      } else {
        network->Forward(x, y);
        network->Backward(0.5, [&](int64_t offset) { buckets.Ready(offset); });
      }
      if (!expected) {
        EXPECT_TRUE(begun.empty());
        continue;
      }
      EXPECT_EQ(begun, buckets.begins());
      EXPECT_EQ(values, (std::vector<int64_t>{32, 112, 48}));
      EXPECT_EQ(first_layer_there, (std::vector<bool>{false, false, true}));
      buckets.BeginRest();
      EXPECT_EQ(begun.size(), 3u);
    }
  }
}

TEST(GradientBuckets, SumsBeginInTheirOrderWhateverIsMissing) {
  Model model(Check(kThreeDense).model, at::kCPU);
  std::vector<int64_t> begun;
  GradientBuckets buckets(
      model, [&](const at::Tensor& bucket) { begun.push_back(bucket.storage_offset()); },
      kSmallBuckets);
  buckets.Expect();
  buckets.Ready(0);
  buckets.Ready(32);
  EXPECT_TRUE(begun.empty());
  buckets.Ready(160);
  EXPECT_EQ(begun, std::vector<int64_t>{160});
  buckets.BeginRest();
  EXPECT_EQ(begun, (std::vector<int64_t>{160, 48, 0}));
  for (int64_t offset : {160, 128, 112, 48, 32, 0}) buckets.Ready(offset);
  EXPECT_EQ(begun.size(), 3u) << "none is expected any more";
}

TEST(Optimizer, FusedAndPlainDoTheSame) {
  if (!kFusedOptimizers) GTEST_SKIP() << "this libtorch has no fused optimizers for the CPU";
  std::vector<spec::TrainingSpec> cases(6);
  cases[0].optimizer = spec::Optimizer::kAdam;
  cases[1].optimizer = spec::Optimizer::kAdam;
  cases[1].weight_decay = 0.1;
  cases[2].optimizer = spec::Optimizer::kAdamW;
  cases[2].weight_decay = 0.1;
  for (size_t i = 3; i < 6; ++i) {
    cases[i].optimizer = spec::Optimizer::kSgd;
    cases[i].learning_rate = 0.1;
    cases[i].weight_decay = 0.01;
  }
  cases[4].momentum = cases[5].momentum = 0.9;
  cases[5].nesterov = true;
  for (const spec::TrainingSpec& training : cases) {
    at::Tensor a = at::randn({100}), b = a.clone();
    at::Tensor a_gradient = at::empty({100}), b_gradient = at::empty({100});
    auto fused = MakeOptimizer(training, a, a_gradient, {}, true);
    auto plain = MakeOptimizer(training, b, b_gradient, {}, false);
    for (int step = 0; step < 5; ++step) {
      at::Tensor gradient = at::randn({100});
      a_gradient.copy_(gradient);
      b_gradient.copy_(gradient);
      fused->Step(training.learning_rate);
      plain->Step(training.learning_rate);
    }
    EXPECT_TRUE(at::allclose(a, b, 1e-5, 1e-6)) << (a - b).abs().max();
  }
}

}  // namespace
}  // namespace cyxwiz::runner
