#include "runner/attempt.h"

#include <signal.h>
#include <sys/resource.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <cstdio>
#include <deque>
#include <filesystem>
#include <fstream>
#include <memory>
#include <new>
#include <string_view>
#include <utility>

#include "base/failpoint.h"
#include "base/safetensors.h"
#include "data/dataset.h"
#include "data/source_files.h"
#include "runner/attempt_parts.h"
#include "runner/event_file.h"
#include "runner/local_ranks.h"
#include "runner/sha256.h"
#include "runner/source_check.h"
#include "spec/model_use.h"

namespace cyxwiz::runner {
namespace {

using Clock = std::chrono::steady_clock;
using End = TrainingResult::End;

// From one checkpoint to the next there pass at least so many times as long as it takes to write
// one.
constexpr double kWritingsApart = 4;

double UnixSeconds() {
  return std::chrono::duration<double>(std::chrono::system_clock::now().time_since_epoch()).count();
}

// Of this process: "VmData:", private writable memory; "VmHWM:", the most that was resident.
int64_t MemoryBytes(std::string_view wanted) {
  std::ifstream status("/proc/self/status");
  std::string key;
  for (int64_t kilobytes; status >> key;) {
    if (key == wanted && status >> kilobytes) return kilobytes * 1024;
    status.ignore(1 << 16, '\n');
  }
  return 0;
}

void LimitMemory(int64_t memory_bytes) {
  if (memory_bytes <= 0) return;
  rlim_t limit = static_cast<rlim_t>(MemoryBytes("VmData:") + memory_bytes);
  rlimit value{};
  ::getrlimit(RLIMIT_DATA, &value);
  value.rlim_cur = std::min(limit, value.rlim_max);
  ::setrlimit(RLIMIT_DATA, &value);
}

// Before CUDA is touched, which looks at this once. The node counts GPUs in the order of their bus.
void ShowGpus(const std::optional<std::string>& visible) {
  if (!visible) return;
  ::setenv("CUDA_DEVICE_ORDER", "PCI_BUS_ID", 1);
  ::setenv("CUDA_VISIBLE_DEVICES", visible->c_str(), 1);
}

Failure FailureOfProblems(const spec::Problems& problems) {
  const spec::Problem& first = problems.list().front();
  Failure failure{"user_error", first.message, first.hint, first.path};
  if (!first.expected.empty()) failure.message += ": expected " + first.expected;
  if (!first.found.empty()) failure.message += ", found " + first.found;
  if (problems.count() > 1) {
    failure.message +=
        " (and " + std::to_string(problems.count() - 1) + " more: " + problems.ToString() + ")";
  }
  return failure;
}

// Of ranks that have not met.
Failure MeetingFailure(const Status& status) {
  Failure failure{"internal", status.message(), status.hint(), ""};
  if (status.code() == Code::kAlreadyExists) failure.cause = "port_taken";
  if (status.code() == Code::kUnavailable) failure.cause = "peer_lost";
  return failure;
}

// Whether the job's files are here and allowed; a job that was accepted elsewhere may find they are
// not.
Status FindData(const spec::JobDescription& job, const data::Roots& roots) {
  spec::Problems problems;
  std::optional<spec::DatasetUri> uri = spec::ParseDatasetUri(job.dataset_uri, &problems);
  if (!uri || uri->kind == spec::DatasetUri::Kind::kMock || uri->delivered()) return OkStatus();
  if (uri->kind == spec::DatasetUri::Kind::kWebDataset)  // a pattern is no path
    return data::FindSourceFiles(*uri, roots).status();
  RETURN_IF_ERROR(roots.Resolve(uri->path).status());
  if (!uri->labels_path.empty()) RETURN_IF_ERROR(roots.Resolve(uri->labels_path).status());
  return OkStatus();
}

class Observer : public TrainingObserver {
 public:
  // checkpoint_seconds: 0: only when the training yields. events: of the checkpoint that it goes on
  // from.
  Observer(const AttemptHooks& hooks, Clock::time_point begin, double checkpoint_seconds,
           const data::Dataset& dataset, std::string events, CheckpointWriter* writer,
           AttemptResult* result)
      : hooks_(hooks),
        begin_(begin),
        checkpoint_seconds_(checkpoint_seconds),
        dataset_(dataset),
        earlier_(EventFile::From(std::move(events))),
        writer_(writer),
        result_(*result),
        fault_(InjectedFault::FromEnvironment()) {}

