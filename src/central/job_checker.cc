#include "central/job_checker.h"

#include <sys/stat.h>

#include <algorithm>
#include <atomic>

#include "central/convert.h"
#include "central/dataset_source.h"
#include "security/job_token.h"
#include "spec/count.h"
#include "spec/hyperparameters.h"
#include "spec/job_spec.h"
#include "spec/model_use.h"
#include "wire/deterministic.h"
#include "wire/job_config.h"

namespace cyxwiz::central {
namespace {

constexpr int32_t kMostRetries = 100;
constexpr int32_t kDefaultRetries = 2;

// Without the parts that do not belong to the body; equal configurations give equal bytes.
std::string Serialise(const protocol::JobConfig& config) {
  using Config = protocol::JobConfig;
  return DeterministicBytes(
      config, {Config::kJobIdFieldNumber, Config::kNameFieldNumber, Config::kUserIdFieldNumber});
}

// Each rank of a gang fetches for itself, so that something must say that it is the same.
void CheckSameData(const std::string& dataset_uri, spec::Problems* problems) {
  spec::Problems ignored;
  auto uri =
      spec::IsRemote(dataset_uri) ? spec::ParseDatasetUri(dataset_uri, &ignored) : std::nullopt;
  if (!uri) return;
  const auto& files = uri->remote.files;
  const bool same = !uri->remote.lists() &&
                    std::all_of(files.begin(), files.end(),
                                [](const spec::RemoteFile& file) { return !file.sha256.empty(); });
  if (same) return;
  problems->Add({.path = "$.dataset",
                 .message = "the nodes of the job could fetch different contents",
                 .expected = "sha256 of each file",
                 .found = "none, or not of each",
                 .hint = "or keep the data on the server: 'cyxwiz dataset put'"});
}

// What the wire adds to a JobDescription.
void CheckWireFields(const protocol::JobConfig& config, spec::Problems* problems) {
  if (!config.job_id().empty() && !IsValidId(config.job_id())) {
    problems->Add({.path = "$.job_id",
                   .message = "not a valid id",
                   .expected = "1 to 128 of letters, digits, '.', '_' and '-', not beginning with "
                               "'.' or '-'",
                   .found = Clip("'" + config.job_id() + "'", 200),
                   .hint = "leave it empty and the server chooses one"});
  }
  if (!protocol::JobPriority_IsValid(config.priority())) {
    problems->Add({.path = "$.priority",
                   .message = "no such priority",
                   .expected = "0 (low) to 3 (critical)",
                   .found = std::to_string(config.priority())});
  }
  if (config.has_max_retries() &&
      (config.max_retries() < 0 || config.max_retries() > kMostRetries)) {
    problems->Add({.path = "$.retries",
                   .message = "out of range",
                   .expected = "0 to " + std::to_string(kMostRetries),
                   .found = std::to_string(config.max_retries())});
  }
  const auto type = static_cast<spec::JobType>(config.job_type());
  const protocol::ResourceRequest& asked = config.resources();
  const bool on_gpu = config.required_device() == protocol::DEVICE_CUDA || asked.gpus() > 0 ||
                      asked.gpu_share_millis() > 0 || asked.gpu_memory_bytes() > 0;
  if (config.nodes() > 1 && on_gpu) {
    problems->Add({.path = "$.resources.nodes",
                   .message = "a job over several nodes trains on CPUs only",
                   .expected = "1 for a job with a GPU",
                   .found = std::to_string(config.nodes()),
                   .hint = "set \"nodes\" to 1, or \"device\" to \"cpu\""});
  }
  if (asked.gpu_share_millis() < 0 || asked.gpu_share_millis() > kWholeGpu) {
    problems->Add({.path = "$.resources.gpu_share",
                   .message = "the amount is out of range",
                   .expected = "from 0 to 1",
                   .found = FormatMillis(asked.gpu_share_millis()),
                   .hint = "a share lies on one GPU"});
  } else if (asked.gpu_share_millis() > 0 && asked.gpus() != 0) {
    problems->Add({.path = "$.resources.gpu_share",
                   .message = "a job has whole GPUs or a share of one",
                   .expected = "nothing beside gpus",
                   .found = FormatMillis(asked.gpu_share_millis()) + " beside " +
                            std::to_string(asked.gpus()),
                   .hint = "leave one of them out"});
  }
  const bool trains = !spec::UsesModel(type) && type != spec::JobType::kPreprocessing;
  if (config.processes() > 1 && (on_gpu || !trains)) {
    problems->Add({.path = "$.resources.processes",
                   .message = "only trainings on CPUs have several processes",
                   .expected = "1",
                   .found = std::to_string(config.processes())});
  }
  if (config.nodes() > 1) CheckSameData(config.dataset_uri(), problems);
  spec::CheckName("$.user", config.user_id(), problems);
  spec::CheckJobTerms(TermsFromConfig(config), problems);
  if (config.nodes() > 1 && type == spec::JobType::kPreprocessing) {
    problems->Add({.path = "$.resources.nodes",
                   .message = "a preprocessing runs on one node",
                   .expected = "1",
                   .found = std::to_string(config.nodes())});
  }
  if (config.has_array() && !trains) {
    problems->Add({.path = "$.array",
                   .message = "is for trainings",
                   .expected = "nothing",
                   .found = "an array",
                   .hint = "submit each job by itself"});
  } else if (config.has_array()) {
    spec::JobArray array = ArrayFromConfig(config);
    spec::CheckJobArray(array, problems);
    if (spec::MembersOf(array) == 0) {
      problems->Add(
          {.path = "$.array",
           .message = "has no members",
           .expected = "a size from 1 to " + std::to_string(spec::kMaxArraySize) + ", or a sweep",
           .found = "0"});
    }
  }
  for (int i = 0; i < config.after_size(); ++i) {
    if (protocol::DependencyCondition_IsValid(config.after(i).condition())) continue;
    problems->Add({.path = "$.after[" + std::to_string(i) + "].condition",
                   .message = "no such condition",
                   .expected = "0 (after success) or 1 (after any end)",
                   .found = std::to_string(config.after(i).condition())});
  }
}

// nullptr when it asks for nothing, as most do.
std::shared_ptr<const control::Terms> MakeTerms(const protocol::JobConfig& config) {
  spec::JobTerms from = TermsFromConfig(config);
  control::Terms terms;
  terms.limits.run = std::chrono::seconds(from.limits.run_seconds);
  terms.limits.queue = std::chrono::seconds(from.limits.queue_seconds);
  terms.limits.deadline.ms = from.limits.deadline * 1000;
  terms.limits.log_bytes = from.limits.log_bytes;
  terms.limits.checkpoint_bytes = from.limits.checkpoint_bytes;
  for (spec::JobDependency& one : from.after)
    terms.after.push_back({{std::move(one.job_id)}, one.any_end});
  terms.labels = std::move(from.node_labels);
  terms.project = std::move(from.project);
  terms.nodes = static_cast<int32_t>(from.nodes);
  terms.min_nodes = static_cast<int32_t>(from.min_nodes);
  terms.processes = static_cast<int32_t>(from.processes);
  if (terms == control::Terms()) return nullptr;
  return std::make_shared<const control::Terms>(std::move(terms));
}

// One that no checkpoint of the model could keep to.
void CheckCheckpointLimit(const spec::JobLimits& limits, const spec::JobSpec& spec,
                          spec::Problems* problems) {
  const int64_t weights = spec::Product(sizeof(float), spec.model.parameters);
  if (spec.type != spec::JobType::kTraining || limits.checkpoint_bytes == 0 ||
      limits.checkpoint_bytes >= weights)
    return;
  problems->Add({"$.limits.checkpoint", "no checkpoint would be kept",
                 "at least " + std::to_string(weights) + " bytes, which the weights alone have",
                 std::to_string(limits.checkpoint_bytes), "leave it out: 0 is no limit"});
}

bool HasFiles(const std::string& dataset_uri) { return dataset_uri.starts_with("file:"); }

// What nodes keep of what it reads: a stored data set, one that they have fetched, or the weights
// of a model.
ContentKey DataOf(const protocol::JobConfig& config) {
  spec::Problems ignored;
  if (auto uri = spec::IsRemote(config.dataset_uri())
                     ? spec::ParseDatasetUri(config.dataset_uri(), &ignored)
                     : std::nullopt) {
    return ContentKeyOf(security::HexEncode(security::Sha256(uri->remote.Identity())));
  }
  return ContentKeyOf(config.has_dataset_from() ? config.dataset_from().manifest_sha256()
                                                : config.model_from().weights_sha256());
}

// Without what only a check of the whole tells.
control::Job MakeJob(const protocol::JobConfig& config) {
  control::Job job;
  job.id = {config.job_id()};
  job.name = config.name();
  job.user = config.user_id();
  // Clients of the old wire leave it out and mean training.
  job.type = config.job_type() == protocol::JOB_TYPE_UNKNOWN ? protocol::JOB_TYPE_TRAINING
                                                             : config.job_type();
  job.priority = config.priority();
  job.max_retries = config.has_max_retries() ? config.max_retries() : kDefaultRetries;
  job.data = DataOf(config);
  job.terms = MakeTerms(config);
  if (!config.anti_affinity().empty())
    job.resources.SetNamed(AntiAffinityToken(config.user_id(), config.anti_affinity()), 1);
  if (config.has_array()) {
    spec::JobArray from = ArrayFromConfig(config);
    control::Array array;
    array.size = spec::MembersOf(from);
    array.max_parallel = from.max_parallel;
    job.array = std::make_shared<const control::Array>(array);
  }
  return job;
}

}  // namespace

std::string StateOfFiles(const spec::DatasetUri& uri) {
  // No two answers are the same, so that such data is looked at each time.
  static std::atomic<uint64_t> images_asked{0};
  using Kind = spec::DatasetUri::Kind;
  std::vector<std::string> paths;
  switch (uri.kind) {
    case Kind::kMock:
      return "";
    case Kind::kIdxFolder:
      paths.push_back(uri.path);
      for (const char* name : {"train-images-idx3-ubyte", "train-labels-idx1-ubyte",
                               "t10k-images-idx3-ubyte", "t10k-labels-idx1-ubyte"}) {
        paths.push_back(uri.path + "/" + name);
        paths.push_back(uri.path + "/" + name + ".gz");
      }
      break;
    case Kind::kIdxPair:
    case Kind::kNpy:
      paths = {uri.path, uri.labels_path};
      break;
    case Kind::kTable:
    case Kind::kText:
    case Kind::kNpz:
    case Kind::kSafetensors:
      paths = {uri.path};
      break;
    case Kind::kPrepared:
      for (const char* name : {"dataset.json", "train.safetensors", "test.safetensors"})
        paths.push_back(uri.path.substr(0, uri.path.rfind('/') + 1) + name);
      break;
    case Kind::kImageFolder:
    case Kind::kWebDataset:
      // The files themselves are too many to ask for each submission.
      return "images " + std::to_string(++images_asked);
  }
  std::string state;
  for (const std::string& path : paths) {
    struct stat info;
    if (stat(path.c_str(), &info) != 0) {
      state += "-;";
      continue;
    }
    for (int64_t part :
         {static_cast<int64_t>(info.st_dev), static_cast<int64_t>(info.st_ino),
          static_cast<int64_t>(info.st_size), static_cast<int64_t>(info.st_mtim.tv_sec),
          static_cast<int64_t>(info.st_mtim.tv_nsec)}) {
      state += std::to_string(part) + ",";
    }
    state += ";";
  }
  return state;
}

std::shared_ptr<const JobChecker::Accepted> JobChecker::Remembered(const std::string& sha256) {
  std::lock_guard lock(mutex_);
  auto found = by_sha256_.find(sha256);
  if (found == by_sha256_.end()) return nullptr;
  recent_.splice(recent_.begin(), recent_, found->second);
  return recent_.front();
}

void JobChecker::Remember(std::shared_ptr<const Accepted> accepted) {
  std::lock_guard lock(mutex_);
  auto [entry, fresh] = by_sha256_.try_emplace(accepted->sha256);
  if (!fresh) recent_.erase(entry->second);
  recent_.push_front(std::move(accepted));
  entry->second = recent_.begin();
  if (recent_.size() > kMostRemembered) {
    by_sha256_.erase(recent_.back()->sha256);
    recent_.pop_back();
  }
}

// Each value of a sweep must be right, and what members need is what the largest of them does.
// Values that are wrong only together are left to the node, which checks what it is given.
void JobChecker::CheckMembers(const spec::JobDescription& job, const spec::JobArray& array,
                              int64_t ranks, spec::JobSpec* spec, spec::Problems* problems) {
  for (int64_t number : spec::MembersToCheck(array)) {
    spec::JobDescription member = job;
    spec::MakeMember(array, number, &member.hyperparameters);
    spec::Problems of_member;
    spec::CheckSharing(member.hyperparameters, ranks, &of_member);
    auto checked = spec::CheckJob(member, inspector_, &of_member);
    for (spec::Problem problem : of_member.list()) {
      problem.message = "member " + std::to_string(number) + ": " + problem.message;
      problems->Add(std::move(problem));
    }
    if (!of_member.empty() || !checked) return;
    spec->resources.cpu_millis =
        std::max(spec->resources.cpu_millis, checked->resources.cpu_millis);
    spec->resources.memory_bytes =
        std::max(spec->resources.memory_bytes, checked->resources.memory_bytes);
    spec->resources.gpu_millis =
        std::max(spec->resources.gpu_millis, checked->resources.gpu_millis);
    spec->training.epochs = std::max(spec->training.epochs, checked->training.epochs);
  }
}

void JobChecker::Check(const protocol::JobConfig& config, Done done) {
  if (!UsesStoredDataset(config) && !config.has_dataset_from())
    return CheckWithModel(config, {}, nullptr, std::move(done));
  pool_->Post([this, found = config, done = std::move(done)]() mutable {
    spec::Problems problems;
    DatasetRegistry::Hold dataset;
    found.clear_dataset_from();  // what only a server fills in
    if (UsesStoredDataset(found)) dataset = LookUpDataset(datasets_, &found, &problems);
    CheckWithModel(found, std::move(problems), std::move(dataset), std::move(done));
  });
}

void JobChecker::CheckWithModel(const protocol::JobConfig& config, spec::Problems problems,
                                DatasetRegistry::Hold dataset, Done done) {
  if (!spec::UsesModel(static_cast<spec::JobType>(config.job_type())))
    return CheckComplete(config, std::move(problems), std::move(dataset), std::move(done));
  models_.LookUp(config, [this, problems = std::move(problems), dataset = std::move(dataset),
                          done = std::move(done)](protocol::JobConfig complete,
                                                  const spec::Problems& of_model) mutable {
    for (const spec::Problem& problem : of_model.list()) problems.Add(problem);
    CheckComplete(complete, std::move(problems), std::move(dataset), std::move(done));
  });
}

void JobChecker::CheckComplete(const protocol::JobConfig& config, spec::Problems problems,
                               DatasetRegistry::Hold dataset, Done done) {
  CheckWireFields(config, &problems);
  std::string bytes = Serialise(config);
  std::string sha256 = security::Sha256(bytes);

  spec::Problems ignored;
  std::shared_ptr<const Accepted> known = Remembered(sha256);
  // The name is no part of the body; the whole check looks at it too.
  if (known != nullptr && problems.empty() && spec::IsName(config.name())) {
    bool unchanged = true;
    if (!known->files.empty()) {
      auto uri = spec::ParseDatasetUri(known->dataset_uri, &ignored);
      unchanged = uri.has_value() && StateOfFiles(*uri) == known->files;
    }
    if (unchanged) {
      control::Job job = MakeJob(config);
      job.resources += known->resources;
      job.device = known->device;
      job.total_epochs = known->epochs;
      return done(problems, std::move(job), known->body, std::move(dataset));
    }
  }

  auto check = [this, config = HasFiles(config.dataset_uri()) ? config : protocol::JobConfig(),
                problems = std::move(problems), job = MakeJob(config),
                description = DescriptionFromConfig(config), array = ArrayFromConfig(config),
                terms = TermsFromConfig(config), bytes = std::move(bytes),
                sha256 = std::move(sha256), dataset = std::move(dataset),
                done = std::move(done)]() mutable {
    auto accepted = std::make_shared<Accepted>();
    // Before the check: a file that changes during it is looked at again the next time.
    if (HasFiles(description.dataset_uri)) {
      spec::Problems unused;
      if (auto uri = spec::ParseDatasetUri(description.dataset_uri, &unused))
        accepted->files = StateOfFiles(*uri);
    }
    spec::CheckSharing(description.hyperparameters, terms.ranks(), &problems);
    auto spec = spec::CheckJob(description, inspector_, &problems);
    if (spec && spec->type != spec::JobType::kTraining) spec->training.epochs = 0;
    if (spec && problems.empty())
      CheckMembers(description, array, terms.ranks(), &*spec, &problems);
    if (spec) CheckCheckpointLimit(terms.limits, *spec, &problems);
    if (!problems.empty() || !spec) return done(problems, std::move(job), nullptr, nullptr);
    accepted->sha256 = sha256;
    if (HasFiles(description.dataset_uri) && spec->dataset) {
      NoteSourceFiles(spec->dataset_uri, roots_, &config);
      bytes = Serialise(config);
      sha256 = security::Sha256(bytes);
    }
    accepted->body = std::make_shared<const control::JobBody>(
        control::JobBody{.sha256 = std::move(sha256), .config = std::move(bytes)});
    accepted->resources = terms.OnNode(spec->resources);
    accepted->device = static_cast<int32_t>(spec->device);
    accepted->epochs = static_cast<int32_t>(spec->training.epochs);
    accepted->dataset_uri = std::move(description.dataset_uri);
    job.resources += accepted->resources;
    job.device = accepted->device;
    job.total_epochs = accepted->epochs;
    auto body = accepted->body;
    Remember(std::move(accepted));
    done(problems, std::move(job), std::move(body), std::move(dataset));
  };
  if (HasFiles(config.dataset_uri()) || UsesStoredDataset(config) ||
      config.has_array()) {  // it takes long
    pool_->Post(std::move(check));
  } else {
    check();
  }
}

}  // namespace cyxwiz::central
