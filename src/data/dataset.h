// Data sets in memory: inspected cheaply before a job is queued, loaded by the runner. Knows nothing of libtorch.
#pragma once

#include <cstdint>
#include <string>
#include <variant>
#include <vector>

#include "base/status.h"
#include "spec/dataset.h"

namespace cyxwiz::data {

// Samples and labels as plain arrays, row-major, sample after sample.
struct Split {
  int64_t samples = 0;
  // samples x product(sample_shape). Bytes are IDX pixels as stored (the model sees value / 255); floats are as they are.
  std::variant<std::vector<uint8_t>, std::vector<float>> features;
  // One a sample: class numbers, or the targets of a regression.
  std::variant<std::vector<int64_t>, std::vector<float>> labels;
};

struct Dataset {
  spec::DatasetInfo info;
  Split train;
  Split test;  // samples == 0 when there is none
};

// The folders below which file:// data may lie, resolved (no symlink, no "..") when constructed.
class Roots {
 public:
  // Folders that do not exist are kept: they allow nothing until they appear.
  explicit Roots(const std::vector<std::string>& folders);
  // The real path of `path`. PERMISSION_DENIED when it, after every symlink and "..", is not below a root;
  // NOT_FOUND when it does not exist. The message names the roots.
  Result<std::string> Resolve(const std::string& path) const;
  bool empty() const { return folders_.empty(); }

 private:
  std::vector<std::string> folders_;
};

// Inspects headers, sizes and labels (the label file of IDX and the whole of a CSV of up to 64 MiB are read).
class FileInspector : public spec::DatasetInspector {
 public:
  // must_see: whether data that is not below a root is an error here (nodes, and a server that shares its file
  // system with its nodes) or simply not visible (a server without data roots).
  FileInspector(Roots roots, bool must_see) : roots_(std::move(roots)), must_see_(must_see) {}
  std::optional<spec::DatasetInfo> Inspect(const spec::DatasetUri& uri, spec::Problems* problems) override;

 private:
  Roots roots_;
  bool must_see_;
};

// Loads a data set whole. Errors: INVALID_ARGUMENT for content that is wrong (the message names file, row, column),
// NOT_FOUND, PERMISSION_DENIED, RESOURCE_EXHAUSTED.
Result<Dataset> Load(const spec::DatasetUri& uri, const Roots& roots);

}  // namespace cyxwiz::data
