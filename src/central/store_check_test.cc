#include "central/store_check.h"

#include <gtest/gtest.h>
#include <stdlib.h>

#include <filesystem>
#include <fstream>
#include <map>

#include "artifacts/artifact_store.h"
#include "base/json.h"
#include "central/server.h"
#include "central/store_export.h"
#include "security/job_token.h"
#include "store/maintenance.h"

namespace cyxwiz::central {
namespace {

using control::Job;
using control::JobState;
using control::Record;

// A data folder with a job that has succeeded and left a file, one that runs and has a checkpoint,
// and one that waits.
class Folder {
 public:
  Folder() {
    std::string pattern = (std::filesystem::temp_directory_path() / "cyxwiz-check-XXXXXX").string();
    path = ::mkdtemp(pattern.data());
    body =
        std::make_shared<control::JobBody>(control::JobBody{security::Sha256("config"), "config"});
    done.sequence = 1;
    done.id = {"done"};
    done.body = 1;
    done.user = "ann";
    done.state = JobState::kSucceeded;
    done.attempt = 1;
    done.node = {"n"};
    done.started_at.ms = 1000;
    done.ended_at.ms = 2000;
    done.artifacts = std::vector{Put("artifacts", "weights.safetensors", "weights")};
    running.sequence = 2;
    running.id = {"running"};
    running.body = 1;
    running.state = JobState::kRunning;
    running.attempt = 1;
    running.node = {"n"};
    running.checkpoint =
        control::Checkpoint{"000000000001", 1, 1, {Put("checkpoints", "model", "state")}};
    waiting.sequence = 3;
    waiting.id = {"waiting"};
    waiting.body = 1;
    node.id = {"n"};
    events = {Change(4, done, JobState::kQueued, JobState::kAssigned),
              Change(5, done, JobState::kAssigned, JobState::kRunning),
              Change(6, done, JobState::kRunning, JobState::kSucceeded),
              Change(7, running, JobState::kQueued, JobState::kAssigned),
              Change(8, running, JobState::kAssigned, JobState::kRunning)};
  }
  ~Folder() { std::filesystem::remove_all(path); }

  static control::Event Change(int64_t number, const Job& job, JobState from, JobState to) {
    return {.number = number,
            .at = {number * 10},
            .kind = control::EventKind::kStateChanged,
            .sequence = job.sequence,
            .job = job.id,
            .node = job.node,
            .attempt = 1,
            .from = from,
            .to = to};
  }

  control::Artifact Put(const std::string& folder, const std::string& name,
                        const std::string& content) {
    auto store = artifacts::OpenLocalStore(path + "/" + folder, 1 << 20);
    auto upload = (*store)->Begin();
    EXPECT_TRUE((*upload)->Append(content).ok());
    return {name, *(*upload)->Finish(""), static_cast<int64_t>(content.size())};
  }

  // Stores all, and looks at it.
  CheckReport Check(bool deep = false) {
    Store();
    return CheckAgain(deep);
  }
  void Store() {
    auto store = store::OpenSqliteStore(DatabaseOf(path));
    ASSERT_TRUE(store.ok()) << store.status();
    std::vector<Record> records = {control::PutBody{1, body}, control::PutJob{done},
                                   control::PutJob{running}, control::PutJob{waiting},
                                   control::PutNode{node}};
    for (const control::Event& event : events) records.push_back(control::PutEvent{event});
    ASSERT_TRUE((*store)->Commit(records).ok());
  }
  CheckReport CheckAgain(bool deep) {
    auto report = CheckData(path, deep);
    EXPECT_TRUE(report.ok()) << report.status();
    return report.ok() ? *report : CheckReport();
  }
  std::string FileOf(const std::string& folder, const control::Artifact& file) {
    return *artifacts::PathInStore(path + "/" + folder, file.sha256);
  }

