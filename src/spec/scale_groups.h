// Which values of a sample are scaled alike.
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

namespace cyxwiz::spec {

// The channels of [channels, height, width] and of [channels, depth, height, width]; of other
// samples the places of the last dimension: columns of a table, features of a sequence. Value i of
// a sample belongs to group i / inner % count.
struct ScaleGroups {
  explicit ScaleGroups(const std::vector<int64_t>& sample_shape) {
    const bool channels_first = sample_shape.size() >= 3;
    const int64_t groups = channels_first ? sample_shape.front() : sample_shape.back();
    count = static_cast<size_t>(groups);
    shape = {groups};
    for (size_t i = 1; channels_first && i < sample_shape.size(); ++i) {
      inner *= static_cast<size_t>(sample_shape[i]);
      shape.push_back(1);
    }
  }
  size_t of(size_t i) const { return i / inner % count; }

  size_t count = 1, inner = 1;
  std::vector<int64_t> shape;  // of a value a group, to go with a batch of samples: [count, 1, 1]
};

}  // namespace cyxwiz::spec
