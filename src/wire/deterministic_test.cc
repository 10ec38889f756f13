#include "wire/deterministic.h"

#include <gtest/gtest.h>

#include "cyxwiz/protocol/job.pb.h"

namespace cyxwiz {
namespace {

using protocol::JobConfig;

JobConfig FullConfig() {
  JobConfig config;
  config.set_job_id("j");
  config.set_priority(protocol::PRIORITY_HIGH);
  config.set_model_definition(std::string(300, 'm'));  // a length of two bytes
  for (const char* key : {"b", "a", "c"}) (*config.mutable_hyperparameters())[key] = key;
  config.set_estimated_memory(-1);
  config.set_payment_amount(0.5);
  config.set_name("n");
  config.mutable_limits()->set_log_bytes(7);
  config.add_after()->set_job_id("other");  // the number of a field of the whole message
  config.set_user_id("u");
  return config;
}

TEST(DeterministicBytes, FieldsLeftOutAreAsIfTheyWereNotSet) {
  JobConfig cleared = FullConfig();
  cleared.clear_job_id();
  cleared.clear_name();
  cleared.clear_user_id();
  EXPECT_EQ(
      DeterministicBytes(FullConfig(), {JobConfig::kJobIdFieldNumber, JobConfig::kNameFieldNumber,
                                        JobConfig::kUserIdFieldNumber}),
      DeterministicBytes(cleared));
  // A map is many fields of one number.
  cleared = FullConfig();
  cleared.clear_hyperparameters();
  EXPECT_EQ(DeterministicBytes(FullConfig(), {JobConfig::kHyperparametersFieldNumber}),
            DeterministicBytes(cleared));
}

TEST(DeterministicBytes, NothingLeftOutReadsBackAsTheMessage) {
  JobConfig read;
  ASSERT_TRUE(read.ParseFromString(DeterministicBytes(FullConfig())));
  EXPECT_EQ(DeterministicBytes(read), DeterministicBytes(FullConfig()));
  EXPECT_EQ(read.after(0).job_id(), "other");
  EXPECT_EQ(DeterministicBytes(JobConfig(), {1}), "");
}

TEST(PermittedBytes, AreTheSameWithAndWithoutTheToken) {
  protocol::AssignJobRequest request;
  request.set_node_id("n");
  std::string permitted = PermittedBytes(request);
  request.set_authorization_token("secret");
  EXPECT_EQ(PermittedBytes(request), permitted);
  request.set_node_id("m");
  EXPECT_NE(PermittedBytes(request), permitted);
}

}  // namespace
}  // namespace cyxwiz
