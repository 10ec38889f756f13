#include "spec/shard_pattern.h"

#include <gtest/gtest.h>

namespace cyxwiz::spec {
namespace {

using Paths = std::vector<std::string>;

TEST(ShardPattern, NumbersRunFromTheFirstToTheLast) {
  EXPECT_EQ(ExpandShards("/d/s-{008..011}.tar"),
            (Paths{"/d/s-008.tar", "/d/s-009.tar", "/d/s-010.tar", "/d/s-011.tar"}));
  EXPECT_EQ(ExpandShards("/d{9..10}/s.tar"), (Paths{"/d9/s.tar", "/d10/s.tar"}));
  EXPECT_EQ(ExpandShards("{0..0}"), (Paths{"0"}));
  EXPECT_EQ(ExpandShards("s-{0..9999}.tar")->size(), kMaxShards);
}

TEST(ShardPattern, AnythingElseIsNone) {
  for (const char* path :
       {"/d/s.tar", "/d/s-{0..3.tar", "/d/s-0..3}.tar", "/d/}{0..3}", "/d/{3..0}", "/d/{a..c}",
        "/d/{1,2}", "/d/{}", "/d/{..3}", "/d/{1..}", "/d/{-1..3}", "/d/{0..1}/{0..1}",
        "/d/{0..10000}", "/d/{0..99999999999999999999}", "/d/{0..{1..2}}"}) {
    EXPECT_FALSE(ExpandShards(path)) << path;
  }
  EXPECT_FALSE(IsShardPattern("/d/s.tar"));
  EXPECT_TRUE(IsShardPattern("/d/s}.tar"));
}

}  // namespace
}  // namespace cyxwiz::spec
