#include "central/store_check.h"

#include <sys/stat.h>

#include <filesystem>
#include <map>
#include <set>
#include <tuple>
#include <unordered_map>

#include "artifacts/artifact_store.h"
#include "base/file.h"
#include "central/dataset_registry.h"
#include "central/ended_jobs.h"
#include "central/server.h"
#include "control/transitions.h"
#include "security/job_token.h"
#include "spec/dataset_manifest.h"
#include "spec/job_spec.h"
#include "store/maintenance.h"

namespace cyxwiz::central {
namespace {

using control::Job;
using control::JobState;

constexpr size_t kPage = 1000;
constexpr int32_t kPreprocessing = static_cast<int32_t>(spec::JobType::kPreprocessing);

class Checker {
 public:
  // `data`: folder of the files; empty: they are not looked at.
  Checker(store::JobStore* store, std::string data, bool deep)
      : store_(store), data_(std::move(data)), deep_(deep) {
    report_.files_looked_at = !data_.empty();
  }

  Result<CheckReport> Run() {
    ASSIGN_OR_RETURN(control::Snapshot snapshot, store_->Load());
    RETURN_IF_ERROR(ReadEvents());
    CheckUnfinished(snapshot);
    RETURN_IF_ERROR(CheckEnded(snapshot));
    if (!data_.empty()) CheckDatasets();
    report_.nodes = static_cast<int64_t>(snapshot.nodes.size());
    return std::move(report_);
  }

 private:
  void Add(std::string problem) {
    if (report_.problems.size() < kMostProblems) {
      report_.problems.push_back(std::move(problem));
    } else {
      ++report_.more_problems;
    }
  }
  void Add(const Job& job, const std::string& problem) {
    Add("job '" + job.id.value + "' (" + control::JobStateName(job.state) + ") " + problem);
  }

  // Remembers where the events of each job lead.
  Status ReadEvents() {
    control::EventQuery query{.limit = kPage};
    for (;;) {
      ASSIGN_OR_RETURN(std::vector<control::Event> events, store_->Events(query));
      for (const control::Event& event : events) {
        if (event.number <= query.after)
          Add("event " + std::to_string(event.number) + " is there twice");
        query.after = event.number;
        CheckEvent(event);
      }
      if (events.size() < kPage) return OkStatus();
    }
  }

  void CheckEvent(const control::Event& event) {
    if (event.kind == control::EventKind::kSubmitted) return;  // the job's own row
    ++report_.events;
    if (event.kind != control::EventKind::kStateChanged) return;
    const std::string which = "event " + std::to_string(event.number) + " of job '" +
                              event.job.value + "' tells of " + control::JobStateName(event.from) +
                              " to " + control::JobStateName(event.to);
    if (!control::IsLegal(event.from, event.to)) Add(which + ", which is no transition");
    auto [last, first] = led_to_.try_emplace(event.sequence, event.to);
    if (!first && last->second != event.from)
      Add(which + ", but the one before led to " + control::JobStateName(last->second));
    last->second = event.to;
  }

  void CheckUnfinished(const control::Snapshot& snapshot) {
    std::map<int64_t, const control::JobBody*> bodies;
    for (const control::PutBody& body : snapshot.bodies) {
      bodies[body.number] = body.body.get();
      CheckBody(body.number, *body.body);
    }
    std::set<NodeId> nodes;
    for (const control::Node& node : snapshot.nodes) nodes.insert(node.id);
    for (const Job& job : snapshot.jobs) {
      CheckJob(job);
      if (bodies.count(job.body) == 0) Add(job, "has no specification");
      const std::vector<NodeId> held = control::NodesWith(job);
      for (const NodeId& node : held) {
        if (nodes.count(node) == 0)
          Add(job, "is held by node '" + node.value + "', which is not known");
      }
      if (!held.empty() && job.attempt < 1)
        Add(job, "is in attempt " + std::to_string(job.attempt) + "; they count from 1");
      if (job.ended_at.ms != 0) Add(job, "has a time at which it ended");
      for (const control::Artifact& file : job.checkpoint->files)
        CheckFile(job, "checkpoint", "checkpoints", file);
    }
  }

  Status CheckEnded(const control::Snapshot& snapshot) {
    using Kind = std::tuple<std::string, int32_t, JobState, bool>;  // the last: members of arrays
    std::map<Kind, int64_t> counted;
    RETURN_IF_ERROR(ForEachEnded(*store_, snapshot, [&](const Job& job) {
      job.member == nullptr ? ++counted[{job.user, job.type, job.state, false}]
                            : ++counted[{"", 0, job.state, true}];
      CheckJob(job);
      if (job.ended_at.ms == 0) Add(job, "has no time at which it ended");
      // Those of a preprocessing are a data set's.
      if (job.type != kPreprocessing) {
        for (const control::Artifact& file : *job.artifacts)
          CheckFile(job, "artifact", "artifacts", file);
      }
      auto found = store_->FindEnded(job.id);
      if (!found.ok()) {
        Add(job, "has no specification");
      } else if (*found) {
        CheckBody(job.body, *(*found)->body);
      } else {
        Add(job, "is listed but not found by its id");
      }
      return OkStatus();
    }));
    std::map<Kind, int64_t> stored;
    for (const control::Snapshot::Ended& ended : snapshot.ended)
      stored[{ended.user, ended.type, ended.state, ended.members}] += ended.jobs;
    if (counted != stored) {
      Add("the counts of jobs that have ended are not those of their rows: a state or a type is "
          "none that there is");
    }
    return OkStatus();
  }

