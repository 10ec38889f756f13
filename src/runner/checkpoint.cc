#include "runner/checkpoint.h"

#include <fcntl.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <chrono>
#include <cmath>
#include <filesystem>
#include <limits>
#include <memory>
#include <utility>

#include "base/failpoint.h"
#include "base/file.h"
#include "base/json.h"
#include "base/safetensors.h"
#include "runner/sha256.h"

namespace cyxwiz::runner {
namespace {

namespace fs = std::filesystem;

constexpr const char* kFormat = "cyxwiz-checkpoint";
constexpr const char* kStateFile = "state.safetensors";
constexpr const char* kEventsTensor = "events";
constexpr const char* kManifestFile = "manifest.json";
constexpr size_t kNameDigits = 12;
constexpr size_t kMaxManifestBytes = 64 << 10;

std::string NameOf(int64_t step) {
  std::string digits = std::to_string(step);
  return std::string(kNameDigits - std::min(kNameDigits, digits.size()), '0') + digits;
}

bool IsCheckpointName(const std::string& name) {
  return name.size() >= kNameDigits &&
         std::all_of(name.begin(), name.end(), [](char c) { return c >= '0' && c <= '9'; });
}

Status SyncFolder(const std::string& folder) {
  UniqueFd fd(::open(folder.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  if (!fd || ::fsync(fd.get()) != 0) return ErrnoStatus("cannot fsync '" + folder + "'", errno);
  return OkStatus();
}

// JSON has no infinity and no NaN; a validation loss may be either.
Json NumberToJson(double value) {
  if (std::isfinite(value)) return value;
  return std::isnan(value) ? "nan" : value > 0 ? "inf" : "-inf";
}
Result<double> NumberFromJson(const Json& json) {
  if (json.is_number()) return json.get<double>();
  if (json == "nan") return std::numeric_limits<double>::quiet_NaN();
  if (json == "inf") return std::numeric_limits<double>::infinity();
  if (json == "-inf") return -std::numeric_limits<double>::infinity();
  return DataLoss("expected a number, found " + json.dump());
}

Json NumbersToJson(const std::map<std::string, double>& numbers) {
  Json json = Json::object();
  for (const auto& [name, value] : numbers) json[name] = NumberToJson(value);
  return json;
}

Json NumbersToJson(const std::vector<float>& numbers) {
  Json json = Json::array();
  for (float value : numbers) json.push_back(NumberToJson(static_cast<double>(value)));
  return json;
}

std::string StateToText(const TrainingState& state) {
  Json json{{"epoch", state.epoch},
            {"samples", state.samples},
            {"step", state.step},
            {"loss_sum", state.loss_sum},
            {"correct", state.correct},
            {"metrics", NumbersToJson(state.metrics)},
            {"numbers", NumbersToJson(state.numbers)},
            {"compute_seconds", state.compute_seconds},
            {"training_seconds", state.training_seconds},
            {"training_cpu_seconds", state.training_cpu_seconds}};
  if (const auto& statistics = state.statistics) {
    json["statistics"] = {{"of", statistics->of},
                          {"mean", NumbersToJson(statistics->mean)},
                          {"deviation", NumbersToJson(statistics->deviation)}};
  }
  // A path may be no UTF-8.
  return json.dump(-1, ' ', false, Json::error_handler_t::replace);
}

Result<data::Statistics> StatisticsFromJson(const Json& json) {
  data::Statistics statistics;
  if (!json.is_object() || !json.contains("of") || !json["of"].is_string())
    return DataLoss("its statistics do not say of what they are");
  statistics.of = json["of"].get<std::string>();
  for (auto [key, numbers] :
       {std::pair("mean", &statistics.mean), std::pair("deviation", &statistics.deviation)}) {
    if (!json.contains(key) || !json[key].is_array())
      return DataLoss(std::string("its statistics have no '") + key + "'");
    for (const Json& number : json[key]) {
      ASSIGN_OR_RETURN(double value, NumberFromJson(number));
      numbers->push_back(static_cast<float>(value));
    }
  }
  return statistics;
}

Status StateFromText(const std::string& text, TrainingState* state) {
  ASSIGN_OR_RETURN(Json json, ParseJson(text, "state"));
  auto whole = [&](const char* key, int64_t* value) {
    if (!json.contains(key) || !json[key].is_number_integer()) {
      return DataLoss(std::string("its state has no whole number '") + key + "'");
    }
    *value = json[key].get<int64_t>();
    return OkStatus();
  };
  auto real = [&](const char* key, double* value) {
    if (!json.contains(key) || !json[key].is_number()) {
      return DataLoss(std::string("its state has no number '") + key + "'");
    }
    *value = json[key].get<double>();
    return OkStatus();
  };
  if (!json.is_object()) return DataLoss("its state is not an object");
  RETURN_IF_ERROR(whole("epoch", &state->epoch));
  RETURN_IF_ERROR(whole("samples", &state->samples));
  RETURN_IF_ERROR(whole("step", &state->step));
  RETURN_IF_ERROR(whole("correct", &state->correct));
  RETURN_IF_ERROR(real("loss_sum", &state->loss_sum));
  RETURN_IF_ERROR(real("compute_seconds", &state->compute_seconds));
  RETURN_IF_ERROR(real("training_seconds", &state->training_seconds));
  RETURN_IF_ERROR(real("training_cpu_seconds", &state->training_cpu_seconds));
  for (auto [key, numbers] :
       {std::pair("metrics", &state->metrics), std::pair("numbers", &state->numbers)}) {
    if (!json.contains(key) || !json[key].is_object()) {
      return DataLoss(std::string("its state has no '") + key + "'");
    }
    for (const auto& [name, value] : json[key].items()) {
      ASSIGN_OR_RETURN((*numbers)[name], NumberFromJson(value));
    }
  }
  if (!json.contains("statistics")) return OkStatus();
  ASSIGN_OR_RETURN(state->statistics, StatisticsFromJson(json["statistics"]));
  return OkStatus();
}

Json ManifestOf(const Checkpoint& checkpoint, const std::string& identity) {
  Json files = Json::array();
  for (const CheckpointFile& file : checkpoint.files) {
    files.push_back({{"name", file.name}, {"size", file.size}, {"sha256", file.sha256}});
  }
  return {{"format", kFormat},       {"version", kCheckpointVersion},
          {"identity", identity},    {"epoch", checkpoint.epoch},
          {"step", checkpoint.step}, {"libtorch", LibtorchVersion()},
          {"files", files}};
}

// Checks everything but the content of the files. identity: nullptr: of any training.
Status CheckManifest(const Json& manifest, const std::string* identity) {
  auto text = [&](const char* key) {
    return manifest.contains(key) && manifest[key].is_string() ? manifest[key].get<std::string>()
                                                               : std::string();
  };
  if (!manifest.is_object() || text("format") != kFormat) {
    return DataLoss(std::string("its manifest is not one: expected \"format\": \"") + kFormat +
                    "\"");
  }
  if (!manifest.contains("version") || manifest["version"] != kCheckpointVersion) {
    return FailedPrecondition("it has another format version, expected " +
                              std::to_string(kCheckpointVersion));
  }
  if (identity != nullptr && text("identity") != *identity) {
    return FailedPrecondition(
        "it belongs to another training (model, hyperparameters or data "
        "differ): expected identity " +
        *identity + ", found " + text("identity"));
  }
  if (!manifest.contains("files") || !manifest["files"].is_array() ||
      manifest["files"].size() != 1 || !manifest["files"][0].is_object()) {
    return DataLoss("its manifest does not list one file");
  }
  const Json& file = manifest["files"][0];
  if (file.value("name", Json()) != kStateFile || !file.contains("size") ||
      !file["size"].is_number_integer() || !file.contains("sha256") ||
      !file["sha256"].is_string()) {
    return DataLoss(std::string("its manifest does not list ") + kStateFile);
  }
  return OkStatus();
}

// Complete checkpoints count; the older ones, and what is half written, go.
void Prune(const std::string& folder, int64_t most) {
  int64_t kept = 0;
  for (const std::string& name : ListCheckpoints(folder)) {
    std::error_code error;
    if (fs::exists(folder + "/" + name + "/" + kManifestFile, error) && kept < most) {
      ++kept;
      continue;
    }
    fs::remove_all(folder + "/" + name, error);
  }
}

template <typename T>
void AddValues(Sha256* hash, const std::vector<T>& values) {
  int64_t bytes = static_cast<int64_t>(values.size() * sizeof(T));
  hash->Update(&bytes, sizeof bytes);
  hash->Update(values.data(), static_cast<size_t>(bytes));
}

}  // namespace

std::string IdentityOf(const spec::JobSpec& job, const data::Dataset& dataset) {
  Sha256 hash;
  std::string text = Json{{"model", spec::ModelToJson(job.model)},
                          {"training", spec::TrainingToJson(job.training)},
                          {"threads", job.training.threads}}
                         .dump();
  hash.Update(text.data(), text.size());
  for (const data::Split* split : {&dataset.train, &dataset.test}) {
    if (split->files != nullptr) {
      // Too large to be read for it: the content is known by its manifest, or by sizes and times.
      const std::string& manifest = job.dataset_uri.manifest_sha256;
      const std::string content = manifest.empty() ? split->files->State() : manifest;
      hash.Update(content.data(), content.size());
      AddValues(&hash, split->rows);
      AddValues(&hash, std::vector<int64_t>{job.dataset_uri.stream.window});
    }
    std::visit([&](const auto& values) { AddValues(&hash, values); }, split->features);
    std::visit([&](const auto& values) { AddValues(&hash, values); }, split->labels);
    if (split->scale.mean.empty()) continue;
    AddValues(&hash, split->scale.mean);
    AddValues(&hash, split->scale.deviation);
  }
  if (const auto& augmentation = job.dataset_uri.augmentation; augmentation.any()) {
    AddValues(&hash, std::vector<int64_t>{augmentation.flip, augmentation.crop});
    if (augmentation.jitters() || augmentation.mixup > 0) {
      AddValues(&hash,
                std::vector<double>{augmentation.brightness, augmentation.contrast,
                                    augmentation.saturation, augmentation.hue, augmentation.mixup});
    }
  }
  return hash.Finish();
}

std::vector<std::string> ListCheckpoints(const std::string& folder) {
  std::vector<std::string> names;
  std::error_code error;
  for (fs::directory_iterator entry(folder, error), end; !error && entry != end;
       entry.increment(error)) {
    std::string name = entry->path().filename().string();
    if (IsCheckpointName(name)) names.push_back(std::move(name));
  }
  std::sort(names.begin(), names.end(), [](const std::string& a, const std::string& b) {
    return std::pair(a.size(), a) > std::pair(b.size(), b);
  });
  return names;
}

Result<Checkpoint> WriteCheckpoint(const std::string& folder, const std::string& identity,
                                   const TrainingState& state) {
  Checkpoint checkpoint{NameOf(state.step), state.epoch, state.step, {}};
  const std::string path = folder + "/" + checkpoint.name;
  std::error_code error;
  // One of the same step may be there: a training was resumed from an older one, or asked to yield
  // where it has just been saved.
  fs::remove_all(path, error);
  RETURN_IF_ERROR(MakeFolder(path));
  std::vector<TensorView> tensors = state.tensors;
  if (!state.events.empty()) {
    tensors.push_back({kEventsTensor,
                       DataType::kUint8,
                       {static_cast<int64_t>(state.events.size())},
                       state.events.data()});
  }
  RETURN_IF_ERROR(
      WriteSafetensors(path + "/" + kStateFile, tensors, {{"state", StateToText(state)}}));
  // Read back: what the manifest vouches for is what a reader will get.
  ASSIGN_OR_RETURN(FileHash hash, HashFile(path + "/" + kStateFile));
  checkpoint.files.push_back({kStateFile, hash.sha256, hash.size});
  std::string manifest = ManifestOf(checkpoint, identity).dump(2) + "\n";
  CYXWIZ_FAILPOINT("runner.checkpoint.before");
  RETURN_IF_ERROR(WriteFileAtomically(path + "/" + kManifestFile, manifest));
  CYXWIZ_FAILPOINT("runner.checkpoint.after");
  RETURN_IF_ERROR(SyncFolder(folder));
  checkpoint.files.push_back(
      {kManifestFile, Sha256Of(manifest), static_cast<int64_t>(manifest.size())});
  return checkpoint;
}

namespace {

// identity: as of CheckManifest.
Result<TrainingState> Read(const std::string& folder, const std::string& name,
                           const std::string* identity) {
  const std::string path = folder + "/" + name;
  Result<std::string> text = ReadFile(path + "/" + kManifestFile, kMaxManifestBytes);
  if (!text.ok()) return DataLoss("it is not complete: " + text.status().message());
  Result<Json> manifest = ParseJson(*text, kManifestFile);
  if (!manifest.ok()) return DataLoss(manifest.status().message());
  RETURN_IF_ERROR(CheckManifest(*manifest, identity));
  const Json& expected = (*manifest)["files"][0];
  Result<FileHash> found = HashFile(path + "/" + kStateFile);
  if (!found.ok()) return DataLoss(found.status().message());
  if (found->size != expected["size"] || found->sha256 != expected["sha256"]) {
    return DataLoss(std::string(kStateFile) + " is damaged: expected " + expected["size"].dump() +
                    " bytes with SHA-256 " + expected["sha256"].get<std::string>() + ", found " +
                    std::to_string(found->size) + " with " + found->sha256);
  }
  ASSIGN_OR_RETURN(SafetensorsFile content,
                   ReadSafetensors(path + "/" + kStateFile, static_cast<size_t>(found->size)));
  TrainingState state;
  RETURN_IF_ERROR(StateFromText(content.metadata["state"], &state));
  auto owner = std::make_shared<const SafetensorsFile>(std::move(content));
  for (const auto& [tensor, entry] : owner->entries) {
    if (tensor == kEventsTensor) {
      state.events.assign(static_cast<const char*>(owner->values(entry)), entry.end - entry.begin);
      continue;
    }
    state.tensors.push_back({tensor, entry.type, entry.shape, owner->values(entry)});
  }
  state.owner = owner;
  return state;
}

}  // namespace

Result<TrainingState> ReadCheckpoint(const std::string& folder, const std::string& name,
                                     const std::string& identity) {
  return Read(folder, name, &identity);
}

std::optional<data::Statistics> ReadStatistics(const std::string& folder) {
  for (const std::string& name : ListCheckpoints(folder)) {
    Result<TrainingState> state = Read(folder, name, /*identity=*/nullptr);
    if (state.ok()) return std::move(state->statistics);
  }
  return std::nullopt;
}

std::optional<TrainingState> ReadNewestCheckpoint(
    const std::string& folder, const std::string& identity,
    const std::function<void(const std::string&)>& log) {
  for (const std::string& name : ListCheckpoints(folder)) {
    Result<TrainingState> state = ReadCheckpoint(folder, name, identity);
    if (state.ok()) return std::move(*state);
    log("cannot use checkpoint " + name + ", deleting it: " + state.status().message());
    std::error_code error;
    fs::remove_all(folder + "/" + name, error);
  }
  return std::nullopt;
}

// ---- CheckpointWriter

CheckpointWriter::~CheckpointWriter() {
  if (!thread_.joinable()) return;
  {
    std::lock_guard lock(mutex_);
    ending_ = true;
  }
  changed_.notify_all();
  thread_.join();
}

bool CheckpointWriter::busy() const {
  std::lock_guard lock(mutex_);
  return busy_;
}

void CheckpointWriter::Begin(TrainingState state) {
  std::unique_lock lock(mutex_);
  changed_.wait(lock, [&] { return !busy_; });
  state_ = std::move(state);
  busy_ = true;
  if (!thread_.joinable()) thread_ = std::thread([this] { Run(); });
  changed_.notify_all();
}

void CheckpointWriter::Wait() {
  std::unique_lock lock(mutex_);
  changed_.wait(lock, [&] { return !busy_; });
}

std::vector<CheckpointWriter::Written> CheckpointWriter::Take() {
  std::lock_guard lock(mutex_);
  return std::exchange(written_, {});
}

void CheckpointWriter::Run() {
  std::unique_lock lock(mutex_);
  for (;;) {
    changed_.wait(lock, [&] { return busy_ || ending_; });
    if (!busy_) return;
    TrainingState state = std::move(*state_);
    state_.reset();
    lock.unlock();
    Written written = Write(state);
    state = TrainingState();  // its memory, before the next one is copied
    lock.lock();
    written_.push_back(std::move(written));
    busy_ = false;
    changed_.notify_all();
  }
}

CheckpointWriter::Written CheckpointWriter::Write(const TrainingState& state) {
  auto begin = std::chrono::steady_clock::now();
  Result<Checkpoint> checkpoint = Internal("not written");
  try {
    if (identity_.empty()) identity_ = identity_of_();
    checkpoint = WriteCheckpoint(folder_, identity_, state);
    if (checkpoint.ok()) Prune(folder_, kept_);
  } catch (const std::exception& error) {  // std::bad_alloc
    checkpoint = ResourceExhausted(error.what());
  }
  double seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - begin).count();
  return {std::move(checkpoint), seconds};
}

}  // namespace cyxwiz::runner
