// What ONNX's own tools say of the files is tested in tests/export.
#include "export/onnx.h"

#include <gtest/gtest.h>

#include "export/onnx_graph.h"
#include "export/onnx_layers.h"
#include "export/test_support.h"
#include "spec/layers.h"

namespace cyxwiz::exporting {
namespace {

TEST(Onnx, HasEveryLayerOfTheSpecification) {
  for (const spec::LayerKind& kind : spec::LayerKinds()) {
    EXPECT_NE(FindOnnxKind(kind.type), nullptr) << kind.type;
  }
}

TEST(Onnx, NamesEveryLayerThatItCannotHold) {
  TestFolder folder;
  folder.WriteModel(kDense, kFloats);
  folder.WriteWeights({{"d.weight", {2, 3}}, {"d.bias", {2}}});
  Result<SavedModel> saved = ReadSavedModel(folder.path());
  ASSERT_TRUE(saved.ok()) << saved.status();
  EXPECT_TRUE(ToOnnx(*saved).ok());
  saved->model.layers[0].type = "sparse";
  saved->model.layers.push_back(saved->model.layers[0]);
  saved->model.layers[1].name = "e";
  Status status = ToOnnx(*saved).status();
  EXPECT_EQ(status.code(), Code::kUnimplemented);
  EXPECT_NE(status.message().find("'d' (sparse), 'e' (sparse)"), std::string::npos) << status;
}

TEST(OnnxGraph, RefusesWhatIsLargerThanAProtobufMessage) {
  OnnxGraph graph;
  // Told by the size alone: nothing reads the values.
  const char value = 0;
  graph.AddTensor("w", ElementType::kFloat, {1 << 29}, {&value, size_t{1} << 31});
  Status status = graph.Encode({"x", ElementType::kFloat, {1}}, {"y"}).status();
  EXPECT_EQ(status.code(), Code::kResourceExhausted);
  EXPECT_NE(status.message().find("2 GiB"), std::string::npos) << status;
}

}  // namespace
}  // namespace cyxwiz::exporting
