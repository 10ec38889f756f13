#include "store/sqlite/columns.h"

#include <gtest/gtest.h>

#include <cmath>
#include <limits>

namespace cyxwiz::store {
namespace {

TEST(Columns, MetricsRoundTripToTheLastBit) {
  Metrics metrics = {{"loss", 0.1 + 0.2},
                     {"tiny", 5e-324},
                     {"large", -1.7976931348623157e308},
                     {"zero", 0},
                     {"inf", std::numeric_limits<double>::infinity()},
                     {"-inf", -std::numeric_limits<double>::infinity()}};
  Result<Metrics> read = ReadMetrics(WriteMetrics(metrics));
  ASSERT_TRUE(read.ok()) << read.status();
  EXPECT_EQ(*read, metrics);
}

TEST(Columns, ALossThatBecameNanStaysNan) {
  Result<Metrics> read = ReadMetrics(WriteMetrics({{"train_loss", std::nan("")}}));
  ASSERT_TRUE(read.ok());
  EXPECT_TRUE(std::isnan(read->at("train_loss")));
}

TEST(Columns, EmptyListsAndMapsRoundTrip) {
  EXPECT_TRUE(ReadMetrics(WriteMetrics({}))->empty());
  EXPECT_TRUE(ReadArtifacts(WriteArtifacts({}))->empty());
  EXPECT_TRUE(ReadDevices(WriteDevices({}))->empty());
}

TEST(Columns, ArtifactsKeepTheirOrder) {
  std::vector<control::Artifact> artifacts = {{"weights.safetensors", "ab", INT64_MAX},
                                              {"a \"b\"", "", 0}};
  auto read = ReadArtifacts(WriteArtifacts(artifacts));
  ASSERT_TRUE(read.ok());
  ASSERT_EQ(read->size(), 2u);
  EXPECT_EQ((*read)[0].name, "weights.safetensors");
  EXPECT_EQ((*read)[0].size, INT64_MAX);
  EXPECT_EQ((*read)[1].name, "a \"b\"");
}

TEST(Columns, ForeignTextIsDataLoss) {
  for (const char* text : {"", "[", "[1]", "{\"a\":[]}", "null"}) {
    EXPECT_EQ(ReadMetrics(text).status().code(), Code::kDataLoss) << text;
    EXPECT_EQ(ReadArtifacts(text).status().code(), Code::kDataLoss) << text;
  }
  EXPECT_EQ(ReadDevices("[\"cpu\"]").status().code(), Code::kDataLoss);
}

TEST(Columns, TextThatIsNotUtf8IsStillWritten) {
  EXPECT_TRUE(ReadMetrics(WriteMetrics({{"\xff", 1.0}})).ok());
}

}  // namespace
}  // namespace cyxwiz::store
