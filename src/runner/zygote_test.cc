// The real cyxwiz-runner --zygote, spoken to as a node does.
#include <fcntl.h>
#include <gtest/gtest.h>
#include <poll.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <sstream>
#include <thread>

#include "base/file.h"
#include "base/json.h"
#include "base/testing.h"
#include "runner/protocol.h"
#include "spec/job_spec.h"

namespace cyxwiz::runner {
namespace {

constexpr int kPatienceMs =
    60'000;  // for a machine that is busy; nothing here waits for time to pass

struct Fds {
  UniqueFd socket, log;
};

// A node's side of a zygote.
class Node {
 public:
  // fault: CYXWIZ_RUNNER_FAULT of the zygote and its children.
  explicit Node(const char* fault = nullptr) {
    int fds[2];
    EXPECT_EQ(::socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, fds), 0);
    socket_.Reset(fds[0]);
    UniqueFd theirs(fds[1]);
    pid_ = ::fork();
    if (pid_ == 0) {
      ::prctl(PR_SET_PDEATHSIG, SIGKILL);
      if (theirs.get() == 3) {
        ::fcntl(3, F_SETFD, 0);
      } else {
        ::dup2(theirs.get(), 3);
      }
      ::setenv("OMP_WAIT_POLICY", "passive", 1);
      ::setenv("GOMP_SPINCOUNT", "0", 1);
      if (fault != nullptr) ::setenv("CYXWIZ_RUNNER_FAULT", fault, 1);
      LeaveCrashesToTheSystem();
      ::execl(CYXWIZ_RUNNER_PATH, CYXWIZ_RUNNER_PATH, "--zygote", nullptr);
      ::_exit(127);
    }
    ready_ = Receive();
    EXPECT_EQ(ready_["type"], "ready") << ready_;
  }

  ~Node() {
    socket_.Reset();
    if (pid_ > 0) Wait();
  }

  // Ends the zygote by closing its socket; its exit code.
  int Wait() {
    socket_.Reset();
    int status = 0;
    ::waitpid(pid_, &status, 0);
    pid_ = -1;
    return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
  }

  Json Receive() {
    pollfd wait{socket_.get(), POLLIN, 0};
    if (::poll(&wait, 1, kPatienceMs) != 1) return {{"type", "timeout"}};
    std::string text(64 << 10, '\0');
    ssize_t n = ::recv(socket_.get(), text.data(), text.size(), 0);
    if (n <= 0) return {{"type", "closed"}};
    text.resize(static_cast<size_t>(n));
    return Json::parse(text);
  }

  void Send(const std::string& text, std::vector<int> descriptors = {}) {
    iovec part{const_cast<char*>(text.data()), text.size()};
    alignas(cmsghdr) char control[CMSG_SPACE(2 * sizeof(int))] = {};
    msghdr message{};
    message.msg_iov = &part;
    message.msg_iovlen = 1;
    if (!descriptors.empty()) {
      message.msg_control = control;
      message.msg_controllen = CMSG_SPACE(descriptors.size() * sizeof(int));
      cmsghdr* header = CMSG_FIRSTHDR(&message);
      header->cmsg_level = SOL_SOCKET;
      header->cmsg_type = SCM_RIGHTS;
      header->cmsg_len = CMSG_LEN(descriptors.size() * sizeof(int));
      std::memcpy(CMSG_DATA(header), descriptors.data(), descriptors.size() * sizeof(int));
    }
    ASSERT_EQ(::sendmsg(socket_.get(), &message, 0), static_cast<ssize_t>(text.size()));
  }

  // The node's ends of a new attempt's socket and log.
  Fds Fork(const std::string& id) {
    int pair[2], pipe[2];
    EXPECT_EQ(::socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair), 0);
    EXPECT_EQ(::pipe2(pipe, O_CLOEXEC), 0);
    UniqueFd theirs(pair[1]), their_log(pipe[1]);
    Send(Json{{"type", "fork"}, {"id", id}}.dump(), {theirs.get(), their_log.get()});
    return {UniqueFd(pair[0]), UniqueFd(pipe[0])};
  }

  const Json& ready() const { return ready_; }
  pid_t pid() const { return pid_; }

 private:
  UniqueFd socket_;
  pid_t pid_ = -1;
  Json ready_;
};

std::string ReadAll(int fd) {
  std::string text;
  char buffer[4096];
  for (ssize_t n; (n = ::read(fd, buffer, sizeof buffer)) > 0;) {
    text.append(buffer, static_cast<size_t>(n));
  }
  return text;
}

// Lines of an attempt until one of the last ones; the whole conversation is returned.
std::vector<Json> ReadToEnd(Channel* channel) {
  std::vector<Json> lines;
  for (;;) {
    Result<Json> line = channel->Receive();
    if (!line.ok()) return lines;
    lines.push_back(*line);
  }
}

