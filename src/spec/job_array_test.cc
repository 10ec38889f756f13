#include "spec/job_array.h"

#include <gtest/gtest.h>

#include "spec/job_file.h"

namespace cyxwiz::spec {
namespace {

std::string File(const std::string& members) {
  return R"({"model": {"layers": [{"type": "dense", "units": 10}]}, "dataset": "mock://random_data",
          )" +
         members + "}";
}
std::optional<JobFile> Parse(const std::string& members, Problems* problems) {
  return ParseJobFile(File(members), problems);
}

TEST(JobArray, ANumberIsItsSizeAndMembersDifferInTheirSeed) {
  Problems problems;
  auto file = Parse(R"("array": 100, "hyperparameters": {"seed": 7})", &problems);
  ASSERT_TRUE(file.has_value()) << problems.list()[0].ToString();
  EXPECT_EQ(MembersOf(file->array), 100);
  Hyperparameters values = file->description.hyperparameters;
  MakeMember(file->array, 5, &values);
  EXPECT_EQ(values.at("seed"), "12");
}

TEST(JobArray, AGridIsEveryCombinationTheLastNameFastest) {
  Problems problems;
  auto file = Parse(
      R"("sweep": {"learning_rate": [0.1, 0.01], "optimizer": ["sgd", "adam", "adamw"]},
         "array": {"max_parallel": 2})",
      &problems);
  ASSERT_TRUE(file.has_value()) << problems.list()[0].ToString();
  EXPECT_EQ(MembersOf(file->array), 6);
  EXPECT_EQ(file->array.max_parallel, 2);
  std::string all;
  for (int64_t i = 0; i < 6; ++i) {
    Hyperparameters values;
    MakeMember(file->array, i, &values);
    all += values["learning_rate"] + values["optimizer"] + " ";
  }
  EXPECT_EQ(all, "0.1sgd 0.1adam 0.1adamw 0.01sgd 0.01adam 0.01adamw ");
  EXPECT_EQ(MembersToCheck(file->array), (std::vector<int64_t>{0, 1, 2, 3}));
}

TEST(JobArray, AListIsOneMemberEach) {
  Problems problems;
  auto file =
      Parse(R"("sweep": [{"learning_rate": 0.1}, {"optimizer": "adam", "seed": 3}])", &problems);
  ASSERT_TRUE(file.has_value()) << problems.list()[0].ToString();
  EXPECT_EQ(MembersOf(file->array), 2);
  Hyperparameters values{{"learning_rate", "1"}};
  MakeMember(file->array, 1, &values);
  EXPECT_EQ(values,
            (Hyperparameters{{"learning_rate", "1"}, {"optimizer", "adam"}, {"seed", "3"}}));
}

TEST(JobArray, WhatIsTooLargeOrNoSweepIsRefusedWithItsPlace) {
  struct Case {
    const char* members;
    const char* path;
  };
  std::string thousand = "[0";
  for (int i = 1; i < 400; ++i) thousand += "," + std::to_string(i);
  thousand += "]";
  const std::string combinations =
      R"("sweep": {"a": )" + thousand + R"(, "b": )" + thousand + R"(, "c": [1,2,3,4,5,6,7]})";
  for (const Case& one : {Case{R"("array": 1000000000)", "$.array"},
                          {R"("array": 0)", "$.array"},
                          {R"("array": {"size": 3, "speed": 1})", "$.array.speed"},
                          {R"("array": {"max_parallel": 3})", "$.array"},
                          {R"("array": 3, "sweep": {"seed": [1, 2]})", "$.array"},
                          {R"("sweep": {"seed": []})", "$.sweep.seed"},
                          {R"("sweep": {"seed": 1})", "$.sweep"},
                          {R"("sweep": [])", "$.sweep"},
                          {R"("sweep": [{"seed": [1]}])", "$.sweep"},
                          {combinations.c_str(), "$.sweep"}}) {
    Problems problems;
    EXPECT_FALSE(Parse(one.members, &problems).has_value()) << one.members;
    ASSERT_FALSE(problems.empty()) << one.members;
    EXPECT_EQ(problems.list()[0].path, one.path) << problems.list()[0].ToString();
  }
  std::string points = "{\"seed\": 0}";
  for (size_t i = 0; i < kMaxSweepPoints; ++i) points += ", {\"seed\": 1}";
  Problems of_points;
  Parse("\"sweep\": [" + points + "]", &of_points);
  ASSERT_FALSE(of_points.empty());
  EXPECT_EQ(of_points.list()[0].found, "10001");
  Problems problems;
  Parse(R"("array": 1000000000)", &problems);
  EXPECT_NE(problems.list()[0].ToString().find("1000000"), std::string::npos);
}

}  // namespace
}  // namespace cyxwiz::spec
