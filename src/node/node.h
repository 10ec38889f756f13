// A whole Server Node: its parts, put together, on one thread.
#pragma once

#include <grpcpp/server.h>

#include <boost/asio/io_context.hpp>
#include <boost/asio/signal_set.hpp>
#include <boost/asio/steady_timer.hpp>
#include <memory>
#include <optional>
#include <string>
#include <thread>

#include "base/file.h"
#include "base/status.h"
#include "cyxwiz/protocol/node.pb.h"
#include "fetch/fetcher.h"
#include "node/cgroup.h"
#include "node/checkpoint_keeper.h"
#include "node/fetch_records.h"
#include "node/file_cache.h"
#include "node/hardware.h"
#include "node/job_executor.h"
#include "node/log_book.h"
#include "node/node_client.h"
#include "node/node_service.h"
#include "node/remote_files.h"
#include "node/settings.h"
#include "node/usage.h"
#include "node/zygote.h"

namespace cyxwiz::node {

// Create, Run and destroy it on one thread, the executor thread, which must live as long as the
// process: runners are killed when the thread that started them ends.
class Node {
 public:
  // Takes the data folder, listens, and prepares everything; nothing runs yet. Errors say which
  // setting to change.
  static Result<std::unique_ptr<Node>> Create(const NodeSettings& settings);
  ~Node();

  // Serves until ShutDown, or until SIGTERM or SIGINT when `handle_signals`; a second signal ends
  // it at once. Returns when all runners are gone.
  void Run(bool handle_signals);
  // Any thread. Stops the attempts, tells the server, and lets Run return.
  void ShutDown();

  const std::string& endpoint() const { return endpoint_; }  // as told to the server
  int terminal_port() const { return terminal_port_; }       // 0 when off

 private:
  explicit Node(const NodeSettings& settings);
  Status Open();
  // Attempts of an earlier run whose end the server does not know.
  void RestoreEnds();
  Status Listen();
  protocol::NodeInfo Describe() const;
  void WaitForSignal();
  void BeginShutDown();
  void ContinueShutDown();
  void CloseServers();
  void TellReady();

  NodeSettings settings_;
  Hardware hardware_;
  boost::asio::io_context io_;
  boost::asio::signal_set signals_;
  boost::asio::steady_timer shutdown_timer_;
  UniqueFd lock_;
  UsageHistory usage_;
  std::unique_ptr<AttemptLimits> limits_;
  std::unique_ptr<LogBook> logs_;
  std::unique_ptr<CheckpointKeeper> checkpoints_;
  std::unique_ptr<FileCache> weights_, datasets_;
  std::optional<FetchRecords> fetch_records_;
  std::unique_ptr<fetch::Fetcher> fetcher_;
  std::unique_ptr<RemoteFiles> remote_files_;
  std::unique_ptr<Zygote> zygote_;
  std::unique_ptr<NodeClient> client_;
  std::unique_ptr<JobExecutor> executor_;
  std::unique_ptr<NodeServiceImpl> node_service_;
  std::unique_ptr<NodeAgentServiceImpl> agent_service_;
  std::unique_ptr<JobLogServiceImpl> log_service_;
  DeploymentServiceImpl deployment_service_;
  TerminalServiceImpl terminal_service_;
  std::unique_ptr<grpc::Server> server_, terminal_server_;
  std::thread closing_;
  std::string endpoint_;
  int port_ = 0, terminal_port_ = 0;
  UnixTime started_at_;
  bool told_ready_ = false;
  bool shutting_down_ = false, client_stopping_ = false, gave_up_reports_ = false;
};

}  // namespace cyxwiz::node