class ZygoteTest : public testing::Test {
 protected:
  void SetUp() override {
    std::string pattern = (std::filesystem::temp_directory_path() / "zygote-XXXXXX").string();
    folder_ = ::mkdtemp(pattern.data());
  }
  void TearDown() override { std::filesystem::remove_all(folder_); }

  Json StartLine(int64_t epochs) {
    spec::JobDescription job;
    job.name = "zygote test";
    job.model_definition = R"({"layers":[{"type":"dense","units":10}]})";
    job.dataset_uri = "mock://random_data";
    job.hyperparameters = {{"epochs", std::to_string(epochs)}, {"learning_rate", "0.05"}};
    return {{"type", "start"},
            {"protocol", 1},
            {"job_id", "job"},
            {"attempt", 1},
            {"job", job.ToJson()},
            {"folder", folder_ + "/result"},
            {"data_roots", Json::array()},
            {"cpu_millis", 1000},
            {"memory_bytes", int64_t{512} << 20}};
  }

  std::string folder_;
};

TEST_F(ZygoteTest, TrainsAJob) {
  Node node;
  EXPECT_EQ(node.ready()["protocol"], 1);
  EXPECT_EQ(node.ready()["pid"], node.pid());
  std::ifstream status("/proc/" + std::to_string(node.pid()) + "/status");
  std::string text((std::istreambuf_iterator<char>(status)), {});
  EXPECT_NE(text.find("Threads:\t1\n"), std::string::npos) << text;

  Fds fds = node.Fork("job/1");
  Json forked = node.Receive();
  ASSERT_EQ(forked["type"], "forked") << forked;
  EXPECT_EQ(forked["id"], "job/1");
  pid_t child = forked["pid"];
  EXPECT_EQ(::getpgid(child), child);
  Channel channel(std::move(fds.socket));
  ASSERT_TRUE(channel.Send(StartLine(2)).ok());
  std::vector<Json> lines = ReadToEnd(&channel);
  ASSERT_GE(lines.size(), 5u);
  EXPECT_EQ(lines[0], (Json{{"type", "hello"}, {"protocol", 1}, {"pid", child}}));
  EXPECT_EQ(lines[1]["type"], "started");
  EXPECT_EQ(lines[1]["parameters"], 110);
  EXPECT_EQ(lines[2]["type"], "progress");
  EXPECT_EQ(lines[2]["epochs"], 2);
  const Json& last = lines.back();
  EXPECT_EQ(last["type"], "succeeded") << last;
  EXPECT_GT(last["metrics"]["test_accuracy"], 0.5);
  for (const std::string file : last["files"]) {
    EXPECT_TRUE(std::filesystem::exists(folder_ + "/result/" + file)) << file;
  }
  Json exited = node.Receive();
  EXPECT_EQ(exited["type"], "exited");
  EXPECT_EQ(exited["id"], "job/1");
  std::string log = ReadAll(fds.log.get());
  EXPECT_EQ(exited["code"], 0) << log;
  EXPECT_EQ(exited["signal"], 0);
  EXPECT_GT(exited["max_rss_bytes"], 10 << 20);
  EXPECT_NE(log.find("model: input [10]"), std::string::npos) << log;
  EXPECT_NE(log.find("epoch 2/2:"), std::string::npos) << log;
  EXPECT_EQ(node.Wait(), 0);
}

// Pages that the kernel filled for the children of a process that have ended and been waited for.
int64_t PageFaultsOfChildren(pid_t pid) {
  std::ifstream stat("/proc/" + std::to_string(pid) + "/stat");
  std::string text((std::istreambuf_iterator<char>(stat)), {});
  std::istringstream fields(text.substr(text.rfind(')') + 1));
  std::string skipped;
  for (int field = 3; field < 11; ++field) fields >> skipped;
  int64_t faults = -1;
  fields >> faults;
  return faults;
}

TEST_F(ZygoteTest, StepsUseTheMemoryOfTheStepsBefore) {
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
  GTEST_SKIP() << "sanitizers bring their own malloc";
#endif
  constexpr int64_t kHiddenPages = 2048 * 4096 * sizeof(float) / 4096;
  spec::JobDescription job;
  job.name = "wide";
  job.model_definition =
      R"({"layers":[{"type":"dense","units":4096,"activation":"tanh"},{"type":"dense","units":2}]})";
  job.dataset_uri = "mock://random_data?samples=2048&features=1&classes=2&test_samples=1";
  Node node;
  auto faults_of = [&](int epochs) {  // of one step each
    job.hyperparameters = {{"epochs", std::to_string(epochs)}, {"batch_size", "2048"}};
    Json start = StartLine(epochs);
    start["job"] = job.ToJson();
    int64_t before = PageFaultsOfChildren(node.pid());
    Fds fds = node.Fork("wide");
    EXPECT_EQ(node.Receive()["type"], "forked");
    Channel channel(std::move(fds.socket));
    EXPECT_TRUE(channel.Send(start).ok());
    EXPECT_EQ(ReadToEnd(&channel).back()["type"], "succeeded");
    EXPECT_EQ(node.Receive()["type"], "exited");
    return PageFaultsOfChildren(node.pid()) - before;
  };
  int64_t few = faults_of(3), many = faults_of(8);
  EXPECT_GT(few, kHiddenPages);  // the first step
  EXPECT_LT(many - few, kHiddenPages);
}

