#include "node/job_executor.h"

#include <fcntl.h>
#include <signal.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <boost/asio/buffer.hpp>
#include <boost/asio/post.hpp>
#include <cerrno>
#include <filesystem>
#include <utility>

#include "base/file.h"
#include "base/json.h"
#include "base/logging.h"
#include "base/text.h"
#include "node/disk_space.h"
#include "node/free_port.h"
#include "spec/model_use.h"

namespace cyxwiz::node {
namespace {

using boost::system::error_code;

constexpr int kProtocolVersion = 1;
// In an attempt's folder; its runner writes there.
constexpr char kCheckpointsFolder[] = "checkpoints";
// The weights that an evaluation or an inference uses; other than those that a training leaves.
constexpr char kSourceWeights[] = "source.safetensors";
// The files of a data set that was stored or fetched.
constexpr char kDatasetFolder[] = "dataset";
constexpr size_t kLogTailBytes = 4096;
constexpr size_t kAcknowledgedKept = 1024;
// How long the socket and the output of a runner may stay open after its whole process group is
// gone; only a process that left the group on purpose can hold them.
constexpr auto kSettleFor = std::chrono::seconds(1);

// What a runner may use before the kernel stops it: an estimate is no exact science, and a job that
// would have fitted must not die for it.
int64_t MemoryLimitOf(int64_t memory_bytes) {
  return memory_bytes + memory_bytes / 4 + (int64_t{128} << 20);
}

std::string CheckpointsOf(const std::string& folder) { return folder + "/" + kCheckpointsFolder; }

// Of data that cannot be fetched: whether another try, or another node, would change nothing.
bool IsUsersFault(Code code) {
  return code == Code::kInvalidArgument || code == Code::kNotFound ||
         code == Code::kPermissionDenied || code == Code::kOutOfRange;
}

double Milliseconds(Duration d) { return std::chrono::duration<double, std::milli>(d).count(); }

boost::asio::steady_timer::time_point ToTimerTime(MonotonicTime time) {
  return boost::asio::steady_timer::time_point(Duration(time.ns));
}

std::string TextOf(const Json& json, const char* key) {
  auto found = json.find(key);
  return found != json.end() && found->is_string() ? found->get<std::string>() : std::string();
}

double NumberOf(const Json& json, const char* key) {
  auto found = json.find(key);
  return found != json.end() && found->is_number() ? found->get<double>() : 0;
}

int64_t WholeNumberOf(const Json& json, const char* key) {
  auto found = json.find(key);
  return found != json.end() && found->is_number_integer() ? found->get<int64_t>() : 0;
}

std::map<std::string, double> NumbersOf(const Json& json, const char* key) {
  std::map<std::string, double> numbers;
  auto found = json.find(key);
  if (found == json.end() || !found->is_object()) return numbers;
  for (const auto& [name, value] : found->items()) {
    if (value.is_number()) numbers[name] = value.get<double>();
  }
  return numbers;
}

// Whether no process of the group is left. The node adopts orphans of runners (it is a subreaper),
// so it also collects those that have ended, which would otherwise count as present.
bool GroupGone(pid_t group) {
  while (::waitpid(-group, nullptr, WNOHANG) > 0) {
  }
  return ::kill(-group, 0) != 0 && errno == ESRCH;
}

}  // namespace

struct JobExecutor::Attempt {
  Attempt(boost::asio::io_context& io, Assignment a)
      : assignment(std::move(a)),
        key(assignment.id.job.value + "/" + std::to_string(assignment.id.attempt)),
        output(io),
        ladder_timer(io),
        end_timer(io),
        settle_timer(io),
        limit_timer(io) {}

  Assignment assignment;
  std::string key;
  MonotonicTime assigned_at, forked_at;
  AttemptLog* log = nullptr;  // owned by the LogBook; set while the attempt has not ended
  std::shared_ptr<LineChannel> channel;
  bool channel_closed = true;
  boost::asio::posix::stream_descriptor output;
  bool output_closed = true;
  std::array<char, 16384> output_chunk;
  bool log_broken = false;  // the last write to the log failed
  bool checkpoints_too_large = false;
  std::shared_ptr<AttemptCgroup> cgroup;
  int64_t machine_oom_kills = 0;  // when it began

