// The layers against PyTorch's modules: names and initial values of the tensors, outputs, and
// gradients, as tests/golden/record_layers.py recorded them.
#include <gtest/gtest.h>

#include <set>

#include "base/file.h"
#include "base/safetensors.h"
#include "runner/module.h"
#include "spec/check_model.h"
#include "spec/layers.h"

namespace cyxwiz::runner {
namespace {

struct Golden {
  Json cases;
  SafetensorsFile file;
};

const Golden& Recorded() {
  static const Golden kGolden = [] {
    Result<std::string> text = ReadFile(CYXWIZ_GOLDEN "/layers.json", 1 << 20);
    Result<SafetensorsFile> file = ReadSafetensors(CYXWIZ_GOLDEN "/layers.safetensors");
    if (!text.ok() || !file.ok()) throw std::runtime_error("no golden files in " CYXWIZ_GOLDEN);
    return Golden{Json::parse(*text), std::move(*file)};
  }();
  return kGolden;
}

std::vector<std::string> NamesUnder(const std::string& prefix) {
  std::vector<std::string> names;
  for (const auto& [name, entry] : Recorded().file.entries) {
    if (name.starts_with(prefix)) names.push_back(name.substr(prefix.size()));
  }
  return names;
}

at::Tensor Stored(const std::string& name) {
  const SafetensorsFile& file = Recorded().file;
  auto found = file.entries.find(name);
  if (found == file.entries.end()) return {};
  auto type = found->second.type == DataType::kInt64 ? at::kLong : at::kFloat;
  return at::from_blob(const_cast<void*>(file.values(found->second)), found->second.shape,
                       at::TensorOptions(type))
      .clone();
}

spec::ModelSpec ModelOf(const Json& definition) {
  spec::Problems problems;
  spec::CheckedModel model = spec::CheckModel(definition.dump(), nullptr, false, &problems);
  if (!model.complete) throw std::runtime_error(problems.ToString());
  return model.spec;
}

bool Near(const at::Tensor& a, const at::Tensor& b) {
  return a.sizes() == b.sizes() && at::allclose(a, b, 1e-4, 2e-5);
}

class GoldenLayers : public testing::TestWithParam<size_t> {};

TEST_P(GoldenLayers, IsWhatPyTorchDoes) {
  const Json& recorded = Recorded().cases[GetParam()];
  const std::string name = recorded["name"];
  spec::ModelSpec spec = ModelOf(recorded["model"]);
  at::manual_seed(7);
  Model model(spec, at::kCPU);

  std::vector<std::string> names;
  int64_t parameters = 0;
  for (const auto& [tensor_name, tensor] : model.state()) {
    names.push_back(tensor_name);
    if (tensor.requires_grad()) parameters += tensor.numel();
    at::Tensor first = Stored(name + "/state/" + tensor_name);
    ASSERT_TRUE(first.defined()) << tensor_name;
    EXPECT_TRUE(at::equal(tensor.detach(), first)) << tensor_name << " begins otherwise";
  }
  std::sort(names.begin(), names.end());
  EXPECT_EQ(names, NamesUnder(name + "/state/"));
  EXPECT_EQ(parameters, spec.parameters);

  at::Tensor x = Stored(name + "/x"), input_gradient = Stored(name + "/grad/input");
  if (input_gradient.defined()) x.requires_grad_();
  at::Tensor y = model.Forward(x, /*training=*/true, /*logits=*/false);
  spec::Shape expected_shape = spec.output_shape;
  expected_shape.insert(expected_shape.begin(), 2);
  EXPECT_EQ(y.sizes().vec(), expected_shape);
  at::Tensor stored = Stored(name + "/y");
  EXPECT_TRUE(Near(y, stored)) << y << stored;
  (y.square().sum() + y.sum()).backward();
  for (const auto& [tensor_name, tensor] : model.state()) {
    if (!tensor.requires_grad()) {
      const at::Tensor after = Stored(name + "/after/" + tensor_name);
      EXPECT_TRUE(Near(tensor, after)) << tensor_name << tensor << after;
      continue;
    }
    EXPECT_TRUE(Near(tensor.grad(), Stored(name + "/grad/" + tensor_name)))
        << tensor_name << tensor.grad() << Stored(name + "/grad/" + tensor_name);
  }
  if (input_gradient.defined()) {
    EXPECT_TRUE(Near(x.grad(), input_gradient));
  }
}

INSTANTIATE_TEST_SUITE_P(Recorded, GoldenLayers, testing::Range<size_t>(0, Recorded().cases.size()),
                         [](const auto& info) {
                           return Recorded().cases[info.param]["name"].template get<std::string>();
                         });

// Nothing that a model may have goes unrecorded, but for what has neither tensors nor arithmetic.
TEST(GoldenCases, CoverEveryLayer) {
  std::set<std::string> covered = {"flatten", "dropout"};
  for (const Json& recorded : Recorded().cases) {
    for (const auto& layer : ModelOf(recorded["model"]).layers) covered.insert(layer.type);
  }
  for (const auto& kind : spec::LayerKinds()) {
    EXPECT_TRUE(covered.contains(std::string(kind.type))) << kind.type;
  }
}

TEST(GoldenCases, EveryLayerOfTheSpecificationHasAnOperation) {
  std::set<std::string_view> layers, operations;
  for (const auto& kind : spec::LayerKinds()) layers.insert(kind.type);
  for (const auto& kind : OperationKinds()) operations.insert(kind.type);
  EXPECT_EQ(layers, operations);
}

}  // namespace
}  // namespace cyxwiz::runner
