// Feeds batches of one split to the model. Of a split in memory they are copied straight into one
// buffer, or on a GPU selected from a copy of the whole split there, unless the samples differ from
// epoch to epoch; those of a split in files are read ahead.
#pragma once

#include <memory>
#include <optional>
#include <vector>

#include "data/augment.h"
#include "data/dataset.h"
#include "data/row_stream.h"
#include "runner/device_copy.h"
#include "runner/torch_headers.h"
#include "spec/job_spec.h"

namespace cyxwiz::runner {

// A batch, or the part of it that one of several ranks takes.
struct BatchPart {
  const int64_t* indices = nullptr;  // of the whole batch's samples
  int64_t size = 0;                  // of the whole batch
  int64_t begin = 0, count = 0;      // the part: at least 1 sample
};

// The job and the split outlive it. One thread.
class Feed {
 public:
  // most: samples of the largest batch. labels: whether batches have y and classes.
  Feed(const spec::JobSpec& job, const data::Split& split, at::Device device, int64_t most,
       bool labels = true);

  // From here on Load is called with these parts, in order, or with the first of them. epoch: of a
  // training, whose samples are augmented where the job says so; 0: of none.
  void Begin(int64_t epoch, const std::vector<BatchPart>& parts);

  // Makes x, y and classes the samples of the part, at most `most`. Throws FailureError for what
  // cannot be read.
  void Load(const BatchPart& part);

  const at::Tensor& x() const { return x_; }
  const at::Tensor& y() const { return y_; }  // as the loss takes it
  int64_t count() const { return count_; }
  // The class numbers of the batch, where the labels are classes: one a sample, or a row of one a
  // position; of mixed samples that with the greater share. On the CPU valid in the first count()
  // places.
  const at::Tensor& classes() const { return classes_; }

 private:
  bool has_classes() const {
    return kind_ == TargetKind::kClass || kind_ == TargetKind::kOneHotClass;
  }

  // Through host memory.
  void MakeRoom();
  void Gather(const BatchPart& part);
  // Samples as this epoch of the training sees them, not mixed yet.
  void GatherSamples(const int64_t* indices, int64_t count, float* out);
  void TakeFromFiles(int64_t count, float* out);
  // The sample that the first of the part is mixed with; in_part: it is the part's last.
  static int64_t SampleBefore(const BatchPart& part, bool* in_part);
  // Rows of y that are numbers: labels, or the shares of classes.
  void GatherRows(const int64_t* classes, const int64_t* indices, int64_t count, float* out) const;
  void Mix(const BatchPart& part);

  // From the copy of the split on the GPU.
  void Select(const int64_t* indices, int64_t count);

  bool augments() const { return epoch_ > 0 && augmentation_.any(); }
  bool mixes() const { return epoch_ > 0 && augmentation_.mixup > 0; }
  // Whether y holds shares of classes, or one-hot rows.
  bool has_rows_of_classes() const {
    return kind_ == TargetKind::kOneHotClass || (kind_ == TargetKind::kClass && mixes());
  }
  data::SampleTurn TurnOf(int64_t sample) const {
    return {seed_, static_cast<uint64_t>(epoch_), static_cast<uint64_t>(sample)};
  }
  // Samples as the output's shape has them.
  at::Tensor AsOutput(const at::Tensor& x) const;

  const spec::JobSpec& job_;
  const data::Split& split_;
  at::Device device_;
  TargetKind kind_;
  spec::Shape output_shape_, input_shape_;
  spec::Augmentation augmentation_;
  const spec::StreamOptions stream_options_;
  uint64_t seed_;
  const int64_t most_;
  int64_t sample_values_, outputs_, positions_;

  // In host memory, for the largest batch.
  at::Tensor room_x_, room_rows_, room_classes_;
  std::unique_ptr<data::RowStream> stream_;  // of a split in files, while there is more to take
  std::vector<float> before_;                // the sample before a part, or its row of y
  std::optional<DeviceCopy> copy_;           // on a GPU

  at::Tensor x_, y_, classes_;
  int64_t count_ = 0, epoch_ = 0;
};

}  // namespace cyxwiz::runner
