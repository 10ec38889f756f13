#include "central/server.h"

#include <grpcpp/ext/proto_server_reflection_plugin.h>
#include <grpcpp/grpcpp.h>

#include <filesystem>
#include <future>
#include <unordered_set>

#include "base/file.h"
#include "base/listen_address.h"
#include "base/logging.h"
#include "central/api_impl.h"
#include "central/dataset_registry.h"
#include "central/dataset_source.h"
#include "central/dispatcher.h"
#include "central/past.h"
#include "central/rest_server.h"
#include "central/services.h"
#include "data/dataset.h"
#include "store/job_store.h"

namespace cyxwiz::central {
namespace {

constexpr int kPoolThreads = 4;
constexpr auto kGraceForCalls = std::chrono::milliseconds(500);
constexpr auto kMostForCalls = std::chrono::milliseconds(1000);

class CentralServerImpl final : public CentralServer {
 public:
  explicit CentralServerImpl(const ServerOptions& options)
      : options_(options),
        hub_(options.max_streams),
        events_(options.max_streams),
        files_(data::Roots(options.data_roots), /*must_see=*/!options.data_roots.empty()) {}
  ~CentralServerImpl() override { Stop(); }

  Status Start() {
    // Addresses are looked at first, so that a mistake there leaves no trace on the disk.
    ASSIGN_OR_RETURN(ListenAddress grpc, ParseListenAddress(options_.grpc_listen, "grpc.listen"));
    ListenAddress rest;
    if (!options_.rest_listen.empty()) {
      ASSIGN_OR_RETURN(rest, ParseListenAddress(options_.rest_listen, "rest.listen"));
    }
    for (const std::string& root : options_.data_roots) {
      std::error_code error;
      if (!std::filesystem::is_directory(root, error)) {
        return InvalidArgument("data_roots: '" + root + "' is no folder that can be read",
                               "make it, or leave it out");
      }
    }
    RETURN_IF_ERROR(OpenData());
    pool_ = std::make_unique<WorkPool>(kPoolThreads);
    pool_->Post([datasets = datasets_.get()] {
      Status deleted = datasets->DeleteLeftovers(ReadClocks().unix);
      if (!deleted.ok()) spdlog::warn("leftovers of uploads stay: {}", deleted.message());
    });
    dispatcher_ = std::make_unique<Dispatcher>(
        &channels_, &hub_, &events_, checkpoints_.get(), signer_.get(),
        [core = core_.get()](control::AssignOutcome outcome) {
          core->Post(std::move(outcome), nullptr);
        },
        [this](const NodeId& node) {
          sessions_.Remove(node);
          metrics_->OnNodeForgotten(node.value);
        });
    core_->SetSink(dispatcher_.get());
    logs_ = std::make_unique<LogRelay>(core_.get(), &channels_);
    if (journal_ != nullptr) past_ = std::make_unique<Past>(journal_.get());
    api_ = MakeApi({.core = core_.get(),
                    .hub = &hub_,
                    .events = &events_,
                    .logs = logs_.get(),
                    .signer = signer_.get(),
                    .inspector = inspector_.get(),
                    .artifacts = artifacts_.get(),
                    .datasets = datasets_.get(),
                    .data_roots = options_.data_roots,
                    .pool = pool_.get(),
                    .past = past_.get()});
    RETURN_IF_ERROR(StartGrpc(grpc));
    return options_.rest_listen.empty() ? OkStatus() : StartRest(rest);
  }

  std::string grpc_address() const override { return grpc_address_; }
  std::string rest_address() const override { return rest_address_; }

  void Stop() override {
    if (std::exchange(stopped_, true)) return;
    hub_.CloseAll(Unavailable("the server is stopping", "follow again in a moment"));
    events_.CloseAll(Unavailable("the server is stopping", "follow again in a moment"));
    rest_.reset();
    if (grpc_ != nullptr) {
      if (auto* health = grpc_->GetHealthCheckService()) health->SetServingStatus(false);
      auto ended = std::async(std::launch::async, [this] {
        grpc_->Shutdown(std::chrono::system_clock::now() + kMostForCalls);
      });
      // What waits for a core that stands still (a full disk) is answered by stopping it.
      if (ended.wait_for(kGraceForCalls) != std::future_status::ready && core_ != nullptr)
        core_->Stop();
      ended.wait();
    }
    if (core_ != nullptr) core_->Stop();
    dispatcher_.reset();  // its calls end before the core they report to
    pool_.reset();
    grpc_.reset();
    services_.clear();
    past_.reset();
    api_.reset();
    logs_.reset();
    core_.reset();
    journal_.reset();
  }