  pid_t pid = 0;           // and process group; 0 until forked
  bool preparing = false;  // a checkpoint or weights are being fetched
  bool resume = false;     // there are checkpoints to go on from
  bool hello = false;      // the runner has said its version
  bool start_sent = false;
  bool exited = false;  // the zygote has told, or will never tell
  bool group_gone = false;
  bool settled = false;  // waited long enough for socket and output
  bool ended = false;    // OnEnded was called
  StopLadder ladder;
  EndFacts facts;
  AttemptProgress progress;
  FileCache::Hold weights;                // until it has ended
  std::vector<FileCache::Hold> datasets;  // likewise
  bool has_dataset = false;               // its files are in a folder of the attempt's
  boost::asio::steady_timer ladder_timer, end_timer, settle_timer, limit_timer;
  bool end_expected = false;
  Duration settle_wait = std::chrono::milliseconds(1);
  MonotonicTime settle_until = MonotonicTime::Never();
};

JobExecutor::JobExecutor(boost::asio::io_context& io, Options options, Zygote* zygote,
                         LogBook* logs, CheckpointKeeper* checkpoints, FileCache* weights,
                         FileCache* datasets, RemoteFiles* remote, AttemptLimits* limits,
                         ExecutorListener* listener)
    : io_(io),
      options_(std::move(options)),
      zygote_(zygote),
      logs_(logs),
      checkpoints_(checkpoints),
      weights_(weights),
      datasets_(io, datasets, remote, options_.min_free_disk_bytes,
                [listener](const AttemptId& attempt, std::vector<StoredFile> files,
                           std::function<void(Status)> done) {
                  listener->FetchFiles(attempt, std::move(files), std::move(done));
                }),
      limits_(limits),
      listener_(listener),
      capacity_(options_.capacity) {}

JobExecutor::~JobExecutor() {
  confining_.join();
  for (auto& [id, attempt] : attempts_) {
    if (attempt->channel) attempt->channel->Close();
    if (attempt->pid > 0 && !attempt->group_gone) Signal(attempt, SIGKILL);
  }
}

JobExecutor::AttemptPtr JobExecutor::ByKey(const std::string& key) const {
  for (const auto& [id, attempt] : attempts_) {
    if (attempt->key == key && !attempt->ended) return attempt;
  }
  return nullptr;
}

Status JobExecutor::Assign(Assignment assignment) {
  const AttemptId id = assignment.id;
  if (attempts_.count(id) > 0) return OkStatus();
  if (std::find(acknowledged_tokens_.begin(), acknowledged_tokens_.end(), assignment.token) !=
      acknowledged_tokens_.end()) {
    return OkStatus();
  }
  if (shutting_down_) return Unavailable("the node is shutting down");
  RETURN_IF_ERROR(taken_.Check(id, assignment.token_expires_at));
  for (auto& [other, attempt] : attempts_) {
    if (other.job != id.job) continue;
    if (other.attempt > id.attempt) {
      return FailedPrecondition("attempt " + std::to_string(other.attempt) + " of job '" +
                                id.job.value + "' is here, so attempt " +
                                std::to_string(id.attempt) + " is over");
    }
    Stop(other, "attempt " + std::to_string(id.attempt) + " of the job has taken its place");
  }
  if (!zygote_->trouble().empty()) return Unavailable(zygote_->trouble());
  RETURN_IF_ERROR(CheckDisk(assignment));
  if ((assignment.gang || assignment.processes > 1) && !zygote_->trains_in_gangs())
    return FailedPrecondition("the runner of this node trains in one process alone");
  if (assignment.gang) RETURN_IF_ERROR(CheckGang(*assignment.gang));
  RETURN_IF_ERROR(capacity_.Reserve(id, assignment.resources));
  taken_.Add(id, assignment.token_expires_at, ReadClocks().unix.seconds());
  auto attempt = std::make_shared<Attempt>(io_, std::move(assignment));
  attempt->assigned_at = ReadClocks().monotonic;
  attempts_[id] = attempt;
  StartLimit(attempt);
  boost::asio::post(io_, [this, attempt] { Launch(attempt); });
  return OkStatus();
}

void JobExecutor::Restore(const AttemptId& id, std::string token) {
  auto attempt = std::make_shared<Attempt>(io_, Assignment{.id = id, .token = std::move(token)});
  attempt->exited = attempt->group_gone = attempt->ended = true;
  attempts_[id] = std::move(attempt);
}

Status JobExecutor::CheckDisk(const Assignment& assignment) const {
  int64_t promised = 0;
  for (const auto& [id, attempt] : attempts_) {
    if (!attempt->ended) promised += attempt->assignment.result_bytes;
  }
  ASSIGN_OR_RETURN(int64_t free, FreeDiskBytes(options_.folder));
  return CheckDiskSpace(options_.folder, free, options_.min_free_disk_bytes, promised,
                        assignment.result_bytes);
}

Status JobExecutor::CheckGang(const GangPlace& gang) const {
  if (gang.rank > 0) return OkStatus();
  for (const auto& [id, attempt] : attempts_) {
    const std::optional<GangPlace>& other = attempt->assignment.gang;
    if (!attempt->ended && other && other->rank == 0 &&
        other->rendezvous.port == gang.rendezvous.port) {
      return FailedPrecondition("attempt " + attempt->key + " meets at port " +
                                std::to_string(gang.rendezvous.port));
    }
  }
  return CheckFreePort(gang.rendezvous);
}

void JobExecutor::Launch(const AttemptPtr& attempt) {
  if (attempt->facts.stop_reason) {  // stopped before it began
    attempt->exited = attempt->group_gone = true;
    return Settle(attempt);
  }
  Result<AttemptLog*> log = logs_->Begin(attempt->assignment.id, attempt->assignment.log_bytes);
  if (!log.ok()) {
    attempt->facts.node_trouble = "the runner could not be started: " + log.status().message();
    attempt->exited = attempt->group_gone = true;
    return Settle(attempt);
  }
  attempt->log = *log;
  Prepare(attempt);
}

// Puts into the attempt's folder what it shall go on from: what this node has kept of the job, or,
// when the server has a newer checkpoint, that one. All ranks of a gang must go on at the same
// place, so there it is always the server's.
void JobExecutor::Prepare(const AttemptPtr& attempt) {
  if (spec::UsesModel(attempt->assignment.job.type)) return PrepareWeights(attempt);
  const AttemptId& id = attempt->assignment.id;
  const protocol::Checkpoint& wanted = attempt->assignment.checkpoint;
  const std::string folder = CheckpointsOf(logs_->FolderOf(id));
  const bool alone = !attempt->assignment.gang;
  std::optional<int64_t> kept;
  if (alone) {
    checkpoints_->GiveBack(id.job, folder);
    kept = NewestCheckpoint(folder);
  }
  attempt->resume = kept.has_value();
  if (wanted.files_size() == 0 || (kept && *kept >= wanted.step())) return PrepareDataset(attempt);
  attempt->preparing = true;
  Note(attempt,
       "getting the checkpoint of step " + std::to_string(wanted.step()) + " from the server");
  const std::string target = folder + "/" + wanted.name();
  auto done = [this, attempt, alone](const Status& status) {
    if (attempt->ended || !std::exchange(attempt->preparing, false)) return;  // stopped meanwhile
    if (!status.ok() && !alone) {
      attempt->facts.node_trouble = "the checkpoint could not be had: " + status.message();
      return EndUnstarted(attempt);
    }
    if (status.ok()) {
      attempt->resume = true;
    } else {
      Note(attempt,
           "cannot get the checkpoint: " + status.message() +
               (attempt->resume ? "; going on from an older one" : "; beginning at the beginning"));
    }
    PrepareDataset(attempt);
  };
  Status made = IsValidId(wanted.name()) ? MakeFolder(target, 0700)
                                         : InvalidArgument("its name is no plain name");
  if (!made.ok()) return done(made);
  listener_->FetchCheckpoint(id, wanted, target, done);
}

// Puts the model's weights into the attempt's folder: those that are kept here, or the server's.
void JobExecutor::PrepareWeights(const AttemptPtr& attempt) {
  const AttemptId& id = attempt->assignment.id;
  const spec::ModelFrom& from = attempt->assignment.job.model_from;
  StoredFile file{.path = logs_->FolderOf(id) + "/" + kSourceWeights,
                  .name = "weights.safetensors",
                  .sha256 = from.weights_sha256,
                  .size = from.weights_bytes};
  attempt->weights = weights_->Give(file.sha256, file.path);
  if (attempt->weights != nullptr) {
    Note(attempt, "the model's weights are here already");
    return PrepareDataset(attempt);
  }
  attempt->preparing = true;
  Note(attempt, "getting the model's weights from the server: " + FormatBytes(file.size));
  listener_->FetchFiles(id, {file}, [this, attempt, file](const Status& status) {
    if (attempt->ended || !std::exchange(attempt->preparing, false)) return;  // stopped meanwhile
    if (status.ok()) {
      weights_->MakeRoom(file.size);
      attempt->weights = weights_->Keep(file.sha256, file.path);
      return PrepareDataset(attempt);
    }
    // Told as a runner would that cannot read them.
    FinalMessage& last = attempt->facts.final_message.emplace();
    last.kind = FinalMessage::Kind::kFailed;
    last.cause = "data_unavailable";
    last.message = "the model's weights cannot be fetched: " + status.message();
    last.hint = "the server's artifacts may be damaged: 'cyxwiz-central-server check'";
    last.path = spec::kModelFromPath;
    Note(attempt, last.message);
    EndUnstarted(attempt);
  });
}

// Puts the files of a data set that is stored or fetched into the attempt's folder.
void JobExecutor::PrepareDataset(const AttemptPtr& attempt) {
  const AttemptId& id = attempt->assignment.id;
  const spec::JobDescription& job = attempt->assignment.job;
  spec::Problems ignored;
  auto uri = spec::IsRemote(job.dataset_uri) ? spec::ParseDatasetUri(job.dataset_uri, &ignored)
                                             : std::nullopt;
  attempt->has_dataset = uri || job.dataset_from.stored();
  if (!attempt->has_dataset) return StartRunner(attempt);
  attempt->preparing = true;
  const std::string folder = logs_->FolderOf(id) + "/" + kDatasetFolder;
  auto note = [this, attempt](const std::string& line) { Note(attempt, line); };
  auto done = [this, attempt](const Status& status, DatasetFiles::Given given) {
    if (attempt->ended || !std::exchange(attempt->preparing, false)) return;  // stopped meanwhile
    OnDataset(attempt, status, std::move(given));
  };
  if (uri) return datasets_.GiveRemote(id, uri->remote, folder, note, done);
  datasets_.Give(id, job.dataset_from, folder, note, done);
}

void JobExecutor::OnDataset(const AttemptPtr& attempt, const Status& status,
                            DatasetFiles::Given given) {
  Assignment& assignment = attempt->assignment;
  spec::DatasetFrom& from = assignment.job.dataset_from;
  attempt->datasets = std::move(given.holds);
  if (status.ok()) {
    from.manifest_sha256 = given.manifest_sha256;
    const int64_t memory = assignment.resources.memory_bytes;
    if (!from.stored() && memory > 0 && given.bytes > memory) {
      Note(attempt, "the files have " + FormatBytes(given.bytes) + " and the job " +
                        FormatBytes(memory) +
                        " of memory: what it needs was estimated without the data");
    }
    return StartRunner(attempt);
  }
  Note(attempt, "cannot get the data set: " + status.message());
  if (status.code() == Code::kResourceExhausted) {
    attempt->facts.node_trouble = status.message();
    return EndUnstarted(attempt);
  }
  FinalMessage& last = attempt->facts.final_message.emplace();
  last.kind = FinalMessage::Kind::kFailed;
  last.path = "$.dataset";
  if (from.stored()) {
    last.cause = "data_unavailable";
    last.message = "the data set " + from.name + "@" + from.version +
                   " cannot be fetched: " + status.message();
    last.hint = "'cyxwiz dataset ls " + from.name + "' shows whether it is still there";
  } else {
    last.cause = IsUsersFault(status.code()) ? "user_error" : "data_unavailable";
    last.message = "the data set cannot be fetched: " + status.message();
    last.hint = status.hint();
  }
  EndUnstarted(attempt);
}

void JobExecutor::EndUnstarted(const AttemptPtr& attempt) {
  attempt->exited = attempt->group_gone = true;
  Settle(attempt);
}

void JobExecutor::Note(const AttemptPtr& attempt, const std::string& line) {
  spdlog::info("attempt {}: {}", attempt->key, Printable(line));
  if (attempt->log == nullptr) return;
  Status noted = attempt->log->Append("[node] " + Printable(line) + "\n");
  (void)noted;  // a full disk keeps nothing from going on
}

void JobExecutor::StartRunner(const AttemptPtr& attempt) {
  auto fail = [&](Status status) {
    attempt->facts.node_trouble = "the runner could not be started: " + status.message();
    attempt->exited = attempt->group_gone = true;
    Settle(attempt);
  };
  int socket[2], pipe[2];
  if (::socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, socket) != 0) {
    return fail(ErrnoStatus("cannot make the socket of the runner", errno));
  }
  UniqueFd our_socket(socket[0]), their_socket(socket[1]);
  if (::pipe2(pipe, O_CLOEXEC) != 0) {
    return fail(ErrnoStatus("cannot make the output pipe of the runner", errno));
  }
  UniqueFd our_output(pipe[0]), their_output(pipe[1]);
  const Resources& given = attempt->assignment.resources;
  const int64_t memory_limit = given.memory_bytes > 0 ? MemoryLimitOf(given.memory_bytes) : 0;
  attempt->cgroup = limits_->Create("attempt", memory_limit, given.cpu_millis);
  if (attempt->cgroup && attempt->cgroup->limits_memory())
    attempt->facts.memory_limit_bytes = memory_limit;
  attempt->machine_oom_kills = MachineOomKills();

