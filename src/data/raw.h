// A data set as the reader of its format leaves it, before the test part is set aside and values
// are filled in and scaled. Internal to src/data.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "data/dataset.h"

namespace cyxwiz::data {

struct Raw {
  // The samples go here; null: the data set is only looked into.
  Dataset* dataset = nullptr;

  // sample_shape, classes, label_shape, and the samples: all of them in train_samples unless the
  // data has a test part of its own.
  spec::DatasetInfo info;
  std::string format;        // begins the description: "CSV, 3 features"
  int64_t value_bytes = 0;   // of one value of a sample
  int64_t label_bytes = 0;   // of one label
  int64_t stream_bytes = 0;  // of samples in files that are read ahead
  int64_t name_bytes = 0;    // of the files' names, where each sample has a file of its own

  // Of a table that tells its test part itself: how many samples, and with a dataset which.
  bool tells_test = false;
  int64_t told_test = 0;
  std::vector<bool> is_test;
  // Features that scaling leaves alone, since they stand for categories; empty: none.
  std::vector<bool> is_category;
  // Whether features that are NaN are missing, for the mean to stand in for them.
  bool fills_mean = false;
};

// "3x28x28"
inline std::string ShapeText(const std::vector<int64_t>& shape) {
  std::string text;
  for (int64_t dim : shape) text += (text.empty() ? "" : "x") + std::to_string(dim);
  return text;
}

}  // namespace cyxwiz::data