 private:
  Status OpenData() {
    RETURN_IF_ERROR(MakeFolder(options_.data, 0700));
    ASSIGN_OR_RETURN(auto store, store::OpenSqliteStore(DatabaseOf(options_.data)));
    ASSIGN_OR_RETURN(signer_, security::TokenSigner::Open(TokenKeyOf(options_.data)));
    ASSIGN_OR_RETURN(artifacts_, artifacts::OpenLocalStore(options_.data + "/artifacts",
                                                           options_.max_artifact_bytes));
    ASSIGN_OR_RETURN(checkpoints_, artifacts::OpenLocalStore(options_.data + "/checkpoints",
                                                             options_.max_artifact_bytes));
    const std::string datasets = options_.data + "/datasets";
    ASSIGN_OR_RETURN(datasets_, DatasetRegistry::Open(datasets, options_.max_artifact_bytes));
    inspector_ = std::make_unique<ServerInspector>(&files_, datasets_.get(), datasets);
    Core::Options core;
    core.control = options_.control;
    core.reserve_path = options_.data + "/reserve";
    if (options_.history_bytes > 0) {
      ASSIGN_OR_RETURN(journal_, history::FolderJournal::Open({.folder = HistoryOf(options_.data),
                                                               .max_bytes = options_.history_bytes,
                                                               .max_age = options_.history_age}));
    }
    core.journal = journal_.get();
    if (!options_.rest_listen.empty()) core.observer = metrics_.get();
    auto started = Core::Start(std::move(store), core);
    if (Status status = started.status(); status.code() == Code::kDataLoss) {
      const std::string file = "'" + DatabaseOf(options_.data) + "'";
      bool named = status.message().find(file) != std::string::npos;
      return Status(status.code(), (named ? "" : file + ": ") + status.message(), status.hint());
    }
    ASSIGN_OR_RETURN(core_, std::move(started));
    return DeleteUnneededCheckpoints();
  }

  // What was uploaded and never reported, or not deleted before the server ended.
  Status DeleteUnneededCheckpoints() {
    std::vector<std::string> needed = core_->loaded_checkpoint_files();
    std::unordered_set<std::string> keep(needed.begin(), needed.end());
    ASSIGN_OR_RETURN(std::vector<std::string> all, checkpoints_->List());
    for (const std::string& sha256 : all) {
      if (keep.count(sha256) > 0) continue;
      Status removed = checkpoints_->Remove(sha256);
      if (!removed.ok()) spdlog::warn("a checkpoint's file stays: {}", removed.message());
    }
    return OkStatus();
  }

