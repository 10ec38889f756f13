// The predictions of an inference, written to one file as they come: memory does not grow with
// their number. docs/reference/job-files.md describes the three forms. Knows nothing of libtorch.
//
//   predictions.npy    float32, samples x the shape of an output; NumPy's version 1.0
//   predictions.csv    a row a sample, or a position of it: sample[,position],class[,label],values
//   predictions.jsonl  an object a sample
//
// A float32 is written in as few digits as give it back exactly.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "base/file.h"
#include "base/status.h"
#include "spec/job_spec.h"

namespace cyxwiz::runner {

// What a prediction of a model is.
struct PredictionShape {
  int64_t samples = 0;
  spec::Shape output;  // of one sample: values, the last dimension classes when there are some
  spec::Task task = spec::Task::kNumbers;
  bool probabilities = false;            // the values are, else they are as the model gives them
  std::vector<std::string> class_names;  // empty: classes have none
};

// One thread. Dropped without a trace when destroyed before Finish.
class PredictionWriter {
 public:
  // Of RESOURCE_EXHAUSTED when the disk is full, as all methods.
  static Result<std::unique_ptr<PredictionWriter>> Create(const std::string& folder,
                                                          spec::PredictionFormat format,
                                                          PredictionShape shape);
  ~PredictionWriter();

  // The next `count` samples. values: count x output. classes: of each sample, or of each of its
  // positions; unused when there are none.
  Status Add(const float* values, const int64_t* classes, int64_t count);
  // The file is in its place, durably, once this returns. Call after as many samples as were
  // announced.
  Status Finish();
  const std::string& name() const { return name_; }  // "predictions.csv"

 private:
  PredictionWriter(const std::string& folder, spec::PredictionFormat format, PredictionShape shape);
  void AddHeader();
  void AddRow(const float* values, int64_t position, int64_t predicted);
  void AddObject(const float* values, const int64_t* classes);
  void AddValues(const float* values, int64_t count, const char* not_finite);
  Status Flush(size_t least);

  const spec::PredictionFormat format_;
  const PredictionShape shape_;
  const std::string name_, path_, temporary_;
  int64_t rows_ = 1, columns_ = 1;  // of one sample
  std::vector<std::string> csv_labels_, json_labels_;
  int64_t sample_ = 0;
  std::string pending_;
  UniqueFd fd_;
};

}  // namespace cyxwiz::runner
