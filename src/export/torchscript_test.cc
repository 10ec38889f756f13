// What libtorch and PyTorch make of it is tested in tests/export.
#include "export/torchscript.h"

#include <gtest/gtest.h>

#include <limits>

#include "export/test_support.h"
#include "export/torchscript_layers.h"
#include "spec/layers.h"

namespace cyxwiz::exporting {
namespace {

std::string Join(const std::vector<std::string>& path) {
  std::string text;
  for (const std::string& part : path) text += (text.empty() ? "" : " ") + part;
  return text;
}

TEST(TorchScript, HasEveryLayerOfTheSpecification) {
  for (const spec::LayerKind& kind : spec::LayerKinds()) {
    EXPECT_NE(FindScriptKind(kind.type), nullptr) << kind.type;
  }
}

TEST(TorchScript, NamesEveryLayerThatItCannotHold) {
  TestFolder folder;
  folder.WriteModel(kDense, kFloats);
  folder.WriteWeights({{"d.weight", {2, 3}}, {"d.bias", {2}}});
  Result<SavedModel> saved = ReadSavedModel(folder.path());
  ASSERT_TRUE(saved.ok()) << saved.status();
  EXPECT_TRUE(ToTorchScript(*saved).ok());
  saved->model.layers[0].type = "sparse";
  saved->model.layers.push_back(saved->model.layers[0]);
  saved->model.layers[1].name = "e";
  Status status = ToTorchScript(*saved).status();
  EXPECT_EQ(status.code(), Code::kUnimplemented);
  EXPECT_NE(status.message().find("'d' (sparse), 'e' (sparse)"), std::string::npos) << status;
}

TEST(TorchScript, SaysWhatTheModelComputes) {
  TestFolder folder;
  folder.WriteModel(
      R"({"input_shape": [3], "layers": [{"type": "dense", "units": 2, "name": "d", "activation": "relu"}]})",
      {{"type", "uint8"}, {"divisor", 255}});
  folder.WriteWeights({{"d.weight", {2, 3}}, {"d.bias", {2}}});
  Result<SavedModel> saved = ReadSavedModel(folder.path());
  ASSERT_TRUE(saved.ok()) << saved.status();
  Result<TorchScript> script = ToTorchScript(*saved);
  ASSERT_TRUE(script.ok()) << script.status();
  EXPECT_EQ(script->source,
            "def forward(self, input: Tensor) -> Tensor:\n"
            "  x1 = torch.to(input, 6)\n"
            "  x2 = torch.div(x1, 255.0)\n"
            "  x3 = torch.linear(x2, self.d.weight, self.d.bias)\n"
            "  x4 = torch.relu(x3)\n"
            "  return x4\n");
  ASSERT_EQ(script->tensors.size(), 2u);
  EXPECT_EQ(Join(script->tensors[0].path), "d weight");
  EXPECT_TRUE(script->tensors[0].trainable);
}

TEST(TorchScript, MakesFeaturesOfTheColumnsOfATable) {
  TestFolder folder;
  folder.WriteModel(kDense, kFloats,
                    {{"columns",
                      {{{"name", "area"}},
                       {{"name", "city"}, {"categories", {"", "oslo"}}, {"encoding", "one_hot"}}}},
                     {"fill", {7, 0.5, 0.5}}});
  folder.WriteWeights({{"d.weight", {2, 3}}, {"d.bias", {2}}});
  Result<SavedModel> saved = ReadSavedModel(folder.path());
  ASSERT_TRUE(saved.ok()) << saved.status();
  Result<TorchScript> script = ToTorchScript(*saved);
  ASSERT_TRUE(script.ok()) << script.status();
  EXPECT_EQ(script->source,
            "def forward(self, input: Tensor) -> Tensor:\n"
            "  x1 = torch.to(input, 6)\n"
            "  x2 = torch.where(torch.isnan(x1), self.input_fill, x1)\n"
            "  x3 = torch.index_select(x2, 1, self.input_column)\n"
            "  x4 = torch.to(torch.eq(x3, self.input_category), 6)\n"
            "  x5 = torch.where(torch.isnan(self.input_category), x3, x4)\n"
            "  x6 = torch.linear(x5, self.d.weight, self.d.bias)\n"
            "  return x6\n");
}

TEST(ScriptSource, GivesEachTensorOfAModuleAPlaceThatTorchScriptCanHave) {
  ScriptSource source;
  auto add = [&](const std::string& name) { return source.AddTensor(name, {}, true); };
  EXPECT_EQ(add("a.weight"), "self.a.weight");
  EXPECT_EQ(add("a.b.weight"), "self.a.b.weight");
  EXPECT_EQ(add("a.weight.bias"), "self.a.weight_.bias") << "a module beside a tensor";
  EXPECT_EQ(add("a.weight.weight"), "self.a.weight_.weight");
  EXPECT_EQ(add("c.d.weight"), "self.c.d.weight");
  EXPECT_EQ(add("c.d"), "self.c.d_") << "a tensor beside a module";
  EXPECT_EQ(add("if.bias"), "self.if_.bias");
  EXPECT_EQ(add("training.bias"), "self.training_.bias");
  EXPECT_EQ(add("training_.bias"), "self.training__.bias");
  EXPECT_EQ(add("stage.0.my-conv.weight"),
            "getattr(getattr(self.stage, \"0\"), \"my-conv\").weight");
  TorchScript script = source.Finish("input");
  EXPECT_EQ(Join(script.tensors[2].path), "a weight_ bias");
  EXPECT_EQ(Join(script.tensors.back().path), "stage 0 my-conv weight");
}

TEST(ScriptSource, WritesNumbersThatAreNoWholeOnesOfTheirType) {
  EXPECT_EQ(ScriptNumber(1), "1.0");
  EXPECT_EQ(ScriptNumber(-2), "-2.0");
  EXPECT_EQ(ScriptNumber(1e-5), "1e-05");
  EXPECT_EQ(ScriptNumber(0.1), "0.1");
  EXPECT_EQ(ScriptNumber(1.1920928955078125e-07), "1.1920928955078125e-07");
  EXPECT_EQ(ScriptNumber(1e22), "1e+22");
  EXPECT_EQ(ScriptNumber(-std::numeric_limits<double>::infinity()), "float(\"-inf\")");
}

}  // namespace
}  // namespace cyxwiz::exporting
