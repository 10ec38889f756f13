#include "wire/what_if.h"

#include <gtest/gtest.h>

namespace cyxwiz {
namespace {

TEST(WhatIf, ReadsNodesAndWhatEachHas) {
  auto what_if = ParseWhatIf("--what-if", "nodes=+2,cpus=1.5,memory=32GiB,gpus=4,gpu_memory=80GiB");
  ASSERT_TRUE(what_if.ok()) << what_if.status();
  EXPECT_EQ(what_if->more_nodes(), 2);
  EXPECT_EQ(what_if->resources().cpu_millis(), 1500);
  EXPECT_EQ(what_if->resources().memory_bytes(), 32ll << 30);
  EXPECT_EQ(what_if->resources().gpus(), 4);
  EXPECT_EQ(what_if->resources().gpu_memory_bytes(), 80ll << 30);
}

TEST(WhatIf, OneNodeIsMeantWhereOnlyWhatItHasIsSaid) {
  EXPECT_EQ(ParseWhatIf("--what-if", "gpu_memory=80GiB")->more_nodes(), 1);
  EXPECT_EQ(ParseWhatIf("--what-if", "nodes=3")->more_nodes(), 3);
  EXPECT_EQ(ParseWhatIf("--what-if", "")->more_nodes(), 0);
}

TEST(WhatIf, AnythingElseIsRefusedWithWhereItStood) {
  for (const char* text : {"nodes", "nodes=-1", "nodes=1001", "cpus=0", "cpus=many", "memory=0",
                           "gpus=0", "gpus=1025", "gpu_memory=", "disk=5", "cpus=1,,"}) {
    auto what_if = ParseWhatIf("query parameter 'what_if'", text);
    ASSERT_FALSE(what_if.ok()) << text;
    EXPECT_EQ(what_if.status().code(), Code::kInvalidArgument);
    EXPECT_TRUE(what_if.status().message().starts_with("query parameter 'what_if': expected "))
        << what_if.status();
  }
}

}  // namespace
}  // namespace cyxwiz
