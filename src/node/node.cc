#include "node/node.h"

#include <fcntl.h>
#include <grpcpp/ext/proto_server_reflection_plugin.h>
#include <grpcpp/health_check_service_interface.h>
#include <grpcpp/security/server_credentials.h>
#include <grpcpp/server_builder.h>
#include <signal.h>
#include <sys/file.h>
#include <sys/prctl.h>
#include <unistd.h>

#include <algorithm>
#include <boost/asio/executor_work_guard.hpp>
#include <boost/asio/post.hpp>
#include <cerrno>
#include <cmath>
#include <filesystem>

#include "base/json.h"
#include "base/logging.h"
#include "base/text.h"
#include "wire/job_config.h"

namespace cyxwiz::node {
namespace {

using boost::system::error_code;

constexpr int64_t kKeptForSystem = int64_t{512} << 20;
constexpr int kMaxMessageBytes = 16 << 20;
// How long a node that is told to end waits for the server to take its last reports.
constexpr auto kReportGrace = std::chrono::milliseconds(1500);

std::string HostName() {
  char name[256] = {};
  return ::gethostname(name, sizeof name - 1) == 0 && name[0] != '\0' ? name : "node";
}

std::string HostOf(const std::string& address) { return address.substr(0, address.rfind(':')); }

Resources CapacityOf(const NodeSettings& settings, const Hardware& hardware) {
  Resources capacity;
  capacity.cpu_millis =
      settings.cpus > 0 ? std::llround(settings.cpus * 1000) : hardware.cpu_millis;
  // On a very small machine half is still better than nothing.
  capacity.memory_bytes =
      settings.memory_bytes > 0
          ? settings.memory_bytes
          : std::max(hardware.memory_total - kKeptForSystem, hardware.memory_total / 2);
  for (const Gpu& gpu : hardware.gpus) {
    if (capacity.gpu_millis == settings.gpus * kWholeGpu) break;
    capacity.AddGpus(1, gpu.memory_total);
  }
  capacity.disk_bytes = settings.disk_bytes;
  capacity.named = settings.named;
  return capacity;
}

// GPUs that only the settings know.
Status DeclareGpus(const NodeSettings& settings, Hardware* hardware) {
  if (settings.declared_gpu_bytes.empty()) return OkStatus();
  if (!hardware->gpus.empty()) {
    return FailedPrecondition("declared_gpus: NVML shows " + std::to_string(hardware->gpus.size()) +
                                  " GPUs here, which would count twice",
                              "leave declared_gpus out");
  }
  for (int64_t bytes : settings.declared_gpu_bytes) {
    Gpu gpu;
    gpu.index = static_cast<int>(hardware->gpus.size());
    gpu.name = "declared, not probed";
    gpu.memory_total = bytes;
    gpu.declared = true;
    hardware->gpus.push_back(std::move(gpu));
  }
  return OkStatus();
}

std::vector<std::string> VisibleNames(const Hardware& hardware) {
  std::vector<std::string> names;
  for (const Gpu& gpu : hardware.gpus) names.push_back(gpu.visible_name());
  return names;
}

// Listens at the address; *port gets the port in use.
using NamedService = std::pair<grpc::Service*, const char*>;

Result<std::unique_ptr<grpc::Server>> StartServer(const std::string& address,
                                                  std::vector<NamedService> services, int* port,
                                                  const char* setting) {
  grpc::ServerBuilder builder;
  builder.AddListeningPort(address, grpc::InsecureServerCredentials(), port);
  // Without this two nodes could share a port and take each other's calls.
  builder.AddChannelArgument(GRPC_ARG_ALLOW_REUSEPORT, 0);
  builder.SetMaxReceiveMessageSize(kMaxMessageBytes);
  for (const auto& [service, name] : services) builder.RegisterService(service);
  std::unique_ptr<grpc::Server> server = builder.BuildAndStart();
  if (server == nullptr || *port == 0) {
    return FailedPrecondition(
        "cannot listen on " + address + ": the port may be in use",
        std::string("choose another with --") + setting + ", port 0 picks a free one");
  }
  if (auto* health = server->GetHealthCheckService()) {
    for (const auto& [service, name] : services) health->SetServingStatus(name, true);
  }
  return server;
}

}  // namespace

Node::Node(const NodeSettings& settings)
    : settings_(settings), signals_(io_), shutdown_timer_(io_) {}

Result<std::unique_ptr<Node>> Node::Create(const NodeSettings& settings) {
  std::unique_ptr<Node> node(new Node(settings));
  RETURN_IF_ERROR(node->Open());
  return node;
}

Status Node::Open() {
  RETURN_IF_ERROR(MakeFolder(settings_.data, 0700));
  settings_.data = std::filesystem::absolute(settings_.data).lexically_normal().string();
  std::string lock_path = settings_.data + "/lock";
  lock_.Reset(::open(lock_path.c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0600));
  if (!lock_) return ErrnoStatus("cannot write to the data folder: '" + lock_path + "'", errno);
  if (::flock(lock_.get(), LOCK_EX | LOCK_NB) != 0) {
    return FailedPrecondition("another node runs with the data folder '" + settings_.data + "'",
                              "give each node a folder of its own with --data");
  }
  for (std::string& root : settings_.data_roots) {
    std::error_code error;
    std::filesystem::path resolved = std::filesystem::canonical(root, error);
    if (error) {
      return InvalidArgument("data_roots: cannot use '" + root + "': " + error.message());
    }
    root = resolved.string();
  }
  if (settings_.runner.empty()) settings_.runner = ProgramFolder() + "/cyxwiz-runner";
  if (::access(settings_.runner.c_str(), X_OK) != 0) {
    return FailedPrecondition("there is no runner at '" + settings_.runner + "'",
                              "name the path of cyxwiz-runner with --runner");
  }
  // Orphans of runners come to us, so that we can tell when a process group is gone.
  ::prctl(PR_SET_CHILD_SUBREAPER, 1);

  hardware_ = ProbeHardware();
  RETURN_IF_ERROR(DeclareGpus(settings_, &hardware_));
  limits_ = AttemptLimits::Open();
  if (!limits_->hold_memory()) {
    spdlog::info("jobs are held to their memory by their runner's RLIMIT_DATA alone: {}",
                 limits_->why_no_memory());
  }
  if (!limits_->hold_cpu())
    spdlog::info("jobs are not held to their cores: {}", limits_->why_no_cpu());
  ASSIGN_OR_RETURN(checkpoints_, CheckpointKeeper::Open(settings_.data + "/checkpoints",
                                                        settings_.checkpoint_bytes));
  checkpoints_->Adopt(settings_.data + "/attempts");
  ASSIGN_OR_RETURN(
      weights_, FileCache::Open(settings_.data + "/weights", "weights", settings_.weights_bytes));
  ASSIGN_OR_RETURN(datasets_, FileCache::Open(settings_.data + "/datasets", "files of data sets",
                                              settings_.dataset_bytes));
  ASSIGN_OR_RETURN(fetch_records_, FetchRecords::Open(settings_.data + "/fetched"));
  ASSIGN_OR_RETURN(fetcher_, fetch::Fetcher::Make(settings_.fetch));
  remote_files_ =
      std::make_unique<RemoteFiles>(io_, datasets_.get(), &*fetch_records_, fetcher_.get());
  ASSIGN_OR_RETURN(logs_, LogBook::Open(settings_.data + "/attempts", settings_.log_max_bytes,
                                        static_cast<size_t>(settings_.keep_logs)));
  Zygote::Events events;
  events.ready = [this] {
    if (!zygote_->can_use_gpus() && !hardware_.gpus.empty()) {
      spdlog::warn("the runner's libtorch cannot use GPUs: the {} here are not offered",
                   hardware_.gpus.size());
    }
    spdlog::info("the runner is ready: libtorch {}", zygote_->libtorch_version());
    client_->Start();
  };
  events.forked = [this](const std::string& id, pid_t pid) { executor_->OnForked(id, pid); };
  events.fork_failed = [this](const std::string& id, const std::string& message) {
    executor_->OnForkFailed(id, message);
  };
  events.exited = [this](const std::string& id, const ProcessExit& exit) {
    executor_->OnExited(id, exit);
  };
  events.died = [this](const std::string& reason, bool hung) {
    executor_->OnZygoteDied(reason, hung);
  };
  Zygote::Options runner;
  runner.runner = settings_.runner;
  runner.answer_within = std::chrono::milliseconds(settings_.runner_answer_ms);
  zygote_ = std::make_unique<Zygote>(io_, std::move(runner), std::move(events));

  NodeClient::Options client;
  client.server = settings_.server;
  client.node_id_path = settings_.data + "/node_id";
  client.describe = [this] { return Describe(); };
  client.on_registered = [this] { TellReady(); };
  client.on_heartbeat = [this] {
    double memory = hardware_.memory_total > 0 ? 1 - static_cast<double>(MemoryAvailable()) /
                                                         static_cast<double>(hardware_.memory_total)
                                               : 0;
    usage_.Add(ReadClocks(), ReadUsageCounters(), memory, GpuUsage());
  };
  client.on_attempt_ended = [this] { ContinueShutDown(); };
  client.on_reported = [this] { ContinueShutDown(); };
  client_ = std::make_unique<NodeClient>(io_, std::move(client));
  executor_ = std::make_unique<JobExecutor>(
      io_,
      JobExecutor::Options{CapacityOf(settings_, hardware_), VisibleNames(hardware_),
                           settings_.data_roots, settings_.data, settings_.min_free_disk_bytes,
                           std::chrono::milliseconds(settings_.runner_answer_ms)},
      zygote_.get(), logs_.get(), checkpoints_.get(), weights_.get(), datasets_.get(),
      remote_files_.get(), limits_.get(), client_.get());
  RETURN_IF_ERROR(client_->Open(executor_.get()));
  RestoreEnds();
  return Listen();
}

void Node::RestoreEnds() {
  for (const AttemptId& id : logs_->unreported()) {
    Result<UnreportedEnd> unreported = ReadUnreportedEnd(logs_->FolderOf(id));
    if (!unreported.ok()) {
      spdlog::warn("attempt {}/{}: how it ended is not known any more: {}", id.job.value,
                   id.attempt, unreported.status().message());
      logs_->RemoveFiles(id);
      continue;
    }
    spdlog::info("attempt {}/{}: its end, which the server has not acknowledged, is told again",
                 id.job.value, id.attempt);
    executor_->Restore(id, unreported->token);
    client_->Restore(id, std::move(*unreported));
  }
}

Status Node::Listen() {
  ServiceContext context{&io_, executor_.get(), logs_.get(), client_.get(), &usage_};
  node_service_ = std::make_unique<NodeServiceImpl>(context);
  agent_service_ = std::make_unique<NodeAgentServiceImpl>(context);
  log_service_ = std::make_unique<JobLogServiceImpl>(context);
  static const bool plugins = [] {
    grpc::EnableDefaultHealthCheckService(true);
    grpc::reflection::InitProtoReflectionServerBuilderPlugin();
    return true;
  }();
  (void)plugins;
  ASSIGN_OR_RETURN(
      server_,
      StartServer(settings_.listen,
                  {{node_service_.get(), protocol::NodeService::service_full_name()},
                   {agent_service_.get(), protocol::NodeAgentService::service_full_name()},
                   {log_service_.get(), protocol::JobLogService::service_full_name()},
                   {&deployment_service_, protocol::DeploymentService::service_full_name()}},
                  &port_, "listen"));
  if (!settings_.terminal_listen.empty()) {
    ASSIGN_OR_RETURN(
        terminal_server_,
        StartServer(settings_.terminal_listen,
                    {{&terminal_service_, protocol::TerminalService::service_full_name()}},
                    &terminal_port_, "terminal-listen"));
  }
  endpoint_ = settings_.advertise.empty() ? HostOf(settings_.listen) + ":" + std::to_string(port_)
                                          : settings_.advertise;
  return OkStatus();
}

Node::~Node() {
  if (closing_.joinable()) closing_.join();
  // Servers are still there when Run has not ended in order: Open failed half way. Calls that came
  // in meanwhile are answered on this thread.
  if (server_) {
    CloseServers();
    io_.restart();
    auto work = boost::asio::make_work_guard(io_);
    io_.run();
    closing_.join();
  }
  executor_.reset();
  zygote_.reset();
}

protocol::NodeInfo Node::Describe() const {
  protocol::NodeInfo info;
  info.set_name(settings_.name.empty() ? HostName() : settings_.name);
  int major = 0, minor = 0, patch = 0;
  std::sscanf(CYXWIZ_VERSION, "%d.%d.%d", &major, &minor, &patch);
  info.mutable_version()->set_major(major);
  info.mutable_version()->set_minor(minor);
  info.mutable_version()->set_patch(patch);
  info.set_cpu_cores(hardware_.cores);
  info.set_ram_total(hardware_.memory_total);
  int64_t available = MemoryAvailable();
  info.set_ram_available(available);
  info.set_region(settings_.region);
  info.set_ip_address(HostOf(endpoint_));
  size_t colon = endpoint_.rfind(':');
  info.set_port(static_cast<int32_t>(
      colon == std::string::npos ? port_ : ParseInt(endpoint_.substr(colon + 1)).value_or(port_)));
  info.set_is_online(true);
  info.set_last_heartbeat(ReadClocks().unix.seconds());
  info.add_supported_formats("safetensors");
  info.set_endpoint(endpoint_);
  Resources total = executor_->total(), free = executor_->available();
  // GPUs that the runner's libtorch cannot use are not offered.
  if (!zygote_->can_use_gpus()) {
    for (Resources* amount : {&total, &free}) {
      amount->gpu_millis = amount->gpu_memory_bytes = 0;
      amount->gpus = {};
    }
  }
  *info.mutable_capacity() = ResourcesToWire(total);
  *info.mutable_available() = ResourcesToWire(free);
  for (const AttemptId& id : executor_->Active()) {
    protocol::AttemptRef* ref = info.add_attempts();
    ref->set_job_id(id.job.value);
    ref->set_attempt(id.attempt);
  }
  info.mutable_labels()->insert(settings_.parsed_labels.begin(), settings_.parsed_labels.end());
  if (zygote_->trains_in_gangs()) {
    info.set_rendezvous_port(settings_.rendezvous_port);
    info.set_rendezvous_ports(settings_.rendezvous_port_count);
  }
  protocol::DatasetCache* cache = info.mutable_dataset_cache();
  cache->set_hits(datasets_->counts().hits);
  cache->set_misses(datasets_->counts().misses);
  cache->set_evictions(datasets_->counts().evictions);
  cache->set_bytes(datasets_->bytes());
  info.set_limits(limits_->hold_memory() ? "cgroup" : "rlimit");
  info.set_cpu_limits(limits_->hold_cpu() ? "cgroup" : "not enforced");
  info.set_libtorch_version(zygote_->libtorch_version());
  protocol::DeviceCaps* cpu = info.add_devices();
  cpu->set_device_type(protocol::DEVICE_CPU);
  cpu->set_device_name(hardware_.cpu_model);
  cpu->set_compute_units(hardware_.cores);
  cpu->set_memory_total(hardware_.memory_total);
  cpu->set_memory_available(available);
  cpu->set_supports_fp64(true);
  for (size_t i = 0; i < total.gpus->size(); ++i) {
    const Gpu& gpu = hardware_.gpus[i];
    protocol::DeviceCaps* device = info.add_devices();
    device->set_device_type(protocol::DEVICE_CUDA);
    device->set_device_name(gpu.name);
    device->set_gpu_model(gpu.name);
    device->set_memory_total(gpu.memory_total);
    device->set_memory_available(gpu.memory_free);
    device->set_vram_total(gpu.memory_total);
    device->set_vram_available(gpu.memory_free);
    device->set_driver_version(gpu.driver_version);
    device->set_cuda_version(gpu.cuda_version);
    device->set_compute_capability(gpu.compute_capability);
    device->set_pcie_generation(gpu.pcie_generation);
    device->set_pcie_lanes(gpu.pcie_lanes);
    device->set_supports_fp64(true);
    device->set_supports_fp16(gpu.compute_capability >= 5.3);
    device->set_gpu_index(static_cast<int32_t>(i));
    device->set_uuid(gpu.uuid);
    device->set_declared(gpu.declared);
  }
  return info;
}

void Node::TellReady() {
  if (told_ready_) return;
  told_ready_ = true;
  spdlog::info("serving at {}, giving jobs {}", endpoint_, ToString(executor_->total()));
  if (settings_.ready_fd < 0) return;
  UniqueFd fd(static_cast<int>(settings_.ready_fd));
  Json line = {
      {"node_id", client_->identity().id.value}, {"endpoint", endpoint_}, {"pid", ::getpid()}};
  Status written = WriteAll(fd.get(), line.dump() + "\n");
  if (!written.ok()) spdlog::warn("ready_fd: {}", written.message());
}

void Node::Run(bool handle_signals) {
  if (handle_signals) {
    error_code error;
    signals_.add(SIGTERM, error);
    signals_.add(SIGINT, error);
    WaitForSignal();
  }
  auto work = boost::asio::make_work_guard(io_);
  zygote_->Start();
  io_.run();
}

void Node::WaitForSignal() {
  signals_.async_wait([this](const error_code& error, int signal) {
    if (error) return;
    if (shutting_down_) {
      spdlog::warn("signal {} again: ending at once", signal);
      executor_->KillAll("the node was ended");
      zygote_->Stop();
      ::_exit(128 + signal);
    }
    spdlog::info("signal {}: stopping", signal);
    BeginShutDown();
    WaitForSignal();
  });
}

void Node::ShutDown() {
  boost::asio::post(io_, [this] { BeginShutDown(); });
}

void Node::BeginShutDown() {
  if (std::exchange(shutting_down_, true)) return;
  executor_->ShutDown("the node was shut down");
  ContinueShutDown();
}

// Attempts gone → their ends reported, or the grace over → calls ended → servers closed → Run ends.
void Node::ContinueShutDown() {
  if (!shutting_down_ || client_stopping_ || !executor_->idle()) return;
  if (client_->has_unreported() && !gave_up_reports_) {
    shutdown_timer_.expires_after(kReportGrace);
    shutdown_timer_.async_wait([this](const error_code& error) {
      if (error) return;
      gave_up_reports_ = true;
      ContinueShutDown();
    });
    return;
  }
  client_stopping_ = true;
  shutdown_timer_.cancel();
  client_->Stop([this] { CloseServers(); });
}

void Node::CloseServers() {
  // Shutdown waits for calls that are answered on this thread, so it happens on another.
  closing_ = std::thread([this] {
    auto deadline = std::chrono::system_clock::now() + std::chrono::milliseconds(200);
    server_->Shutdown(deadline);
    if (terminal_server_) terminal_server_->Shutdown(deadline);
    boost::asio::post(io_, [this] {
      server_.reset();
      terminal_server_.reset();
      zygote_->Stop();
      io_.stop();
    });
  });
}

}  // namespace cyxwiz::node
