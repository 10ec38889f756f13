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

// From what the data set holds to what the model takes: columns become features, and of each value
// (value / divisor - mean) / deviation.
struct Preprocessing {
  bool bytes = false;  // the data set's values are bytes, else floats
  spec::Shape shape;   // of a sample as the data set holds it: that of the model's, or [columns]
  // Of a table, of which a sample is a value a column: a number, or the place of a category among
  // those of the column; NaN where it is missing.
  //   fill      of each column, what stands for a missing value; NaN: nothing; empty: of none
  //   column    of each feature, where it comes from; empty: each column is a feature
  //   category  of each feature, that which it is 1 for, else 0; NaN: it is the column's value
  std::vector<float> fill;
  std::vector<int64_t> column;
  std::vector<float> category;
  double divisor = 1;
  std::vector<float> mean, deviation;  // of each of spec::ScaleGroups; empty: none
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