  Status StartGrpc(const ListenAddress& address) {
    ServiceParts parts{.api = api_.get(),
                       .core = core_.get(),
                       .logs = logs_.get(),
                       .channels = &channels_,
                       .sessions = &sessions_,
                       .artifacts = artifacts_.get(),
                       .checkpoints = checkpoints_.get(),
                       .datasets = datasets_.get(),
                       .signer = signer_.get(),
                       .pool = pool_.get(),
                       .metrics = metrics_.get(),
                       .database = DatabaseOf(options_.data),
                       .max_artifact_bytes = options_.max_artifact_bytes,
                       .heartbeat_interval = options_.heartbeat_interval,
                       .lease = options_.control.lease};
    for (auto make : {MakeJobService, MakeNodeService, MakeJobStatusService, MakeDiscoveryService,
                      MakeModelService, MakeLogService, MakeJobControlService,
                      MakeNodeControlService, MakeDatasetService, MakeAdminService}) {
      services_.push_back(make(parts));
    }
    services_.push_back(MakeDeploymentService());
    services_.push_back(MakeTerminalService());

    grpc::EnableDefaultHealthCheckService(true);
    grpc::reflection::InitProtoReflectionServerBuilderPlugin();
    grpc::ServerBuilder builder;
    int port = 0;
    builder.AddListeningPort(address.ToString(), grpc::InsecureServerCredentials(), &port);
    // By default two servers would share one port without a word.
    builder.AddChannelArgument(GRPC_ARG_ALLOW_REUSEPORT, 0);
    builder.SetMaxReceiveMessageSize(static_cast<int>(options_.max_message_bytes));
    builder.AddChannelArgument(GRPC_ARG_MAX_CONCURRENT_STREAMS, options_.max_calls_per_connection);
    // Notices clients that vanished; lets clients ping no more often than every five seconds.
    builder.AddChannelArgument(GRPC_ARG_KEEPALIVE_TIME_MS, 30'000);
    builder.AddChannelArgument(GRPC_ARG_KEEPALIVE_TIMEOUT_MS, 10'000);
    builder.AddChannelArgument(GRPC_ARG_KEEPALIVE_PERMIT_WITHOUT_CALLS, 1);
    builder.AddChannelArgument(GRPC_ARG_HTTP2_MIN_RECV_PING_INTERVAL_WITHOUT_DATA_MS, 5'000);
    // Reflection is the only synchronous service.
    builder.SetSyncServerOption(grpc::ServerBuilder::NUM_CQS, 1);
    builder.SetSyncServerOption(grpc::ServerBuilder::MIN_POLLERS, 1);
    builder.SetSyncServerOption(grpc::ServerBuilder::MAX_POLLERS, 2);
    for (const NamedService& one : services_) builder.RegisterService(one.service.get());
    grpc_ = builder.BuildAndStart();
    if (grpc_ == nullptr || port == 0) {
      return Unavailable("cannot listen on " + address.ToString() +
                             " for gRPC: the port is in use, or not for this user",
                         "stop the program that has it, or choose another with --grpc-listen "
                         "HOST:PORT (port 0 takes a free one)");
    }
    if (auto* health = grpc_->GetHealthCheckService()) {
      for (const NamedService& one : services_) health->SetServingStatus(one.name, true);
    }
    grpc_address_ = ListenAddress{address.host, port}.ToString();
    return OkStatus();
  }

  Status StartRest(const ListenAddress& address) {
    RestServer::Options options;
    options.host = address.host;
    options.port = address.port;
    ASSIGN_OR_RETURN(rest_, RestServer::Start(options, api_.get(), metrics_));
    rest_address_ = "http://" + ListenAddress{address.host, rest_->port()}.ToString();
    return OkStatus();
  }

  const ServerOptions options_;
  std::string grpc_address_, rest_address_;
  bool stopped_ = false;

  // In the order in which they stand on each other; Stop takes them down from the top.
  StreamHub hub_;
  EventHub events_;
  data::FileInspector files_;
  NodeChannels channels_;
  NodeSessions sessions_;
  std::unique_ptr<security::TokenSigner> signer_;
  std::unique_ptr<artifacts::ArtifactStore> artifacts_, checkpoints_;
  std::unique_ptr<DatasetRegistry> datasets_;
  std::unique_ptr<ServerInspector> inspector_;
  std::unique_ptr<history::FolderJournal> journal_;
  std::shared_ptr<Metrics> metrics_ = std::make_shared<Metrics>();
  std::unique_ptr<Core> core_;
  std::unique_ptr<WorkPool> pool_;
  std::unique_ptr<Dispatcher> dispatcher_;
  std::unique_ptr<LogRelay> logs_;
  std::unique_ptr<Past> past_;
  std::unique_ptr<Api> api_;
  std::vector<NamedService> services_;
  std::unique_ptr<grpc::Server> grpc_;
  std::unique_ptr<RestServer> rest_;
};

}  // namespace

std::string DatabaseOf(const std::string& data) { return data + "/jobs.db"; }
std::string HistoryOf(const std::string& data) { return data + "/history"; }
std::string TokenKeyOf(const std::string& data) { return data + "/job_token_key.pem"; }

Result<std::unique_ptr<CentralServer>> CentralServer::Start(const ServerOptions& options) {
  auto server = std::make_unique<CentralServerImpl>(options);
  RETURN_IF_ERROR(server->Start());
  return std::unique_ptr<CentralServer>(std::move(server));
}

}  // namespace cyxwiz::central
