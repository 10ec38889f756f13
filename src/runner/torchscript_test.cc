// That every layer computes what the runner computes is tested in tests/export.
#include "runner/torchscript.h"

#include <gtest/gtest.h>
#include <torch/csrc/jit/api/module.h>
#include <torch/csrc/jit/serialization/import.h>

#include <filesystem>

#include "export/test_support.h"
#include "runner/data_type.h"
#include "runner/module.h"
#include "runner/torch_headers.h"
#include "spec/check_model.h"

namespace cyxwiz::runner {
namespace {

constexpr char kModel[] =
    R"({"input_shape": [3], "layers": [{"type": "batch_normalization", "name": "b", "momentum": 0.25},
        {"type": "dense", "units": 64, "name": "d"}, {"type": "dropout", "rate": 0.5}]})";

class TorchScript : public testing::Test {
 protected:
  TorchScript() {
    folder_.WriteModel(kModel, exporting::kFloats);
    folder_.WriteWeights({{"b.weight", {3}},
                          {"b.bias", {3}},
                          {"b.running_mean", {3}},
                          {"b.running_var", {3}},
                          {"d.weight", {64, 3}},
                          {"d.bias", {64}}});
    // The one tensor of whole numbers, which WriteWeights does not write.
    auto file = ReadSafetensors(folder_ / "weights.safetensors");
    EXPECT_TRUE(file.ok()) << file.status();
    const int64_t batches = 4;
    std::vector<TensorView> tensors = {{"b.num_batches_tracked", DataType::kInt64, {}, &batches}};
    for (const auto& [name, entry] : file->entries) {
      tensors.push_back({name, entry.type, entry.shape, file->values(entry)});
    }
    EXPECT_TRUE(WriteSafetensors(folder_ / "weights.safetensors", tensors, {}).ok());
  }
  exporting::TestFolder folder_;
};

TEST_F(TorchScript, IsReadInEvaluationAndCanBeTrainedFurther) {
  Status written = WriteTorchScript(folder_.path(), folder_ / "model.pt");
  ASSERT_TRUE(written.ok()) << written;
  std::unordered_map<std::string, std::string> extra = {{"model.json", ""}};
  torch::jit::Module module = torch::jit::load(folder_ / "model.pt", at::kCPU, extra);
  EXPECT_NE(extra["model.json"].find("cyxwiz-model"), std::string::npos);
  EXPECT_FALSE(module.is_training());
  at::Tensor x = at::ones({8, 3}, at::kByte);
  EXPECT_TRUE(module.forward({x}).toTensor().eq(0).all().item<bool>());

  std::map<std::string, at::Tensor> state;
  for (const auto& tensor : module.named_parameters()) state[tensor.name] = tensor.value;
  ASSERT_EQ(state.size(), 4u);
  {
    at::NoGradGuard no_grad;
    state["d.bias"].fill_(1);
  }
  module.train();
  at::Tensor y = module.forward({x}).toTensor();
  EXPECT_TRUE(y.eq(0).any().item<bool>()) << "dropout";
  y.sum().backward();
  EXPECT_TRUE(state["d.bias"].grad().defined());
  for (const auto& tensor : module.named_buffers()) state[tensor.name] = tensor.value;
  ASSERT_EQ(state.size(), 7u);
  EXPECT_EQ(state["b.num_batches_tracked"].item<int64_t>(), 5);
  EXPECT_FLOAT_EQ(state["b.running_mean"][0].item<float>(), 0.25f);
}

TEST(TorchScriptInTraining, ComputesWhatTheRunnerComputes) {
  for (const char* layer :
       {R"({"type": "batch_normalization", "momentum": 0.25})", R"({"type": "dropout"})",
        R"({"type": "lstm", "units": 4, "num_layers": 2, "dropout": 0.5})",
        R"({"type": "gru", "units": 4, "num_layers": 2, "dropout": 0.5})",
        R"({"type": "multi_head_attention", "num_heads": 2, "dropout": 0.5})",
        R"({"type": "transformer_encoder", "num_heads": 2, "feed_forward": 12, "dropout": 0.5})"}) {
    SCOPED_TRACE(layer);
    spec::Problems problems;
    const spec::CheckedModel checked =
        spec::CheckModel(R"({"input_shape": [6, 8], "layers": [)" + std::string(layer) +
                             R"(, {"type": "dense", "units": 3}]})",
                         nullptr, false, &problems);
    ASSERT_TRUE(checked.complete) << problems.ToString();
    Model model(checked.spec, at::kCPU);
    exporting::TestFolder folder;
    folder.WriteModel(spec::ModelToJson(checked.spec).dump(), exporting::kFloats);
    std::vector<TensorView> weights;
    for (const auto& [name, tensor] : model.state())
      weights.push_back({name, DataTypeOf(tensor), tensor.sizes().vec(), tensor.data_ptr()});
    ASSERT_TRUE(WriteSafetensors(folder / "weights.safetensors", weights, {}).ok());
    const Status written = WriteTorchScript(folder.path(), folder / "model.pt");
    ASSERT_TRUE(written.ok()) << written;
    torch::jit::Module module = torch::jit::load(folder / "model.pt");
    module.train();
    at::NoGradGuard no_grad;
    const at::Tensor x = at::randn({5, 6, 8});
    // After the same seed both drop the same values.
    at::manual_seed(2);
    const at::Tensor expected = model.Forward(x, /*training=*/true, /*logits=*/false);
    at::manual_seed(2);
    const at::Tensor given = module.forward({x}).toTensor();
    EXPECT_TRUE(at::allclose(given, expected, 1e-4, 1e-5)) << (given - expected).abs().max();
    std::map<std::string, at::Tensor> state(model.state().begin(), model.state().end());
    for (const auto& buffer : module.named_buffers())
      EXPECT_TRUE(at::allclose(buffer.value, state.at(buffer.name))) << buffer.name;
  }
}

TEST_F(TorchScript, LeavesNothingWhereItCannotBeWritten) {
  EXPECT_EQ(WriteTorchScript(folder_ / "no", folder_ / "model.pt").code(), Code::kNotFound);
  std::filesystem::create_directories(folder_ / "in/the way/model.pt");
  std::filesystem::create_directories(folder_ / "in/the way/model.pt/x");
  EXPECT_FALSE(WriteTorchScript(folder_.path(), folder_ / "in/the way/model.pt").ok());
  auto left = std::filesystem::directory_iterator(folder_ / "in/the way");
  EXPECT_EQ(std::distance(begin(left), end(left)), 1);
  Status status = WriteTorchScript(folder_.path(), folder_ / "no/model.pt");
  EXPECT_FALSE(status.ok());
  EXPECT_NE(status.message().find("cannot write"), std::string::npos) << status;
}

}  // namespace
}  // namespace cyxwiz::runner
