// Feeds batches of one split to the model: on the CPU copied straight from the data set into one
// buffer, on a GPU selected from a copy of the whole split there.
#pragma once

#include "data/dataset.h"
#include "runner/torch_headers.h"
#include "spec/job_spec.h"

namespace cyxwiz::runner {

// The split outlives it. One thread.
class Feed {
 public:
  // most: samples of the largest batch. labels: whether batches have y and classes.
  Feed(const spec::JobSpec& job, const data::Split& split, at::Device device, int64_t most,
       bool labels = true);

  // From here on the samples are those of this epoch of a training: augmented where the job says
  // so.
  void BeginEpoch(int64_t epoch) { epoch_ = epoch; }

  // Makes x, y and classes the samples indices[0 .. count), count at least 1 and at most `most`.
  void Load(const int64_t* indices, int64_t count);

  const at::Tensor& x() const { return x_; }
  const at::Tensor& y() const { return y_; }  // as the loss takes it
  int64_t count() const { return count_; }
  // The class numbers of the batch, where the labels are classes: one a sample, or a row of one a
  // position. On the CPU valid in the first count() places.
  const at::Tensor& classes() const { return classes_; }

 private:
  // What y holds: class numbers, one-hot rows of them, labels as numbers, the samples themselves,
  // nothing.
  enum class Kind { kClass, kOneHotClass, kNumber, kSample, kNone };
  static Kind KindOf(const spec::JobSpec& job, const data::Split& split);
  void Select(const int64_t* indices, int64_t count);
  bool augments() const { return epoch_ > 0 && augmentation_.any(); }
  void Augment(const int64_t* indices, int64_t count, float* samples) const;
  // Samples as the output's shape has them.
  at::Tensor AsOutput(const at::Tensor& x) const;

  const data::Split& split_;
  at::Device device_;
  Kind kind_;
  spec::Shape output_shape_, input_shape_;
  spec::Augmentation augmentation_;
  uint64_t seed_;
  int64_t sample_values_, outputs_, positions_;
  at::Tensor all_x_, all_y_, x_, y_, classes_;
  at::Tensor mean_, deviation_;  // on a GPU, of bytes that are normalised
  int64_t count_ = 0, epoch_ = 0;
};

}  // namespace cyxwiz::runner
