#include "cli/restart_policy.h"

#include <gtest/gtest.h>

namespace cyxwiz::cli {
namespace {

using std::chrono::milliseconds;
using std::chrono::seconds;

TEST(RestartPolicy, PausesDoubleAndEndWithGivingUp) {
  RestartPolicy policy(milliseconds(200));
  MonotonicTime now;
  for (int pause_ms : {200, 400, 800, 1600, 3200}) {
    EXPECT_EQ(policy.OnEnd(now), milliseconds(pause_ms));
    now = now + seconds(2);
  }
  EXPECT_FALSE(policy.OnEnd(now));
}

TEST(RestartPolicy, WhatHappenedLongAgoIsForgotten) {
  RestartPolicy policy(milliseconds(200));
  MonotonicTime now;
  for (int i = 0; i < 100; ++i, now = now + seconds(61))
    EXPECT_EQ(policy.OnEnd(now), milliseconds(200));
}

}  // namespace
}  // namespace cyxwiz::cli