  attempt->channel = std::make_shared<LineChannel>(io_, std::move(our_socket));
  attempt->channel_closed = false;
  std::weak_ptr<Attempt> weak = attempt;
  attempt->channel->Start(
      [this, weak](std::string_view line) {
        if (AttemptPtr self = weak.lock()) OnLine(self, line);
      },
      [this, weak](Status status) {
        AttemptPtr self = weak.lock();
        if (!self) return;
        self->channel_closed = true;
        if (!status.ok()) BreakOff(self, status.message());
        ExpectEnd(self);
        Settle(self);
      });
  error_code error;
  attempt->output.assign(our_output.Release(), error);
  attempt->output_closed = false;
  ReadOutput(attempt);
  zygote_->Fork(attempt->key, std::move(their_socket), std::move(their_output));
}

void JobExecutor::ReadOutput(const AttemptPtr& attempt) {
  attempt->output.async_read_some(
      boost::asio::buffer(attempt->output_chunk),
      [this, attempt](const error_code& error, size_t n) {
        if (attempt->ended) return;
        if (error) {
          attempt->output_closed = true;
          return Settle(attempt);
        }
        Status written = attempt->log->Append({attempt->output_chunk.data(), n});
        if (!written.ok() && !attempt->log_broken) {  // once, not with each line of the runner
          spdlog::warn("attempt {}: a part of its log is lost: {}", attempt->key,
                       written.message());
        }
        attempt->log_broken = !written.ok();
        ReadOutput(attempt);
      });
}

