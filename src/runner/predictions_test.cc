#include "runner/predictions.h"

#include <gtest/gtest.h>

#include <cmath>
#include <cstring>
#include <filesystem>
#include <limits>

#include "base/json.h"
#include "base/testing.h"

namespace cyxwiz::runner {
namespace {

using spec::PredictionFormat;
using spec::Task;

std::string Write(PredictionFormat format, const PredictionShape& shape,
                  const std::vector<float>& values, const std::vector<int64_t>& classes) {
  TemporaryFolder folder;
  auto writer = PredictionWriter::Create(folder.path(), format, shape);
  EXPECT_TRUE(writer.ok()) << writer.status();
  EXPECT_TRUE((*writer)
                  ->Add(values.data(), classes.empty() ? nullptr : classes.data(), shape.samples)
                  .ok());
  EXPECT_TRUE((*writer)->Finish().ok());
  auto text = ReadFile(folder / (*writer)->name());
  EXPECT_TRUE(text.ok()) << text.status();
  return text.ok() ? *text : "";
}

const PredictionShape kClasses = {2, {2}, Task::kClasses, true, {"a,b", "say \"x\""}};

TEST(Predictions, OfClasses) {
  EXPECT_EQ(Write(PredictionFormat::kCsv, kClasses, {0.1f, 0.9f, 1, 0}, {1, 0}),
            "sample,class,label,probability_0,probability_1\n"
            "0,1,\"say \"\"x\"\"\",0.1,0.9\n"
            "1,0,\"a,b\",1,0\n");
  EXPECT_EQ(Write(PredictionFormat::kJsonl, kClasses, {0.1f, 0.9f, 1, 0}, {1, 0}),
            R"({"sample":0,"class":1,"label":"say \"x\"","probabilities":[0.1,0.9]})"
            "\n"
            R"({"sample":1,"class":0,"label":"a,b","probabilities":[1,0]})"
            "\n");
}

TEST(Predictions, OfOneScoreAndOfNumbers) {
  PredictionShape binary = {2, {1}, Task::kBinary, true, {}};
  EXPECT_EQ(Write(PredictionFormat::kCsv, binary, {0.25f, 0.75f}, {0, 1}),
            "sample,class,probability\n0,0,0.25\n1,1,0.75\n");
  PredictionShape number = {1, {1}, Task::kNumbers, false, {}};
  EXPECT_EQ(Write(PredictionFormat::kCsv, number, {-1.5e-9f}, {}), "sample,value\n0,-1.5e-09\n");
  EXPECT_EQ(Write(PredictionFormat::kJsonl, number, {3}, {}), "{\"sample\":0,\"value\":3}\n");
  PredictionShape image = {1, {1, 1, 2}, Task::kNumbers, false, {}};
  EXPECT_EQ(Write(PredictionFormat::kCsv, image, {1, 2}, {}), "sample,value_0,value_1\n0,1,2\n");
}

TEST(Predictions, OfPositionsInASequence) {
  PredictionShape sequence = {1, {2, 2}, Task::kClasses, false, {}};
  EXPECT_EQ(Write(PredictionFormat::kCsv, sequence, {1, 2, 4, 3}, {1, 0}),
            "sample,position,class,output_0,output_1\n0,0,1,1,2\n0,1,0,4,3\n");
  EXPECT_EQ(Write(PredictionFormat::kJsonl, sequence, {1, 2, 4, 3}, {1, 0}),
            "{\"sample\":0,\"classes\":[1,0],\"outputs\":[[1,2],[4,3]]}\n");
}

TEST(Predictions, OutputsBeyondTheNamesOfClassesHaveNone) {
  PredictionShape shape = {1, {2, 2}, Task::kClasses, true, {"a"}};
  EXPECT_EQ(Write(PredictionFormat::kCsv, shape, {1, 0, 0, 1}, {0, 1}),
            "sample,position,class,label,probability_0,probability_1\n"
            "0,0,0,a,1,0\n0,1,1,,0,1\n");
  EXPECT_EQ(Write(PredictionFormat::kJsonl, shape, {1, 0, 0, 1}, {0, 1}),
            R"({"sample":0,"classes":[0,1],"labels":["a",null],"probabilities":[[1,0],[0,1]]})"
            "\n");
}

