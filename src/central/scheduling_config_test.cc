#include "central/scheduling_config.h"

#include <gtest/gtest.h>

namespace cyxwiz::central {
namespace {

TEST(SchedulingConfig, QuotasAreReadWithTheirUnits) {
  std::map<std::string, scheduler::Quota> quotas;
  ASSERT_TRUE(
      ReadQuotas({"user:ann cpus=1.5 memory=2GiB", "project:vision  gpus=0.25 borrow=no"}, &quotas)
          .ok());
  EXPECT_EQ(quotas.at("user:ann").cpu_millis, 1500);
  EXPECT_EQ(quotas.at("user:ann").memory_bytes, int64_t{2} << 30);
  EXPECT_EQ(quotas.at("user:ann").gpu_millis, -1) << "not limited";
  EXPECT_TRUE(quotas.at("user:ann").borrow);
  EXPECT_EQ(quotas.at("project:vision").gpu_millis, 250);
  EXPECT_FALSE(quotas.at("project:vision").borrow);
}

TEST(SchedulingConfig, AWrongQuotaIsToldWithItsText) {
  for (const char* text :
       {"ann cpus=1", "user: cpus=1", "user:ann", "user:ann cpus=many", "user:ann cpus=-1",
        "user:ann memory=2XB", "user:ann borrow=maybe", "user:ann borrow=no", "team:a cpus=1"}) {
    std::map<std::string, scheduler::Quota> quotas;
    Status status = ReadQuotas({text}, &quotas);
    EXPECT_EQ(status.code(), Code::kInvalidArgument) << text;
    EXPECT_NE(status.message().find(text), std::string::npos) << status;
  }
  std::map<std::string, scheduler::Quota> quotas;
  EXPECT_FALSE(ReadQuotas({"user:ann cpus=1", "user:ann cpus=2"}, &quotas).ok());
}

TEST(SchedulingConfig, WeightsAreReadAndChecked) {
  std::map<std::string, double> weights;
  ASSERT_TRUE(ReadWeights({"ann=2", "b=0.5"}, &weights).ok());
  EXPECT_EQ(weights.at("ann"), 2);
  EXPECT_FALSE(ReadWeights({"ann=0"}, &weights).ok());
}

}  // namespace
}  // namespace cyxwiz::central
