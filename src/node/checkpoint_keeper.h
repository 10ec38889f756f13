// Checkpoints of jobs that do not run here now: what an attempt leaves for the next one of its job
// on this node. <data>/checkpoints/<job>/ is the folder of checkpoints of the attempt, as its
// runner wrote it (src/runner/checkpoint.h): a folder a checkpoint, named by its step, complete
// when it holds manifest.json.
#pragma once

#include <cstdint>
#include <list>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "base/ids.h"
#include "base/status.h"

namespace cyxwiz::node {

// A job can do without what is lost here: the server has a checkpoint too, or it begins again. So
// no method fails. Executor thread only.
class CheckpointKeeper {
 public:
  // max_bytes: of all that is kept together; the oldest goes first.
  static Result<std::unique_ptr<CheckpointKeeper>> Open(const std::string& folder,
                                                        int64_t max_bytes);

  // Takes over what the attempts of a run that was killed have left below `attempts`
  // (<job>/<attempt>/checkpoints). Before LogBook::Open, which deletes it.
  void Adopt(const std::string& attempts);
  // Takes over the folder of checkpoints of an attempt that has ended, unless it holds none that is
  // complete or a newer one is kept.
  void Keep(const JobId& job, const std::string& folder);
  // Moves what is kept of the job to `folder`, which does not exist.
  void GiveBack(const JobId& job, const std::string& folder);
  void Drop(const JobId& job);
  // Oldest first.
  std::vector<JobId> jobs() const;

 private:
  struct Entry {
    JobId job;
    int64_t bytes = 0;
  };
  CheckpointKeeper(std::string folder, int64_t max_bytes)
      : folder_(std::move(folder)), max_bytes_(max_bytes) {}
  std::string FolderOf(const JobId& job) const { return folder_ + "/" + job.value; }
  void Add(const JobId& job);
  void Forget(const JobId& job);

  const std::string folder_;
  const int64_t max_bytes_;
  std::list<Entry> entries_;  // oldest first
  int64_t bytes_ = 0;
};

// The step of the newest complete checkpoint in a folder of checkpoints; nullopt: there is none.
std::optional<int64_t> NewestCheckpoint(const std::string& folder);

}  // namespace cyxwiz::node