std::vector<ContentKey> JobExecutor::KeptData() const {
  std::vector<ContentKey> keys = datasets_.Keys();
  const std::vector<ContentKey> weights = weights_->Keys(DatasetFiles::kMostTold);
  keys.insert(keys.end(), weights.begin(), weights.end());
  return keys;
}

void JobExecutor::OnForked(const std::string& key, pid_t pid) {
  AttemptPtr attempt = ByKey(key);
  if (!attempt || pid <= 1) return;
  attempt->pid = pid;
  attempt->forked_at = ReadClocks().monotonic;
  Confine(attempt);
  if (attempt->ladder.begun()) {  // stopped while it was being forked: there is nobody to ask yet
    attempt->ladder.Kill(attempt->forked_at);
    return RunLadder(attempt);
  }
  SendStart(attempt);
}

// Moving a process into a group takes the kernel some 8 ms (it waits for all processors), so it
// goes on beside the start. What the runner allocates before is not counted; it is little.
void JobExecutor::Confine(const AttemptPtr& attempt) {
  if (!attempt->cgroup) return;
  boost::asio::post(confining_, [this, attempt, group = attempt->cgroup, pid = attempt->pid] {
    Status added = group->AddProcess(pid);
    if (added.ok()) return;
    boost::asio::post(io_, [attempt, added] {
      if (attempt->exited || attempt->ended) return;
      attempt->facts.memory_limit_bytes = 0;
      spdlog::warn("attempt {}: its limits are not enforced: {}", attempt->key, added.message());
    });
  });
}