  void CheckJob(const Job& job) {
    ++report_.jobs;
    if (job.id.empty()) Add(job, "has no id");
    auto last = led_to_.find(job.sequence);
    if (last != led_to_.end() && last->second != job.state)
      Add(job,
          std::string("went last to ") + control::JobStateName(last->second) + ", by its events");
  }

  void CheckBody(int64_t number, const control::JobBody& body) {
    if (!bodies_seen_.insert(number).second) return;
    if (security::Sha256(body.config) != body.sha256) {
      Add("the specification " + std::to_string(number) +
          " is not the one that was submitted: its SHA-256 is another");
    }
  }

  void CheckDatasets() {
    const std::string folder = data_ + "/datasets";
    std::error_code error;
    if (!std::filesystem::exists(folder + "/names", error)) return;  // of an earlier release
    auto names = ReadDatasetNames(folder);
    if (!names.ok()) return Add(names.status().message());
    for (const auto& [name, entry] : *names) {
      for (const auto& version : entry.versions) CheckDataset(*version);
    }
  }

  void CheckDataset(const DatasetVersion& version) {
    const std::string owner = "data set '" + version.name + "@" + version.version + "'";
    const size_t problems = report_.problems.size();
    CheckFile(owner, "manifest", "datasets",
              {"manifest", version.manifest_sha256, version.manifest_bytes});
    auto path = artifacts::PathInStore(data_ + "/datasets", version.manifest_sha256);
    if (report_.problems.size() > problems || !path.ok()) return;
    auto text = ReadFile(*path, spec::kMaxManifestBytes);
    auto files = text.ok() ? spec::ParseManifest(*text) : text.status();
    if (!files.ok()) return Add(owner + ": " + files.status().message());
    for (const spec::DatasetFile& file : *files)
      CheckFile(owner, "file", "datasets", {file.path, file.sha256, file.size});
  }

  void CheckFile(const Job& job, const std::string& what, const std::string& folder,
                 const control::Artifact& file) {
    if (data_.empty()) return;
    CheckFile("job '" + job.id.value + "' (" + control::JobStateName(job.state) + ")", what, folder,
              file);
  }

  void CheckFile(const std::string& owner, const std::string& what, const std::string& folder,
                 const control::Artifact& file) {
    ++report_.files;
    const std::string which = what + " '" + file.name + "'";
    auto add = [&](const std::string& problem) { Add(owner + " " + problem); };
    auto path = artifacts::PathInStore(data_ + "/" + folder, file.sha256);
    if (!path.ok()) return add("names its " + which + " wrongly: " + path.status().message());
    struct stat info;
    if (::stat(path->c_str(), &info) != 0)
      return add("lacks its " + which + ": " + ErrnoStatus("'" + *path + "'", errno).message());
    if (info.st_size != file.size) {
      return add("has another " + which + ": '" + *path + "' has " + std::to_string(info.st_size) +
                 " bytes, not " + std::to_string(file.size));
    }
    if (!deep_ || !files_hashed_.insert(file.sha256).second) return;
    auto hash = artifacts::HashFile(*path);
    if (!hash.ok()) return add("has an unreadable " + which + ": " + hash.status().message());
    if (*hash != file.sha256)
      add("has another " + which + ": the SHA-256 of '" + *path + "' is " + *hash);
  }

  store::JobStore* const store_;
  const std::string data_;
  const bool deep_;
  CheckReport report_;
  std::unordered_map<int64_t, JobState> led_to_;  // at most a million: more events are not kept
  std::set<int64_t> bodies_seen_;
  std::set<std::string> files_hashed_;
};

}  // namespace

Result<CheckReport> CheckData(const std::string& path, bool deep) {
  std::error_code error;
  bool is_folder = std::filesystem::is_directory(path, error);
  const std::string file = is_folder ? DatabaseOf(path) : path;
  ASSIGN_OR_RETURN(std::vector<std::string> damage, store::FindDamage(file));
  if (!damage.empty()) {
    CheckReport report;
    for (const std::string& line : damage) report.problems.push_back("'" + file + "': " + line);
    return report;
  }
  ASSIGN_OR_RETURN(auto store, store::OpenSqliteStoreToRead(file));
  return Checker(store.get(), is_folder ? path : "", deep).Run();
}

}  // namespace cyxwiz::central