  std::string path;
  std::shared_ptr<control::JobBody> body;
  Job done, running, waiting;
  control::Node node;
  std::vector<control::Event> events;
};

// Stored files are read-only.
void MakeWritable(const std::string& file) {
  std::filesystem::permissions(file, std::filesystem::perms::owner_write,
                               std::filesystem::perm_options::add);
}

void ExpectOne(const CheckReport& report, const std::string& part) {
  ASSERT_EQ(report.problems.size(), 1u) << ::testing::PrintToString(report.problems);
  EXPECT_NE(report.problems[0].find(part), std::string::npos) << report.problems[0];
}

TEST(CheckData, ASoundFolderHasNoProblems) {
  Folder folder;
  CheckReport report = folder.Check(/*deep=*/true);
  EXPECT_EQ(report.problems, std::vector<std::string>());
  EXPECT_EQ(report.jobs, 3);
  EXPECT_EQ(report.nodes, 1);
  EXPECT_EQ(report.events, 5);
  EXPECT_EQ(report.files, 2);
}

TEST(CheckData, AJobWithoutItsSpecificationIsNamed) {
  Folder folder;
  folder.waiting.body = 2;
  ExpectOne(folder.Check(), "job 'waiting' (Queued) has no specification");
}

TEST(CheckData, AJobThatHasEndedWithoutItsSpecificationIsNamed) {
  Folder folder;
  folder.done.body = 2;
  ExpectOne(folder.Check(), "job 'done' (Succeeded) has no specification");
}

TEST(CheckData, ASpecificationThatIsNotTheSubmittedOneIsFound) {
  Folder folder;
  folder.body->config[0] ^= 1;
  ExpectOne(folder.Check(), "specification 1 is not the one that was submitted");
}

TEST(CheckData, AnAttemptOnANodeThatNobodyKnowsIsNamed) {
  Folder folder;
  folder.node.id = {"other"};
  ExpectOne(folder.Check(), "job 'running' (Running) is held by node 'n'");
}

TEST(CheckData, EventsMustLeadToTheStateOfTheJob) {
  Folder folder;
  folder.events.pop_back();
  ExpectOne(folder.Check(), "job 'running' (Running) went last to Assigned");
}

TEST(CheckData, EventsMustFollowEachOther) {
  Folder folder;
  folder.events.erase(folder.events.begin() + 1);
  ExpectOne(folder.Check(),
            "event 6 of job 'done' tells of Running to Succeeded, but the one "
            "before led to Assigned");
}

TEST(CheckData, EventsOfImpossibleTransitionsAreFound) {
  Folder folder;
  folder.events.push_back(
      Folder::Change(9, folder.waiting, JobState::kSucceeded, JobState::kQueued));
  ExpectOne(folder.Check(), "Succeeded to Queued, which is no transition");
}

TEST(CheckData, EventsThatAreNotKeptAnyMoreAreNotMissed) {
  Folder folder;
  folder.events.erase(folder.events.begin(), folder.events.begin() + 2);
  EXPECT_EQ(folder.Check().problems, std::vector<std::string>());
}

TEST(CheckData, MembersOfArraysAreLookedAtToo) {
  Folder folder;
  folder.waiting.array = std::make_shared<control::Array>(control::Array{.size = 2, .started = 1});
  folder.waiting.state = JobState::kRunning;  // an array has no node
  folder.done.member = std::make_shared<control::Member>(control::Member{{"waiting"}, 3, 0});
  folder.done.id = {"waiting.0"};
  for (control::Event& event : folder.events)
    if (event.sequence == 1) event.job = folder.done.id;
  CheckReport report = folder.Check();
  EXPECT_EQ(report.problems, std::vector<std::string>());
  EXPECT_EQ(report.jobs, 3);
  std::filesystem::remove(folder.FileOf("artifacts", folder.done.artifacts->front()));
  ExpectOne(folder.CheckAgain(false), "job 'waiting.0' (Succeeded) lacks its artifact");
}

TEST(CheckData, AMissingArtifactAndOneOfAnotherSizeAreNamedWithTheirFile) {
  Folder folder;
  std::string file = folder.FileOf("artifacts", folder.done.artifacts->front());
  MakeWritable(file);
  std::filesystem::resize_file(file, 3);
  CheckReport report = folder.Check();
  ExpectOne(report, file);
  ExpectOne(report, "has 3 bytes, not 7");
  std::filesystem::remove(file);
  ExpectOne(folder.CheckAgain(false), "job 'done' (Succeeded) lacks its artifact");
}

TEST(CheckData, AMissingCheckpointIsNamed) {
  Folder folder;
  std::filesystem::remove(folder.FileOf("checkpoints", folder.running.checkpoint->files[0]));
  ExpectOne(folder.Check(), "job 'running' (Running) lacks its checkpoint 'model'");
}

TEST(CheckData, AnotherContentIsFoundWhenLookedFor) {
  Folder folder;
  std::string file = folder.FileOf("artifacts", folder.done.artifacts->front());
  MakeWritable(file);
  std::ofstream(file) << "WEIGHTS";
  EXPECT_EQ(folder.Check(/*deep=*/false).problems, std::vector<std::string>());
  ExpectOne(folder.CheckAgain(/*deep=*/true), "the SHA-256 of");
}

TEST(ExportHistory, WritesNodesJobsAttemptsAndEvents) {
  Folder folder;
  folder.Store();
  auto store = store::OpenSqliteStoreToRead(DatabaseOf(folder.path));
  ASSERT_TRUE(store.ok()) << store.status();
  std::vector<Json> lines;
  ASSERT_TRUE(ExportHistory(**store, {77}, [&](std::string_view line) {
                EXPECT_EQ(line.back(), '\n');
                lines.push_back(Json::parse(line));
                return OkStatus();
              }).ok());
  std::vector<std::string> records;
  std::map<std::string, Json> attempts, jobs;
  for (const Json& line : lines) {
    records.push_back(line["record"]);
    if (line["record"] == "attempt") attempts[line["job"]] = line;
    if (line["record"] == "job") jobs[line["job"]] = line;
  }
  EXPECT_EQ(records, (std::vector<std::string>{"export", "node", "job", "attempt", "job", "job",
                                               "attempt", "event", "event", "event", "event",
                                               "event", "event", "event", "event"}));
  EXPECT_EQ(lines[0]["time_ms"], 77);
  EXPECT_EQ(jobs["done"]["state"], "Succeeded");
  EXPECT_EQ(jobs["done"]["artifacts"][0]["name"], "weights.safetensors");
  EXPECT_EQ(jobs["done"]["specification_sha256"], security::HexEncode(folder.body->sha256));
  EXPECT_EQ(attempts["done"]["assigned_ms"], 40);
  EXPECT_EQ(attempts["done"]["started_ms"], 50);
  EXPECT_EQ(attempts["done"]["ended_ms"], 60);
  EXPECT_EQ(attempts["done"]["led_to"], "Succeeded");
  EXPECT_FALSE(attempts["running"].contains("ended_ms"));
}

}  // namespace
}  // namespace cyxwiz::central