void JobExecutor::OnForkFailed(const std::string& key, const std::string& message) {
  AttemptPtr attempt = ByKey(key);
  if (!attempt) return;
  attempt->facts.node_trouble = "the runner could not be started: " + message;
  attempt->exited = attempt->group_gone = true;
  Settle(attempt);
}

void JobExecutor::OnExited(const std::string& key, const ProcessExit& exit) {
  AttemptPtr attempt = ByKey(key);
  if (!attempt) return;
  attempt->facts.exit = exit;
  attempt->exited = true;
  Settle(attempt);
}

void JobExecutor::OnZygoteDied(const std::string& reason, bool hung) {
  std::vector<AttemptPtr> affected;
  for (auto& [id, attempt] : attempts_) {
    if (!attempt->ended && !attempt->exited && attempt->log != nullptr) affected.push_back(attempt);
  }
  for (const AttemptPtr& attempt : affected) {
    spdlog::error("attempt {}: lost its runner's parent: {}", attempt->key, reason);
    attempt->exited = true;
    if (attempt->pid > 0) {
      // Whose parent died by itself may have brought that about. One that hung is the node's
      // trouble.
      std::string& why = hung ? attempt->facts.node_trouble : attempt->facts.parent_end;
      why =
          hung ? "the runner's parent hung, and the runner was killed with it: " + reason : reason;
      Signal(attempt, SIGKILL);
    } else {
      attempt->facts.node_trouble = "the runner was not started: its parent died: " + reason;
      attempt->group_gone = true;
    }
    Settle(attempt);
  }
}

void JobExecutor::SendStart(const AttemptPtr& attempt) {
  if (attempt->start_sent || !attempt->hello || attempt->pid == 0) return;
  attempt->start_sent = true;
  const Assignment& a = attempt->assignment;
  Json start = {{"type", "start"},
                {"protocol", kProtocolVersion},
                {"job_id", a.id.job.value},
                {"attempt", a.id.attempt},
                {"job", a.job.ToJson()},
                {"folder", logs_->FolderOf(a.id)},
                {"data_roots", options_.data_roots},
                {"cpu_millis", a.resources.cpu_millis},
                {"memory_bytes", a.resources.memory_bytes}};
  if (attempt->resume) start["resume"] = kCheckpointsFolder;
  if (a.gang) {
    start["gang"] = {{"rank", a.gang->rank},
                     {"size", a.gang->size},
                     {"host", a.gang->rendezvous.host},
                     {"port", a.gang->rendezvous.port},
                     {"secret", a.gang->secret}};
  }
  if (a.processes > 1) start["processes"] = a.processes;
  if (spec::UsesModel(a.job.type)) start["weights"] = kSourceWeights;
  if (attempt->has_dataset) start["dataset"] = kDatasetFolder;
  std::string visible;
  for (const GpuPart& part : capacity_.GpusOf(a.id))
    visible += (visible.empty() ? "" : ",") + options_.gpus.at(static_cast<size_t>(part.index));
  start["cuda_visible_devices"] = visible;
  attempt->channel->Send(start.dump(-1, ' ', false, Json::error_handler_t::replace));
}

