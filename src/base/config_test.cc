#include "base/config.h"

#include <gtest/gtest.h>
#include <stdlib.h>

#include "base/file.h"
#include "base/testing.h"

namespace cyxwiz {
namespace {

class ConfigTest : public testing::Test {
 protected:
  ConfigTest() : config_("prog", "does things", "CYXTEST") {
    config_.Add("grpc.listen", &listen_, "Address");
    config_.Add("node.slots", &slots_, "Slots", 1, 64);
    config_.Add("data.roots", &roots_, "Roots");
    config_.Add("quiet", &quiet_, "Say less");
    unsetenv("CYXTEST_GRPC_LISTEN");
    unsetenv("CYXTEST_DATA_ROOTS");
    path_ = folder_ / "config_test.toml";
  }
  Status Parse(std::vector<const char*> arguments) {
    arguments.insert(arguments.begin(), "prog");
    bool done;
    return config_.Parse(static_cast<int>(arguments.size()), arguments.data(), &done);
  }
  void File(const std::string& text) { ASSERT_TRUE(WriteFileAtomically(path_, text).ok()); }

  TemporaryFolder folder_;
  Config config_;
  std::string listen_ = "default", path_;
  int64_t slots_ = 2;
  std::vector<std::string> roots_;
  bool quiet_ = false;
};

TEST_F(ConfigTest, FlagsWeighMoreThanEnvironmentMoreThanFileMoreThanDefault) {
  ASSERT_TRUE(Parse({}).ok());
  EXPECT_EQ(listen_, "default");
  File("[grpc]\nlisten = \"file\"\n[node]\nslots = 7\n");
  ASSERT_TRUE(Parse({"--config", path_.c_str()}).ok());
  EXPECT_EQ(listen_, "file");
  EXPECT_EQ(slots_, 7);
  setenv("CYXTEST_GRPC_LISTEN", "environment", 1);
  ASSERT_TRUE(Parse({"--config", path_.c_str()}).ok());
  EXPECT_EQ(listen_, "environment");
  ASSERT_TRUE(Parse({"--config", path_.c_str(), "--grpc-listen=flag", "--quiet"}).ok());
  EXPECT_EQ(listen_, "flag");
  EXPECT_TRUE(quiet_);
}

TEST_F(ConfigTest, ListsComeFromRepeatedFlagsCommasAndArrays) {
  ASSERT_TRUE(Parse({"--data-roots", "/a", "--data-roots", "/b"}).ok());
  EXPECT_EQ(roots_, (std::vector<std::string>{"/a", "/b"}));
  setenv("CYXTEST_DATA_ROOTS", "/c,/d", 1);
  ASSERT_TRUE(Parse({}).ok());
  EXPECT_EQ(roots_, (std::vector<std::string>{"/c", "/d"}));
  unsetenv("CYXTEST_DATA_ROOTS");
  File("data.roots = [\"/e\"]\n");
  ASSERT_TRUE(Parse({"--config", path_.c_str()}).ok());
  EXPECT_EQ(roots_, std::vector<std::string>{"/e"});
}

TEST_F(ConfigTest, UnknownKeysAndFlagsAreErrorsWithAHint) {
  File("[grpc]\nlistn = \"x\"\n");
  Status status = Parse({"--config", path_.c_str()});
  EXPECT_EQ(status.code(), Code::kInvalidArgument);
  EXPECT_EQ(status.hint(), "did you mean 'grpc.listen'?");
  EXPECT_EQ(Parse({"--grpc-lisen", "x"}).hint(), "did you mean '--grpc-listen'?");
  File("[rest]\nlistn = \"x\"\n");  // in another table
  EXPECT_EQ(Parse({"--config", path_.c_str()}).hint(), "did you mean 'grpc.listen'?");
  setenv("CYXTEST_NODE_SLOT", "3", 1);
  status = Parse({});
  unsetenv("CYXTEST_NODE_SLOT");
  EXPECT_EQ(status.message(), "unknown environment variable CYXTEST_NODE_SLOT");
  EXPECT_EQ(status.hint(), "did you mean 'CYXTEST_NODE_SLOTS'?");
}

TEST_F(ConfigTest, WrongTypesAndRangesNameTheirPlace) {
  EXPECT_NE(Parse({"--node-slots", "many"})
                .message()
                .find("flag --node-slots: expected a whole number, found 'many'"),
            std::string::npos);
  EXPECT_FALSE(Parse({"--node-slots", "65"}).ok());
  File("[node]\nslots = \n");
  EXPECT_NE(Parse({"--config", path_.c_str()}).message().find("line 2"), std::string::npos);
}

}  // namespace
}  // namespace cyxwiz
