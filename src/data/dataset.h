// Data sets in memory: inspected cheaply before a job is queued, loaded by the runner. Knows
// nothing of libtorch.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <variant>
#include <vector>

#include "base/json.h"
#include "base/status.h"
#include "data/preparation.h"
#include "data/row_reader.h"
#include "spec/dataset.h"

namespace cyxwiz::data {

// How features that are bytes become what the model sees: (byte / divisor - mean) / deviation.
struct ByteScale {
  float divisor = 255;
  // Of each group of values that are scaled alike; empty: not scaled.
  std::vector<float> mean, deviation;
  int64_t inner = 1;  // value i of a sample belongs to group i / inner modulo their number
};

// Samples and labels as plain arrays, row-major, sample after sample.
struct Split {
  int64_t samples = 0;
  // samples x product(sample_shape). Bytes are as stored; floats are what the model sees.
  std::variant<std::vector<uint8_t>, std::vector<float>> features;
  // Set: the features stay in files, those of sample i in row rows[i], rising; `features` is an
  // empty list of what the rows hold.
  std::shared_ptr<const RowReader> files;
  std::vector<int64_t> rows;
  ByteScale scale;  // of bytes
  // samples x product(label_shape): class numbers, or the targets of a regression.
  // Bytes are class numbers of text.
  std::variant<std::vector<int64_t>, std::vector<float>, std::vector<uint8_t>> labels;

  bool has_floats() const { return std::holds_alternative<std::vector<float>>(features); }
  int64_t value_bytes() const { return has_floats() ? 4 : 1; }  // of a feature
};

// Mean and deviation of the training samples, which are scaled by them.
struct Statistics {
  std::string of;  // names the samples and their content: equal only where these are
  std::vector<float> mean, deviation;
};

struct Dataset {
  spec::DatasetInfo info;
  Split train;
  Split test;  // samples == 0 when there is none
  // What a user of the model has to know of the data, for model.json: the columns and categories
  // of a table, the names of the classes in order, mean and deviation, what fills gaps.
  Json details = Json::object();
  // Of samples in files that are scaled: what was measured, which takes reading all of them. Who
  // loads the same data again can put it here before.
  std::optional<Statistics> statistics;
};

// The folders below which file:// data may lie (configuration key data_roots). Any number of
// threads.
class Roots {
 public:
  // Folders are made absolute and resolved (no symlink, no ".."). Those that do not exist are kept:
  // they allow nothing until they appear.
  explicit Roots(const std::vector<std::string>& folders);
  // The real path of `path`. PERMISSION_DENIED when it, after every symlink and "..", is not below
  // a root, whether or not it exists; NOT_FOUND when it is and does not exist. The message names
  // the roots.
  Result<std::string> Resolve(const std::string& path) const;
  bool empty() const { return folders_.empty(); }
  const std::vector<std::string>& folders() const { return folders_; }

 private:
  std::vector<std::string> folders_;
};

// Inspects headers, sizes and labels: labels and the whole of a table are read, but a table's
// features are checked to be numbers only in its first 64 MiB of text, those of an array of numbers
// to be finite in its first 64 MiB, and of a folder of images the first one is looked at. What was
// found out, good or bad, is remembered for the last 256 data sets, folders of images left out,
// until one of their files changes (path, inode, size, times). Any number of threads; reading
// happens outside the lock.
class FileInspector : public spec::DatasetInspector {
 public:
  // must_see: whether data that is not there or not below a root is an error here (nodes, and a
  // server that shares its file system with its nodes) or simply not visible (a server without data
  // roots). Data that is visible and wrong is always an error.
  FileInspector(Roots roots, bool must_see);
  ~FileInspector() override;
  std::optional<spec::DatasetInfo> Inspect(const spec::DatasetUri& uri,
                                           spec::Problems* problems) override;
  // How often files were read because the answer was not remembered.
  int64_t reads() const;

 private:
  class Cache;

  const Roots roots_;
  const bool must_see_;
  const std::unique_ptr<Cache> cache_;
};

// Inspects a data set by loading it, so that who needs its samples too reads it once; those that
// can stay in files are read when they are taken. One thread.
class Loader : public spec::DatasetInspector {
 public:
  // preparation: how a model wants the data; nullopt: as the data's training samples say.
  // stored_folder: where the files of a stored or fetched data set are; empty: there are none.
  // known: see Dataset.
  explicit Loader(Roots roots, std::optional<Preparation> preparation = {},
                  std::string stored_folder = "", std::optional<Statistics> known = {})
      : roots_(std::move(roots)),
        preparation_(std::move(preparation)),
        stored_folder_(std::move(stored_folder)),
        known_(std::move(known)) {}
  std::optional<spec::DatasetInfo> Inspect(const spec::DatasetUri& uri,
                                           spec::Problems* problems) override;
  // Why Inspect found nothing; OK when it found the data set, or was not called.
  const Status& status() const { return status_; }
  // The data set that was inspected, or, when none was, the one that `uri` names. Once. streams:
  // samples that can stay in files do.
  Result<Dataset> Take(const spec::DatasetUri& uri, bool streams = false);

 private:
  const Roots roots_;
  const std::optional<Preparation> preparation_;
  const std::string stored_folder_;
  const std::optional<Statistics> known_;
  std::optional<Dataset> dataset_;
  Status status_;
};

// Loads a data set whole. Errors: INVALID_ARGUMENT for content that is wrong (the message names
// file, row, column), NOT_FOUND, PERMISSION_DENIED, RESOURCE_EXHAUSTED. `info` is what
// FileInspector says of the same data.
Result<Dataset> Load(const spec::DatasetUri& uri, const Roots& roots);

}  // namespace cyxwiz::data
