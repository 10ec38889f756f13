// Data sets as a job names them, and what is known of one before training: enough to check shapes
// and to estimate memory. Reading samples is the business of src/data.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "base/status.h"
#include "spec/problem.h"

namespace cyxwiz::spec {

// A parsed dataset_uri.
//
//   mock://random_data?samples=1000&test_samples=200&features=10&classes=10&seed=0&noise=0.5
//       synthetic, learnable classification: one Gaussian cluster a class (defaults as shown)
//   file:///folder
//       an IDX folder: train-images-idx3-ubyte[.gz], train-labels-idx1-ubyte[.gz] and, when
//       present, t10k-images-..., t10k-labels-...
//   file:///images-file?labels=/labels-file
//       a pair of IDX files
//   file:///table.csv?label=column&header=true|false
//       CSV; label names a column (default: the last one)
struct DatasetUri {
  enum class Kind { kMock, kIdxFolder, kIdxPair, kCsv };
  Kind kind = Kind::kMock;
  std::string text;          // as given
  std::string path;          // file kinds: absolute, as given (not yet resolved)
  std::string labels_path;   // kIdxPair
  std::string label_column;  // kCsv; empty means the last column
  // kCsv; unset means: the first row is a header when a cell is not a number.
  std::optional<bool> has_header;
  // kMock
  int64_t samples = 1000;
  int64_t test_samples = 200;
  int64_t features = 10;
  int64_t classes = 10;
  uint64_t seed = 0;
  double noise = 0.5;  // standard deviation of each feature around its class's centre
};

// Parses and checks a URI's form; touches no file (whether a path without an extension is a folder
// or a file is decided by its name: ".csv"/".csv.gz" is a CSV, "?labels=" makes a pair, anything
// else an IDX folder). Percent-encoded characters are decoded in paths and parameters; a path's own
// "?" must be written %3F. Problems have path "$.dataset".
std::optional<DatasetUri> ParseDatasetUri(const std::string& text, Problems* problems);

// What a data set holds.
struct DatasetInfo {
  std::vector<int64_t>
      sample_shape;  // of one sample without the batch: {1, 28, 28} (channels first) or {features}
  int64_t train_samples = 0;
  int64_t test_samples = 0;  // 0: the data set has no test part
  // Classification labels are 0 .. classes-1; 0 when labels are real numbers (regression).
  int64_t classes = 0;
  int64_t bytes_in_memory = 0;  // loaded, as the runner keeps it
  std::string description;  // "IDX images 28x28, 60000 train and 10000 test samples, 10 classes"
};

// Memory that a mock data set may take.
inline constexpr int64_t kMaxMockBytes = int64_t{4} << 30;

// What a mock data set of kind kMock holds; nothing else has to be seen for it.
DatasetInfo MockInfo(const DatasetUri& uri);

// Looks into data sets. The server checks jobs with one that sees the server's own files; the
// runner with one that sees the node's.
class DatasetInspector {
 public:
  virtual ~DatasetInspector() = default;
  // The info of a mock data set is known without an inspector; this is called for file kinds only.
  // nullopt with problems when the data set is wrong or not readable; nullopt without problems when
  // this machine cannot see it (the check is then left to the node).
  virtual std::optional<DatasetInfo> Inspect(const DatasetUri& uri, Problems* problems) = 0;
};

}  // namespace cyxwiz::spec
