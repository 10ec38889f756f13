// Looks up the model of a submitted evaluation or inference, once: what the job needs of it is
// written into the job's configuration, so that the job it comes from may be deleted afterwards.
// (Artifacts stay: they are kept by content, and nothing deletes them.)
#pragma once

#include <functional>
#include <string>

#include "artifacts/artifact_store.h"
#include "central/core.h"
#include "central/work_pool.h"
#include "cyxwiz/protocol/job.pb.h"
#include "spec/job_spec.h"
#include "spec/problem.h"

namespace cyxwiz::central {

// Any thread.
class ModelSource {
 public:
  // None is owned.
  ModelSource(Core* core, const artifacts::ArtifactStore* artifacts, WorkPool* pool)
      : core_(core), artifacts_(artifacts), pool_(pool) {}

  // found: called once, before LookUp returns or on a thread of the pool. The configuration is as
  // given, without what such a job cannot say (which is among the problems), and holds its model
  // when that was found. When model_from is wrong in itself, that is left to whoever checks it.
  using Found = std::function<void(protocol::JobConfig config, spec::Problems problems)>;
  void LookUp(protocol::JobConfig config, Found found) const;

 private:
  // Reads the files that config.model_from names by their hashes.
  void Take(protocol::JobConfig config, spec::Problems problems, const Found& found) const;

  Core* const core_;
  const artifacts::ArtifactStore* const artifacts_;
  WorkPool* const pool_;
};

}  // namespace cyxwiz::central