  void OnStarted(const Started& started) override {
    result_.resumed = started.resumed;
    if (started.resumed && earlier_) events_ = std::move(*earlier_);
    if (!hooks_.started) return;
    hooks_.started(started, result_.load_seconds * 1e3, SecondsSince(begin_) * 1e3);
  }
  void OnProgress(const Progress& progress) override {
    step_ = progress.step;
    if (progress.end_of_epoch) events_.AddEpoch(UnixSeconds(), progress);
    if (hooks_.progress) hooks_.progress(progress);
  }
  Directive Asked() override {
    TellWritten();
    if (!hooks_.asked || fault_.hang_on_stop) return Directive::kGoOn;
    return hooks_.asked();
  }
  bool StateWanted() override {
    if (checkpoint_seconds_ <= 0) return false;
    auto now = Clock::now();
    double passed = std::chrono::duration<double>(now - last_state_).count();
    // Writing takes a core and the disk: at most a part of the time, however large the model.
    double least = std::max(checkpoint_seconds_, kWritingsApart * last_write_seconds_);
    if (passed < least || writer_->busy()) return false;
    wanted_at_ = last_state_ = now;
    return true;
  }
  void OnState(TrainingState state) override {
    state.events = events_.bytes();
    state.statistics = dataset_.statistics;
    writer_->Begin(std::move(state));
    pauses_.push_back(wanted_at_ ? SecondsSince(*wanted_at_) : 0);  // one that yields has no wait
    wanted_at_.reset();
  }
  // Tells of checkpoints that have been written, or could not be.
  void TellWritten() {
    for (CheckpointWriter::Written& written : writer_->Take()) {
      double pause = pauses_.empty() ? 0 : pauses_.front();
      if (!pauses_.empty()) pauses_.pop_front();
      if (!written.checkpoint.ok()) {
        result_.checkpoint_trouble = written.checkpoint.status();
        LogLine("no checkpoint: " + written.checkpoint.status().ToString());
        continue;
      }
      result_.checkpoint = *written.checkpoint;
      result_.checkpoint_trouble = OkStatus();
      ++result_.checkpoints;
      last_write_seconds_ = written.seconds;
      result_.checkpoint_pause_seconds += pause;
      result_.checkpoint_write_seconds += written.seconds;
      if (hooks_.checkpoint) {
        hooks_.checkpoint(*written.checkpoint, pause * 1e3, written.seconds * 1e3);
      }
    }
  }
  void OnStep(int64_t step) override { fault_.Strike(step); }
  void Log(const std::string& line) override { LogLine(line); }

  // What TensorBoard shows of the training. `tested`: what was measured after the last epoch.
  const EventFile& EndEvents(const Metrics& tested) {
    Metrics metrics;
    for (const auto& [name, value] : tested) {
      if (name.starts_with("test_")) metrics[name] = value;
    }
    if (!metrics.empty()) events_.Add(UnixSeconds(), step_, metrics);
    return events_;
  }

 private:
  const AttemptHooks& hooks_;
  Clock::time_point begin_;
  const double checkpoint_seconds_;
  const data::Dataset& dataset_;
  std::optional<EventFile> earlier_;
  double last_write_seconds_ = 0;
  CheckpointWriter* writer_;
  AttemptResult& result_;
  Clock::time_point last_state_ = Clock::now();  // when one was last wanted, or the beginning
  std::optional<Clock::time_point> wanted_at_;   // when the one that is being copied was wanted
  std::deque<double> pauses_;                    // seconds, of those that are being written
  InjectedFault fault_;
  EventFile events_{UnixSeconds()};
  int64_t step_ = 0;  // last reported
};

// The node may ask at any time; looking costs a system call, so a short batch does not look each
// time.
class StopWatch {
 public:
  explicit StopWatch(Channel* channel) : channel_(channel) {}

  Directive Asked() {
    if (asked_ == Directive::kStop) return asked_;
    auto now = Clock::now();
    if (now - last_look_ < std::chrono::milliseconds(1)) return asked_;
    last_look_ = now;
    Result<std::optional<Json>> line = channel_->Poll();
    if (!line.ok()) {
      LogLine("stopping: " + line.status().message());
      asked_ = Directive::kStop;
    } else if (*line) {
      std::string type = (**line)["type"].get<std::string>();
      if (type != "stop" && type != "yield") {
        LogLine("stopping: the node sent '" + type + "', expected 'stop' or 'yield'");
      }
      asked_ = type == "yield" ? Directive::kYield : Directive::kStop;
    }
    return asked_;
  }

