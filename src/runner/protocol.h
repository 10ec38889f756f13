// The lines between a node and an attempt: newline-delimited JSON over a stream socket, version 1
// (docs/reference/runner-protocol.md). Knows nothing of libtorch.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "base/file.h"
#include "base/json.h"
#include "base/status.h"
#include "runner/checkpoint.h"
#include "runner/engine.h"
#include "runner/process_group.h"
#include "spec/job_spec.h"

namespace cyxwiz::runner {

inline constexpr int kProtocolVersion = 1;
// A job's model alone may have 1 MiB, and escaping can double it: what we accept is more than what
// we send.
inline constexpr size_t kMaxLineBytes = 4u << 20;

// One end of an attempt's socket. Owns it; used by one thread.
class Channel {
 public:
  explicit Channel(UniqueFd socket) : socket_(std::move(socket)) {}
  int fd() const { return socket_.get(); }

  // Writes a line, waiting while the other side does not read. UNAVAILABLE when the other side is
  // gone.
  Status Send(const Json& line);
  // Writes a line unless that would mean waiting; then it is dropped. For reports that the next one
  // makes stale.
  Status SendOrDrop(const Json& line);
  // Waits for the next line. UNAVAILABLE at the end of the stream; INVALID_ARGUMENT for a line that
  // is too long or not a JSON object with a "type".
  Result<Json> Receive();
  // The next line if a whole one is here, without waiting; otherwise nullopt. Errors as Receive.
  Result<std::optional<Json>> Poll();

 private:
  // Takes a line out of received_.
  Result<std::optional<Json>> NextLine();
  // Reads what is there; wait says whether to wait for the first byte. *got: whether anything came.
  Status Read(bool wait, bool* got);
  Status Write(std::string_view data, bool may_drop);

  UniqueFd socket_;
  std::string received_;
};

// The node's first line.
struct StartMessage {
  std::string job_id;
  int64_t attempt = 0;
  spec::JobDescription job;
  std::string folder;
  std::vector<std::string> data_roots;
  int64_t cpu_millis = 0;    // 0: one core
  int64_t memory_bytes = 0;  // 0: no limit
  std::string resume;        // folder of checkpoints within `folder`; empty: from the beginning
  std::string weights;       // file within `folder`, of jobs that use a model
  std::string dataset;  // folder within `folder` with the files of a stored or fetched data set
  std::optional<GangPlace> gang;  // nullopt: it trains alone; else its place among the nodes
  int64_t processes = 1;          // ranks on this node
  // The GPUs that it may use, as CUDA_VISIBLE_DEVICES; empty: none; nullopt: as the environment has
  // it.
  std::optional<std::string> cuda_visible_devices;
};
// INVALID_ARGUMENT, naming the key, for a line that is not a valid start message of our version.
Result<StartMessage> ParseStart(const Json& line);

Json HelloLine();
Json StartedLine(const Started& started, double load_ms, double first_step_ms);
Json ProgressLine(const Progress& progress);
Json SucceededLine(const std::vector<std::string>& files, const Metrics& metrics,
                   double compute_seconds);
Json FailedLine(const Failure& failure);
Json StoppedLine();
Json CheckpointLine(const Checkpoint& checkpoint, double pause_ms, double write_ms);
// trouble: why what is newest is not the state it yielded with.
Json YieldedLine(const std::optional<Checkpoint>& newest, const Status& trouble);

}  // namespace cyxwiz::runner
