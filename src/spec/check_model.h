// The model of a job: read, and its shapes inferred layer by layer.
#pragma once

#include <string>

#include "spec/job_spec.h"

namespace cyxwiz::spec {

struct CheckedModel {
  ModelSpec spec;
  bool complete = false;           // every layer is there and every shape known
  std::vector<std::string> paths;  // of spec.layers: "$.model.layers[3]"

  const std::string& PathOf(size_t i) const { return paths[i]; }
};

// Reads `definition`. dataset: what is known of the data, may be null. dataset_refused: it is
// unknown because it was refused, so that a missing input shape is no further problem.
CheckedModel CheckModel(const std::string& definition, const DatasetInfo* dataset,
                        bool dataset_refused, Problems* problems);

}  // namespace cyxwiz::spec