 private:
  Channel* channel_;
  Clock::time_point last_look_;
  Directive asked_ = Directive::kGoOn;
};

// Of the values of all tensors, in order of their names.
std::string WeightsHash(std::vector<TensorView> tensors) {
  std::sort(tensors.begin(), tensors.end(),
            [](const TensorView& a, const TensorView& b) { return a.name < b.name; });
  Sha256 hash;
  for (const TensorView& tensor : tensors) {
    hash.Update(tensor.data, static_cast<size_t>(tensor.bytes()));
  }
  return hash.Finish();
}

Status WriteResult(const spec::JobSpec& job, const data::Dataset& dataset,
                   const TrainingResult& trained, const EventFile& events,
                   const std::string& folder, std::vector<std::string>* files) {
  const std::string weights = "weights.safetensors", model = "model.json";
  RETURN_IF_ERROR(MakeFolder(folder));
  CYXWIZ_FAILPOINT("runner.result.before");
  // "format": "pt" is what the loaders of transformers and PyTorch look for.
  RETURN_IF_ERROR(WriteSafetensors(folder + "/" + weights, trained.weights, {{"format", "pt"}}));
  Metrics metrics = trained.metrics;
  metrics.erase("samples_per_second");
  metrics.erase("learning_rate");
  const bool bytes = std::holds_alternative<std::vector<uint8_t>>(dataset.train.features);
  spec::TrainingSpec training = job.training;
  training.precision = trained.precision;
  Json json{{"format", "cyxwiz-model"},
            {"version", 1},
            {"weights", weights},
            {"model", spec::ModelToJson(job.model)},
            {"training", spec::TrainingToJson(training)},
            {"dataset", job.dataset_uri.text},
            {"input",
             {{"type", bytes ? "uint8" : "float32"},
              {"divisor", bytes ? dataset.train.scale.divisor : 1.0f}}},
            {"metrics", metrics},
            {"weights_sha256", WeightsHash(trained.weights)},
            {"libtorch", LibtorchVersion()}};
  if (!job.dataset_uri.manifest_sha256.empty())
    json["dataset_sha256"] = job.dataset_uri.manifest_sha256;
  if (trained.confusion_matrix) json["confusion_matrix"] = ToJson(*trained.confusion_matrix);
  if (!trained.class_weights.empty()) json["class_weights"] = trained.class_weights;
  if (!dataset.details.empty()) json["data"] = dataset.details;
  RETURN_IF_ERROR(WriteFileAtomically(
      folder + "/" + model, json.dump(2, ' ', false, Json::error_handler_t::replace) + "\n"));
  RETURN_IF_ERROR(WriteFileAtomically(folder + "/" + events.name(), events.bytes()));
  CYXWIZ_FAILPOINT("runner.result.after");
  *files = {weights, model, events.name()};
  return OkStatus();
}

void RunTraining(const StartMessage& start, const AttemptHooks& hooks, const spec::JobSpec& job,
                 const data::Dataset& dataset, std::unique_ptr<Interruption> interruption,
                 Clock::time_point begin, ProcessGroup* group, AttemptResult* result) {
  const bool leads = group == nullptr || group->leads();
  auto identity = [&] { return IdentityOf(job, dataset); };
  std::optional<TrainingState> state;
  if (!start.resume.empty()) {
    const std::string checkpoints = start.folder + "/" + start.resume;
    if (!ListCheckpoints(checkpoints).empty()) {
      state = ReadNewestCheckpoint(checkpoints, identity(), LogLine);
    }
    if (!state) LogLine("no usable checkpoint: beginning at the beginning");
  }
  // Of an earlier run in this folder, and not of this training: it would outlive what we write.
  std::error_code error;
  if (!state && leads) std::filesystem::remove_all(start.folder + "/" + kCheckpointsFolder, error);
  CheckpointWriter writer(start.folder + "/" + kCheckpointsFolder, identity,
                          job.training.checkpoints_kept);
  Observer observer(hooks, begin, job.training.checkpoint_seconds, dataset,
                    state ? std::move(state->events) : "", &writer, result);
  interruption.reset();
  // One that shall yield trains for one batch first: there is nothing to keep before.
  if (observer.Asked() == Directive::kStop) {
    result->end = End::kStopped;
    return;
  }
  TrainingResult trained =
      Train(job, dataset, ThreadsAllowed(start), &observer, std::move(state), group);
  if (trained.end == End::kYielded) writer.Wait();
  observer.TellWritten();
  result->end = trained.end;
  result->failure = trained.failure;
  result->metrics = trained.metrics;
  result->compute_seconds = trained.compute_seconds;
  result->training_seconds = trained.training_seconds;
  result->training_cpu_seconds = trained.training_cpu_seconds;
  if (trained.end != End::kSucceeded || !leads) return;

  auto write_begin = Clock::now();
  const EventFile& events = observer.EndEvents(trained.metrics);
  if (Status written = WriteResult(job, dataset, trained, events, start.folder, &result->files);
      !written.ok()) {
    result->end = End::kFailed;
    result->failure = NotKept(written);
  }
  result->write_seconds = SecondsSince(write_begin);
}

// Of the data that an attempt before has read, where it is scaled.
std::optional<data::Statistics> KnownStatistics(const StartMessage& start) {
  if (start.resume.empty()) return std::nullopt;
  spec::Problems problems;
  std::optional<spec::DatasetUri> uri = spec::ParseDatasetUri(start.job.dataset_uri, &problems);
  if (!uri || !uri->normalize) return std::nullopt;
  return ReadStatistics(start.folder + "/" + start.resume);
}

void Run(const StartMessage& start, const AttemptHooks& hooks, AttemptResult* result) {
  auto begin = Clock::now();
  ShowGpus(start.cuda_visible_devices);
  // Before memory is limited: its threads are not the job's.
  std::unique_ptr<ProcessGroup> group;
  if (start.gang) {
    Result<std::unique_ptr<ProcessGroup>> met = ProcessGroup::Connect(
        *start.gang, [&hooks] { return hooks.asked && hooks.asked() != Directive::kGoOn; },
        [&hooks] { return hooks.asked && hooks.asked() == Directive::kStop; });
    if (met.status().code() == Code::kCancelled) {
      result->end = hooks.asked() == Directive::kYield ? End::kYielded : End::kStopped;
      return;
    }
    if (!met.ok()) {
      result->failure = MeetingFailure(met.status());
      return;
    }
    group = std::move(*met);
  }
  std::unique_ptr<Interruption> interruption = Interruptible(hooks);
  LimitMemory(start.memory_bytes);
  if (!spec::HasModel(start.job)) {
    result->failure = {"user_error", "the model has not been looked up: only a server can",
                       "submit the job to a Central Server", spec::kModelFromPath};
    return;
  }
  std::optional<data::Preparation> preparation;
  if (spec::UsesModel(start.job.type)) {
    Result<data::Preparation> read = data::ReadPreparation(start.job.model_from.data);
    if (!read.ok()) {
      result->failure = FailureOf(read.status(), spec::kModelFromPath);
      return;
    }
    preparation = std::move(*read);
    preparation->labels = start.job.type == spec::JobType::kEvaluation;
  }
  data::Roots roots(start.data_roots);
  if (Status found = FindData(start.job, roots); !found.ok()) {
    result->failure = FailureOf(found, "$.dataset");
    return;
  }
  if (Status unchanged = CheckSourceFiles(start.job, roots); !unchanged.ok()) {
    result->failure = FailureOf(unchanged, "$.dataset");
    return;
  }
  spec::Problems problems;
  const std::optional<data::Statistics> known = KnownStatistics(start);
  data::Loader loader(roots, preparation,
                      start.dataset.empty() ? "" : start.folder + "/" + start.dataset, known);
  std::optional<spec::JobSpec> job = spec::CheckJob(start.job, &loader, &problems);
  if (!job) {
    result->failure = loader.status().ok() ? FailureOfProblems(problems)
                                           : FailureOf(loader.status(), "$.dataset");
    return;
  }
  Result<data::Dataset> dataset =
      loader.Take(job->dataset_uri, job->dataset && job->dataset->streams);
  if (!dataset.ok()) {
    result->failure = FailureOf(dataset.status(), "$.dataset");
    return;
  }
  if (known && dataset->statistics && dataset->statistics->of == known->of)
    LogLine("normalize: mean and deviation are those of the checkpoint");
  result->load_seconds = SecondsSince(begin);
  result->estimate = job->estimate;
  result->flops_per_sample = job->model.flops;
  if (job->type == spec::JobType::kPreprocessing) {
    return RunPreprocessing(start, hooks, *job, *dataset, std::move(interruption), begin, result);
  }
  if (preparation) {
    return RunModelAttempt(start, hooks, *job, *dataset, preparation->classes,
                           std::move(interruption), begin, result);
  }
  RunTraining(start, hooks, *job, *dataset, std::move(interruption), begin, group.get(), result);
}

AttemptResult RunRank(const StartMessage& start, const AttemptHooks& hooks) {
  AttemptResult result;
  try {
    Run(start, hooks, &result);
  } catch (const std::bad_alloc&) {
    result.end = End::kFailed;
    result.failure = {"out_of_memory", "the job needs more memory than the attempt may use",
                      "ask for more memory, or use a smaller data set or model", ""};
  } catch (const std::exception& error) {
    result.end = End::kFailed;
    result.failure = {"internal", error.what(), "", ""};
  }
  if (result.end == End::kFailed) {
    LogLine("failed (" + result.failure.cause + "): " + result.failure.message +
            (result.failure.hint.empty() ? "" : " (" + result.failure.hint + ")"));
  }
  result.peak_memory_bytes = MemoryBytes("VmHWM:");
  return result;
}

}  // namespace

AttemptResult RunAttempt(const StartMessage& start, const AttemptHooks& hooks) {
  if (start.processes == 1) return RunRank(start, hooks);
  const pid_t first = ::getpid();
  return RunLocalRanks(start, [&hooks, first](const StartMessage& rank) {
    return RunRank(rank, ::getpid() == first ? hooks : AttemptHooks());
  });
}

int ServeAttempt(UniqueFd socket) {
  Channel channel(std::move(socket));
  InjectedFault fault = InjectedFault::FromEnvironment();
  if (fault.hang_on_stop) ::signal(SIGTERM, SIG_IGN);

  // A node that is gone needs no answer: its kernel ends this process, and nobody reads the exit
  // code.
  if (!channel.Send(HelloLine()).ok()) return 0;
  Result<Json> line = channel.Receive();
  if (!line.ok()) {
    (void)channel.Send(FailedLine({"internal", line.status().message(), "", ""}));
    return 0;
  }
  if ((*line)["type"] == "stop") {
    (void)channel.Send(StoppedLine());
    return 0;
  }
  Result<StartMessage> start = ParseStart(*line);
  if (!start.ok()) {
    (void)channel.Send(
        FailedLine({"internal", start.status().message(), start.status().hint(), ""}));
    return 0;
  }
  if (fault.oom && start->memory_bytes == 0) start->memory_bytes = 1 << 30;

  StopWatch stop(&channel);
  AttemptHooks hooks;
  hooks.started = [&](const Started& started, double load_ms, double first_step_ms) {
    (void)channel.Send(StartedLine(started, load_ms, first_step_ms));
  };
  hooks.progress = [&](const Progress& progress) {
    Json report = ProgressLine(progress);
    (void)(progress.end_of_epoch ? channel.Send(report) : channel.SendOrDrop(report));
  };
  hooks.asked = [&] { return stop.Asked(); };
  if (!fault.hang_on_stop) {
    hooks.interruptible = [&] { return std::make_unique<Interruption>(&channel, hooks.asked); };
  }
  hooks.checkpoint = [&](const Checkpoint& checkpoint, double pause_ms, double write_ms) {
    (void)channel.Send(CheckpointLine(checkpoint, pause_ms, write_ms));
  };

  AttemptResult result = RunAttempt(*start, hooks);
  Json last = result.end == End::kSucceeded
                  ? SucceededLine(result.files, result.metrics, result.compute_seconds)
              : result.end == End::kStopped ? StoppedLine()
              : result.end == End::kYielded
                  ? YieldedLine(result.checkpoint, result.checkpoint_trouble)
                  : FailedLine(result.failure);
  // Through the kernel before the last line: whoever reads the line may read the log at once.
  std::fflush(nullptr);
  (void)channel.Send(last);
  return 0;
}

}  // namespace cyxwiz::runner
