// What the control core keeps in memory of each job, node and body, beside what is stored of it.
#pragma once

#include <algorithm>
#include <cstdint>
#include <map>
#include <memory>
#include <set>
#include <string>
#include <vector>

#include "base/clock.h"
#include "control/commands.h"
#include "control/records.h"
#include "scheduler/scheduler.h"

namespace cyxwiz::control {

// A rank of the current attempt; a job that is no gang has one.
struct RankEntry {
  bool accepted = false;    // the node has said yes, or has been heard of it
  bool started = false;     // its start has been reported
  MonotonicTime last_seen;  // when its node last listed or reported it
};

struct JobEntry {
  Job job;
  std::shared_ptr<const JobBody> body;
  bool stored = false;      // the store has a row of it
  bool changed = false;     // must be written with this batch
  bool progressed = false;  // must be written within progress_flush
  bool touched = false;     // followers must be told with this batch
  bool doomed = false;      // a cancellation has it, perhaps not done yet
  bool adopted = false;     // the current attempt was begun under an earlier run of this server
  int32_t node_faults = 0;  // attempts that a node's own trouble ended, for their backoff
  int32_t waits_for = 0;    // jobs that must end first
  // Of the current attempt:
  RankEntry rank;
  std::unique_ptr<std::vector<RankEntry>> other_ranks;  // of a gang: from rank 1 on
  // Since when it has run, and since when work would be lost with it: at the earliest the start of
  // this server.
  MonotonicTime running_since, saved_at;
  // While Queued and not in line: its backoff timer. Older timers of the job fire without effect.
  MonotonicTime wake;
  // When its limits end it; Never() without.
  MonotonicTime run_end = MonotonicTime::Never(), queue_end = MonotonicTime::Never(),
                deadline = MonotonicTime::Never();
  std::shared_ptr<const Terms> member_terms;         // of an array's members, once one has started
  MonotonicTime forget_at = MonotonicTime::Never();  // once it has ended: when it leaves memory
};
// A million jobs may wait: the allocator has pieces of 640 bytes and then of 768.
static_assert(sizeof(JobEntry) <= 640);

struct NodeEntry {
  Node node;
  bool online = false;
  bool changed = false;
  std::string session;  // empty: it must register before it is given anything
  std::string boot;     // of the last registration, and its number
  int64_t registration = 0;
  UnixTime last_heartbeat;
  MonotonicTime lease_end = MonotonicTime::Never();
  MonotonicTime held_until;
  MonotonicTime cordon_at = MonotonicTime::Never();  // when a planned cordon is looked at
  MonotonicTime forget_at = MonotonicTime::Never();  // when it is, if it stays offline
  int32_t refusals = 0;                              // since it last took an attempt
  Resources reserved;
  std::set<JobId> jobs;  // whose current attempt, or a rank of it, is assigned or running here
  // Jobs with different bodies that failed here since one succeeded; text of each failure.
  std::map<int64_t, std::string> failures;
};

// A cancellation that is not done.
struct CancellationEntry {
  std::shared_ptr<const Cancellation> cancellation;
  size_t done = 0;      // of its jobs
  bool stored = false;  // the store has a row of it
  ReplyTo reply_to = 0;
  CancelJobsReply counts;
};

// Most nodes went silent at once.
struct MassLoss {
  int64_t lost = 0, of = 0;      // how many of how many; 0: there is none
  MonotonicTime together_until;  // of these nodes no lease ends later
  MonotonicTime until;           // when what ran there waits no longer

  bool lasts() const { return lost > 0; }
};

// Of how long attempts that succeeded ran, newer ones weighing more.
struct Average {
  double mean = 0;
  int64_t count = 0;
  void Add(double value) {
    ++count;
    mean += (value - mean) / static_cast<double>(std::min<int64_t>(count, 10));
  }
};

struct BodyEntry {
  int64_t number = 0;
  std::shared_ptr<const JobBody> body;
  int64_t jobs = 0;
  bool stored = false;
  Average seconds = {};
};

using scheduler::LineKey;

// A line of the queue.
struct LineJobs {
  std::set<int64_t> jobs;
  std::set<int64_t> arrays;     // of these
  bool fresh = true;            // not there at the last pass of the scheduler
  MonotonicTime preempts_from;  // no room is made for it before: nothing was found to end
};

const Limits& LimitsOf(const Job& job);
double EpochsOf(const Job& job);  // at least 1, as of jobs that do not train
scheduler::Request RequestOf(const Job& job);
// A new job of this id that asks for what `job` asks for; without its terms, and no array.
Job AskedLike(const Job& job, JobId id);
LineKey LineOf(const Job& job);
// How many attempts it could start now: one, or of an array one for each member that it lets.
int64_t MostStarts(const Job& job);

}  // namespace cyxwiz::control
