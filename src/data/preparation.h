// What a model relies on of the data that it was trained on, so that other data is prepared for it
// as that was: written into model.json by the training, read by who uses the model.
//
//   data := {"input": {"type": "uint8" | "float32", "divisor": 255},
//            "data": {"normalize": {"mean": [...], "deviation": [...]},   when it was scaled
//                     "fill": [...],          what stood for missing values, when missing=mean
//                     "columns": [...],       of a table: names, categories
//                     "classes": [...]}}      names, in the order of the outputs
#pragma once

#include <string>
#include <vector>

#include "base/json.h"
#include "base/status.h"

namespace cyxwiz::data {

struct Preparation {
  bool bytes = false;                  // the data held bytes, else floats
  float divisor = 1;                   // of bytes
  std::vector<float> mean, deviation;  // empty: not scaled
  std::vector<float> fill;             // empty: nothing stood for missing values
  Json columns;                        // null: it was no table
  std::vector<std::string> classes;    // empty: they had no names
  bool labels = true;                  // whether the labels of other data count
};

// DATA_LOSS, saying what is wrong.
Result<Preparation> ReadPreparation(const std::string& data);

}  // namespace cyxwiz::data
