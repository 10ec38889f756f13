// One run of a trained model: an evaluation, or predictions.
#pragma once

#include <chrono>
#include <functional>
#include <optional>
#include <string>
#include <vector>

#include "runner/engine.h"
#include "runner/forward_pass.h"

namespace cyxwiz::runner {

// Runs once. What it is given outlives it. One thread; throws FailureError and c10::Error.
class ModelRun {
 public:
  ModelRun(const spec::JobSpec& job, const data::Dataset& dataset, int threads_allowed,
           TrainingObserver* observer);

  // Gives the model its weights: exactly the tensors that it has.
  void LoadWeights(const SafetensorsFile& weights);
  ModelResult Evaluate();
  ModelResult Predict(PredictionWriter* writer);

 private:
  using Clock = std::chrono::steady_clock;

  Samples samples() const {
    return {job_,        split_,  whole_ ? "whole" : "test", indices_,
            batch_size_, device_, job_.training.precision};
  }
  // After each batch; false: asked to end.
  bool GoOn(int64_t done);
  ModelResult End(bool finished);

  const spec::JobSpec& job_;
  const bool whole_;  // the data has no test part
  const data::Split& split_;
  TrainingObserver* observer_;
  const at::Device device_;
  int64_t batch_size_ = 0;
  int threads_ = 1;
  std::vector<int64_t> indices_;
  std::optional<Model> model_;
  std::optional<LossFunction> loss_;
  ModelResult result_;
  Directive asked_ = Directive::kGoOn;
  int64_t batches_ = 0;
  Clock::time_point begin_, last_report_;
};

}  // namespace cyxwiz::runner