void JobExecutor::OnLine(const AttemptPtr& attempt, std::string_view line) {
  if (attempt->ended) return;
  Result<Json> parsed = ParseJson(line, "line of the runner");
  if (!parsed.ok() || !parsed->is_object()) {
    return BreakOff(attempt, "the runner sent a line that is not a JSON object" +
                                 (parsed.ok() ? "" : ": " + parsed.status().message()));
  }
  const Json& json = *parsed;
  std::string type = TextOf(json, "type");
  EndFacts& facts = attempt->facts;
  if (type == "hello") {
    if (WholeNumberOf(json, "protocol") != kProtocolVersion) {
      return BreakOff(attempt, "the runner speaks another version of the protocol than this node");
    }
    attempt->hello = true;
    SendStart(attempt);
  } else if (type == "started" || type == "progress") {
    AttemptProgress& progress = attempt->progress;
    if (progress.started_at.ms == 0) {
      Now now = ReadClocks();
      progress.started_at = now.unix;
      auto timings = json.find("timings");
      Json none = Json::object();
      const Json& parts = timings != json.end() && timings->is_object() ? *timings : none;
      spdlog::info(
          "attempt {} started: fork_ms={:.2f} load_ms={:.2f} first_step_ms={:.2f} total_ms={:.2f} "
          "device={} threads={}",
          attempt->key, Milliseconds(attempt->forked_at - attempt->assigned_at),
          NumberOf(parts, "load_ms"), NumberOf(parts, "first_step_ms"),
          Milliseconds(now.monotonic - attempt->assigned_at), TextOf(json, "device"),
          WholeNumberOf(json, "threads"));
    }
    if (auto resumed = json.find("resumed"); resumed != json.end() && resumed->is_object()) {
      progress.resumed = {WholeNumberOf(*resumed, "epoch"), WholeNumberOf(*resumed, "step")};
      spdlog::info("attempt {}: resumed from epoch {}, step {}", attempt->key,
                   progress.resumed->epoch, progress.resumed->step);
    }
    if (type == "progress") {
      progress.progress = std::clamp(NumberOf(json, "progress"), 0.0, 1.0);
      progress.epoch = WholeNumberOf(json, "epoch");
      progress.epochs = WholeNumberOf(json, "epochs");
      for (auto& [name, value] : NumbersOf(json, "metrics")) progress.metrics[name] = value;
    }
    listener_->OnProgress(attempt->assignment.id, progress);
  } else if (type == "succeeded") {
    FinalMessage& last = facts.final_message.emplace();
    last.kind = FinalMessage::Kind::kSucceeded;
    auto files = json.find("files");
    if (files != json.end() && files->is_array()) {
      for (const Json& file : *files) {
        std::string name = file.is_string() ? file.get<std::string>() : std::string();
        // A name leads into the attempt's folder and nowhere else.
        if (!IsValidId(name)) {
          facts.final_message.reset();
          return BreakOff(attempt,
                          "the runner names a file '" + name + "' that is not a plain name");
        }
        last.files.push_back(name);
      }
    }
    last.metrics = NumbersOf(json, "metrics");
    last.compute_seconds = NumberOf(json, "compute_seconds");
  } else if (type == "failed") {
    FinalMessage& last = facts.final_message.emplace();
    last.kind = FinalMessage::Kind::kFailed;
    last.cause = TextOf(json, "cause");
    last.message = TextOf(json, "message");
    last.hint = TextOf(json, "hint");
    last.path = TextOf(json, "path");
  } else if (type == "checkpoint") {
    OnCheckpointLine(attempt, json);
  } else if (type == "yielded") {
    facts.final_message.emplace().kind = FinalMessage::Kind::kYielded;
  } else if (type == "stopped") {
    facts.final_message.emplace().kind = FinalMessage::Kind::kStopped;
  } else {
    BreakOff(attempt, "the runner sent a message of unknown type '" + type + "'");
  }
  if (facts.final_message) ExpectEnd(attempt);
}

void JobExecutor::ExpectEnd(const AttemptPtr& attempt) {
  if (attempt->end_expected || attempt->exited || attempt->ended) return;
  attempt->end_expected = true;
  attempt->end_timer.expires_after(options_.end_within);
  attempt->end_timer.async_wait([this, attempt](const error_code& error) {
    if (error || attempt->exited || attempt->ended) return;
    // Its result, if it gave one, stands.
    if (!attempt->facts.final_message) {
      attempt->facts.trouble = "the runner closed its socket and did not end";
    }
    attempt->ladder.Kill(ReadClocks().monotonic);
    RunLadder(attempt);
  });
}

void JobExecutor::StartLimit(const AttemptPtr& attempt) {
  const Duration limit = attempt->assignment.run_limit;
  if (limit <= Duration::zero()) return;
  attempt->limit_timer.expires_at(ToTimerTime(attempt->assigned_at + limit));
  attempt->limit_timer.async_wait([this, attempt, limit](const error_code& error) {
    if (error || attempt->ended || attempt->facts.stop_reason) return;
    attempt->facts.ran_too_long = true;
    Stop(attempt->assignment.id,
         "it ran longer than its limit of " +
             std::to_string(std::chrono::duration_cast<std::chrono::seconds>(limit).count()) +
             " s");
  });
}

void JobExecutor::BreakOff(const AttemptPtr& attempt, const std::string& trouble) {
  if (attempt->ended) return;
  if (attempt->facts.trouble.empty()) attempt->facts.trouble = trouble;
  attempt->ladder.Kill(ReadClocks().monotonic);
  RunLadder(attempt);
}

