// `cyxwiz up` over daemons of a few lines of shell that keep the same contract: --ready-fd,
// SIGTERM, exit codes. `up` runs in a child process, as it owns signals and children; nothing here
// waits for time to pass.
#include "cli/up.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <fstream>

#include "base/file.h"
#include "base/json.h"
#include "cli/child_process.h"

namespace cyxwiz::cli {
namespace {

class Folder {
 public:
  Folder() {
    std::string name = (std::filesystem::temp_directory_path() / "cyxwiz-up-XXXXXX").string();
    path = ::mkdtemp(name.data());
  }
  ~Folder() { std::filesystem::remove_all(path); }
  std::string path;
};

// Daemons that say they are ready and wait for a signal, and note their arguments.
constexpr char kServer[] = R"(echo "$@" >> "$(dirname "$0")/server.arguments"
echo '{"grpc": "127.0.0.1:40001", "rest": "127.0.0.1:40002", "pid": '$$'}' >&3
exec 3>&-
exec sleep 1000
)";
constexpr char kNode[] = R"(echo "$@" >> "$(dirname "$0")/node.arguments"
echo '{"node_id": "n'$$'", "endpoint": "127.0.0.1:40003", "pid": '$$'}' >&3
exec 3>&-
exec sleep 1000
)";

// `cyxwiz up` in a process of its own.
class Up {
 public:
  Up(const Folder& folder, const std::string& server, const std::string& node, int nodes = 1) {
    WriteProgram(folder.path + "/cyxwiz-central-server", server);
    WriteProgram(folder.path + "/cyxwiz-server-node", node);
    int out[2], err[2];
    if (::pipe2(out, O_CLOEXEC) != 0 || ::pipe2(err, O_CLOEXEC) != 0) std::abort();
    pid_ = ::fork();
    if (pid_ == 0) {
      ::prctl(PR_SET_PDEATHSIG, SIGKILL);
      std::ofstream out_stream("/dev/fd/" + std::to_string(out[1]));
      std::ofstream err_stream("/dev/fd/" + std::to_string(err[1]));
      ::close(out[1]);
      ::close(err[1]);
      Console console(out_stream, err_stream);
      console.json = true;
      UpOptions options;
      options.data = folder.path + "/data";
      options.nodes = nodes;
      options.grpc_port = options.rest_port = 0;
      options.programs = folder.path;
      options.restart_pause = std::chrono::milliseconds(1);
      int code = RunUp(console, options);
      out_stream.flush();
      err_stream.flush();
      ::_exit(code);
    }
    ::close(out[1]);
    ::close(err[1]);
    out_ = ::fdopen(out[0], "r");
    err_ = ::fdopen(err[0], "r");
  }
  ~Up() {
    if (pid_ > 0) ::kill(pid_, SIGKILL);
    if (pid_ > 0) ::waitpid(pid_, nullptr, 0);
    std::fclose(out_);
    std::fclose(err_);
  }

  // The first line on standard output; empty when it ended without one.
  std::string FirstLine() { return Line(out_); }
  std::string ErrorLine() { return Line(err_); }
  // Reads standard error up to a line that holds `text`.
  bool SaysOnError(const std::string& text) {
    for (std::string line; !(line = ErrorLine()).empty();) {
      if (line.find(text) != std::string::npos) return true;
    }
    return false;
  }
  void Signal(int number) { ::kill(pid_, number); }
  int Wait() {
    int status = 0;
    ::waitpid(pid_, &status, 0);
    pid_ = -1;
    return WIFEXITED(status) ? WEXITSTATUS(status) : 1000 + WTERMSIG(status);
  }

 private:
  static std::string Line(std::FILE* file) {
    char* line = nullptr;
    size_t size = 0;
    ssize_t n = ::getline(&line, &size, file);
    std::string text = n > 0 ? std::string(line, static_cast<size_t>(n)) : "";
    std::free(line);
    return text;
  }
  static void WriteProgram(const std::string& path, const std::string& script) {
    std::ofstream(path) << "#!/bin/sh\n" << script;
    ::chmod(path.c_str(), 0755);
  }

  pid_t pid_ = -1;
  std::FILE* out_ = nullptr;
  std::FILE* err_ = nullptr;
};

bool IsAlive(int pid) { return ::kill(pid, 0) == 0; }

