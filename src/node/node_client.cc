#include "node/node_client.h"

#include <grpcpp/create_channel.h>
#include <grpcpp/security/credentials.h>

#include <algorithm>
#include <boost/asio/post.hpp>
#include <cmath>
#include <deque>
#include <filesystem>
#include <utility>

#include "artifacts/artifact_store.h"
#include "base/failpoint.h"
#include "base/file.h"
#include "base/logging.h"
#include "node/rpc_status.h"

namespace cyxwiz::node {
namespace {

using boost::system::error_code;
using std::chrono::milliseconds;
using std::chrono::seconds;

constexpr char kSessionKey[] = "cyxwiz-session";
constexpr Duration kCallTimeout = seconds(10);
// Progress of one attempt: at most 10 reports a second, but for the first few.
constexpr Duration kBetweenProgress = milliseconds(100);
constexpr Duration kProgressBurst = 3 * kBetweenProgress;
constexpr int kMostLost = 3;  // times that a file arrives altered
// A checkpoint is worth some patience, not an attempt's life: the next one will come.
constexpr int kMostCheckpointTries = 8;
// Of a file that an attempt waits for.
constexpr int kMostFetchTries = 8;
// Files of one attempt at a time.
constexpr size_t kFetchedAtATime = 4;
// In a heartbeat.
constexpr size_t kMostKeptTold = 1000;

// The error inside an answer that says STATUS_ERROR.
template <typename Response>
Status InBand(const Response& response) {
  if (response.status() != protocol::STATUS_ERROR) return OkStatus();
  int code = response.error().code();
  return Status(code > 0 && code <= 16 ? static_cast<Code>(code) : Code::kInternal,
                response.error().message());
}

// Whether trying the same again can help.
bool MayPass(Code code) {
  switch (code) {
    case Code::kInvalidArgument:
    case Code::kAlreadyExists:
    case Code::kPermissionDenied:
    case Code::kFailedPrecondition:
    case Code::kOutOfRange:
    case Code::kUnimplemented:
      return false;
    default:
      return true;
  }
}

bool IsAboutSession(Code code) { return code == Code::kNotFound || code == Code::kUnauthenticated; }

protocol::AttemptRef RefOf(const AttemptId& attempt) {
  protocol::AttemptRef ref;
  ref.set_job_id(attempt.job.value);
  ref.set_attempt(attempt.attempt);
  return ref;
}

bool IsSame(const std::vector<StoredFile>& some, const std::vector<StoredFile>& others) {
  return std::equal(some.begin(), some.end(), others.begin(), others.end(),
                    [](const StoredFile& a, const StoredFile& b) {
                      return a.name == b.name && a.sha256 == b.sha256 && a.size == b.size;
                    });
}

// Without it the attempt is lost if the node is restarted before the server knows of its end.
void Remember(const std::string& folder, const UnreportedEnd& unreported) {
  if (!std::filesystem::is_directory(folder)) return;  // it had not begun
  Status written = WriteUnreportedEnd(folder, unreported);
  if (!written.ok()) spdlog::warn("an attempt's end is not written down: {}", written.ToString());
}

std::shared_ptr<grpc::Channel> ChannelTo(const std::string& server) {
  grpc::ChannelArguments arguments;
  arguments.SetInt(GRPC_ARG_INITIAL_RECONNECT_BACKOFF_MS, 100);
  arguments.SetInt(GRPC_ARG_MIN_RECONNECT_BACKOFF_MS, 1000);
  arguments.SetInt(GRPC_ARG_MAX_RECONNECT_BACKOFF_MS, 1000);
  // A proxy of the environment is for the way out, not between our own machines.
  arguments.SetInt(GRPC_ARG_ENABLE_HTTP_PROXY, 0);
  return grpc::CreateCustomChannel(server, grpc::InsecureChannelCredentials(), arguments);
}

}  // namespace

template <typename Request, typename Response>
struct NodeClient::Call {
  grpc::ClientContext context;
  Request request;
  Response response;
  MonotonicTime sent_at;
  std::string session;  // it was sent with
};

// What is still to be told of one attempt.
struct NodeClient::Report {
  explicit Report(boost::asio::io_context& io)
      : backoff(milliseconds(100), seconds(10)), timer(io), checkpoint_timer(io) {}

  std::optional<AttemptProgress> progress;  // newest that was not sent
  AttemptProgress last;                     // newest of all
  bool in_flight = false;                   // a call, an upload or hashing
  bool waiting = false;                     // for the timer
  MonotonicTime progress_due;               // if they were told at the highest rate
  Backoff backoff;
  boost::asio::steady_timer timer;

  std::optional<AttemptEnd> end;
  bool hashed = false;
  std::vector<StoredFile> files;
  // Of an attempt of an earlier run of the node: what it had left. A failing machine may have
  // taken some of it.
  std::optional<std::vector<StoredFile>> left;
  size_t uploaded = 0;
  int lost_uploads = 0;
  // When the server first said that it does not know us or the attempt.
  std::optional<MonotonicTime> refused_at;

