#include "node/unreported_end.h"

#include <gtest/gtest.h>

#include <fstream>

#include "base/testing.h"

namespace cyxwiz::node {
namespace {

TEST(UnreportedEnd, OfASuccessComesBackWithTheHashesOfItsFiles) {
  TemporaryFolder folder;
  UnreportedEnd success;
  success.token = "token";
  success.end.outcome = AttemptEnd::Outcome::kSucceeded;
  success.end.metrics = {{"test_accuracy", 0.1 + 0.2}};
  success.end.compute_seconds = 1.5;
  success.end.output_dataset = "flowers@2";
  success.files = {{"", "weights.safetensors", std::string(64, 'a'), int64_t{1} << 40}};
  ASSERT_TRUE(WriteUnreportedEnd(folder.path(), success).ok());
  auto read = ReadUnreportedEnd(folder.path());
  ASSERT_TRUE(read.ok()) << read.status();
  EXPECT_EQ(read->token, "token");
  EXPECT_EQ(read->end.outcome, AttemptEnd::Outcome::kSucceeded);
  EXPECT_TRUE(read->end.error.ok());
  EXPECT_EQ(read->end.metrics, success.end.metrics);
  EXPECT_EQ(read->end.compute_seconds, 1.5);
  EXPECT_EQ(read->end.output_dataset, "flowers@2");
  EXPECT_EQ(read->end.files, std::vector<std::string>{"weights.safetensors"});
  ASSERT_EQ(read->files.size(), 1u);
  EXPECT_EQ(read->files[0].sha256, std::string(64, 'a'));
  EXPECT_EQ(read->files[0].size, int64_t{1} << 40);
}

TEST(UnreportedEnd, OfAFailureComesBackWithItsEvidence) {
  TemporaryFolder folder;
  UnreportedEnd failure;
  failure.end.cause = protocol::CAUSE_RUNNER_CRASHED;
  failure.end.error = Status(Code::kInternal, "the runner was ended by signal SIGSEGV", "see");
  failure.end.exit_code = -1;
  failure.end.exit_signal = 11;
  failure.end.yielded = true;
  failure.end.log_tail = "last\n\xff words";  // what is no UTF-8 is replaced
  failure.end.log_tail_offset = int64_t{1} << 33;
  ASSERT_TRUE(WriteUnreportedEnd(folder.path(), failure).ok());
  auto read = ReadUnreportedEnd(folder.path());
  ASSERT_TRUE(read.ok()) << read.status();
  EXPECT_EQ(read->end.log_tail_offset, int64_t{1} << 33);
  EXPECT_EQ(read->end.outcome, AttemptEnd::Outcome::kFailed);
  EXPECT_EQ(read->end.cause, protocol::CAUSE_RUNNER_CRASHED);
  EXPECT_EQ(read->end.error.ToString(), failure.end.error.ToString());
  EXPECT_EQ(read->end.exit_code, -1);
  EXPECT_EQ(read->end.exit_signal, 11);
  EXPECT_TRUE(read->end.yielded);
  EXPECT_EQ(read->end.log_tail, "last\n\xef\xbf\xbd words");
}

TEST(UnreportedEnd, WhatIsDamagedIsNotBelieved) {
  TemporaryFolder folder;
  EXPECT_FALSE(ReadUnreportedEnd(folder.path()).ok()) << "there is none";
  UnreportedEnd good;
  good.files = {{"", "weights.safetensors", "", 1}};
  ASSERT_TRUE(WriteUnreportedEnd(folder.path(), good).ok());
  const std::string text = *ReadFile(folder / kEndFile);
  std::string elsewhere = text;
  elsewhere.replace(elsewhere.find("weights.safetensors"), 19, "../../../etc/passwd");
  for (const std::string& damaged :
       {std::string(), std::string("[]"), text.substr(0, text.size() / 2), elsewhere}) {
    std::ofstream(folder / kEndFile) << damaged;
    EXPECT_FALSE(ReadUnreportedEnd(folder.path()).ok()) << damaged;
  }
}

}  // namespace
}  // namespace cyxwiz::node
