// The result of a job as it lies in a folder: model.json and weights.safetensors.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "base/safetensors.h"
#include "base/status.h"
#include "spec/model_spec.h"

namespace cyxwiz::exporting {

inline constexpr char kModelFile[] = "model.json";
inline constexpr char kWeightsFile[] = "weights.safetensors";

// From what the data set holds to what the model takes: (value / divisor - mean) / deviation.
struct Preprocessing {
  bool bytes = false;  // the data set's values are bytes, else floats
  double divisor = 1;
  // One for each channel of an image, else for each value of the last dimension; empty: none.
  std::vector<float> mean, deviation;
};

struct SavedModel {
  spec::ModelSpec model;
  Preprocessing preprocessing;
  SafetensorsFile weights;  // exactly the tensors of the model
};

// Reads and checks a folder. NOT_FOUND when it lacks a file; DATA_LOSS, saying what is wrong, when
// the files are no model or do not fit each other.
Result<SavedModel> ReadSavedModel(const std::string& folder);

}  // namespace cyxwiz::exporting
