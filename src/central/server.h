// The Central Server, put together: store, core, dispatcher, gRPC and REST.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "base/clock.h"
#include "base/status.h"
#include "control/control.h"

namespace cyxwiz::central {

struct ServerOptions {
  // Everything durable lies here:
  //   jobs.db (+ -wal)         jobs and nodes        artifacts/   files left by jobs
  //   checkpoints/   of jobs that have not ended         datasets/   see dataset_registry.h
  //   job_token_key.pem        signs job tokens      reserve      see core.h, "A full disk"
  //   jobs.db.backup           a backup in the making
  //   history/                 segments (history/journal.h)
  std::string data;
  std::string grpc_listen = "127.0.0.1:50051";  // port 0: a free one
  std::string rest_listen = "127.0.0.1:8080";   // empty: no REST
  // Folders that file:// data sets of jobs lie in, when this machine sees them; empty: nodes check.
  std::vector<std::string> data_roots;
  control::Options control;
  Duration heartbeat_interval = std::chrono::seconds(2);
  int64_t max_artifact_bytes = int64_t{16} << 30;
  int64_t history_bytes = int64_t{256} << 20;  // 0: none is kept
  Duration history_age = std::chrono::hours(24 * 7);
  int64_t max_message_bytes = 8 << 20;
  size_t max_streams = 10'000;
  int max_calls_per_connection = 4096;
};

// In a data folder: the file of the store.
std::string DatabaseOf(const std::string& data);
// The folder of its history.
std::string HistoryOf(const std::string& data);
// The private key that signs job tokens.
std::string TokenKeyOf(const std::string& data);

class CentralServer {
 public:
  // Serves when it returns. Each error is a sentence that says what to do: an address in use, not
  // of this machine, or not loopback; a data folder that is not writable, of a newer schema or in
  // use.
  static Result<std::unique_ptr<CentralServer>> Start(const ServerOptions& options);
  virtual ~CentralServer() = default;  // Stop

  virtual std::string grpc_address() const = 0;  // "127.0.0.1:50051"
  virtual std::string rest_address() const = 0;  // "http://127.0.0.1:8080", or "" without REST
  // Ends calls in work within about a second and closes the store. A second call does nothing.
  virtual void Stop() = 0;
};

}  // namespace cyxwiz::central
