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

TEST(Columns, ACheckpointRoundTrips) {
  control::Checkpoint checkpoint{"000000001234",
                                 3,
                                 1234,
                                 {{"state.safetensors", std::string(64, 'a'), 1000},
                                  {"manifest.json", std::string(64, 'b'), 10}}};
  auto read = ReadCheckpoint(WriteCheckpoint(checkpoint));
  ASSERT_TRUE(read.ok()) << read.status();
  EXPECT_EQ(read->name, "000000001234");
  EXPECT_EQ(read->epoch, 3);
  EXPECT_EQ(read->step, 1234);
  ASSERT_EQ(read->files.size(), 2u);
  EXPECT_EQ(read->files[1].name, "manifest.json");
  EXPECT_EQ(WriteCheckpoint({}), "");
  EXPECT_FALSE(ReadCheckpoint("")->exists());
  EXPECT_EQ(ReadCheckpoint("[1]").status().code(), Code::kDataLoss);
  EXPECT_EQ(ReadCheckpoint(R"(["n",1,2,[["only a name"]]])").status().code(), Code::kDataLoss);
}

TEST(Columns, ForeignTextIsDataLoss) {
  for (const char* text : {"", "[", "[1]", "{\"a\":[]}", "null"}) {
    EXPECT_EQ(ReadMetrics(text).status().code(), Code::kDataLoss) << text;
    EXPECT_EQ(ReadArtifacts(text).status().code(), Code::kDataLoss) << text;
  }
  EXPECT_EQ(ReadDevices("[\"cpu\"]").status().code(), Code::kDataLoss);
}

TEST(Columns, SequencesRoundTripAsRanges) {
  for (const std::vector<int64_t>& one :
       {std::vector<int64_t>{}, {7}, {7, 8, 9}, {1, 3, 4, 9}, {1, 2, int64_t{1} << 40}}) {
    auto read = ReadSequences(WriteSequences(one));
    ASSERT_TRUE(read.ok()) << read.status();
    EXPECT_EQ(*read, one);
  }
  EXPECT_EQ(WriteSequences({17, 18, 19, 25}), "17-19,25");
  for (const char* text : {"x", "1,", "3-1", "2,2", "0-4", "1-999999999999", "1--2"})
    EXPECT_EQ(ReadSequences(text).status().code(), Code::kDataLoss) << text;
}

TEST(Columns, TextThatIsNotUtf8IsStillWritten) {
  EXPECT_TRUE(ReadMetrics(WriteMetrics({{"\xff", 1.0}})).ok());
}

TEST(Columns, TermsAndRareResourcesRoundTrip) {
  control::Job job, read;
  EXPECT_EQ(WriteTerms(job), "") << "most jobs have none";
  control::Terms terms;
  terms.limits = {std::chrono::seconds(7), std::chrono::hours(2), {1'800'000'000'000}, 4096, 512};
  terms.project = "vision";
  terms.after = {{{"a"}, true}, {{"b"}, false}};
  terms.labels = {{"zone", "west"}};
  terms.nodes = 4;
  terms.min_nodes = 2;
  terms.processes = 3;
  job.terms = std::make_shared<const control::Terms>(terms);
  job.resources.disk_bytes = 12;
  job.resources.SetNamed("licence", 3);
  ASSERT_TRUE(ReadTerms(WriteTerms(job), &read).ok());
  ASSERT_NE(read.terms, nullptr);
  EXPECT_EQ(*read.terms, terms);
  EXPECT_EQ(read.resources, job.resources);
  EXPECT_EQ(ReadTerms("[]", &read).code(), Code::kDataLoss);
  EXPECT_EQ(ReadTerms(R"({"disk":"much"})", &read).code(), Code::kDataLoss);
}

TEST(Columns, WhatIsRareOfANodeRoundTrips) {
  control::Node node, read;
  EXPECT_EQ(WriteExtra(node), "");
  node.capacity.SetNamed("licence", 3);
  node.labels = {{"zone", "west"}};
  node.quarantined = true;
  node.quarantine_reason = "3 unlike jobs failed";
  node.failed_probes = 2;
  node.rendezvous_port = 29500;
  node.rendezvous_ports = 100;
  node.capacity.AddGpus(2, int64_t{80} << 30);
  read.capacity.gpu_millis = 2000;  // in a column of its own
  ASSERT_TRUE(ReadExtra(WriteExtra(node), &read).ok());
  EXPECT_EQ(read.capacity, node.capacity);
  EXPECT_EQ(read.labels, node.labels);
  EXPECT_TRUE(read.quarantined);
  EXPECT_EQ(read.quarantine_reason, node.quarantine_reason);
  EXPECT_EQ(read.failed_probes, 2);
  EXPECT_EQ(read.rendezvous_port, 29500);
  EXPECT_EQ(read.rendezvous_ports, 100);
}

TEST(Columns, GpusRoundTrip) {
  EXPECT_EQ(WriteGpus({}), "") << "most jobs have none";
  const std::vector<GpuPart> gpus = {{0, 1000, int64_t{80} << 30}, {7, 250, 1}};
  auto read = ReadGpus(WriteGpus(gpus));
  ASSERT_TRUE(read.ok()) << read.status();
  EXPECT_EQ(*read, gpus);
  EXPECT_TRUE(ReadGpus("").value().empty());
  for (const char* text : {"{}", "[1]", "[[1,2]]", R"([[1,2,"3"]])", "["})
    EXPECT_EQ(ReadGpus(text).status().code(), Code::kDataLoss) << text;
}

TEST(Columns, RanksOfAGangAndHowItEndsRoundTrip) {
  control::Job job, read;
  EXPECT_EQ(WriteGang(job), "") << "most jobs are none";
  control::Gang gang;
  gang.ranks = {{{"a"}, false, {{0, 250, 5}, {3, 1000, 7}}}, {{"b"}, true, {}}};
  job.node = read.node = {"a"};
  job.gang = std::make_shared<const control::Gang>(gang);
  ASSERT_TRUE(ReadGang(WriteGang(job), &read).ok());
  EXPECT_EQ(*read.gang, gang);
  gang.end = {.kind = control::AttemptEnd::Kind::kLost,
              .cause = control::Cause::kNodeLost,
              .error = {14, "node b was lost", "details"},
              .wait = std::chrono::seconds(2),
              .took_node = true,
              .with_most = true,
              .yields = true,
              .log_tail = {99, "last words"}};
  job.gang = std::make_shared<const control::Gang>(gang);
  ASSERT_TRUE(ReadGang(WriteGang(job), &read).ok());
  EXPECT_EQ(*read.gang, gang);
  for (const char* text : {"[]", "{}", R"({"ranks":[]})", R"({"ranks":[["b",0]]})",
                           R"({"ranks":[["a",0]],"end":{"kind":9,"cause":0}})"}) {
    EXPECT_EQ(ReadGang(text, &read).code(), Code::kDataLoss) << text;
  }
}

}  // namespace
}  // namespace cyxwiz::store