TEST(Predictions, ANumpyFileHasTheShapeOfTheOutputs) {
  const std::string bytes =
      Write(PredictionFormat::kNpy, {3, {2}, Task::kClasses, true, {}}, {1, 2, 3, 4, 5, 6}, {});
  ASSERT_EQ(bytes.substr(0, 8), std::string("\x93NUMPY\x01\x00", 8));
  const size_t length =
      static_cast<unsigned char>(bytes[8]) + 256u * static_cast<unsigned char>(bytes[9]);
  const std::string header = bytes.substr(10, length);
  EXPECT_EQ(header.find("{'descr': '<f4', 'fortran_order': False, 'shape': (3, 2), }"), 0u)
      << header;
  EXPECT_EQ(header.back(), '\n');
  EXPECT_EQ((10 + length) % 64, 0u);
  ASSERT_EQ(bytes.size(), 10 + length + 6 * sizeof(float));
  float last = 0;
  std::memcpy(&last, bytes.data() + bytes.size() - sizeof last, sizeof last);
  EXPECT_EQ(last, 6);
}

TEST(Predictions, EachFloatComesBackFromItsDigits) {
  std::vector<float> values;
  for (uint32_t bits = 1; bits < 0x7f000000u; bits = bits * 3 + 12345) {
    values.emplace_back();
    std::memcpy(&values.back(), &bits, sizeof bits);
  }
  const auto count = static_cast<int64_t>(values.size());
  const std::string text =
      Write(PredictionFormat::kCsv, {count, {1}, Task::kNumbers, false, {}}, values, {});
  size_t at = text.find('\n') + 1;
  for (float value : values) {
    at = text.find(',', at) + 1;
    EXPECT_EQ(std::strtof(text.c_str() + at, nullptr), value);
  }
}

TEST(Predictions, WhatIsNoNumberStaysReadable) {
  const float infinity = std::numeric_limits<float>::infinity();
  PredictionShape shape = {1, {3}, Task::kNumbers, false, {}};
  EXPECT_EQ(Write(PredictionFormat::kCsv, shape, {NAN, infinity, -infinity}, {}),
            "sample,value_0,value_1,value_2\n0,nan,inf,-inf\n");
  const std::string line = Write(PredictionFormat::kJsonl, shape, {NAN, infinity, -infinity}, {});
  EXPECT_EQ(Json::parse(line)["values"], (Json{nullptr, nullptr, nullptr}));
}

TEST(Predictions, AFileThatIsNotFinishedIsGone) {
  TemporaryFolder folder;
  {
    auto writer = PredictionWriter::Create(folder.path(), PredictionFormat::kCsv, kClasses);
    ASSERT_TRUE(writer.ok());
    float values[] = {0, 1};
    int64_t classes[] = {1};
    ASSERT_TRUE((*writer)->Add(values, classes, 1).ok());
    EXPECT_FALSE((*writer)->Finish().ok()) << "one of two samples";
    EXPECT_FALSE(std::filesystem::exists(folder / "predictions.csv"));
  }
  EXPECT_TRUE(std::filesystem::is_empty(folder.path()));
}

TEST(Predictions, LongFilesAreWrittenInPieces) {
  TemporaryFolder folder;
  PredictionShape shape = {100, {10'000}, Task::kNumbers, false, {}};
  auto writer = PredictionWriter::Create(folder.path(), PredictionFormat::kNpy, shape);
  ASSERT_TRUE(writer.ok());
  std::vector<float> row(10'000, 1);
  for (int i = 0; i < 100; ++i) ASSERT_TRUE((*writer)->Add(row.data(), nullptr, 1).ok());
  // Most of its 4 MB are on disk already.
  EXPECT_GT(std::filesystem::file_size(folder / "predictions.npy.new"), 3'000'000u);
  ASSERT_TRUE((*writer)->Finish().ok());
  EXPECT_EQ(std::filesystem::file_size(folder / "predictions.npy"), 4'000'128u);
}

}  // namespace
}  // namespace cyxwiz::runner