// The runner keeps two checkpoints and deletes older ones, so what is to be uploaded gets links of
// its own.
void JobExecutor::OnCheckpointLine(const AttemptPtr& attempt, const Json& line) {
  protocol::Checkpoint checkpoint;
  checkpoint.set_name(TextOf(line, "name"));
  checkpoint.set_epoch(static_cast<int32_t>(WholeNumberOf(line, "epoch")));
  checkpoint.set_step(WholeNumberOf(line, "step"));
  auto files = line.find("files");
  bool valid = IsValidId(checkpoint.name()) && files != line.end() && files->is_array();
  if (valid) {
    for (const Json& entry : *files) {
      if (!entry.is_object()) continue;
      protocol::Artifact* file = checkpoint.add_files();
      file->set_name(TextOf(entry, "name"));
      file->set_sha256(TextOf(entry, "sha256"));
      file->set_uri("artifact://sha256/" + file->sha256());
      file->set_size(WholeNumberOf(entry, "size"));
      valid = valid && IsValidId(file->name());
    }
  }
  if (!valid || checkpoint.files_size() == 0) {
    return BreakOff(attempt, "the runner announced a checkpoint that is none");
  }
  int64_t bytes = 0;
  for (const protocol::Artifact& file : checkpoint.files()) bytes += file.size();
  const int64_t most = attempt->assignment.checkpoint_bytes;
  if (most > 0 && bytes > most) {
    if (!std::exchange(attempt->checkpoints_too_large, true)) {
      Note(attempt, "the checkpoint has " + FormatBytes(bytes) + ", more than limits.checkpoint, " +
                        FormatBytes(most) + ": none is kept, and another attempt begins anew");
    }
    return;
  }
  const std::string folder = logs_->FolderOf(attempt->assignment.id);
  const std::string from = CheckpointsOf(folder) + "/" + checkpoint.name();
  const std::string links = folder + "/upload-" + checkpoint.name();
  std::error_code error;
  std::filesystem::remove_all(links, error);
  Status linked = MakeFolder(links, 0700);
  for (const protocol::Artifact& file : checkpoint.files()) {
    if (!linked.ok()) break;
    std::filesystem::create_hard_link(from + "/" + file.name(), links + "/" + file.name(), error);
    if (error) linked = Internal(file.name() + ": " + error.message());
  }
  if (!linked.ok()) {
    std::filesystem::remove_all(links, error);
    spdlog::warn("attempt {}: its checkpoint {} is not sent to the server: {}", attempt->key,
                 checkpoint.name(), linked.message());
    return;
  }
  listener_->OnCheckpoint(attempt->assignment.id, checkpoint, links);
}

bool JobExecutor::Stop(const AttemptId& id, const std::string& reason) {
  return BeginStop(id, reason, /*yield=*/false);
}

bool JobExecutor::Yield(const AttemptId& id, const std::string& reason) {
  return BeginStop(id, reason, /*yield=*/true);
}

bool JobExecutor::BeginStop(const AttemptId& id, const std::string& reason, bool yield) {
  auto found = attempts_.find(id);
  if (found == attempts_.end() || found->second->ended) return false;
  const AttemptPtr attempt = found->second;
  EndFacts& facts = attempt->facts;
  if (!facts.stop_reason || (facts.yield && !yield)) {
    facts.stop_reason = reason;
    facts.yield = yield;
    Note(attempt, (yield ? "yielding: " : "stopping: ") + reason);
  }
  MonotonicTime now = ReadClocks().monotonic;
  yield ? attempt->ladder.Yield(now) : attempt->ladder.Begin(now);
  if (std::exchange(attempt->preparing, false)) {  // it has no process yet
    attempt->exited = attempt->group_gone = true;
    Settle(attempt);
    return true;
  }
  RunLadder(attempt);
  return true;
}

void JobExecutor::KillAll(const std::string& reason) {
  MonotonicTime now = ReadClocks().monotonic;
  std::vector<AttemptPtr> all;
  for (auto& [id, attempt] : attempts_) {
    if (!attempt->ended) all.push_back(attempt);
  }
  for (const AttemptPtr& attempt : all) {
    if (!attempt->facts.stop_reason || attempt->facts.yield) attempt->facts.stop_reason = reason;
    attempt->facts.yield = false;
    attempt->ladder.Kill(now);
    if (std::exchange(attempt->preparing, false)) {
      attempt->exited = attempt->group_gone = true;
      Settle(attempt);
    } else {
      RunLadder(attempt);
    }
  }
}

void JobExecutor::ShutDown(const std::string& reason) {
  shutting_down_ = true;
  std::vector<AttemptId> all;
  for (auto& [id, attempt] : attempts_) {
    if (!attempt->ended) all.push_back(id);
  }
  for (const AttemptId& id : all) Stop(id, reason);
}

void JobExecutor::RunLadder(const AttemptPtr& attempt) {
  if (attempt->pid == 0) {
    // Goes on when it is forked, unless the zygote has not been asked yet.
    if (zygote_->Withdraw(attempt->key)) {
      attempt->exited = attempt->group_gone = true;
      Settle(attempt);
    }
    return;
  }
  for (;;) {
    MonotonicTime now = ReadClocks().monotonic;
    StopLadder::Step step = attempt->ladder.Due(now);
    if (step == StopLadder::Step::kNone) break;
    if (attempt->exited && attempt->group_gone) return;
    switch (step) {
      case StopLadder::Step::kYield:
      case StopLadder::Step::kAsk:
        if (attempt->start_sent) {
          const char* type = step == StopLadder::Step::kYield ? "yield" : "stop";
          attempt->channel->Send(Json({{"type", type}}).dump());
        } else {
          attempt->ladder.Kill(now);  // it has not begun: there is nobody to ask
        }
        break;
      case StopLadder::Step::kTerminate:
        Signal(attempt, SIGTERM);
        break;
      default:
        Signal(attempt, SIGKILL);
        if (!attempt->exited) zygote_->ExpectExit(attempt->key);
        break;
    }
  }
  if (attempt->ladder.next_due() == MonotonicTime::Never()) return;
  attempt->ladder_timer.expires_at(ToTimerTime(attempt->ladder.next_due()));
  attempt->ladder_timer.async_wait([this, attempt](const error_code& error) {
    if (!error && !attempt->ended) RunLadder(attempt);
  });
}