TEST(Up, SaysWhereItServesAndStopsEverything) {
  Folder folder;
  Up up(folder, kServer, kNode, 2);
  std::string line = up.FirstLine();
  EXPECT_EQ(
      line.rfind(R"({"grpc":"127.0.0.1:40001","rest":"http://127.0.0.1:40002","nodes":[{)", 0), 0u)
      << line;
  Json ready = Json::parse(line);
  ASSERT_EQ(ready["nodes"].size(), 2u);
  EXPECT_EQ(ready["nodes"][0]["endpoint"], "127.0.0.1:40003");
  EXPECT_EQ(ready["data"], folder.path + "/data");
  std::vector<int> pids = {ready["server_pid"], ready["nodes"][0]["pid"], ready["nodes"][1]["pid"]};
  for (int pid : pids) EXPECT_TRUE(IsAlive(pid));
  up.Signal(SIGINT);
  EXPECT_EQ(up.Wait(), 0);
  for (int pid : pids) EXPECT_FALSE(IsAlive(pid));
}

TEST(Up, GivesTheNodesTheServersAddressAndTheirShare) {
  Folder folder;
  Up up(folder, kServer, kNode, 2);
  ASSERT_NE(up.FirstLine(), "");
  std::string server = *ReadFile(folder.path + "/server.arguments");
  EXPECT_NE(server.find("--data " + folder.path +
                        "/data/server --grpc-listen 127.0.0.1:0 --rest-listen 127.0.0.1:0"),
            std::string::npos)
      << server;
  EXPECT_NE(server.find("--data-roots /usr/share/datasets"), std::string::npos) << server;
  std::string nodes = *ReadFile(folder.path + "/node.arguments");
  EXPECT_NE(nodes.find("--data " + folder.path + "/data/node-2 --server 127.0.0.1:40001"),
            std::string::npos)
      << nodes;
  EXPECT_NE(nodes.find("--memory " + std::to_string(MachineMemoryBytes() / 2)), std::string::npos)
      << nodes;
}

TEST(Up, StartsADeadNodeAgain) {
  Folder folder;
  Up up(folder, kServer, kNode);
  Json ready = Json::parse(up.FirstLine());
  ::kill(ready["nodes"][0]["pid"], SIGKILL);
  EXPECT_TRUE(up.SaysOnError("was ended by signal 9"));
  EXPECT_TRUE(up.SaysOnError("node-1 is back"));
  up.Signal(SIGTERM);
  EXPECT_EQ(up.Wait(), 0);
}

TEST(Up, StartsADeadServerAgainOnItsOldPorts) {
  Folder folder;
  Up up(folder, kServer, kNode);
  Json ready = Json::parse(up.FirstLine());
  ::kill(ready["server_pid"], SIGSEGV);
  EXPECT_TRUE(up.SaysOnError("server is back"));
  std::string arguments = *ReadFile(folder.path + "/server.arguments");
  EXPECT_NE(arguments.find("--grpc-listen 127.0.0.1:40001 --rest-listen 127.0.0.1:40002"),
            std::string::npos)
      << arguments;
}

TEST(Up, GivesUpOnANodeThatKeepsDying) {
  Folder folder;
  // Ready, and gone at once.
  Up up(folder, kServer,
        "echo '{\"node_id\": \"n\", \"endpoint\": \"e\"}' >&3\nexec 3>&-\necho out of luck "
        ">&2\nexit 7\n");
  EXPECT_TRUE(up.SaysOnError("ended with exit code 7"));
  EXPECT_EQ(up.Wait(), kExitError);
}

TEST(Up, RelaysWhatADaemonSaysThatCannotStart) {
  Folder folder;
  Up up(folder, "echo 'port 50051 is in use' >&2\nexit 1\n", kNode);
  EXPECT_EQ(up.FirstLine(), "");
  Json error = Json::parse(up.ErrorLine())["error"];
  EXPECT_NE(std::string(error["message"]).find("port 50051 is in use"), std::string::npos) << error;
  EXPECT_EQ(up.Wait(), kExitError);
}

TEST(Up, RefusesADataFolderInUse) {
  Folder folder;
  Up first(folder, kServer, kNode);
  ASSERT_NE(first.FirstLine(), "");
  Up second(folder, kServer, kNode);
  Json error = Json::parse(second.ErrorLine())["error"];
  EXPECT_EQ(error["code"], "FAILED_PRECONDITION");
  EXPECT_NE(std::string(error["message"]).find(folder.path + "/data"), std::string::npos);
  EXPECT_EQ(second.Wait(), kExitRefused);
}

TEST(Up, KillsADaemonThatDoesNotStopWhenAskedTwice) {
  Folder folder;
  Up up(folder, kServer,
        "trap '' TERM\necho '{\"node_id\": \"n\", \"endpoint\": \"e\"}' >&3\nexec 3>&-\nsleep 1000 "
        "& wait $!\n");
  Json ready = Json::parse(up.FirstLine());
  up.Signal(SIGINT);
  up.Signal(SIGTERM);
  EXPECT_TRUE(up.SaysOnError("node-1 does not stop"));
  EXPECT_EQ(up.Wait(), 0);
  EXPECT_FALSE(IsAlive(ready["nodes"][0]["pid"]));
}

TEST(Up, EndsWhatADaemonLeftBehind) {
  Folder folder;
  // A process outside the group of its daemon, as runners are.
  Up up(folder, kServer,
        "setsid sleep 1000 &\necho $! > \"$(dirname \"$0\")/left\"\n"
        "echo '{\"node_id\": \"n\", \"endpoint\": \"e\"}' >&3\nexec 3>&-\nexec sleep 1000\n");
  ASSERT_NE(up.FirstLine(), "");
  up.Signal(SIGINT);
  EXPECT_EQ(up.Wait(), 0);
  EXPECT_FALSE(IsAlive(std::atoi(ReadFile(folder.path + "/left")->c_str())));
}

}  // namespace
}  // namespace cyxwiz::cli
