// A split that is in memory, copied whole to a device, from which batches are selected there.
#pragma once

#include "data/dataset.h"
#include "runner/torch_headers.h"
#include "spec/job_spec.h"

namespace cyxwiz::runner {

// What y holds: class numbers, one-hot rows of them, labels as numbers, the samples themselves,
// nothing.
enum class TargetKind { kClass, kOneHotClass, kNumber, kSample, kNone };

// As the job's loss takes it.
TargetKind TargetKindOf(const spec::JobSpec& job, const data::Split& split);

// Class numbers of a sample: one, or one a position.
int64_t ClassesOfSample(const spec::JobSpec& job, TargetKind kind);

// The job and the split outlive it. One thread.
class DeviceCopy {
 public:
  DeviceCopy(const spec::JobSpec& job, const data::Split& split, TargetKind kind,
             at::Device device);

  struct Batch {
    at::Tensor x, y;     // as the model and the loss take them
    at::Tensor classes;  // the class numbers, where the labels are classes
  };
  Batch Select(const int64_t* indices, int64_t count) const;

 private:
  const spec::JobSpec& job_;
  const data::Split& split_;
  const TargetKind kind_;
  const at::Device device_;
  at::Tensor x_, y_, mean_, deviation_;
};

}  // namespace cyxwiz::runner
