// Looks up the stored data set of a submitted job, once: which version it is, and its content, are
// written into the job's configuration, so that what comes later changes nothing of the job.
#pragma once

#include "central/dataset_registry.h"
#include "cyxwiz/protocol/job.pb.h"
#include "data/dataset.h"
#include "data/stored.h"
#include "spec/dataset.h"
#include "spec/problem.h"

namespace cyxwiz::central {

// Whether the configuration names one.
bool UsesStoredDataset(const protocol::JobConfig& config);

// Gives the data set that a preprocessing makes its version, when it has none; writes files. What
// is no name is left to whoever checks the job.
Status CompleteOutput(DatasetRegistry* registry, protocol::JobConfig* config);

// Completes dataset_uri and dataset_from; reads files. Who keeps the answer keeps the version from
// being removed; null when there is none, which is among the problems unless the URI is wrong in
// itself: whoever checks the job tells that.
DatasetRegistry::Hold LookUpDataset(DatasetRegistry* registry, protocol::JobConfig* config,
                                    spec::Problems* problems);

// The version that an accepted job has, for running it once more. FAILED_PRECONDITION when it is
// not kept any more.
Result<DatasetRegistry::Hold> FindDataset(DatasetRegistry* registry,
                                          const protocol::DatasetFrom& from);

// Writes into dataset_from what the files of a file:// are now: sizes and times, and a hash when
// they are not too large to be read for it. Nothing when the server does not see them.
void NoteSourceFiles(const spec::DatasetUri& uri, const data::Roots& roots,
                     protocol::JobConfig* config);

// Looks into the files of the server's data folders and into those of stored data sets. Any number
// of threads.
class ServerInspector : public spec::DatasetInspector {
 public:
  // None is owned. files: for what is no stored data set.
  ServerInspector(spec::DatasetInspector* files, DatasetRegistry* registry,
                  const std::string& registry_folder);
  // A stored data set that was not found is not visible, nor is what nodes fetch.
  std::optional<spec::DatasetInfo> Inspect(const spec::DatasetUri& uri,
                                           spec::Problems* problems) override;

 private:
  spec::DatasetInspector* const files_;
  DatasetRegistry* const registry_;
  const data::StoredFolder trees_;  // all of them
  data::FileInspector stored_;
};

}  // namespace cyxwiz::central
