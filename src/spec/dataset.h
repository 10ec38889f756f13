// Data sets as a job names them, and what is known of one before training: enough to check shapes
// and to estimate memory. Reading samples is the business of src/data.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "base/status.h"
#include "spec/problem.h"
#include "spec/remote_source.h"

namespace cyxwiz::spec {

// How a table is read.
struct TableOptions {
  enum class Missing { kRefuse, kMean, kZero, kSkip };
  enum class Encoding { kOneHot, kIndex };
  enum class Labels { kInferred, kClasses, kNumbers };
  std::string label;  // name of its column; empty: the last one
  Labels labels = Labels::kInferred;
  // Unset: found out from the first two records.
  std::optional<bool> has_header;
  char delimiter = ',';
  std::vector<std::string> columns;      // the features; empty: all but the label
  std::vector<std::string> ignored;      // columns that are no features
  std::vector<std::string> categorical;  // columns of categories though they hold numbers
  Encoding encoding = Encoding::kOneHot;
  Missing missing = Missing::kRefuse;
};

// What images become.
struct ImageOptions {
  int64_t height = 0, width = 0;  // 0: those of the first image, which all others must have
  int64_t channels = 0;           // 1 (gray) or 3 (red, green, blue); 0: as the first image
};

// What part of the samples is set aside for the test, of data that has no such part.
struct TestSplit {
  enum class Mode { kRandom, kEnd, kStratified };
  double ratio = 0;  // 0: none
  Mode mode = Mode::kRandom;
  uint64_t seed = 0;
  std::string column;  // kTable: its cells say "train" or "test"; empty: by ratio
};

// How the samples of each epoch differ from those of the one before.
struct Augmentation {
  bool flip = false;  // left and right, every other image
  int64_t crop = 0;   // images moved by up to so many pixels each way, black coming in
  // How far each factor may be from the one that leaves an image's colours as they are, as
  // torchvision's ColorJitter takes them.
  double brightness = 0, contrast = 0, saturation = 0, hue = 0;
  double mixup = 0;  // alpha of the Beta distribution of the shares; 0: samples stay unmixed

