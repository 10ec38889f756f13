// The model of a job: read, layer by layer, with its shapes.
#pragma once

#include <string>

#include "spec/job_spec.h"

namespace cyxwiz::spec {

struct CheckedModel {
  ModelSpec spec;
  bool complete = false;   // every layer is there and every shape known
  size_t first_layer = 0;  // place in the JSON of spec.layers[0]: 1 after an input entry

  // "$.model.layers[3]" of spec.layers[i].
  std::string PathOf(size_t i) const;
};

// Reads `definition`. dataset: what is known of the data, may be null. dataset_refused: it is
// unknown because it was refused, so that a missing input shape is no further problem.
CheckedModel CheckModel(const std::string& definition, const DatasetInfo* dataset,
                        bool dataset_refused, Problems* problems);

}  // namespace cyxwiz::spec
