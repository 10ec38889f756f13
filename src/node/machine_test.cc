// What the node finds out of its machine, and its settings.
#include <gtest/gtest.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>
#include <string>
#include <thread>

#include "node/cgroup.h"
#include "node/hardware.h"
#include "node/settings.h"

namespace cyxwiz::node {
namespace {

TEST(Cgroup, FindsTheGroupOfVersionOne) {
  auto place =
      FindCgroup("memory", "5:cpu,cpuacct:/\n4:memory:/a/b\n0::/\n",
                 "31 23 0:28 / /sys/fs/cgroup rw - tmpfs tmpfs rw\n"
                 "35 31 0:32 / /sys/fs/cgroup/memory rw,relatime - cgroup cgroup rw,memory\n"
                 "41 31 0:38 / /sys/fs/cgroup/unified rw - cgroup2 cgroup2 rw\n");
  ASSERT_TRUE(place.has_value());
  EXPECT_EQ(place->version, 1);
  EXPECT_EQ(place->folder, "/sys/fs/cgroup/memory/a/b");
}

TEST(Cgroup, FindsTheGroupOfVersionTwoInAContainer) {
  auto place =
      FindCgroup("memory", "0::/docker/123/inner\n",
                 "35 31 0:32 /docker/123 /sys/fs/cgroup rw shared:9 - cgroup2 cgroup rw\n");
  ASSERT_TRUE(place.has_value());
  EXPECT_EQ(place->version, 2);
  EXPECT_EQ(place->mount, "/sys/fs/cgroup");
  EXPECT_EQ(place->folder, "/sys/fs/cgroup/inner");
}

TEST(Cgroup, NoneWithoutAMount) { EXPECT_FALSE(FindCgroup("memory", "0::/\n", "").has_value()); }

TEST(Cgroup, ReadsTheQuotaOfVersionTwo) {
  EXPECT_EQ(CpuMillisFromCpuMax("150000 100000"), 1500);
  EXPECT_EQ(CpuMillisFromCpuMax("max 100000"), std::nullopt);
  EXPECT_EQ(CpuMillisFromCpuMax("nonsense"), std::nullopt);
}

// What a file, of version 1 or 2, of this process's group "attempt-1" has, or of "", the one around
// all attempts.
std::string OfGroup(const char* controller, const std::string& group, const std::string& v1,
                    const std::string& v2) {
  const CgroupPlace place = *FindCgroup(controller);
  std::ifstream file(place.folder + "/cyxwiz-node-" + std::to_string(::getpid()) + "/" + group +
                     "/" + (place.version == 1 ? v1 : v2));
  std::string text;
  std::getline(file, text);
  return text;
}

TEST(AttemptLimits, HoldAnAttemptToItsCoresAndWeighItByThem) {
  auto limits = AttemptLimits::Open();
  if (!limits->hold_cpu()) GTEST_SKIP() << limits->why_no_cpu();
  auto group = limits->Create("attempt", 0, 250);
  ASSERT_NE(group, nullptr);
  const std::string quota = OfGroup("cpu", "attempt-1", "cpu.cfs_quota_us", "cpu.max");
  EXPECT_TRUE(quota == "25000" || quota == "25000 100000") << quota;
  const std::string weight = OfGroup("cpu", "attempt-1", "cpu.shares", "cpu.weight");
  EXPECT_TRUE(weight == "256" || weight == "25") << weight;
  EXPECT_FALSE(group->limits_memory());
}

TEST(AttemptLimits, WeighAllAttemptsTogetherByTheCoresOfTheMachine) {
  auto limits = AttemptLimits::Open();
  if (!limits->hold_cpu()) GTEST_SKIP() << limits->why_no_cpu();
  const int64_t cores = std::thread::hardware_concurrency();
  EXPECT_EQ(OfGroup("cpu", "", "cpu.shares", "cpu.weight"),
            std::to_string(FindCgroup("cpu")->version == 1 ? 1024 * cores : 100 * cores));
}

TEST(AttemptLimits, TheFewestCoresAreWhatTheKernelLets) {
  auto limits = AttemptLimits::Open();
  if (!limits->hold_cpu()) GTEST_SKIP() << limits->why_no_cpu();
  auto group = limits->Create("attempt", 0, 1);
  ASSERT_NE(group, nullptr);
  const std::string quota = OfGroup("cpu", "attempt-1", "cpu.cfs_quota_us", "cpu.max");
  EXPECT_TRUE(quota == "1000" || quota == "1000 100000") << quota;
}

TEST(AttemptLimits, LeaveNoGroupBehind) {
  auto limits = AttemptLimits::Open();
  if (!limits->hold_memory()) GTEST_SKIP() << limits->why_no_memory();
  const std::string folder =
      FindCgroup("memory")->folder + "/cyxwiz-node-" + std::to_string(::getpid());
  auto group = limits->Create("attempt", 1 << 30, 0);
  ASSERT_NE(group, nullptr);
  EXPECT_TRUE(group->limits_memory());
  EXPECT_TRUE(std::filesystem::exists(folder + "/attempt-1"));
  group.reset();
  EXPECT_FALSE(std::filesystem::exists(folder + "/attempt-1"));
  limits.reset();
  EXPECT_FALSE(std::filesystem::exists(folder));
}

TEST(AttemptLimits, RemoveTheGroupsOfANodeThatWasKilled) {
  auto place = FindCgroup("memory");
  if (!place || !AttemptLimits::Open()->hold_memory()) GTEST_SKIP() << "no groups can be made here";
  const pid_t gone = ::fork();
  if (gone == 0) ::_exit(0);
  ASSERT_EQ(::waitpid(gone, nullptr, 0), gone);
  const std::string left = place->folder + "/cyxwiz-node-" + std::to_string(gone);
  std::filesystem::create_directories(left + "/attempt-1");
  AttemptLimits::Open();
  EXPECT_FALSE(std::filesystem::exists(left));
}

TEST(Hardware, ThisMachineHasCoresAndMemory) {
  Hardware hardware = ProbeHardware();
  EXPECT_GE(hardware.cores, 1);
  EXPECT_GT(hardware.cpu_millis, 0);
  EXPECT_LE(hardware.cpu_millis, hardware.cores * 1000);
  EXPECT_GT(hardware.memory_total, 0);
  EXPECT_GT(MemoryAvailable(), 0);
  EXPECT_GT(ReadUsageCounters().cpu_total, 0);
}

Result<NodeSettings> Read(std::vector<const char*> arguments) {
  arguments.insert(arguments.begin(), "cyxwiz-server-node");
  bool done = false;
  return ReadSettings(static_cast<int>(arguments.size()), arguments.data(), &done);
}

TEST(Settings, FlagsAreRead) {
  auto settings = Read({"--data", "/tmp/x", "--cpus", "1.5", "--memory", "2GiB", "--data-roots",
                        "/a", "--data-roots", "/b", "--terminal-listen", ""});
  ASSERT_TRUE(settings.ok()) << settings.status();
  EXPECT_EQ(settings->data, "/tmp/x");
  EXPECT_EQ(settings->cpus, 1.5);
  EXPECT_EQ(settings->memory_bytes, int64_t{2} << 30);
  EXPECT_EQ(settings->data_roots, (std::vector<std::string>{"/a", "/b"}));
  EXPECT_EQ(settings->terminal_listen, "");
}

TEST(Settings, AnAddressThatOthersReachIsRefused) {
  auto settings = Read({"--listen", "0.0.0.0:50052"});
  EXPECT_EQ(settings.status().code(), Code::kFailedPrecondition);
  EXPECT_NE(settings.status().message().find("TLS"), std::string::npos) << settings.status();
  EXPECT_EQ(Read({"--listen", "localhost"}).status().code(), Code::kInvalidArgument);
  EXPECT_EQ(Read({"--memory", "lots"}).status().code(), Code::kInvalidArgument);
  EXPECT_EQ(Read({"--memroy", "1GiB"}).status().code(), Code::kInvalidArgument);
}

TEST(Settings, AnAmountOutOfRangeIsRefusedWithTheRange) {
  for (const char* cpus : {"0.0001", "-1", "nan", "inf", "2000000"}) {
    auto settings = Read({"--cpus", cpus});
    EXPECT_EQ(settings.status().code(), Code::kInvalidArgument) << cpus;
    EXPECT_NE(settings.status().message().find(cpus[0] == '0' ? "0.001 to 1000000" : "cpus"),
              std::string::npos)
        << settings.status();
  }
  EXPECT_EQ(Read({"--cpus", "0.001"})->cpus, 0.001);
  EXPECT_EQ(Read({"--cpus", "0"})->cpus, 0);
  auto memory = Read({"--memory", "9999TiB"});
  EXPECT_EQ(memory.status().code(), Code::kInvalidArgument);
  EXPECT_NE(memory.status().message().find("at most 1.0 PiB, found '9999TiB'"), std::string::npos)
      << memory.status();
}

TEST(Settings, PortsForRanksAreARange) {
  EXPECT_EQ(Read({})->rendezvous_port, 29500);
  EXPECT_EQ(Read({})->rendezvous_port_count, 100);
  EXPECT_EQ(Read({"--rendezvous-ports", "7000"})->rendezvous_port_count, 1);
  EXPECT_EQ(Read({"--rendezvous-ports", ""})->rendezvous_port_count, 0);
  for (const char* ports : {"many", "7001-7000", "0-5", "1-65536", "1-2-3"}) {
    auto settings = Read({"--rendezvous-ports", ports});
    EXPECT_EQ(settings.status().code(), Code::kInvalidArgument) << ports;
    EXPECT_NE(settings.status().message().find("29500-29599"), std::string::npos);
  }
}

TEST(Settings, WhatIsAdvertisedMustBeReachable) {
  for (const char* address : {"unix:/x", "node-1", "http://node-1:50052", "node-1:0"}) {
    auto settings = Read({"--advertise", address});
    EXPECT_EQ(settings.status().code(), Code::kInvalidArgument) << address;
    EXPECT_NE(settings.status().message().find("host:port"), std::string::npos)
        << settings.status();
  }
  EXPECT_EQ(Read({"--advertise", "node-1:50052"})->advertise, "node-1:50052");
}

TEST(Settings, OfFetchingAreLimitsAndNames) {
  ::unsetenv("AWS_ACCESS_KEY_ID");
  auto fetch = Read({})->fetch;
  EXPECT_EQ(fetch.max_bytes, int64_t{20} << 30);
  EXPECT_EQ(fetch.max_time, std::chrono::hours(1));
  EXPECT_EQ(fetch.parallel, 4);
  EXPECT_FALSE(fetch.s3.keys);
  fetch = Read({"--fetch-max-size", "1GiB", "--fetch-max-s", "60", "--fetch-stall-s", "5",
                "--fetch-allow", "10.0.0.0/8", "--fetch-allow", "data.lan", "--fetch-hosts",
                "*.lan", "--fetch-s3-endpoint", "http://minio.lan:9000"})
              ->fetch;
  EXPECT_EQ(fetch.max_bytes, int64_t{1} << 30);
  EXPECT_EQ(fetch.max_time, std::chrono::seconds(60));
  EXPECT_EQ(fetch.stall_time, std::chrono::seconds(5));
  EXPECT_EQ(fetch.allowed, (std::vector<std::string>{"10.0.0.0/8", "data.lan"}));
  EXPECT_EQ(fetch.hosts, std::vector<std::string>{"*.lan"});
  EXPECT_EQ(Read({"--fetch-max-size", "0"})->fetch.max_bytes, 0);
  EXPECT_EQ(Read({"--fetch-max-size", "much"}).status().code(), Code::kInvalidArgument);
  EXPECT_EQ(Read({"--fetch-parallel", "0"}).status().code(), Code::kInvalidArgument);
}

TEST(Settings, KeysAreTakenOutOfTheEnvironment) {
  ::setenv("AWS_ACCESS_KEY_ID", "AKIA1", 1);
  ::setenv("AWS_SECRET_ACCESS_KEY", "secret", 1);
  auto settings = Read({});
  ASSERT_TRUE(settings->fetch.s3.keys);
  EXPECT_EQ(settings->fetch.s3.keys->access_key, "AKIA1");
  EXPECT_EQ(settings->fetch.s3.keys->secret_key, "secret");
  EXPECT_EQ(::getenv("AWS_ACCESS_KEY_ID"), nullptr);
  EXPECT_EQ(::getenv("AWS_SECRET_ACCESS_KEY"), nullptr);
}

}  // namespace
}  // namespace cyxwiz::node
