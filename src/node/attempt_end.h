// How an attempt ended, judged from the facts: what the runner said, how its process ended, and
// what the node did to it.
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "base/status.h"
#include "cyxwiz/protocol/job.pb.h"
#include "node/zygote.h"

namespace cyxwiz::node {

// The runner's last message.
struct FinalMessage {
  enum class Kind { kSucceeded, kFailed, kStopped, kYielded } kind = Kind::kStopped;
  std::vector<std::string> files;          // kSucceeded: names in the attempt's folder
  std::map<std::string, double> metrics;   // kSucceeded
  double compute_seconds = 0;              // kSucceeded
  std::string cause, message, hint, path;  // kFailed
};

struct EndFacts {
  std::optional<FinalMessage> final_message;
  std::optional<ProcessExit> exit;         // nullopt: its parent died, or it was never started
  std::optional<std::string> stop_reason;  // why the node stopped it, when it did
  bool ran_too_long = false;               // which is why
  bool yield = false;                      // it was asked for a checkpoint, and no more
  bool rank = false;                       // one of a gang: all stop when one of them is told to
  bool killed_by_node = false;             // the node sent SIGTERM or SIGKILL
  bool oom_killed = false;                 // the kernel killed for want of memory meanwhile
  std::string parent_end;                  // how the zygote died; empty: it did not
  std::string trouble;                     // the runner broke the protocol
  std::string node_trouble;        // a fault of this node: the runner could not be started, say
  int64_t memory_limit_bytes = 0;  // 0: not enforced
  bool memory_estimated = false;   // the job named none
  std::string log_tail;
  int64_t log_tail_offset = 0;
};

struct AttemptEnd {
  // kFailed with CAUSE_NODE_LOST: not the job's failure; the server tries it again, elsewhere if it
  // can, and counts nothing.
  enum class Outcome { kSucceeded, kFailed, kCancelled } outcome = Outcome::kFailed;
  protocol::FailureCause cause = protocol::CAUSE_NONE;
  Status error;  // why, unless kSucceeded
  std::vector<std::string> files;
  std::map<std::string, double> metrics;
  double compute_seconds = 0;
  // Of a preprocessing that succeeded: its files become this data set, "name@version".
  std::string output_dataset;
  // kCancelled: it was to write a checkpoint; what it has written is worth waiting for.
  bool yielded = false;
  int exit_code = 0, exit_signal = 0;
  std::string log_tail;         // at most 4 KiB; UTF-8
  int64_t log_tail_offset = 0;  // of its first byte in the attempt's log
};

// Pure.
AttemptEnd JudgeEnd(const EndFacts& facts);

// Wire number of a cause that a runner names; CAUSE_INTERNAL for a name that is not in the
// protocol.
protocol::FailureCause CauseFromName(const std::string& name);

}  // namespace cyxwiz::node
