// Checks a submitted JobConfig and turns it into what the core stores. Remembers configurations
// that it accepted lately, so that submitting the same one a thousand times checks it once.
#pragma once

#include <functional>
#include <list>
#include <memory>
#include <mutex>
#include <string>
#include <unordered_map>

#include "central/dataset_registry.h"
#include "central/model_source.h"
#include "central/work_pool.h"
#include "control/control.h"
#include "cyxwiz/protocol/job.pb.h"
#include "data/dataset.h"
#include "spec/dataset.h"
#include "spec/job_array.h"
#include "spec/job_spec.h"
#include "spec/problem.h"

namespace cyxwiz::central {

// Any thread.
class JobChecker {
 public:
  // No pointer is owned.
  // roots: where file:// data sets of jobs lie, as far as this machine sees them.
  JobChecker(spec::DatasetInspector* inspector, data::Roots roots, DatasetRegistry* datasets,
             const ModelSource& models, WorkPool* pool)
      : inspector_(inspector),
        roots_(std::move(roots)),
        datasets_(datasets),
        models_(models),
        pool_(pool) {}

  // Called once: before Check returns, or on a thread of the pool when a model or a data set must
  // be looked up or files must be read. problems is empty when the job is accepted; then job and
  // body are complete but for an id the client left to us. dataset: to be kept until the job is
  // stored.
  using Done = std::function<void(const spec::Problems& problems, control::Job job,
                                  std::shared_ptr<const control::JobBody> body,
                                  DatasetRegistry::Hold dataset)>;
  void Check(const protocol::JobConfig& config, Done done);

 private:
  static constexpr size_t kMostRemembered = 1024;

  // What an accepted configuration came to.
  struct Accepted {
    std::shared_ptr<const control::JobBody> body;
    Resources resources;
    int32_t device = 0;
    int32_t epochs = 0;
    std::string dataset_uri;
    std::string files;   // state of the data set's files when it was checked
    std::string sha256;  // of the configuration as it was submitted
  };
  void CheckWithModel(const protocol::JobConfig& config, spec::Problems problems,
                      DatasetRegistry::Hold dataset, Done done);
  // Of a job that has its model and its data set, or of which `problems` say why not.
  void CheckComplete(const protocol::JobConfig& config, spec::Problems problems,
                     DatasetRegistry::Hold dataset, Done done);
  void CheckMembers(const spec::JobDescription& job, const spec::JobArray& array, int64_t ranks,
                    spec::JobSpec* spec, spec::Problems* problems);
  std::shared_ptr<const Accepted> Remembered(const std::string& sha256);
  void Remember(std::shared_ptr<const Accepted> accepted);

  spec::DatasetInspector* const inspector_;
  const data::Roots roots_;
  DatasetRegistry* const datasets_;
  const ModelSource models_;
  WorkPool* const pool_;

  std::mutex mutex_;  // of the two below; newest first
  std::list<std::shared_ptr<const Accepted>> recent_;
  std::unordered_map<std::string, std::list<std::shared_ptr<const Accepted>>::iterator> by_sha256_;
};

// Identity, size and time of the files a data set is made of; "" for one without files. Two equal
// ones mean that the files did not change.
std::string StateOfFiles(const spec::DatasetUri& uri);

}  // namespace cyxwiz::central