  struct CheckpointFiles {
    protocol::Checkpoint checkpoint;
    std::string folder;
    int sent = 0, failures = 0;
  };
  std::optional<CheckpointFiles> newest_checkpoint;  // to be uploaded after the one that is
  std::optional<CheckpointFiles> uploading;
  std::optional<protocol::Checkpoint> uploaded_checkpoint;  // to be told with the next report
  bool checkpoint_in_flight = false, checkpoint_waiting = false;
  Backoff checkpoint_backoff{milliseconds(100), seconds(10)};
  boost::asio::steady_timer checkpoint_timer;

  // Whether the end is told only after a checkpoint has been sent.
  bool WaitsForCheckpoint() const {
    return end && end->yielded && (newest_checkpoint || uploading);
  }
};

// Files on their way here: those of a checkpoint, or weights.
struct NodeClient::Fetch {
  explicit Fetch(boost::asio::io_context& io) : timer(io) {}

  AttemptId attempt;
  std::vector<StoredFile> files;
  std::function<void(Status)> done;
  size_t at_a_time = 1;
  std::deque<size_t> todo;  // places in files
  std::map<size_t, std::shared_ptr<FileDownload>> running;
  int failures = 0;      // since a file has come
  bool waiting = false;  // for the timer
  Backoff backoff{milliseconds(100), seconds(10)};
  boost::asio::steady_timer timer;
};

NodeClient::NodeClient(boost::asio::io_context& io, Options options)
    : io_(io),
      options_(std::move(options)),
      random_(std::random_device{}()),
      register_timer_(io),
      heartbeat_timer_(io),
      lease_timer_(io),
      register_backoff_(milliseconds(100), seconds(2)),
      heartbeat_backoff_(milliseconds(100), seconds(2)) {
  auto channel = ChannelTo(options_.server);
  node_stub_ = protocol::NodeService::NewStub(channel);
  model_stub_ = protocol::ModelService::NewStub(channel);
}

NodeClient::~NodeClient() { hashing_.join(); }

Status NodeClient::Open(JobExecutor* executor) {
  executor_ = executor;
  auto boot = ReadFile("/proc/sys/kernel/random/boot_id", 100);
  if (boot.ok()) boot_id_ = boot->substr(0, boot->find('\n'));
  if (!std::filesystem::exists(options_.node_id_path)) return OkStatus();
  ASSIGN_OR_RETURN(std::string id, ReadFile(options_.node_id_path, 4096));
  while (!id.empty() && (id.back() == '\n' || id.back() == ' ')) id.pop_back();
  if (!IsValidId(id)) {
    return FailedPrecondition("'" + options_.node_id_path + "' holds no node id: '" + id + "'",
                              "delete it to register as a new node");
  }
  identity_.id.value = id;
  return OkStatus();
}

void NodeClient::Start() {
  if (state_ == State::kIdle && !stopped_) Register();
}

void NodeClient::Stop(std::function<void()> stopped) {
  stopped_ = true;
  on_stopped_ = std::move(stopped);
  register_timer_.cancel();
  heartbeat_timer_.cancel();
  lease_timer_.cancel();
  for (auto& [id, report] : reports_) {
    report->timer.cancel();
    report->checkpoint_timer.cancel();
  }
  for (auto& [id, fetch] : fetches_) {
    fetch->timer.cancel();
    for (auto& [file, download] : fetch->running) download->Cancel();
  }
  for (grpc::ClientContext* context : contexts_) context->TryCancel();
  for (auto& [id, upload] : uploads_) upload->Cancel();
  for (auto& [id, upload] : checkpoint_uploads_) upload->Cancel();
  RegistrationAnswered();
  ++calls_;
  CallEnded();
}

void NodeClient::CallEnded() {
  --calls_;
  if (stopped_ && calls_ == 0 && on_stopped_) {
    boost::asio::post(io_, std::exchange(on_stopped_, nullptr));
  }
}

template <typename Request, typename Response, typename Method, typename Done>
void NodeClient::Send(std::shared_ptr<Call<Request, Response>> call, Duration timeout,
                      Method method, Done done) {
  call->sent_at = ReadClocks().monotonic;
  call->session = identity_.session;
  call->context.set_deadline(std::chrono::system_clock::now() + timeout);
  if (!identity_.session.empty()) call->context.AddMetadata(kSessionKey, identity_.session);
  ++calls_;
  contexts_.insert(&call->context);
  std::function<void(grpc::Status)> callback = [this, call, done](grpc::Status status) {
    boost::asio::post(io_, [this, call, status, done] {
      contexts_.erase(&call->context);
      if (!stopped_) done(FromGrpc(status), *call);
      CallEnded();
    });
  };
  method(node_stub_->async(), &call->context, &call->request, &call->response, std::move(callback));
}

double NodeClient::Random() { return std::uniform_real_distribution<double>(0, 1)(random_); }

// ---- Registration and heartbeats

void NodeClient::Register() {
  if (stopped_ || state_ == State::kRegistering) return;
  state_ = State::kRegistering;
  // What we name as active below is all there is: nothing that was given to the old session is
  // taken any more.
  identity_.session.clear();
  heartbeat_timer_.cancel();
  auto call =
      std::make_shared<Call<protocol::RegisterNodeRequest, protocol::RegisterNodeResponse>>();
  *call->request.mutable_info() = options_.describe();
  call->request.mutable_info()->set_node_id(identity_.id.value);
  for (const AttemptId& id : executor_->Active()) {
    *call->request.add_active_attempts() = RefOf(id);
  }
  if (!boot_id_.empty()) {
    call->request.set_boot_id(boot_id_);
    call->request.set_sent_at_ns(ReadClocks().monotonic.ns);
  }
  Send(
      call, kCallTimeout,
      [](auto* stub, auto* c, auto* q, auto* r, auto done) { stub->RegisterNode(c, q, r, done); },
      [this](const Status& status, const auto& done) {
        Status trouble = status.ok() ? InBand(done.response) : status;
        if (trouble.ok() && !IsValidId(done.response.node_id())) {
          trouble = Internal("it registered this node without giving it an id");
        }
        if (trouble.ok()) return OnRegistered(done.response, done.sent_at);
        LogTrouble(trouble);
        RegisterLater();
        RegistrationAnswered();
      });
}

void NodeClient::RegisterLater() {
  state_ = State::kIdle;
  register_timer_.expires_after(register_backoff_.Next(Random()));
  register_timer_.async_wait([this](const error_code& error) {
    if (!error && !stopped_) Register();
  });
}

void NodeClient::OnRegistered(const protocol::RegisterNodeResponse& response,
                              MonotonicTime sent_at) {
  state_ = State::kRegistered;
  told_data_.reset();
  if (identity_.id.value != response.node_id()) {
    identity_.id.value = response.node_id();
    Status saved = WriteFileAtomically(options_.node_id_path, identity_.id.value + "\n", 0600);
    if (!saved.ok()) {
      spdlog::error("the node's id is not remembered over a restart: {}", saved.ToString());
    }
  }
  identity_.session = response.session_token();
  identity_.server_public_key = response.server_public_key();
  if (response.heartbeat_interval_ms() > 0) {
    heartbeat_interval_ = milliseconds(response.heartbeat_interval_ms());
  }
  if (response.lease_ms() > 0) lease_duration_ = milliseconds(response.lease_ms());
  spdlog::info("registered with {} as node {}", options_.server, identity_.id.value);
  trouble_logged_ = false;
  RenewLease(sent_at);
  // The first heartbeat tells at once which of the attempts that we claimed are not ours any more.
  HeartbeatAfter(executor_->Active().empty() ? heartbeat_interval_ : Duration::zero());
  std::vector<AttemptId> ids;
  for (auto& [id, report] : reports_) ids.push_back(id);
  for (const AttemptId& id : ids) {
    Advance(id);
    AdvanceCheckpoint(id);
  }
  if (options_.on_registered) options_.on_registered();
  RegistrationAnswered();
}

void NodeClient::AfterRegistration(std::function<void()> then) {
  if (state_ != State::kRegistering || stopped_) return then();
  after_registration_.push_back(std::move(then));
}

void NodeClient::RegistrationAnswered() {
  for (auto& then : std::exchange(after_registration_, {})) then();
}

void NodeClient::RenewLease(MonotonicTime sent_at) {
  lease_.Renew(sent_at, lease_duration_);
  last_acknowledged_ = std::max(last_acknowledged_, sent_at);
  lease_timer_.expires_at(boost::asio::steady_timer::time_point(Duration(lease_.deadline().ns)));
  lease_timer_.async_wait([this](const error_code& error) {
    if (error || stopped_ || !lease_.Expired(ReadClocks().monotonic)) return;
    lease_.Lose();
    if (executor_->idle()) return;
    spdlog::error("lease lost: the server has not answered for {} ms; stopping all attempts",
                  std::chrono::duration_cast<milliseconds>(lease_duration_ / 10 * 8).count());
    executor_->KillAll("lease lost: the node could not reach the server");
  });
}

void NodeClient::HeartbeatAfter(Duration wait) {
  heartbeat_timer_.expires_after(wait);
  heartbeat_timer_.async_wait([this](const error_code& error) {
    if (!error && !stopped_) Heartbeat();
  });
}

void NodeClient::Heartbeat() {
  if (state_ != State::kRegistered || heartbeat_in_flight_) return;
  heartbeat_in_flight_ = true;
  auto call = std::make_shared<Call<protocol::HeartbeatRequest, protocol::HeartbeatResponse>>();
  call->request.set_node_id(identity_.id.value);
  *call->request.mutable_current_status() = options_.describe();
  call->request.mutable_current_status()->set_node_id(identity_.id.value);
  for (const AttemptId& id : executor_->Active()) {
    call->request.add_active_jobs(id.job.value);
    *call->request.add_active_attempts() = RefOf(id);
  }
  std::vector<JobId> kept = executor_->KeptCheckpoints();
  if (kept.size() > kMostKeptTold) kept.resize(kMostKeptTold);
  for (const JobId& job : kept) call->request.add_kept_checkpoints(job.value);
  std::vector<ContentKey> data = executor_->KeptData();
  std::sort(data.begin(), data.end());
  if (data != told_data_) {
    call->request.mutable_kept_data()->mutable_keys()->Add(data.begin(), data.end());
  }
  // Late answers are of no use: there must be time for another try within the lease.
  Duration timeout = std::clamp<Duration>(lease_duration_ / 4, milliseconds(200), kCallTimeout);
  Send(
      call, timeout,
      [](auto* stub, auto* c, auto* q, auto* r, auto done) { stub->Heartbeat(c, q, r, done); },
      [this, data](const Status& answered, const auto& done) {
        Status status = answered.ok() ? InBand(done.response) : answered;
        heartbeat_in_flight_ = false;
        if (state_ != State::kRegistered) return;
        // Sent before the present registration: says nothing about it.
        if (done.session != identity_.session) return HeartbeatAfter(Duration::zero());
        if (!status.ok()) {
          LogTrouble(status);
          // Registering again is a heartbeat too, and what a server that was restarted needs.
          bool session_over = IsAboutSession(status.code()) || status.code() == Code::kUnavailable;
          if (session_over) return RegisterLater();
          return HeartbeatAfter(heartbeat_backoff_.Next(Random()));
        }
        heartbeat_backoff_.Reset();
        register_backoff_.Reset();
        trouble_logged_ = false;
        told_data_ = data;
        RenewLease(done.sent_at);
        for (const protocol::AttemptRef& ref : done.response.attempts_to_stop()) {
          StopAttempt({{ref.job_id()}, ref.attempt()}, "the server asked to stop it");
        }
        std::set<std::string> yielding;  // named in jobs_to_cancel for the sake of older nodes
        for (const protocol::AttemptRef& ref : done.response.attempts_to_yield()) {
          yielding.insert(ref.job_id());
          YieldAttempt({{ref.job_id()}, ref.attempt()}, "the server asked it to yield");
        }
        for (const std::string& job : done.response.jobs_to_cancel()) {
          if (yielding.count(job) > 0) continue;
          for (const AttemptId& id : executor_->Active()) {
            if (id.job.value == job) StopAttempt(id, "the job was cancelled");
          }
        }
        for (const std::string& job : done.response.checkpoints_to_drop()) {
          executor_->DropCheckpoints({job});
        }
        if (options_.on_heartbeat) options_.on_heartbeat();
        HeartbeatAfter(heartbeat_interval_);
      });
}

void NodeClient::LogTrouble(const Status& status) {
  if (trouble_logged_) return;
  trouble_logged_ = true;
  spdlog::warn("the server at {} does not answer as it should, trying again: {}", options_.server,
               status.ToString());
}

void NodeClient::YieldAttempt(const AttemptId& attempt, const std::string& reason) {
  (void)executor_->Yield(attempt, reason);  // one that has ended already is as good
}

void NodeClient::StopAttempt(const AttemptId& attempt, const std::string& reason) {
  if (executor_->Stop(attempt, reason)) return;
  auto found = reports_.find(attempt);
  if (found == reports_.end() || !found->second->end) return;
  if (found->second->WaitsForCheckpoint()) {
    GiveUpCheckpoint(attempt, *found->second);
    return Advance(attempt);
  }
  // It has ended, and its files are on their way: no one wants them any more.
  Report& report = *found->second;
  if (report.end->outcome != AttemptEnd::Outcome::kSucceeded) return;
  if (report.hashed && report.uploaded == report.files.size()) return;  // completion is under way
  report.end->outcome = AttemptEnd::Outcome::kCancelled;
  report.end->cause = protocol::CAUSE_CANCELLED;
  report.end->error = Status(Code::kCancelled, reason);
  report.hashed = true;
  report.files.clear();
  report.uploaded = 0;
  if (auto upload = uploads_.find(attempt); upload != uploads_.end()) upload->second->Cancel();
  Advance(attempt);
}

// ---- Reports

NodeClient::Report& NodeClient::ReportOf(const AttemptId& attempt) {
  auto& report = reports_[attempt];
  if (!report) report = std::make_unique<Report>(io_);
  return *report;
}

bool NodeClient::has_unreported() const {
  return std::any_of(reports_.begin(), reports_.end(),
                     [](const auto& entry) { return entry.second->end.has_value(); });
}

void NodeClient::OnProgress(const AttemptId& attempt, const AttemptProgress& progress) {
  Report& report = ReportOf(attempt);
  report.progress = report.last = progress;
  Advance(attempt);
}

void NodeClient::OnEnded(const AttemptId& attempt, const AttemptEnd& end) {
  Report& report = ReportOf(attempt);
  report.progress.reset();
  report.end = end;
  // That of a success comes with the hashes of its files.
  if (end.outcome != AttemptEnd::Outcome::kSucceeded)
    Remember(executor_->FolderOf(attempt), {executor_->TokenOf(attempt), end, {}});
  // What it still waited for.
  if (auto fetch = fetches_.find(attempt); fetch != fetches_.end()) {
    for (auto& [file, download] : fetch->second->running) download->Cancel();
    fetch->second->timer.cancel();
    fetches_.erase(fetch);
  }
  if (!end.yielded) GiveUpCheckpoint(attempt, report);
  // Nothing that went before may delay the end's first try.
  report.waiting = false;
  report.timer.cancel();
  report.backoff.Reset();
  Advance(attempt);
  if (options_.on_attempt_ended) options_.on_attempt_ended();
}

void NodeClient::Restore(const AttemptId& attempt, UnreportedEnd unreported) {
  Report& report = ReportOf(attempt);
  report.end = std::move(unreported.end);
  report.left = std::move(unreported.files);
}

void NodeClient::Advance(const AttemptId& attempt) {
  auto found = reports_.find(attempt);
  if (found == reports_.end() || stopped_) return;
  Report& report = *found->second;
  if (report.in_flight || report.waiting) return;
  if (report.end && report.end->outcome == AttemptEnd::Outcome::kSucceeded && !report.hashed) {
    return HashFiles(attempt, report);
  }
  if (state_ != State::kRegistered) return;  // registration goes on with every report
  if (!report.end) {
    if (!report.progress && !report.uploaded_checkpoint) return;
    const MonotonicTime now = ReadClocks().monotonic;
    if (const Duration early = report.progress_due - now - kProgressBurst; early > Duration::zero())
      return WaitFor(attempt, early);
    report.progress_due = std::max(report.progress_due, now) + kBetweenProgress;
    SendProgress(attempt, report);
  } else if (report.WaitsForCheckpoint()) {
    return AdvanceCheckpoint(attempt);
  } else if (report.uploaded < report.files.size()) {
    UploadNext(attempt, report);
  } else {
    SendCompletion(attempt, report);
  }
}

void NodeClient::RetryLater(const AttemptId& attempt) {
  WaitFor(attempt, ReportOf(attempt).backoff.Next(Random()));
}

void NodeClient::WaitFor(const AttemptId& attempt, Duration time) {
  Report& report = ReportOf(attempt);
  report.waiting = true;
  report.timer.expires_after(time);
  report.timer.async_wait([this, attempt](const error_code& error) {
    if (error || stopped_) return;
    auto found = reports_.find(attempt);
    if (found == reports_.end()) return;
    found->second->waiting = false;
    Advance(attempt);
  });
}

bool NodeClient::IsConfirmed(Report& report) {
  if (report.refused_at && last_acknowledged_ > *report.refused_at) return true;
  if (!report.refused_at) report.refused_at = ReadClocks().monotonic;
  // A heartbeat finds out whether we have to register again.
  if (state_ == State::kRegistered) HeartbeatAfter(Duration::zero());
  return false;
}

void NodeClient::SendProgress(const AttemptId& attempt, Report& report) {
  report.in_flight = true;
  if (!report.progress) report.progress = report.last;
  auto call =
      std::make_shared<Call<protocol::ReportProgressRequest, protocol::ReportProgressResponse>>();
  protocol::ReportProgressRequest& request = call->request;
  request.set_node_id(identity_.id.value);
  request.set_job_id(attempt.job.value);
  request.set_attempt(attempt.attempt);
  request.set_authorization_token(executor_->TokenOf(attempt));
  protocol::JobStatus* status = request.mutable_status();
  status->set_job_id(attempt.job.value);
  status->set_status(protocol::STATUS_IN_PROGRESS);
  status->set_attempt(attempt.attempt);
  status->set_current_node_id(identity_.id.value);
  status->set_start_time(report.progress->started_at.seconds());
  status->set_progress(report.progress->progress);
  status->set_current_epoch(static_cast<int32_t>(report.progress->epoch));
  status->set_total_epochs(static_cast<int32_t>(report.progress->epochs));
  for (const auto& [name, value] : report.progress->metrics) {
    (*status->mutable_metrics())[name] = value;
    (*request.mutable_current_metrics())[name] = value;
  }
  if (report.progress->resumed) {
    request.mutable_resumed()->set_epoch(static_cast<int32_t>(report.progress->resumed->epoch));
    request.mutable_resumed()->set_step(report.progress->resumed->step);
  }
  std::optional<protocol::Checkpoint> told =
      std::exchange(report.uploaded_checkpoint, std::nullopt);
  if (told) *request.mutable_checkpoint() = *told;
  std::optional<AttemptProgress> sent = std::exchange(report.progress, std::nullopt);
  Send(
      call, kCallTimeout,
      [](auto* stub, auto* c, auto* q, auto* r, auto done) { stub->ReportProgress(c, q, r, done); },
      [this, attempt, sent, told](const Status& status, const auto& done) {
        auto found = reports_.find(attempt);
        if (found == reports_.end()) return;
        Report& report = *found->second;
        report.in_flight = false;
        if (status.ok()) {
          report.backoff.Reset();
          report.refused_at.reset();
          if (!done.response.continue_job()) {
            const std::string& why = done.response.error().message();
            std::string reason = why.empty() ? "the server asked to stop it" : why;
            done.response.yield() ? YieldAttempt(attempt, reason) : StopAttempt(attempt, reason);
          }
          return Advance(attempt);
        }
        if (told && !MayPass(status.code())) {
          // Its files are gone from the server's store: the next one will do.
          spdlog::warn("attempt {}/{}: the server does not take its checkpoint: {}",
                       attempt.job.value, attempt.attempt, status.ToString());
          if (!report.progress) report.progress = sent;
          return RetryLater(attempt);
        }
        if (told && !report.uploaded_checkpoint) report.uploaded_checkpoint = told;
        if (report.end) return Advance(attempt);
        bool refused =
            IsAboutSession(status.code()) ? IsConfirmed(report) : !MayPass(status.code());
        if (refused) {
          StopAttempt(attempt, "the server does not accept its reports: " + status.message());
          return;
        }
        if (!report.progress) report.progress = sent;
        RetryLater(attempt);
      });
}

void NodeClient::HashFiles(const AttemptId& attempt, Report& report) {
  report.in_flight = true;
  ++calls_;
  std::string folder = executor_->FolderOf(attempt);
  // A large file takes a while to read: not on the executor thread.
  UnreportedEnd unreported{executor_->TokenOf(attempt), *report.end, {}};
  // Of an earlier run it is written down already, with the hashes that its files had then.
  const bool fresh = !report.left;
  boost::asio::post(hashing_, [this, attempt, folder, unreported, fresh]() mutable {
    Status status;
    std::vector<StoredFile> files;
    for (const std::string& name : unreported.end.files) {
      StoredFile file{folder + "/" + name, name, "", 0};
      std::error_code error;
      if (std::filesystem::is_symlink(file.path, error) ||
          !std::filesystem::is_regular_file(file.path, error)) {
        status = DataLoss("the runner announced the file '" + name + "', but it is not there");
        break;
      }
      file.size = static_cast<int64_t>(std::filesystem::file_size(file.path, error));
      Result<std::string> hash = artifacts::HashFile(file.path);
      if (!hash.ok() || error) {
        status = DataLoss("the file '" + name + "' cannot be read: " + hash.status().message());
        break;
      }
      file.sha256 = *hash;
      files.push_back(std::move(file));
    }
    unreported.files = files;
    if (status.ok() && fresh) Remember(folder, unreported);
    boost::asio::post(io_, [this, attempt, status, files = std::move(files)] {
      auto found = reports_.find(attempt);
      if (!stopped_ && found != reports_.end()) {
        Report& report = *found->second;
        report.in_flight = false;
        if (!report.hashed) {  // else it was cancelled meanwhile
          report.hashed = true;
          report.files = files;
          if (!report.end->output_dataset.empty()) {
            for (StoredFile& file : report.files) file.store = StoredFile::Store::kDatasets;
          }
          const bool lost = report.left && !IsSame(*report.left, files);
          if (!status.ok() || lost) {
            report.files.clear();
            report.end->outcome = AttemptEnd::Outcome::kFailed;
            report.end->cause = lost ? protocol::CAUSE_NODE_LOST : protocol::CAUSE_INTERNAL;
            report.end->error =
                lost ? DataLoss("its result did not survive the restart of the node") : status;
          }
        }
        Advance(attempt);
      }
      CallEnded();
    });
  });
}

void NodeClient::UploadNext(const AttemptId& attempt, Report& report) {
  report.in_flight = true;
  ++calls_;
  CYXWIZ_FAILPOINT("node.upload.before");
  uploads_[attempt] = FileUpload::Start(model_stub_.get(), report.files[report.uploaded],
                                        identity_.session, [this, attempt](Status status) {
                                          boost::asio::post(io_, [this, attempt, status] {
                                            uploads_.erase(attempt);
                                            if (!stopped_) OnUploaded(attempt, status);
                                            CallEnded();
                                          });
                                        });
}

void NodeClient::OnUploaded(const AttemptId& attempt, const Status& status) {
  auto found = reports_.find(attempt);
  if (found == reports_.end()) return;
  Report& report = *found->second;
  report.in_flight = false;
  if (report.end->outcome != AttemptEnd::Outcome::kSucceeded) {  // cancelled meanwhile
    return Advance(attempt);
  }
  if (status.ok()) {
    CYXWIZ_FAILPOINT("node.upload.after");
    ++report.uploaded;
    report.backoff.Reset();
    return Advance(attempt);
  }
  spdlog::warn("attempt {}/{}: the upload of {} failed: {}", attempt.job.value, attempt.attempt,
               report.files[report.uploaded].name, status.ToString());
  bool lost = status.code() == Code::kDataLoss && ++report.lost_uploads >= kMostLost;
  if (lost || !MayPass(status.code())) {
    report.end->outcome = AttemptEnd::Outcome::kFailed;
    report.end->cause = protocol::CAUSE_INTERNAL;
    report.end->error =
        Status(status.code(), "the result could not be stored: " + status.message());
    report.files.clear();
    report.uploaded = 0;
    return Advance(attempt);
  }
  if (IsAboutSession(status.code()) && state_ == State::kRegistered) {
    HeartbeatAfter(Duration::zero());  // finds out whether we have to register again
  }
  RetryLater(attempt);
}

void NodeClient::SendCompletion(const AttemptId& attempt, Report& report) {
  report.in_flight = true;
  auto call = std::make_shared<
      Call<protocol::ReportCompletionRequest, protocol::ReportCompletionResponse>>();
  const AttemptEnd& end = *report.end;
  protocol::ReportCompletionRequest& request = call->request;
  request.set_node_id(identity_.id.value);
  request.set_job_id(attempt.job.value);
  request.set_attempt(attempt.attempt);
  request.set_authorization_token(executor_->TokenOf(attempt));
  request.set_cause(end.cause);
  request.set_exit_code(end.exit_code);
  request.set_exit_signal(end.exit_signal);
  protocol::JobResult* result = request.mutable_result();
  result->set_job_id(attempt.job.value);
  result->set_total_compute_time(std::llround(end.compute_seconds));
  if (end.outcome == AttemptEnd::Outcome::kSucceeded) {
    result->set_status(protocol::STATUS_COMPLETED);
    request.set_output_dataset(end.output_dataset);
    for (const auto& [name, value] : end.metrics) (*result->mutable_final_metrics())[name] = value;
    for (const StoredFile& file : report.files) {
      protocol::Artifact* artifact = result->add_artifacts();
      artifact->set_name(file.name);
      artifact->set_uri("artifact://sha256/" + file.sha256);
      artifact->set_sha256(file.sha256);
      artifact->set_size(file.size);
      if (file.name == "weights.safetensors") {
        result->set_model_weights_uri(artifact->uri());
        result->set_model_weights_hash(file.sha256);
        result->set_model_size(file.size);
      }
    }
  } else {
    bool cancelled = end.outcome == AttemptEnd::Outcome::kCancelled;
    result->set_status(cancelled ? protocol::STATUS_CANCELLED : protocol::STATUS_FAILED);
    *result->mutable_error() = ToWireError(end.error);
  }
  request.set_log_tail(end.log_tail);
  request.set_log_tail_offset(end.log_tail_offset);
  // After a success too: what the server knows of it can delete.
  if (report.uploaded_checkpoint) *request.mutable_checkpoint() = *report.uploaded_checkpoint;
  CYXWIZ_FAILPOINT("node.completion.before");
  Send(
      call, kCallTimeout,
      [](auto* stub, auto* c, auto* q, auto* r, auto done) {
        stub->ReportCompletion(c, q, r, done);
      },
      [this, attempt](const Status& status, const auto& done) {
        auto found = reports_.find(attempt);
        if (found == reports_.end()) return;
        Report& report = *found->second;
        report.in_flight = false;
        if (status.ok()) {
          CYXWIZ_FAILPOINT("node.completion.after");
          // Also when it says that the attempt was not current any more: then nobody waits for it.
          if (Status said = InBand(done.response); !said.ok()) {
            spdlog::info("attempt {}/{}: {}", attempt.job.value, attempt.attempt, said.message());
          }
          return Close(attempt);
        }
        if (done.request.has_checkpoint() && !MayPass(status.code())) {
          report.uploaded_checkpoint.reset();  // its files are gone from the server's store
          return RetryLater(attempt);
        }
        if (status.code() == Code::kFailedPrecondition && !report.files.empty() &&
            ++report.lost_uploads < kMostLost) {
          report.uploaded = 0;  // the server has lost what we had sent
          return RetryLater(attempt);
        }
        bool refused =
            IsAboutSession(status.code()) ? IsConfirmed(report) : !MayPass(status.code());
        if (!refused) return RetryLater(attempt);
        spdlog::error("attempt {}/{}: the server refuses the report of its end: {}",
                      attempt.job.value, attempt.attempt, status.ToString());
        Close(attempt);
      });
}

// ---- Checkpoints

void NodeClient::OnCheckpoint(const AttemptId& attempt, const protocol::Checkpoint& checkpoint,
                              const std::string& folder) {
  Report& report = ReportOf(attempt);
  std::error_code error;
  if (report.newest_checkpoint) {
    std::filesystem::remove_all(report.newest_checkpoint->folder, error);
  }
  report.newest_checkpoint = {checkpoint, folder};
  AdvanceCheckpoint(attempt);
}

void NodeClient::AdvanceCheckpoint(const AttemptId& attempt) {
  auto found = reports_.find(attempt);
  if (found == reports_.end() || stopped_ || state_ != State::kRegistered) return;
  Report& report = *found->second;
  if (report.checkpoint_in_flight || report.checkpoint_waiting) return;
  if (!report.uploading) report.uploading = std::exchange(report.newest_checkpoint, std::nullopt);
  if (!report.uploading) return;
  const protocol::Artifact& file = report.uploading->checkpoint.files(report.uploading->sent);
  report.checkpoint_in_flight = true;
  ++calls_;
  checkpoint_uploads_[attempt] =
      FileUpload::Start(model_stub_.get(),
                        {report.uploading->folder + "/" + file.name(), file.name(), file.sha256(),
                         file.size(), StoredFile::Store::kCheckpoints},
                        identity_.session, [this, attempt](Status status) {
                          boost::asio::post(io_, [this, attempt, status] {
                            checkpoint_uploads_.erase(attempt);
                            if (!stopped_) OnCheckpointUploaded(attempt, status);
                            CallEnded();
                          });
                        });
}

void NodeClient::OnCheckpointUploaded(const AttemptId& attempt, const Status& status) {
  auto found = reports_.find(attempt);
  if (found == reports_.end()) return;
  Report& report = *found->second;
  report.checkpoint_in_flight = false;
  if (!report.uploading) return AdvanceCheckpoint(attempt);  // given up meanwhile
  Report::CheckpointFiles& files = *report.uploading;
  std::error_code error;
  if (status.ok()) {
    report.checkpoint_backoff.Reset();
    if (++files.sent < files.checkpoint.files_size()) return AdvanceCheckpoint(attempt);
    report.uploaded_checkpoint = std::move(files.checkpoint);
    std::filesystem::remove_all(files.folder, error);
    report.uploading.reset();
    AdvanceCheckpoint(attempt);
    return Advance(attempt);
  }
  spdlog::warn("attempt {}/{}: the upload of its checkpoint {} failed: {}", attempt.job.value,
               attempt.attempt, files.checkpoint.name(), status.ToString());
  if (report.newest_checkpoint || !MayPass(status.code()) ||
      ++files.failures >= kMostCheckpointTries) {
    std::filesystem::remove_all(files.folder, error);
    report.uploading.reset();
  }
  if (!report.uploading && !report.newest_checkpoint) return Advance(attempt);
  if (IsAboutSession(status.code()) && state_ == State::kRegistered) {
    HeartbeatAfter(Duration::zero());  // finds out whether we have to register again
  }
  report.checkpoint_waiting = true;
  report.checkpoint_timer.expires_after(report.checkpoint_backoff.Next(Random()));
  report.checkpoint_timer.async_wait([this, attempt](const error_code& waited) {
    if (waited || stopped_) return;
    auto found = reports_.find(attempt);
    if (found == reports_.end()) return;
    found->second->checkpoint_waiting = false;
    AdvanceCheckpoint(attempt);
  });
}

void NodeClient::GiveUpCheckpoint(const AttemptId& attempt, Report& report) {
  report.newest_checkpoint.reset();
  report.uploading.reset();
  auto upload = checkpoint_uploads_.find(attempt);
  if (upload != checkpoint_uploads_.end()) upload->second->Cancel();
}

void NodeClient::FetchCheckpoint(const AttemptId& attempt, const protocol::Checkpoint& checkpoint,
                                 const std::string& folder, std::function<void(Status)> done) {
  auto fetch = std::make_shared<Fetch>(io_);
  fetch->attempt = attempt;
  fetch->done = std::move(done);
  for (const protocol::Artifact& file : checkpoint.files()) {
    fetch->files.push_back({folder + "/" + file.name(), file.name(), file.sha256(), file.size(),
                            StoredFile::Store::kCheckpoints});
  }
  // The manifest says that the others are there, so it comes last.
  std::stable_partition(fetch->files.begin(), fetch->files.end(),
                        [](const StoredFile& file) { return file.name != "manifest.json"; });
  for (size_t i = 0; i < fetch->files.size(); ++i) fetch->todo.push_back(i);
  fetches_[attempt] = fetch;
  FetchMore(fetch);
}

void NodeClient::FetchFiles(const AttemptId& attempt, std::vector<StoredFile> files,
                            std::function<void(Status)> done) {
  auto fetch = std::make_shared<Fetch>(io_);
  fetch->attempt = attempt;
  fetch->done = std::move(done);
  fetch->files = std::move(files);
  fetch->at_a_time = kFetchedAtATime;
  for (size_t i = 0; i < fetch->files.size(); ++i) fetch->todo.push_back(i);
  fetches_[attempt] = fetch;
  FetchMore(fetch);
}

void NodeClient::EndFetch(const std::shared_ptr<Fetch>& fetch, Status status) {
  for (auto& [file, download] : fetch->running) download->Cancel();
  fetch->timer.cancel();
  fetches_.erase(fetch->attempt);
  fetch->done(std::move(status));
}

void NodeClient::FetchMore(const std::shared_ptr<Fetch>& fetch) {
  if (fetch->todo.empty() && fetch->running.empty()) return EndFetch(fetch, OkStatus());
  while (!fetch->waiting && !fetch->todo.empty() && fetch->running.size() < fetch->at_a_time) {
    const size_t i = fetch->todo.front();
    fetch->todo.pop_front();
    const StoredFile& file = fetch->files[i];
    if (!IsValidId(file.name))
      return EndFetch(fetch, InvalidArgument("a file of it has no plain name"));
    ++calls_;
    fetch->running[i] = FileDownload::Start(
        model_stub_.get(), file, identity_.session, [this, fetch, i](const Status& status) {
          boost::asio::post(io_, [this, fetch, i, status] {
            fetch->running.erase(i);
            CallEnded();
            auto wanted = fetches_.find(fetch->attempt);
            if (stopped_ || wanted == fetches_.end() || wanted->second != fetch) return;
            OnDownloaded(fetch, i, status);
          });
        });
  }
}

void NodeClient::OnDownloaded(const std::shared_ptr<Fetch>& fetch, size_t file,
                              const Status& status) {
  if (status.ok()) {
    fetch->failures = 0;
    fetch->backoff.Reset();
    return FetchMore(fetch);
  }
  ++fetch->failures;
  const bool lost = status.code() == Code::kNotFound || !MayPass(status.code()) ||
                    (status.code() == Code::kDataLoss && fetch->failures >= kMostLost);
  if (lost || fetch->failures >= kMostFetchTries) return EndFetch(fetch, status);
  fetch->todo.push_front(file);
  if (fetch->waiting) return;
  fetch->waiting = true;
  fetch->timer.expires_after(fetch->backoff.Next(Random()));
  fetch->timer.async_wait([this, fetch](const error_code& waited) {
    fetch->waiting = false;
    auto wanted = fetches_.find(fetch->attempt);
    if (!waited && !stopped_ && wanted != fetches_.end() && wanted->second == fetch)
      FetchMore(fetch);
  });
}

void NodeClient::Close(const AttemptId& attempt) {
  reports_.erase(attempt);
  executor_->Acknowledge(attempt);
  if (options_.on_reported) options_.on_reported();
}

}  // namespace cyxwiz::node
