#include "store/sqlite/sqlite_store.h"

#include <sys/wait.h>
#include <unistd.h>

#include <cmath>
#include <fstream>

#include "base/file.h"
#include "store/sqlite/test_store.h"

namespace cyxwiz::store {
namespace {

using control::DeleteBody;
using control::DeleteJob;
using control::Job;
using control::JobState;
using control::PutBody;
using control::PutJob;
using control::PutNode;
using control::Record;

Job JobWithEveryField() {
  Job job;
  job.sequence = 1'000'000'000'001;
  job.id.value = "job.with_every-field";
  job.name = "näme with \"quotes\", '; DROP TABLE jobs; --";
  job.user = "user\nwith a line";
  job.type = 3;
  job.priority = 2;
  job.body = int64_t{1} << 40;
  job.resources = {1500, int64_t{1} << 40, 2};
  job.device = 2;
  job.max_retries = 5;
  job.total_epochs = 50;
  job.state = JobState::kRunning;
  job.message = std::string("nul\0inside", 10);
  job.created_at.ms = 1;
  job.started_at.ms = 2;
  job.ended_at.ms = 3;
  job.not_before.ms = 4;
  job.attempt = 6;
  job.node.value = "node-7";
  job.retries = 5;
  job.cancel_requested = true;
  job.cancel_reason = std::string("changed my mind");
  job.pause_requested = true;
  job.retry_of = JobId{"job-0"};
  job.cause = control::Cause::kOutOfMemory;
  job.error = control::ErrorInfo{8, "out of memory", "line 1\nline 2"};
  job.log_tail = control::LogTail{int64_t{1} << 40, "epoch 17\n"};
  job.progress = 0.1 + 0.2;
  job.current_epoch = 17;
  job.metrics = std::map<std::string, double>{{"train_loss", 1.0 / 3}, {"train_accuracy", 0.875}};
  job.artifacts =
      std::vector<control::Artifact>{{"weights.safetensors", std::string(64, 'f'), 407080},
                                     {"model.json", std::string(64, '0'), 9}};
  job.compute_seconds = 12.125;
  control::Array array{7, 2, 5, 1, 2, 1, 3};
  job.array = std::make_shared<const control::Array>(array);
  job.member = std::make_shared<const control::Member>(control::Member{{"job"}, 77, 4});
  job.preempted_for = JobId{"job-8"};
  job.preemptions = 2;
  job.resources.gpu_memory_bytes = int64_t{20} << 30;
  job.gpus = std::vector<GpuPart>{{1, 250, int64_t{20} << 30}};
  job.checkpoint =
      control::Checkpoint{"000000001234", 3, 1234, {{"manifest.json", std::string(64, 'e'), 400}}};
  return job;
}

void ExpectSame(const Job& a, const Job& b) {
  EXPECT_EQ(a.sequence, b.sequence);
  EXPECT_EQ(a.pause_requested, b.pause_requested);
  EXPECT_EQ(*a.retry_of, *b.retry_of);
  ASSERT_TRUE((a.array == nullptr) == (b.array == nullptr));
  if (a.array != nullptr) {
    EXPECT_EQ(*a.array, *b.array);
  }
  ASSERT_TRUE((a.member == nullptr) == (b.member == nullptr));
  if (a.member != nullptr) {
    EXPECT_EQ(*a.member, *b.member);
  }
  EXPECT_EQ(*a.preempted_for, *b.preempted_for);
  EXPECT_EQ(a.preemptions, b.preemptions);
  EXPECT_EQ(*a.checkpoint, *b.checkpoint);
  EXPECT_EQ(a.id, b.id);
  EXPECT_EQ(a.name, b.name);
  EXPECT_EQ(a.user, b.user);
  EXPECT_EQ(a.type, b.type);
  EXPECT_EQ(a.priority, b.priority);
  EXPECT_EQ(a.body, b.body);
  EXPECT_EQ(a.resources, b.resources);
  EXPECT_EQ(a.device, b.device);
  EXPECT_EQ(a.max_retries, b.max_retries);
  EXPECT_EQ(a.total_epochs, b.total_epochs);
  EXPECT_EQ(a.state, b.state);
  EXPECT_EQ(a.message, b.message);
  EXPECT_EQ(a.created_at, b.created_at);
  EXPECT_EQ(a.started_at, b.started_at);
  EXPECT_EQ(a.ended_at, b.ended_at);
  EXPECT_EQ(a.not_before, b.not_before);
  EXPECT_EQ(a.attempt, b.attempt);
  EXPECT_EQ(a.node, b.node);
  EXPECT_EQ(*a.gpus, *b.gpus);
  EXPECT_EQ(a.retries, b.retries);
  EXPECT_EQ(a.cancel_requested, b.cancel_requested);
  EXPECT_EQ(*a.cancel_reason, *b.cancel_reason);
  EXPECT_EQ(a.cause, b.cause);
  EXPECT_EQ(*a.error, *b.error);
  EXPECT_EQ(*a.log_tail, *b.log_tail);
  EXPECT_EQ(a.progress, b.progress);
  EXPECT_EQ(a.current_epoch, b.current_epoch);
  EXPECT_EQ(*a.metrics, *b.metrics);
  EXPECT_EQ(*a.artifacts, *b.artifacts);
  EXPECT_EQ(a.compute_seconds, b.compute_seconds);
}

TEST(SqliteStore, EveryFieldSurvivesAReopen) {
  TempFolder folder;
  Job job = JobWithEveryField();
  auto body = std::make_shared<control::JobBody>(control::JobBody{
      std::string("\0\x01\xff", 3) + std::string(29, '\x80'), std::string("\0\n\xfe", 3)});
  control::Node node{{"node-7"},
                     "127.0.0.1:50052",
                     std::string("\0proto\xff", 7),
                     Resources{4000, 1 << 30}.WithGpus(2, int64_t{80} << 30),
                     {1, 2},
                     {99},
                     12,
                     true,
                     true,
                     "new disk"};
  node.cordon_from = {500};
  node.cordon_until = {900};
  node.drain_then = true;
  std::vector<Record> records = {PutBody{job.body, body}, PutJob{job}, PutNode{node}};
  ASSERT_TRUE(Open(folder.File())->Commit(records).ok());

  control::Snapshot snapshot = LoadAll(*Open(folder.File()));
  ASSERT_EQ(snapshot.bodies.size(), 1u);
  EXPECT_EQ(snapshot.bodies[0].number, job.body);
  EXPECT_EQ(snapshot.bodies[0].body->sha256, body->sha256);
  EXPECT_EQ(snapshot.bodies[0].body->config, body->config);
  ASSERT_EQ(snapshot.jobs.size(), 1u);
  ExpectSame(snapshot.jobs[0], job);
  ASSERT_EQ(snapshot.nodes.size(), 1u);
  EXPECT_EQ(snapshot.nodes[0].id, node.id);
  EXPECT_EQ(snapshot.nodes[0].endpoint, node.endpoint);
  EXPECT_EQ(snapshot.nodes[0].info, node.info);
  EXPECT_EQ(snapshot.nodes[0].capacity, node.capacity);
  EXPECT_EQ(snapshot.nodes[0].devices, node.devices);
  EXPECT_EQ(snapshot.nodes[0].registered_at, node.registered_at);
  EXPECT_EQ(snapshot.nodes[0].jobs_completed, node.jobs_completed);
  EXPECT_TRUE(snapshot.nodes[0].cordoned);
  EXPECT_TRUE(snapshot.nodes[0].draining);
  EXPECT_EQ(snapshot.nodes[0].cordon_reason, node.cordon_reason);
  EXPECT_EQ(snapshot.nodes[0].cordon_from.ms, 500);
  EXPECT_EQ(snapshot.nodes[0].cordon_until.ms, 900);
  EXPECT_TRUE(snapshot.nodes[0].drain_then);
}

TEST(SqliteStore, EventsAreReadInOrderWithTheSubmissionsOfJobs) {
  TempFolder folder;
  auto store = Open(folder.File());
  control::Event first{.number = 2,
                       .at = {20},
                       .kind = control::EventKind::kStateChanged,
                       .sequence = 1,
                       .job = {"job-1"},
                       .node = {"n"},
                       .attempt = 1,
                       .from = JobState::kQueued,
                       .to = JobState::kAssigned,
                       .cause = control::Cause::kNodeLost,
                       .message = "why",
                       .actor = "node:n"};
  control::Event lost{.number = 4, .kind = control::EventKind::kNodeLost, .node = {"n"}};
  std::vector<Record> records = {PutJob{QueuedJob(1)}, control::PutEvent{first},
                                 PutJob{QueuedJob(3)}, control::PutEvent{lost}};
  ASSERT_TRUE(store->Commit(records).ok());
  store.reset();
  store = Open(folder.File());
  auto numbers = [&](const control::EventQuery& query) {
    Result<std::vector<control::Event>> events = store->Events(query);
    EXPECT_TRUE(events.ok()) << events.status();
    std::vector<int64_t> list;
    for (const control::Event& event : *events) list.push_back(event.number);
    return list;
  };
  using Numbers = std::vector<int64_t>;
  EXPECT_EQ(numbers({}), (Numbers{1, 2, 3, 4}));
  EXPECT_EQ(numbers({.after = 1, .limit = 2}), (Numbers{2, 3}));
  EXPECT_EQ(numbers({.sequence = 1}), (Numbers{1, 2}));
  EXPECT_EQ(numbers({.node = {"n"}}), (Numbers{2, 4}));
  control::Event read = store->Events({.after = 1, .limit = 1})->at(0);
  EXPECT_EQ(read.at.ms, 20);
  EXPECT_EQ(read.job.value, "job-1");
  EXPECT_EQ(read.attempt, 1);
  EXPECT_EQ(read.from, JobState::kQueued);
  EXPECT_EQ(read.to, JobState::kAssigned);
  EXPECT_EQ(read.cause, control::Cause::kNodeLost);
  EXPECT_EQ(read.message, "why");
  EXPECT_EQ(read.actor, "node:n");
  EXPECT_EQ(store->Events({.limit = 1})->at(0).kind, control::EventKind::kSubmitted);
  EXPECT_EQ(LoadAll(*store).last_event, 4);
  records = {control::DeleteEvents{.below = 3}};
  ASSERT_TRUE(store->Commit(records).ok());
  EXPECT_EQ(numbers({}), (Numbers{3, 4})) << "all from there on, and nothing with a gap after it";
  EXPECT_EQ(numbers({.sequence = 1}), (Numbers{1})) << "submissions belong to the jobs";
  EXPECT_EQ(LoadAll(*store).first_event, 3);
}

TEST(SqliteStore, GoingOnAfterAnEventThatIsNoLongerKeptIsRefused) {
  TempFolder folder;
  auto store = Open(folder.File());
  std::vector<Record> records = {PutJob{QueuedJob(1)}};
  for (int64_t number = 2; number <= 9; ++number)
    records.push_back(control::PutEvent{{.number = number, .sequence = 1, .job = {"job-1"}}});
  ASSERT_TRUE(store->Commit(records).ok());
  records = {control::DeleteEvents{.below = 6}};
  ASSERT_TRUE(store->Commit(records).ok());
  for (int run = 0; run < 2; ++run) {
    Status skipped = store->Events({.after = 4}).status();
    EXPECT_EQ(skipped.code(), Code::kOutOfRange);
    EXPECT_NE(skipped.message().find("up to 5 "), std::string::npos) << skipped;
    EXPECT_EQ(store->Events({.after = 2, .sequence = 1}).status().code(), Code::kOutOfRange);
    EXPECT_EQ(store->Events({.after = 5})->size(), 4u);
    EXPECT_EQ(store->Events({})->size(), 4u) << "from the beginning is from the first one kept";
    EXPECT_EQ(store->Events({.after = 1, .sequence = 1})->size(), 4u)
        << "the submission is told by the job, then comes what is kept";
    store.reset();
    store = Open(folder.File());
  }
}

TEST(SqliteStore, ACancellationIsThereUntilItIsDone) {
  TempFolder folder;
  control::Cancellation one{7, {1, 2, 3, 5}, control::Cause::kCancelled, "not wanted", "client:a"};
  control::Cancellation other{9, {4}, control::Cause::kDependencyFailed, "why", ""};
  std::vector<Record> records = {
      control::PutCancellation{std::make_shared<const control::Cancellation>(other)},
      control::PutCancellation{std::make_shared<const control::Cancellation>(one)}};
  ASSERT_TRUE(Open(folder.File())->Commit(records).ok());
  auto store = Open(folder.File());
  control::Snapshot snapshot = LoadAll(*store);
  ASSERT_EQ(snapshot.cancellations.size(), 2u);
  EXPECT_EQ(snapshot.cancellations[0].number, 7);
  EXPECT_EQ(snapshot.cancellations[0].jobs, one.jobs);
  EXPECT_EQ(snapshot.cancellations[0].reason, "not wanted");
  EXPECT_EQ(snapshot.cancellations[0].actor, "client:a");
  EXPECT_EQ(snapshot.cancellations[1].cause, control::Cause::kDependencyFailed);
  records = {control::DeleteCancellation{7}};
  ASSERT_TRUE(store->Commit(records).ok());
  EXPECT_EQ(LoadAll(*store).cancellations.size(), 1u);
}

TEST(SqliteStore, ANodeThatIsForgottenIsGone) {
  TempFolder folder;
  control::Node node{.id = {"n"}, .endpoint = "h:1"};
  node.lost_at = {77};
  std::vector<Record> records = {PutNode{node}};
  auto store = Open(folder.File());
  ASSERT_TRUE(store->Commit(records).ok());
  EXPECT_EQ(LoadAll(*store).nodes.at(0).lost_at.ms, 77);
  records = {control::DeleteNode{{"n"}}};
  ASSERT_TRUE(store->Commit(records).ok());
  EXPECT_TRUE(LoadAll(*store).nodes.empty());
}

control::Job EndedJob(int64_t sequence, const std::string& user = "", int32_t type = 1,
                      JobState state = JobState::kSucceeded) {
  Job job = QueuedJob(sequence);
  job.user = user;
  job.type = type;
  job.state = state;
  job.started_at = {sequence * 1000};
  job.ended_at = {sequence * 1000 + 500};
  return job;
}

TEST(SqliteStore, JobsThatHaveEndedAreNotLoadedButFound) {
  TempFolder folder;
  auto store = Open(folder.File());
  std::vector<Record> records = {StoreBody('a'), StoreBody('b'), PutJob{EndedJob(1, "ann")},
                                 PutJob{QueuedJob(2, 'b')}};
  ASSERT_TRUE(store->Commit(records).ok());
  control::Snapshot snapshot = LoadAll(*store);
  EXPECT_EQ(JobIds(snapshot), std::vector<std::string>{"job-2"});
  ASSERT_EQ(snapshot.bodies.size(), 1u);
  EXPECT_EQ(snapshot.bodies[0].number, 'b');
  ASSERT_EQ(snapshot.ended.size(), 1u);
  EXPECT_EQ(snapshot.ended[0].user, "ann");
  EXPECT_EQ(snapshot.ended[0].jobs, 1);
  ASSERT_EQ(snapshot.past.size(), 1u);
  EXPECT_EQ(snapshot.past[0].user, "ann");
  EXPECT_EQ(snapshot.past[0].project, "");
  EXPECT_EQ(snapshot.past[0].ended_at.ms, 1500);
  EXPECT_EQ(snapshot.last_sequence, 2);
  EXPECT_EQ(snapshot.last_body, 'b');

  auto found = store->FindEnded({"job-1"});
  ASSERT_TRUE(found.ok() && *found) << found.status();
  ExpectSame((*found)->job, EndedJob(1, "ann"));
  EXPECT_EQ((*found)->body->config, Body('a')->config);
  for (const char* id : {"job-2", "job-3"}) {
    auto other = store->FindEnded({id});
    ASSERT_TRUE(other.ok());
    EXPECT_FALSE(other->has_value()) << id;
  }
}

TEST(SqliteStore, WhatJobsHadOfTheFleetIsLoadedWithTheirUserAndProject) {
  TempFolder folder;
  auto store = Open(folder.File());
  Job of_project = EndedJob(1, "ann"), array = EndedJob(2, "bob"), member = EndedJob(3, "bob");
  of_project.terms = std::make_shared<const control::Terms>(control::Terms{.project = "vision"});
  array.array = std::make_shared<const control::Array>(control::Array{.size = 1, .started = 1});
  member.member = std::make_shared<const control::Member>(control::Member{array.id, 2, 0});
  std::vector<Record> records = {StoreBody('a'), PutJob{of_project}, PutJob{array}, PutJob{member}};
  ASSERT_TRUE(store->Commit(records).ok());
  std::vector<control::PastUse> past = LoadAll(*store).past;
  ASSERT_EQ(past.size(), 2u) << "an array has nothing but what its members have";
  EXPECT_EQ(past[0].user, "bob");
  EXPECT_EQ(past[0].started_at.ms, 3000);
  EXPECT_EQ(past[1].user, "ann");
  EXPECT_EQ(past[1].project, "vision");
}

TEST(SqliteStore, EndedJobsAreListedNewestFirstByEveryFilter) {
  TempFolder folder;
  auto store = Open(folder.File());
  std::vector<Record> records = {StoreBody('a')};
  for (int64_t i = 1; i <= 60; ++i) {
    records.push_back(PutJob{EndedJob(i, i % 2 ? "ann" : "bob", static_cast<int32_t>(1 + i % 3),
                                      i % 5 ? JobState::kSucceeded : JobState::kFailed)});
  }
  records.push_back(PutJob{QueuedJob(61)});
  ASSERT_TRUE(store->Commit(records).ok());
  auto listed = [&](const control::JobFilter& filter, int64_t before, size_t most) {
    auto jobs = store->ListEnded(filter, before, most);
    EXPECT_TRUE(jobs.ok()) << jobs.status();
    std::vector<int64_t> sequences;
    for (const Job& job : *jobs) sequences.push_back(job.sequence);
    return sequences;
  };
  using Numbers = std::vector<int64_t>;
  EXPECT_EQ(listed({}, INT64_MAX, 3), (Numbers{60, 59, 58}));
  EXPECT_EQ(listed({}, 10, 3), (Numbers{9, 8, 7}));
  EXPECT_EQ(listed({}, INT64_MAX, 1000).size(), 60u);
  EXPECT_EQ(listed({.user = "ann"}, 60, 2), (Numbers{59, 57}));
  EXPECT_EQ(listed({.type = 2}, INT64_MAX, 2), (Numbers{58, 55}));
  EXPECT_EQ(listed({.states = {JobState::kFailed}}, 31, 2), (Numbers{30, 25}));
  EXPECT_EQ(listed({.user = "bob", .type = 1, .states = {JobState::kFailed}}, INT64_MAX, 9),
            (Numbers{60, 30}));
  EXPECT_EQ(listed({.states = {JobState::kQueued}}, INT64_MAX, 9), Numbers{});
}

TEST(SqliteStore, MembersOfAnArrayAreListedAndDeletedByIt) {
  TempFolder folder;
  auto store = Open(folder.File());
  std::vector<Record> records = {StoreBody('a'), PutJob{EndedJob(1, "ann")},
                                 PutJob{EndedJob(2, "ann")}};
  for (int64_t i = 0; i < 5; ++i) {
    Job job = EndedJob(3 + i, "ann", 1, i % 2 ? JobState::kFailed : JobState::kSucceeded);
    job.id = control::MemberId({"job-1"}, i);
    job.member = std::make_shared<const control::Member>(control::Member{{"job-1"}, 1, i});
    records.push_back(PutJob{job});
  }
  ASSERT_TRUE(store->Commit(records).ok());
  auto listed = [&](const control::JobFilter& filter, int64_t before, size_t most) {
    std::vector<std::string> ids;
    auto jobs = store->ListEnded(filter, before, most);
    EXPECT_TRUE(jobs.ok()) << jobs.status();
    for (const Job& job : *jobs) ids.push_back(job.id.value);
    return ids;
  };
  using Ids = std::vector<std::string>;
  EXPECT_EQ(listed({}, INT64_MAX, 9), (Ids{"job-2", "job-1"})) << "without members";
  EXPECT_EQ(listed({.user = "ann"}, INT64_MAX, 9), (Ids{"job-2", "job-1"}));
  EXPECT_EQ(listed({.array = 1}, INT64_MAX, 2), (Ids{"job-1.4", "job-1.3"}));
  EXPECT_EQ(listed({.states = {JobState::kFailed}, .array = 1}, 6, 9), (Ids{"job-1.1"}));
  control::Snapshot snapshot = LoadAll(*store);
  int64_t members = 0, others = 0;
  for (const auto& one : snapshot.ended) (one.members ? members : others) += one.jobs;
  EXPECT_EQ(members, 5);
  EXPECT_EQ(others, 2);
  EXPECT_EQ((*store->FindEnded({"job-1.2"}))->job.member->array_sequence, 1);
  EXPECT_TRUE(*store->HasPrefix("job-1."));
  EXPECT_FALSE(*store->HasPrefix("job-2."));
  records = {DeleteJob{{"job-1"}}, control::DeleteMembers{1}};
  ASSERT_TRUE(store->Commit(records).ok());
  EXPECT_EQ(listed({.array = 1}, INT64_MAX, 9), Ids{});
  EXPECT_EQ(listed({}, INT64_MAX, 9), Ids{"job-2"});
}

TEST(SqliteStore, PutReplacesEveryFieldOfAJobAndOfANode) {
  TempFolder folder;
  auto store = Open(folder.File());
  Job first = QueuedJob(JobWithEveryField().sequence);
  first.id = JobWithEveryField().id;
  first.body = JobWithEveryField().body;
  std::vector<Record> records = {PutJob{first}, PutNode{{{"n"}, "old:1"}}};
  ASSERT_TRUE(store->Commit(records).ok());
  records = {PutJob{JobWithEveryField()}, PutNode{{{"n"}, "new:1"}}};
  ASSERT_TRUE(store->Commit(records).ok());
  control::Snapshot snapshot = LoadAll(*store);
  ASSERT_EQ(snapshot.jobs.size(), 1u);
  ExpectSame(snapshot.jobs[0], JobWithEveryField());
  ASSERT_EQ(snapshot.nodes.size(), 1u);
  EXPECT_EQ(snapshot.nodes[0].endpoint, "new:1");
}

TEST(SqliteStore, AProgressOfNanIsKept) {
  TempFolder folder;
  auto store = Open(folder.File());
  Job job = QueuedJob(1);
  job.progress = std::nan("");
  std::vector<Record> records = {PutJob{job}};
  ASSERT_TRUE(store->Commit(records).ok());
  EXPECT_TRUE(std::isnan(LoadAll(*store).jobs.at(0).progress));
}

TEST(SqliteStore, JobsComeInOrderOfSequence) {
  TempFolder folder;
  auto store = Open(folder.File());
  std::vector<Record> records = {PutJob{QueuedJob(30)}, PutJob{QueuedJob(10)},
                                 PutJob{QueuedJob(20)}};
  ASSERT_TRUE(store->Commit(records).ok());
  EXPECT_EQ(JobIds(LoadAll(*store)), (std::vector<std::string>{"job-10", "job-20", "job-30"}));
}

TEST(SqliteStore, ABodyStaysUntilItIsDeleted) {
  TempFolder folder;
  auto store = Open(folder.File());
  std::vector<Record> records = {StoreBody('a'), StoreBody('b'), PutJob{QueuedJob(1, 'a')},
                                 PutJob{QueuedJob(2, 'a')}, PutJob{QueuedJob(3, 'b')}};
  ASSERT_TRUE(store->Commit(records).ok());
  records = {DeleteJob{{"job-1"}}};
  ASSERT_TRUE(store->Commit(records).ok());
  EXPECT_EQ(LoadAll(*store).bodies.size(), 2u);
  records = {DeleteJob{{"job-2"}}, DeleteBody{'a'}, DeleteJob{{"no such job"}}, DeleteBody{99}};
  ASSERT_TRUE(store->Commit(records).ok());
  control::Snapshot snapshot = LoadAll(*store);
  ASSERT_EQ(snapshot.bodies.size(), 1u);
  EXPECT_EQ(snapshot.bodies[0].body->config, Body('b')->config);
  EXPECT_EQ(JobIds(snapshot), std::vector<std::string>{"job-3"});
}

TEST(SqliteStore, AnIdThatWasDeletedCanComeAgain) {
  TempFolder folder;
  auto store = Open(folder.File());
  Job again = QueuedJob(2, 'b');
  again.id = QueuedJob(1).id;
  std::vector<Record> records = {StoreBody('a'),  PutJob{QueuedJob(1)}, DeleteJob{{"job-1"}},
                                 DeleteBody{'a'}, StoreBody('b'),       PutJob{again}};
  ASSERT_TRUE(store->Commit(records).ok());
  control::Snapshot snapshot = LoadAll(*store);
  ASSERT_EQ(snapshot.jobs.size(), 1u);
  EXPECT_EQ(snapshot.jobs[0].sequence, 2);
  ASSERT_EQ(snapshot.bodies.size(), 1u);
  EXPECT_EQ(snapshot.bodies[0].number, again.body);
}

TEST(SqliteStore, PutReplacesByIdEvenWithAnotherSequenceAndBody) {
  TempFolder folder;
  auto store = Open(folder.File());
  Job other = QueuedJob(5, 'b');
  other.id = QueuedJob(1).id;
  std::vector<Record> records = {StoreBody('a'), StoreBody('b'), PutJob{QueuedJob(1)},
                                 PutJob{other}};
  ASSERT_TRUE(store->Commit(records).ok());
  control::Snapshot snapshot = LoadAll(*store);
  ASSERT_EQ(snapshot.jobs.size(), 1u);
  EXPECT_EQ(snapshot.jobs[0].sequence, 5);
  EXPECT_EQ(snapshot.jobs[0].body, other.body);
}

TEST(SqliteStore, TwoJobsOfOneSequenceAreRefusedAndNothingOfTheBatchIsStored) {
  TempFolder folder;
  auto store = Open(folder.File());
  Job twin = QueuedJob(1);
  twin.id.value = "twin";
  std::vector<Record> records = {PutJob{QueuedJob(1)}, PutJob{twin}};
  EXPECT_EQ(store->Commit(records).code(), Code::kInternal);
  EXPECT_FALSE(store->Commit(records).ok()) << "not to be used again";
  store.reset();
  EXPECT_TRUE(LoadAll(*Open(folder.File())).jobs.empty());
}

TEST(SqliteStore, ASecondOpenIsRefusedNamingTheFileAndTheProcess) {
  TempFolder folder;
  auto store = Open(folder.File());
  Status status = OpenSqliteStore(folder.File()).status();
  EXPECT_EQ(status.code(), Code::kFailedPrecondition);
  EXPECT_NE(status.message().find(folder.File()), std::string::npos) << status;
  EXPECT_NE(status.message().find("process " + std::to_string(::getpid())), std::string::npos)
      << status;
  store.reset();
  EXPECT_TRUE(Open(folder.File()));
}

TEST(SqliteStore, AFileThatAnotherProgramHasLockedIsRefused) {
  TempFolder folder;
  ASSERT_TRUE(Open(folder.File()));
  SQLite::Database shell(folder.File(), SQLite::OPEN_READWRITE);
  shell.exec("PRAGMA locking_mode = EXCLUSIVE; BEGIN IMMEDIATE");
  Status status = OpenSqliteStore(folder.File()).status();
  EXPECT_EQ(status.code(), Code::kFailedPrecondition) << status;
  EXPECT_NE(status.message().find(folder.File()), std::string::npos) << status;
}

TEST(SqliteStore, OnlyTheOwnerCanReadTheFile) {
  TempFolder folder;
  ASSERT_TRUE(Open(folder.File()));
  EXPECT_EQ(std::filesystem::status(folder.File()).permissions(),
            std::filesystem::perms::owner_read | std::filesystem::perms::owner_write);
}

TEST(SqliteStore, AFileThatIsNoDatabaseIsDataLoss) {
  TempFolder folder;
  std::ofstream(folder.File()) << std::string(10000, 'x');
  Status status = OpenSqliteStore(folder.File()).status();
  EXPECT_EQ(status.code(), Code::kDataLoss);
  EXPECT_NE(status.message().find(folder.File()), std::string::npos) << status;
  EXPECT_NE(status.hint().find("backup"), std::string::npos) << status;
}

TEST(SqliteStore, DamagedPagesAreDataLossWhenOpened) {
  TempFolder folder;
  {
    auto store = Open(folder.File());
    std::vector<Record> records = {StoreBody('a')};
    for (int i = 1; i <= 1000; ++i) records.push_back(PutJob{QueuedJob(i)});
    ASSERT_TRUE(store->Commit(records).ok());
  }
  auto size = static_cast<int64_t>(std::filesystem::file_size(folder.File()));
  {
    std::fstream file(folder.File(), std::ios::in | std::ios::out | std::ios::binary);
    for (int64_t page = 8; page * 4096 < size; page += 2) {
      file.seekp(page * 4096);
      file << std::string(4096, '\x5a');
    }
  }
  Status status = OpenSqliteStore(folder.File()).status();
  EXPECT_EQ(status.code(), Code::kDataLoss) << status;
  EXPECT_NE(status.message().find(folder.File()), std::string::npos) << status;
}

TEST(SqliteStore, AMissingFolderIsNamed) {
  TempFolder folder;
  Status status = OpenSqliteStore(folder.path() + "/absent/jobs.db").status();
  EXPECT_EQ(status.code(), Code::kNotFound);
  EXPECT_NE(status.hint().find(folder.path() + "/absent"), std::string::npos) << status;
}

TEST(SqliteStore, AFolderWithoutWritePermissionIsNamed) {
  TempFolder folder;
  std::filesystem::permissions(
      folder.path(), std::filesystem::perms::owner_read | std::filesystem::perms::owner_exec |
                         std::filesystem::perms::others_read | std::filesystem::perms::others_exec);
  // Permissions do not bind root, so the attempt is made by a process of
  // another user.
  int ends[2];
  ASSERT_EQ(::pipe(ends), 0);
  pid_t child = ::fork();
  if (child == 0) {
    if (::getuid() == 0 && ::setuid(65534) != 0) ::_exit(1);
    Status status = OpenSqliteStore(folder.File()).status();
    (void)WriteAll(ends[1], status.ToString());
    ::_exit(0);
  }
  ::close(ends[1]);
  std::string text(1000, '\0');
  ssize_t n = ::read(ends[0], text.data(), text.size());
  text.resize(n > 0 ? static_cast<size_t>(n) : 0);
  ::close(ends[0]);
  ::waitpid(child, nullptr, 0);
  std::filesystem::permissions(folder.path(), std::filesystem::perms::owner_all);
  EXPECT_EQ(text.rfind("PERMISSION_DENIED", 0), 0u) << text;
  EXPECT_NE(text.find(folder.path()), std::string::npos) << text;
}

TEST(SqliteStore, TheLogStaysBounded) {
  TempFolder folder;
  auto store = Open(folder.File());
  std::vector<Record> records;
  for (int i = 1; i <= 100; ++i) records.push_back(PutJob{QueuedJob(i)});
  for (int i = 0; i < 300; ++i) ASSERT_TRUE(store->Commit(records).ok());
  EXPECT_LT(std::filesystem::file_size(folder.File("jobs.db-wal")), 16u << 20);
}

}  // namespace
}  // namespace cyxwiz::store
