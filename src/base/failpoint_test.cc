#include "base/failpoint.h"

#include <gtest/gtest.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>

#include <filesystem>
#include <string>

namespace cyxwiz {
namespace {

// The variable is read at the start, so each case is a process of its own: this test program, which
// then passes the place three times. Its wait status.
int PassThreeTimes(const std::string& value) {
  pid_t child = ::fork();
  if (child == 0) {
    ::setenv("CYXWIZ_FAILPOINT", value.c_str(), 1);
    ::execl("/proc/self/exe", "base_test", "--gtest_also_run_disabled_tests",
            "--gtest_filter=Failpoint.DISABLED_Pass", nullptr);
    ::_exit(99);
  }
  int status = -1;
  ::waitpid(child, &status, 0);
  return status;
}
bool Killed(int status) { return WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL; }
bool Ended(int status) { return WIFEXITED(status) && WEXITSTATUS(status) == 0; }

TEST(Failpoint, DISABLED_Pass) {
  for (int i = 0; i < 3; ++i) CYXWIZ_FAILPOINT("test.pass.before");
}

TEST(Failpoint, KillsTheProcessAtThePassThatIsNamed) {
  EXPECT_TRUE(Killed(PassThreeTimes("test.pass.before:1")));
  EXPECT_TRUE(Killed(PassThreeTimes("test.pass.before:3")));
  EXPECT_TRUE(Ended(PassThreeTimes("test.pass.before:4")));
  EXPECT_TRUE(Ended(PassThreeTimes("test.pass:1")));
}

TEST(Failpoint, KillsOnceInAllWhenAFileIsNamed) {
  std::string pattern = (std::filesystem::temp_directory_path() / "cyxwiz-fail-XXXXXX").string();
  const std::string folder = ::mkdtemp(pattern.data());
  EXPECT_TRUE(Killed(PassThreeTimes("test.pass.before:2:" + folder + "/killed")));
  EXPECT_TRUE(Ended(PassThreeTimes("test.pass.before:2:" + folder + "/killed")));
  EXPECT_TRUE(Ended(PassThreeTimes("test.pass.before:1:/no/such/folder")));
  std::filesystem::remove_all(folder);
}

TEST(Failpoint, AnythingElseIsIgnored) {
  for (const char* value :
       {"", "test.pass.before", "test.pass.before:", "test.pass.before:0", "test.pass.before:-1",
        "test.pass.before:x", ":1", "test.pass.before:1x"}) {
    EXPECT_TRUE(Ended(PassThreeTimes(value))) << value;
  }
}

}  // namespace
}  // namespace cyxwiz
