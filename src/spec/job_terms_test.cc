#include "spec/job_terms.h"

#include <gtest/gtest.h>

#include "spec/job_file.h"

namespace cyxwiz::spec {
namespace {

TEST(JobTerms, LengthsOfTime) {
  EXPECT_EQ(ParseSeconds("45"), 45);
  EXPECT_EQ(ParseSeconds("90s"), 90);
  EXPECT_EQ(ParseSeconds("1h30m"), 5400);
  EXPECT_EQ(ParseSeconds("1w2d3h4m5s"), 7 * 86400 + 2 * 86400 + 3 * 3600 + 4 * 60 + 5);
  for (const char* wrong : {"", "0", "0s", "-1s", "s", "1x", "30m1h", "1h1h", "1h30", "1.5h", " 1s",
                            "99999999999999999999s", "9999w"}) {
    EXPECT_FALSE(ParseSeconds(wrong).has_value()) << wrong;
  }
}

TEST(JobTerms, Moments) {
  EXPECT_EQ(ParseMoment("1970-01-01T00:00:00Z"), 0);
  EXPECT_EQ(ParseMoment("2026-12-24T18:00:00Z"), 1798135200);
  EXPECT_EQ(ParseMoment("2026-12-24T19:30:00+01:30"), 1798135200);
  EXPECT_EQ(ParseMoment("2024-02-29T00:00:00Z"), 1709164800);
  for (const char* wrong : {"", "tomorrow", "2026-12-24", "2026-12-24T18:00:00",
                            "2023-02-29T00:00:00Z", "2026-13-01T00:00:00Z", "2026-12-24T24:00:00Z",
                            "2026-12-24T18:00:00+1:00", "2026-12-24T18:00:0aZ"}) {
    EXPECT_FALSE(ParseMoment(wrong).has_value()) << wrong;
  }
}

std::string File(const std::string& members) {
  return R"({"dataset": "mock://random_data", "model": {"layers": [{"type": "dense", "units": 10}]},)" +
         members + "}";
}

TEST(JobTerms, AreReadFromAJobFile) {
  Problems problems;
  auto file = ParseJobFile(
      File(
          R"("limits": {"run": "2h", "queue": 60, "deadline": "2026-12-24T18:00:00Z", "log": "1MiB",
                        "checkpoint": "2MiB"},
             "after": ["prepare", {"job": "cleanup", "condition": "end"}],
             "node_labels": {"zone": "west"}, "pool": "gpu", "anti_affinity": "web", "project": "vision",
             "resources": {"disk": "10GiB", "named": {"licence": 2}, "nodes": 4,
                           "elastic": {"min_nodes": 2}, "processes": 3})"),
      &problems);
  ASSERT_TRUE(file.has_value()) << problems.list()[0].ToString();
  EXPECT_EQ(file->terms.limits.run_seconds, 7200);
  EXPECT_EQ(file->terms.limits.queue_seconds, 60);
  EXPECT_EQ(file->terms.limits.deadline, 1798135200);
  EXPECT_EQ(file->terms.limits.log_bytes, 1 << 20);
  EXPECT_EQ(file->terms.limits.checkpoint_bytes, 2 << 20);
  ASSERT_EQ(file->terms.after.size(), 2u);
  EXPECT_EQ(file->terms.after[0].job_id, "prepare");
  EXPECT_FALSE(file->terms.after[0].any_end);
  EXPECT_TRUE(file->terms.after[1].any_end);
  EXPECT_EQ(file->terms.node_labels, (Labels{{"pool", "gpu"}, {"zone", "west"}}));
  EXPECT_EQ(file->terms.anti_affinity, "web");
  EXPECT_EQ(file->terms.project, "vision");
  EXPECT_EQ(file->terms.nodes, 4);
  EXPECT_EQ(file->terms.min_nodes, 2);
  EXPECT_EQ(file->terms.processes, 3);
  const Resources each{500, 100, 0, 7}, all{1500, 300, 0, 7};
  EXPECT_EQ(file->terms.OnNode(each), all);
  EXPECT_EQ(file->description.requested.disk_bytes, int64_t{10} << 30);
  EXPECT_EQ(file->description.requested.Named("licence"), 2);
}

TEST(JobTerms, OneJobMayStandAlone) {
  Problems problems;
  auto file = ParseJobFile(File(R"("after": "prepare")"), &problems);
  ASSERT_TRUE(file.has_value());
  ASSERT_EQ(file->terms.after.size(), 1u);
  EXPECT_EQ(file->terms.after[0].job_id, "prepare");
}

TEST(JobTerms, WhatIsWrongIsToldAtOnceWithItsPlace) {
  Problems problems;
  ParseJobFile(File(R"("limits": {"run": "soon", "queue": -5, "deadline": "tomorrow", "speed": 1},
                       "after": ["a", "a", "../b", {"job": "c", "condition": "failure"}],
                       "node_labels": {"zone": "far west", "pool": "a"}, "pool": "b",
                       "anti_affinity": "a/b",
                       "resources": {"disk": "much", "named": {"Licence": 1, "link": 0}})"),
               &problems);
  std::string all;
  for (const Problem& problem : problems.list()) all += problem.path + "\n";
  EXPECT_EQ(all,
            "$.resources.disk\n$.resources.named.link\n$.resources.named\n$.limits.run\n"
            "$.limits.queue\n$.limits.deadline\n$.limits.speed\n$.after[3].condition\n"
            "$.pool\n$.after[1]\n$.after[2]\n$.anti_affinity\n$.node_labels\n");
}

TEST(JobTerms, TheNumberOfNodesHasBounds) {
  for (const char* nodes : {"0", "65", "\"two\"", "1.5"}) {
    Problems problems;
    ParseJobFile(File("\"resources\": {\"nodes\": " + std::string(nodes) + "}"), &problems);
    ASSERT_EQ(problems.count(), 1u) << nodes;
    EXPECT_EQ(problems.list()[0].path, "$.resources.nodes");
  }
  Problems problems;
  CheckJobTerms({.nodes = 65}, &problems);
  EXPECT_EQ(problems.list().at(0).expected, "1 to 64");
}

TEST(JobTerms, TheNumberOfRanksHasABound) {
  Problems problems;
  CheckJobTerms({.nodes = 16, .processes = 4}, &problems);
  EXPECT_EQ(problems.count(), 0u);
  CheckJobTerms({.nodes = 16, .processes = 5}, &problems);
  CheckJobTerms({.processes = 65}, &problems);
  CheckJobTerms({.processes = -1}, &problems);
  ASSERT_EQ(problems.count(), 3u);
  EXPECT_EQ(problems.list()[0].found, "80");
  EXPECT_EQ(problems.list()[2].path, "$.resources.processes");
}

TEST(JobTerms, AnElasticJobSaysWithHowManyNodesItMakesDo) {
  for (const auto& [elastic, path] :
       {std::pair("2", "$.resources.elastic"), std::pair("{}", "$.resources.elastic"),
        std::pair("{\"min_nodes\": 0}", "$.resources.elastic.min_nodes"),
        std::pair("{\"nodes\": 1, \"min_nodes\": 1}", "$.resources.elastic.nodes")}) {
    Problems problems;
    ParseJobFile(File("\"resources\": {\"nodes\": 4, \"elastic\": " + std::string(elastic) + "}"),
                 &problems);
    ASSERT_EQ(problems.count(), 1u) << elastic;
    EXPECT_EQ(problems.list()[0].path, path);
  }
  Problems problems;
  CheckJobTerms({.nodes = 4, .min_nodes = 4}, &problems);
  EXPECT_EQ(problems.count(), 0u);
  CheckJobTerms({.nodes = 4, .min_nodes = 5}, &problems);
  EXPECT_EQ(problems.list().at(0).expected, "1 to 4, the most that the job takes");
}

}  // namespace
}  // namespace cyxwiz::spec