  bool moves() const { return flip || crop > 0; }
  bool jitters() const { return brightness > 0 || contrast > 0 || saturation > 0 || hue > 0; }
  bool any() const { return moves() || jitters() || mixup > 0; }
};

inline constexpr double kMaxColourFactor = 10, kMaxHue = 0.5, kMaxMixup = 4;

// How samples that stay in files are read.
struct StreamOptions {
  std::optional<bool> wanted;                // unset: when the data does not fit into memory
  int64_t window = 16384;                    // samples among which the order of the files is mixed
  int64_t memory_bytes = int64_t{64} << 20;  // of samples that are read ahead
};

// A parsed dataset_uri.
//
//   mock://random_data?samples=1000&test_samples=200&features=10&classes=10&seed=0&noise=0.5
//       synthetic, learnable classification: one Gaussian cluster a class (defaults as shown)
//   file:///folder
//       an IDX folder: train-images-idx3-ubyte[.gz], train-labels-idx1-ubyte[.gz] and, when
//       present, t10k-images-..., t10k-labels-...
//   file:///images-file?labels=/labels-file
//       a pair of IDX files
//   file:///table.csv, file:///table.tsv
//       a table; see TableOptions
//   file:///text.txt?sequence_length=128
//       text, a byte a token
//   file:///features.npy?labels=/labels.npy
//       two NumPy arrays
//   file:///arrays.npz?features=features&labels=labels, file:///tensors.safetensors?...
//       two named arrays
//   file:///folder?format=images&size=32x32&channels=3
//       PNG and JPEG, a folder a class
//   file:///shards.tar, file:///shards-{000..146}.tar, file:///folder?format=webdataset
//       images and labels in archives of tar, see data/web_dataset.h
//   file:///folder/dataset.json
//       what a preprocessing has left, see data/prepared.h
//   dataset://name@version, dataset://name@version/file?labels=other-file
//       a data set that the server keeps, or what lies in it, with the parameters of file://
//   https://host/table.csv#label=rent, s3://bucket/table.csv?label=rent
//       what a node fetches, with the parameters of file:// and sha256, see remote_source.h
struct DatasetUri {
  enum class Kind {
    kMock,
    kIdxFolder,
    kIdxPair,
    kTable,
    kText,
    kNpy,
    kNpz,
    kSafetensors,
    kImageFolder,
    kWebDataset,
    kPrepared
  };
  Kind kind = Kind::kMock;
  std::string text;  // as given
  // "name@version" of a data set that the server keeps; empty: the paths are those of machines.
  std::string stored_as;
  std::string manifest_sha256;  // of its content, as the server has found it; empty: not known
  bool stored() const { return !stored_as.empty(); }
  RemoteSource remote;  // of what is fetched
  bool fetched() const { return !remote.url.empty(); }
  // Whether its files are put into a folder by the node.
  bool delivered() const { return stored() || fetched(); }
  // File kinds: absolute, as given (not yet resolved); of what is delivered: within it, "" for all
  // of it.
  std::string path;
  std::string labels_path;  // kIdxPair, kNpy
  TableOptions table;
  ImageOptions images;  // kImageFolder, kWebDataset
  std::string
      label_source;  // kWebDataset: where a label is: a member of .json, ".txt"; empty: .cls
  int64_t sequence_length = 128;  // kText
  // kNpz, kSafetensors: names of the arrays
  std::string features_name = "features", labels_name = "labels";
  // File kinds
  TestSplit test_split;
  bool normalize = false;  // to mean 0 and deviation 1, as the training samples have them
  Augmentation augmentation;
  StreamOptions stream;  // not of kTable and kText
  // kMock
  int64_t samples = 1000;
  int64_t test_samples = 200;
  int64_t features = 10;
  int64_t classes = 10;
  uint64_t seed = 0;
  double noise = 0.5;  // standard deviation of each feature around its class's centre
};

inline constexpr int64_t kMaxSequenceLength = 65536;
inline constexpr int64_t kMaxImageSide = 16384;

// Parses and checks a URI's form; touches no file: what a path is follows from "format=", or from
// the end of its name, also before ".gz" (".csv", ".tsv", ".txt", ".npy", ".npz", ".safetensors",
// ".tar");
// of the others "?labels=" makes a pair of IDX files, anything else is an IDX folder.
// Percent-encoded characters are decoded in paths and parameters; a path's own "?" must be written
// %3F. In https:// the parameters follow "#": what stands before is the URL's own. What
// dataset://name is follows from its only file when it has just one, which a server adds to the
// URI. Problems have path "$.dataset".
std::optional<DatasetUri> ParseDatasetUri(const std::string& text, Problems* problems);

// What a data set holds.
struct DatasetInfo {
  std::vector<int64_t>
      sample_shape;  // of one sample without the batch: {1, 28, 28} (channels first) or {features}
  int64_t train_samples = 0;
  int64_t test_samples = 0;  // 0: the data set has no test part
  // Classification labels are 0 .. classes-1; 0 when labels are real numbers (regression).
  int64_t classes = 0;
  // Of the labels of one sample: {} is one label, {n} are n, one a position of a sequence or n
  // numbers.
  std::vector<int64_t> label_shape;
  // What is known of the values that a model gets, without looking through the samples.
  enum class Values {
    kAny,     // those in the files
    kParts,   // from 0 to 1: bytes, divided by 255
    kBytes,   // bytes of text as they are
    kAround,  // real numbers on both sides of 0: scaled ones, and those of kMock
  };
  Values values = Values::kAny;
  // Of features that are numbers, as far as they have been looked at; nullopt: they have not.
  struct Seen {
    double least = 0, greatest = 0;
    std::optional<double> fraction;  // one that is not whole
  };
  std::optional<Seen> seen;
  // The least and the greatest label, of real numbers that have been read.
  std::optional<std::pair<double, double>> label_range;
  int64_t bytes_in_memory = 0;  // loaded, as the runner keeps it
  // Whether the samples can stay in files; what is in memory then: where each lies, its label, and
  // what is read ahead. CheckJob says whether they do.
  bool can_stream = false;
  int64_t bytes_streamed = 0;
  bool streams = false;
  std::string description;  // "IDX images 28x28, 60000 train and 10000 test samples, 10 classes"
};

// Features of a data set that is kept in memory.
inline constexpr int64_t kMaxInMemoryBytes = int64_t{4} << 30;
inline constexpr int64_t kMaxShuffleWindow = 1 << 24;

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