void JobExecutor::Signal(const AttemptPtr& attempt, int signal) {
  attempt->facts.killed_by_node = true;
  // Right after the fork the child may not have made its group yet. Its pid is its own until its
  // end has been told.
  if (::kill(-attempt->pid, signal) != 0 && !attempt->exited) ::kill(attempt->pid, signal);
}

void JobExecutor::Settle(const AttemptPtr& attempt) {
  if (attempt->ended || !attempt->exited) return;
  MonotonicTime now = ReadClocks().monotonic;
  if (!attempt->group_gone) {
    attempt->group_gone = GroupGone(attempt->pid);
    // What the runner left behind ends with it.
    if (!attempt->group_gone) ::kill(-attempt->pid, SIGKILL);
  }
  if (attempt->group_gone) {
    if ((attempt->channel_closed && attempt->output_closed) || attempt->settled) {
      return Finish(attempt);
    }
    if (attempt->settle_until == MonotonicTime::Never()) attempt->settle_until = now + kSettleFor;
    attempt->settle_timer.expires_at(ToTimerTime(attempt->settle_until));
  } else {
    // The kernel is still taking the processes down, and tells only the parents that it is done.
    attempt->settle_timer.expires_after(attempt->settle_wait);
    attempt->settle_wait =
        std::min<Duration>(attempt->settle_wait * 2, std::chrono::milliseconds(100));
  }
  attempt->settle_timer.async_wait([this, attempt](const error_code& error) {
    if (error || attempt->ended) return;
    if (attempt->group_gone) attempt->settled = true;
    Settle(attempt);
  });
}

void JobExecutor::Finish(const AttemptPtr& attempt) {
  const AttemptId id = attempt->assignment.id;
  attempt->ended = true;
  attempt->ladder_timer.cancel();
  attempt->end_timer.cancel();
  attempt->settle_timer.cancel();
  attempt->limit_timer.cancel();
  error_code error;
  attempt->output.close(error);
  if (attempt->channel) attempt->channel->Close();
  EndFacts& facts = attempt->facts;
  facts.oom_killed = attempt->cgroup && facts.memory_limit_bytes > 0
                         ? attempt->cgroup->OomKills() > 0
                         : MachineOomKills() > attempt->machine_oom_kills;
  attempt->cgroup.reset();
  capacity_.Release(id);
  if (attempt->log != nullptr) {
    LogPiece tail = attempt->log->Tail(kLogTailBytes);
    facts.log_tail = std::move(tail.data);
    facts.log_tail_offset = tail.offset;
    attempt->log = nullptr;
    logs_->CloseLog(id);
  }
  facts.memory_estimated = spec::NamedMemory(attempt->assignment.job) == 0;
  facts.rank = attempt->assignment.gang.has_value();
  AttemptEnd end = JudgeEnd(facts);
  const spec::JobDescription& job = attempt->assignment.job;
  if (end.outcome == AttemptEnd::Outcome::kSucceeded) end.output_dataset = job.output_dataset;
  if (spec::UsesModel(job.type) && end.cause == protocol::CAUSE_DATA_UNAVAILABLE) {
    weights_->Drop(job.model_from.weights_sha256);  // it may be they that are damaged
  }
  attempt->weights.reset();
  if (attempt->has_dataset) {
    datasets_.Cancel(id);
    datasets_.Discard(logs_->FolderOf(id) + "/" + kDatasetFolder);
    for (const FileCache::Hold& hold : attempt->datasets) {
      // It may be they that are damaged.
      if (end.cause == protocol::CAUSE_DATA_UNAVAILABLE) hold->checked = false;
    }
    attempt->datasets.clear();
  }
  // For the next attempt, if there is one here.
  if (end.outcome == AttemptEnd::Outcome::kSucceeded || attempt->assignment.gang ||
      attempt->checkpoints_too_large) {
    checkpoints_->Drop(id.job);
  } else {
    checkpoints_->Keep(id.job, CheckpointsOf(logs_->FolderOf(id)));
  }
  spdlog::info("attempt {} ended: {}", attempt->key,
               end.error.ok() ? std::string("succeeded") : end.error.message());
  listener_->OnEnded(id, end);
}

void JobExecutor::Acknowledge(const AttemptId& id) {
  auto found = attempts_.find(id);
  if (found == attempts_.end() || !found->second->ended) return;
  acknowledged_tokens_.push_back(std::move(found->second->assignment.token));
  if (acknowledged_tokens_.size() > kAcknowledgedKept) acknowledged_tokens_.pop_front();
  attempts_.erase(found);
  logs_->RemoveFiles(id);
}

std::vector<AttemptId> JobExecutor::Active() const {
  std::vector<AttemptId> ids;
  for (const auto& [id, attempt] : attempts_) ids.push_back(id);
  return ids;
}

bool JobExecutor::idle() const {
  return std::all_of(attempts_.begin(), attempts_.end(),
                     [](const auto& entry) { return entry.second->ended; });
}

std::string JobExecutor::TokenOf(const AttemptId& id) const {
  auto found = attempts_.find(id);
  return found == attempts_.end() ? std::string() : found->second->assignment.token;
}

}  // namespace cyxwiz::node
