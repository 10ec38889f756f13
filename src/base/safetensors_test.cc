#include "base/safetensors.h"

#include <gtest/gtest.h>

#include <cstring>
#include <filesystem>

#include "base/file.h"
#include "base/testing.h"

namespace cyxwiz {
namespace {

TEST(Safetensors, GivesBackWhatWasWritten) {
  TemporaryFolder folder;
  std::vector<float> weight{1.5f, -2, 3, 4, 5, 6};
  int64_t batches = 17;
  std::string path = folder / "w.safetensors";
  ASSERT_TRUE(WriteSafetensors(path,
                               {{"out.weight", DataType::kFloat32, {2, 3}, weight.data()},
                                {"bn.num_batches_tracked", DataType::kInt64, {}, &batches}},
                               {{"format", "pt"}})
                  .ok());
  Result<SafetensorsFile> file = ReadSafetensors(path);
  ASSERT_TRUE(file.ok()) << file.status();
  EXPECT_EQ(file->metadata.at("format"), "pt");
  const auto& entry = file->entries.at("out.weight");
  EXPECT_EQ(entry.shape, (std::vector<int64_t>{2, 3}));
  EXPECT_EQ(std::memcmp(file->values(entry), weight.data(), 24), 0);
  const auto& scalar = file->entries.at("bn.num_batches_tracked");
  EXPECT_EQ(scalar.type, DataType::kInt64);
  EXPECT_TRUE(scalar.shape.empty());
  EXPECT_EQ(std::memcmp(file->values(scalar), &batches, 8), 0);
  // Data begins at a multiple of 64 bytes, and nothing else was left in the folder.
  Result<std::string> bytes = ReadFile(path);
  EXPECT_EQ((bytes->size() - 32) % 64, 0u);
  EXPECT_EQ(std::distance(std::filesystem::directory_iterator(folder.path()), {}), 1);
}

TEST(Safetensors, RefusesAFileThatBreaksTheFormat) {
  TemporaryFolder folder;
  auto read = [&](const std::string& header, const std::string& data) {
    uint64_t size = header.size();
    std::string content(reinterpret_cast<const char*>(&size), 8);
    EXPECT_TRUE(WriteFileAtomically(folder / "x", content + header + data).ok());
    return ReadSafetensors(folder / "x").status().code();
  };
  const std::string four(4, 'x');
  EXPECT_EQ(read(R"({"a":{"dtype":"F32","shape":[1],"data_offsets":[0,4]}})", four), Code::kOk);
  EXPECT_EQ(read(R"({"a":{"dtype":"F32","shape":[1],"data_offsets":[0,4]}})", "xxx"),
            Code::kDataLoss);
  EXPECT_EQ(read(R"({"a":{"dtype":"F32","shape":[2],"data_offsets":[0,4]}})", four),
            Code::kDataLoss);
  EXPECT_EQ(read(R"({"a":{"dtype":"F32","shape":[1],"data_offsets":[4,0]}})", four),
            Code::kDataLoss);
  EXPECT_EQ(
      read(R"({"a":{"dtype":"F32","shape":[4611686018427387904,4],"data_offsets":[0,0]}})", ""),
      Code::kDataLoss);
  EXPECT_EQ(read(R"({"a":{"dtype":"F32","shape":[1],"data_offsets":[0,4]},
                     "b":{"dtype":"F32","shape":[1],"data_offsets":[0,4]}})",
                 four),
            Code::kDataLoss);
  EXPECT_EQ(read(R"({"a":{"dtype":"BF16","shape":[2],"data_offsets":[0,4]}})", four),
            Code::kUnimplemented);
  EXPECT_EQ(read("[1]", four), Code::kDataLoss);
  ASSERT_TRUE(WriteFileAtomically(folder / "x", "abc").ok());
  EXPECT_EQ(ReadSafetensors(folder / "x").status().code(), Code::kDataLoss);
  ASSERT_TRUE(WriteFileAtomically(folder / "x", std::string(16, '\xff')).ok());
  EXPECT_EQ(ReadSafetensors(folder / "x").status().code(), Code::kDataLoss);
}

TEST(Safetensors, RefusesANameUsedTwice) {
  TemporaryFolder folder;
  float value = 1;
  TensorView tensor{"a", DataType::kFloat32, {1}, &value};
  EXPECT_EQ(WriteSafetensors(folder / "x", {tensor, tensor}, {}).code(), Code::kInvalidArgument);
  EXPECT_FALSE(std::filesystem::exists(folder / "x"));
}

}  // namespace
}  // namespace cyxwiz