TEST_F(ZygoteTest, StopsOnRequestAndWhenTheNodeHangsUp) {
  Node node;
  for (bool hang_up : {false, true}) {
    Fds fds = node.Fork("job/1");
    ASSERT_EQ(node.Receive()["type"], "forked");
    Channel channel(std::move(fds.socket));
    ASSERT_TRUE(channel.Send(StartLine(1'000'000)).ok());
    EXPECT_EQ((*channel.Receive())["type"], "hello");
    EXPECT_EQ((*channel.Receive())["type"], "started");
    if (hang_up) {
      channel = Channel(UniqueFd());
    } else {
      ASSERT_TRUE(channel.Send({{"type", "stop"}}).ok());
      EXPECT_EQ(ReadToEnd(&channel).back()["type"], "stopped");
    }
    Json exited = node.Receive();
    EXPECT_EQ(exited["type"], "exited");
    EXPECT_EQ(exited["code"], 0);
  }
}

TEST_F(ZygoteTest, YieldsOnRequestAndGoesOnFromTheCheckpoint) {
  Node node;
  auto run = [&](const Json& start, bool yield) {
    Fds fds = node.Fork("job/1");
    EXPECT_EQ(node.Receive()["type"], "forked");
    Channel channel(std::move(fds.socket));
    EXPECT_TRUE(channel.Send(start).ok());
    EXPECT_EQ((*channel.Receive())["type"], "hello");
    std::vector<Json> lines{*channel.Receive()};
    EXPECT_EQ(lines[0]["type"], "started");
    if (yield) {
      EXPECT_TRUE(channel.Send({{"type", "yield"}}).ok());
    }
    for (Json& line : ReadToEnd(&channel)) lines.push_back(std::move(line));
    Json exited = node.Receive();
    EXPECT_EQ(exited["code"], 0) << ReadAll(fds.log.get());
    return lines;
  };
  // Long by its epochs' length, not by their number: nobody reads the log meanwhile.
  Json start = StartLine(20);
  start["job"]["dataset_uri"] = "mock://random_data?samples=50000";
  start["folder"] = folder_ + "/alone";
  ASSERT_EQ(run(start, false).back()["type"], "succeeded");

  start["folder"] = folder_ + "/yielded";
  std::vector<Json> lines = run(start, true);
  ASSERT_EQ(lines.back()["type"], "yielded") << lines.back();
  const Json checkpoint = lines[lines.size() - 2];
  ASSERT_EQ(checkpoint["type"], "checkpoint") << checkpoint;
  EXPECT_EQ(checkpoint["name"], lines.back()["checkpoint"]);
  for (const Json& file : checkpoint["files"]) {
    std::string path = folder_ + "/yielded/checkpoints/" + checkpoint["name"].get<std::string>() +
                       "/" + file["name"].get<std::string>();
    EXPECT_EQ(std::filesystem::file_size(path), file["size"].get<size_t>());
  }
  start["resume"] = "checkpoints";
  lines = run(start, false);
  ASSERT_EQ(lines.back()["type"], "succeeded");
  EXPECT_EQ(lines[0]["resumed"]["step"], checkpoint["step"]) << lines[0];
  EXPECT_EQ(*ReadFile(folder_ + "/yielded/weights.safetensors"),
            *ReadFile(folder_ + "/alone/weights.safetensors"));
}

// Of a process that is being read into.
int64_t ResidentBytes(pid_t pid) {
  std::ifstream statm("/proc/" + std::to_string(pid) + "/statm");
  int64_t all = 0, resident = 0;
  statm >> all >> resident;
  return resident * ::getpagesize();
}

