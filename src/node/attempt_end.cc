#include "node/attempt_end.h"

#include <signal.h>

#include <cstring>

#include "base/resources.h"

namespace cyxwiz::node {
namespace {

using Outcome = AttemptEnd::Outcome;

Code CodeOf(protocol::FailureCause cause) {
  switch (cause) {
    case protocol::CAUSE_USER_ERROR:
      return Code::kInvalidArgument;
    case protocol::CAUSE_DATA_UNAVAILABLE:
      return Code::kFailedPrecondition;
    case protocol::CAUSE_OUT_OF_MEMORY:
    case protocol::CAUSE_OUT_OF_GPU_MEMORY:
      return Code::kResourceExhausted;
    case protocol::CAUSE_DIVERGED:
      return Code::kOutOfRange;
    case protocol::CAUSE_NODE_LOST:
    case protocol::CAUSE_PEER_LOST:
      return Code::kUnavailable;
    case protocol::CAUSE_TIME_LIMIT:
      return Code::kDeadlineExceeded;
    default:
      return Code::kInternal;
  }
}

void Fail(AttemptEnd* end, protocol::FailureCause cause, std::string message,
          std::string hint = "") {
  end->outcome = Outcome::kFailed;
  end->cause = cause;
  end->error = Status(CodeOf(cause), std::move(message), std::move(hint));
}

// For want of memory. Who has not chosen a limit is told where it comes from; by the code the
// server knows that it was too low, and gives the next attempt more.
void FailForMemory(const EndFacts& facts, AttemptEnd* end, std::string message, std::string hint) {
  Fail(end, protocol::CAUSE_OUT_OF_MEMORY, std::move(message), std::move(hint));
  if (!facts.memory_estimated) return;
  end->error = Status(
      Code::kOutOfRange, end->error.message(),
      "the job names no memory, and what it has was estimated: name more in resources.memory, or "
      "use a smaller batch_size or model");
}

}  // namespace

protocol::FailureCause CauseFromName(const std::string& name) {
  if (name == "user_error") return protocol::CAUSE_USER_ERROR;
  if (name == "data_unavailable") return protocol::CAUSE_DATA_UNAVAILABLE;
  if (name == "out_of_memory") return protocol::CAUSE_OUT_OF_MEMORY;
  if (name == "out_of_gpu_memory") return protocol::CAUSE_OUT_OF_GPU_MEMORY;
  if (name == "diverged") return protocol::CAUSE_DIVERGED;
  if (name == "disk_full" || name == "port_taken") return protocol::CAUSE_NODE_LOST;
  if (name == "peer_lost") return protocol::CAUSE_PEER_LOST;
  return protocol::CAUSE_INTERNAL;
}

AttemptEnd JudgeEnd(const EndFacts& facts) {
  AttemptEnd end;
  end.log_tail = facts.log_tail;
  end.log_tail_offset = facts.log_tail_offset;
  if (facts.exit) {
    end.exit_code = facts.exit->code;
    end.exit_signal = facts.exit->signal;
  }
  if (facts.stop_reason && facts.ran_too_long) {
    Fail(&end, protocol::CAUSE_TIME_LIMIT, *facts.stop_reason, "raise limits.run in the job file");
    return end;
  }
  // Who was told to stop is stopped, whatever it still said: its result would be unasked for. Who
  // was to yield and was done instead is done.
  bool done = facts.final_message && facts.final_message->kind == FinalMessage::Kind::kSucceeded;
  if (facts.stop_reason && !(facts.yield && done)) {
    end.outcome = Outcome::kCancelled;
    end.yielded = facts.yield;
    end.cause = protocol::CAUSE_CANCELLED;
    end.error = Status(Code::kCancelled, *facts.stop_reason);
    return end;
  }
  if (!facts.trouble.empty()) {
    Fail(&end, protocol::CAUSE_INTERNAL, facts.trouble);
    return end;
  }
  using Kind = FinalMessage::Kind;
  if (facts.final_message && facts.final_message->kind == Kind::kSucceeded) {
    // The result is complete once it is announced; how the process ends afterwards changes nothing.
    end.outcome = Outcome::kSucceeded;
    end.files = facts.final_message->files;
    end.metrics = facts.final_message->metrics;
    end.compute_seconds = facts.final_message->compute_seconds;
    return end;
  }
  if (facts.final_message && facts.final_message->kind == Kind::kFailed) {
    const FinalMessage& said = *facts.final_message;
    std::string message = said.path.empty() ? said.message : said.path + ": " + said.message;
    const protocol::FailureCause cause = CauseFromName(said.cause);
    if (message.empty()) message = "the runner gave no reason";
    if (cause == protocol::CAUSE_OUT_OF_MEMORY) {
      FailForMemory(facts, &end, std::move(message), said.hint);
    } else {
      Fail(&end, cause, std::move(message), said.hint);
    }
    return end;
  }
  if (!facts.node_trouble.empty()) {
    Fail(&end, protocol::CAUSE_NODE_LOST, facts.node_trouble);
    return end;
  }
  if (!facts.parent_end.empty()) {
    Fail(&end, protocol::CAUSE_RUNNER_CRASHED,
         "the runner's parent died, and the runner with it: " + facts.parent_end);
    return end;
  }
  if (facts.exit && facts.exit->signal == SIGKILL && facts.oom_killed && !facts.killed_by_node) {
    std::string used = FormatBytes(facts.exit->max_rss_bytes);
    FailForMemory(facts, &end,
                  facts.memory_limit_bytes > 0
                      ? "the kernel killed the runner: it reached its memory limit of " +
                            FormatBytes(facts.memory_limit_bytes)
                      : "the kernel killed the runner for want of memory; it used " + used,
                  "give the job more in resources.memory, or a smaller batch_size");
    return end;
  }
  if (facts.exit && facts.exit->signal != 0) {
    const char* name = ::sigabbrev_np(facts.exit->signal);
    std::string text =
        name == nullptr ? std::to_string(facts.exit->signal) : "SIG" + std::string(name);
    Fail(&end, protocol::CAUSE_RUNNER_CRASHED, "the runner was ended by signal " + text,
         "the last lines of the attempt's log may say why");
    return end;
  }
  if (facts.final_message && facts.rank) {
    // By its server, or because its own node was gone: that one has more to say.
    Fail(&end, protocol::CAUSE_PEER_LOST, "another rank was told to stop, and all stopped with it");
    return end;
  }
  if (facts.final_message) {
    Fail(&end, protocol::CAUSE_RUNNER_CRASHED, "the runner stopped without being asked to");
    return end;
  }
  Fail(&end, protocol::CAUSE_RUNNER_CRASHED,
       "the runner exited with code " + std::to_string(end.exit_code) + " and gave no result",
       "the last lines of the attempt's log may say why");
  return end;
}

}  // namespace cyxwiz::node