TEST_F(ZygoteTest, EndsInTheMidstOfItsDataWhenItIsAsked) {
  Node node;
  // Half a gigabyte of numbers that are drawn one after the other: much longer than a look.
  const std::string data = "mock://random_data?samples=1000000&features=128&test_samples=0";
  Json training = StartLine(1);
  training["job"]["dataset_uri"] = data;
  training["memory_bytes"] = int64_t{4} << 30;
  Json preprocessing = training;
  spec::JobDescription job;
  job.type = spec::JobType::kPreprocessing;
  job.dataset_uri = data;
  job.output_dataset = "made@1";
  preprocessing["job"] = job.ToJson();
  for (const Json& start : {training, preprocessing}) {
    for (const std::string asked : {"yield", "stop"}) {
      SCOPED_TRACE(start["job"]["type"].dump() + " " + asked);
      Fds fds = node.Fork("job/6");
      const Json forked = node.Receive();
      ASSERT_EQ(forked["type"], "forked");
      Channel channel(std::move(fds.socket));
      ASSERT_TRUE(channel.Send(start).ok());
      EXPECT_EQ((*channel.Receive())["type"], "hello");
      const pid_t child = forked["pid"];
      while (ResidentBytes(child) < (int64_t{256} << 20)) {
        ASSERT_EQ(::kill(child, 0), 0);
        std::this_thread::yield();
      }
      ASSERT_TRUE(channel.Send({{"type", asked}}).ok());
      const std::vector<Json> lines = ReadToEnd(&channel);
      ASSERT_EQ(lines.size(), 1u) << "it had begun: " << lines[0];
      EXPECT_EQ(lines[0], (Json{{"type", asked == "yield" ? "yielded" : "stopped"}}));
      EXPECT_EQ(node.Receive()["code"], 0);
      EXPECT_NE(ReadAll(fds.log.get()).find("while the data was made ready"), std::string::npos);
    }
  }
}

TEST_F(ZygoteTest, ReportsACrash) {
  Node node("crash_after_step:3");
  Fds fds = node.Fork("job/2");
  ASSERT_EQ(node.Receive()["type"], "forked");
  Channel channel(std::move(fds.socket));
  ASSERT_TRUE(channel.Send(StartLine(1'000'000)).ok());
  std::vector<Json> lines = ReadToEnd(&channel);
  EXPECT_EQ(lines.back()["type"], "started");
  Json exited = node.Receive();
  EXPECT_EQ(exited["id"], "job/2");
  EXPECT_EQ(exited["signal"], SIGSEGV);
  EXPECT_EQ(exited["code"], -1);
}

TEST_F(ZygoteTest, RunsOutOfItsOwnMemoryOnly) {
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
  GTEST_SKIP() << "a sanitizer's operator new ends the process instead of throwing";
#endif
  Node node("oom");
  Fds fds = node.Fork("job/3");
  ASSERT_EQ(node.Receive()["type"], "forked");
  Channel channel(std::move(fds.socket));
  ASSERT_TRUE(channel.Send(StartLine(1'000'000)).ok());
  Json last = ReadToEnd(&channel).back();
  EXPECT_EQ(last["type"], "failed");
  EXPECT_EQ(last["cause"], "out_of_memory") << last;
  EXPECT_EQ(node.Receive()["code"], 0);
}

TEST_F(ZygoteTest, OnlySigkillEndsOneThatHangs) {
  Node node("hang_on_stop");
  Fds fds = node.Fork("job/4");
  Json forked = node.Receive();
  pid_t child = forked["pid"];
  Channel channel(std::move(fds.socket));
  ASSERT_TRUE(channel.Send(StartLine(1'000'000)).ok());
  EXPECT_EQ((*channel.Receive())["type"], "hello");
  EXPECT_EQ((*channel.Receive())["type"], "started");
  ASSERT_TRUE(channel.Send({{"type", "stop"}}).ok());
  ASSERT_EQ(::kill(-child, SIGTERM), 0);
  // Still at work: it goes on reporting.
  EXPECT_EQ((*channel.Receive())["type"], "progress");
  ASSERT_EQ(::kill(-child, SIGKILL), 0);
  EXPECT_EQ(node.Receive()["signal"], SIGKILL);
}

TEST_F(ZygoteTest, SaysWhatItDoesNotUnderstand) {
  Node node;
  node.Send("{");
  EXPECT_EQ(node.Receive()["type"], "error");
  node.Send(R"({"type":"dance"})");
  EXPECT_EQ(node.Receive()["type"], "error");
  node.Send(R"({"type":"fork","id":"x"})");
  Json answer = node.Receive();
  EXPECT_EQ(answer["type"], "fork_failed");
  EXPECT_EQ(answer["id"], "x");
}

TEST_F(ZygoteTest, ChildrenDieWithIt) {
  Node node;
  Fds fds = node.Fork("job/5");
  ASSERT_EQ(node.Receive()["type"], "forked");
  Channel channel(std::move(fds.socket));
  ASSERT_TRUE(channel.Send(StartLine(1'000'000)).ok());
  EXPECT_EQ((*channel.Receive())["type"], "hello");
  node.Wait();
  // The end of the stream says that the child is gone, for only it held the other end.
  ReadToEnd(&channel);
}

}  // namespace
}  // namespace cyxwiz::runner
