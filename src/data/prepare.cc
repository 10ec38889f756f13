#include "data/prepare.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <limits>
#include <numeric>
#include <string>
#include <tuple>
#include <utility>
#include <vector>

#include "data/file_rows.h"
#include "data/random.h"
#include "data/scaled_rows.h"
#include "spec/count.h"
#include "spec/scale_groups.h"

namespace cyxwiz::data {
namespace {

using spec::DatasetInfo;
using spec::ScaleGroups;
using spec::TestSplit;

// Of a sample in files: its place and row, and its places in the order of samples and in those of
// an epoch, of a part and of what is to be read.
constexpr int64_t kIndexBytes = 16 + 8 + 4 * 8;
// Of the threads that read ahead.
constexpr int64_t kReaderBytes = int64_t{36} << 20;

int64_t ElementsOf(const std::vector<int64_t>& shape) { return spec::ElementCount(shape); }

// ---- the test part

// How many samples become the test part.
Fault CountTest(const TestSplit& split, const Raw& raw, int64_t* count) {
  const spec::DatasetInfo& info = raw.info;
  *count = raw.told_test;
  if (raw.tells_test) {
    if (info.train_samples > raw.told_test) return {};
    return Wrong("the data set has no sample to train on",
                 "'train' in at least one cell of the column '" + Shown(split.column) + "'",
                 "'test' in all " + std::to_string(info.train_samples));
  }
  if (split.ratio == 0) return {};
  if (info.test_samples > 0) {
    return Wrong("the data set has a test part of its own", "no test_split",
                 Count(info.test_samples, "test sample"), "leave test_split out");
  }
  if (info.train_samples < 2) {
    return Wrong("one sample cannot be split", "at least 2 samples",
                 std::to_string(info.train_samples), "leave test_split out");
  }
  if (split.mode == TestSplit::Mode::kStratified &&
      (info.classes == 0 || !info.label_shape.empty())) {
    return Wrong("a stratified split needs a class for each sample", "labels that are classes",
                 info.classes == 0 ? "real numbers" : "several labels a sample",
                 "use split=random");
  }
  *count = std::clamp<int64_t>(std::llround(split.ratio * static_cast<double>(info.train_samples)),
                               1, info.train_samples - 1);
  return {};
}

// Which samples they are. A stratified split is one at even distances among the samples sorted by
// class, in random order within each: it has the right size, and of each class its part, rounded.
std::vector<bool> ChooseTest(const TestSplit& split, const Split& all, int64_t count) {
  const int64_t samples = all.samples;
  std::vector<bool> is_test(static_cast<size_t>(samples));
  if (split.mode == TestSplit::Mode::kEnd) {
    std::fill(is_test.end() - count, is_test.end(), true);
    return is_test;
  }
  const auto* classes = split.mode == TestSplit::Mode::kStratified
                            ? std::get_if<std::vector<int64_t>>(&all.labels)
                            : nullptr;
  std::vector<int64_t> order(static_cast<size_t>(samples));
  std::iota(order.begin(), order.end(), 0);
  auto key = [&](int64_t i) {
    return std::tuple(classes == nullptr ? 0 : (*classes)[static_cast<size_t>(i)],
                      RandomAt(split.seed, static_cast<uint64_t>(i)), i);
  };
  std::sort(order.begin(), order.end(), [&](int64_t a, int64_t b) { return key(a) < key(b); });
  // floor(i * count / samples), one more with each that is chosen; without a product that
  // overflows.
  int64_t rest = samples / 2;
  for (int64_t i : order) {
    rest += count;
    if (rest < samples) continue;
    rest -= samples;
    is_test[static_cast<size_t>(i)] = true;
  }
  return is_test;
}

// Moves the rows that is_test says from one array to another; in order.
template <typename T>
void MoveRows(const std::vector<bool>& is_test, std::vector<T>* train, std::vector<T>* test) {
  const size_t width = train->size() / is_test.size();
  const size_t moved = static_cast<size_t>(std::count(is_test.begin(), is_test.end(), true));
  test->reserve(moved * width);
  auto out = train->begin();
  for (size_t i = 0; i < is_test.size(); ++i) {
    auto row = train->begin() + static_cast<std::ptrdiff_t>(i * width);
    auto end = row + static_cast<std::ptrdiff_t>(width);
    if (is_test[i]) {
      test->insert(test->end(), row, end);
    } else {
      out = out == row ? end : std::copy(row, end, out);
    }
  }
  train->erase(out, train->end());
}

template <typename Variant>
void MoveRowsOf(const std::vector<bool>& is_test, Variant* train, Variant* test) {
  std::visit(
      [&](auto& values) {
        std::decay_t<decltype(values)> moved;
        MoveRows(is_test, &values, &moved);
        *test = std::move(moved);
      },
      *train);
}

void SetTestAside(const std::vector<bool>& is_test, int64_t count, Dataset* dataset) {
  MoveRowsOf(is_test, &dataset->train.features, &dataset->test.features);
  MoveRowsOf(is_test, &dataset->train.labels, &dataset->test.labels);
  MoveRows(is_test, &dataset->train.rows, &dataset->test.rows);
  dataset->test.files = dataset->train.files;
  dataset->train.samples -= count;
  dataset->test.samples = count;
}

// ---- missing values and scale

// Calls use(values, width) for the features of both parts.
template <typename Use>
void ForFloats(Dataset* dataset, Use use) {
  for (Split* split : {&dataset->train, &dataset->test}) {
    if (auto* values = std::get_if<std::vector<float>>(&split->features)) use(values);
  }
}

// Where a value is missing stands that of its feature.
void Fill(const std::vector<float>& features, Dataset* dataset) {
  ForFloats(dataset, [&](std::vector<float>* values) {
    for (size_t i = 0; i < values->size(); ++i) {
      if (std::isnan((*values)[i])) (*values)[i] = features[i % features.size()];
    }
  });
}

void FillMeans(size_t width, Dataset* dataset) {
  std::vector<double> sums(width), counts(width);
  const auto& trained = std::get<std::vector<float>>(dataset->train.features);
  for (size_t i = 0; i < trained.size(); ++i) {
    if (std::isnan(trained[i])) continue;
    sums[i % width] += static_cast<double>(trained[i]);
    ++counts[i % width];
  }
  std::vector<float> means(width);
  for (size_t i = 0; i < width; ++i) {
    means[i] = counts[i] == 0 ? 0 : static_cast<float>(sums[i] / counts[i]);
  }
  Fill(means, dataset);
  dataset->details["fill"] = means;
}

// Mean and deviation of values as the model would see them: each times `unit`.
class Measurement {
 public:
  Measurement(const ScaleGroups& groups, double unit)
      : groups_(groups),
        unit_(unit),
        sums_(groups.count),
        squares_(groups.count),
        first_(groups.count) {}

  // Of whole samples.
  template <typename T>
  void Add(const T* values, size_t count) {
    if (count_ == 0) SetFirst(values);
    for (size_t i = 0; i < count; ++i) {
      const size_t g = groups_.of(i);
      const double value = static_cast<double>(values[i]) * unit_ - first_[g];
      sums_[g] += value;
      squares_[g] += value * value;
    }
    count_ += count;
  }

  void Give(std::vector<float>* mean, std::vector<float>* deviation) const {
    const double count = static_cast<double>(count_ / groups_.count);
    mean->resize(groups_.count);
    deviation->resize(groups_.count);
    for (size_t g = 0; g < groups_.count; ++g) {
      const double m = sums_[g] / count;
      const double d = std::sqrt(std::max(0.0, squares_[g] / count - m * m));
      (*mean)[g] = static_cast<float>(m + first_[g]);
      const float narrow = static_cast<float>(d);
      // A feature that is always the same, but for rounding, becomes 0.
      (*deviation)[g] =
          std::isfinite(narrow) && d > 1e-7 * std::abs(m + first_[g]) && narrow > 0 ? narrow : 1.0f;
    }
  }

 private:
  // What is subtracted from all values, so that large ones do not cancel.
  template <typename T>
  void SetFirst(const T* values) {
    for (size_t g = 0; g < groups_.count; ++g)
      first_[g] = static_cast<double>(values[g * groups_.inner]) * unit_;
  }

  const ScaleGroups groups_;
  const double unit_;
  std::vector<double> sums_, squares_, first_;
  size_t count_ = 0;
};

void Scale(const ScaleGroups& groups, const std::vector<float>& mean,
           const std::vector<float>& deviation, Dataset* dataset) {
  if (std::holds_alternative<std::vector<uint8_t>>(dataset->train.features)) {
    // The bytes stay: they are scaled as they are fed to the model.
    for (Split* split : {&dataset->train, &dataset->test}) {
      split->scale.mean = mean;
      split->scale.deviation = deviation;
      split->scale.inner = static_cast<int64_t>(groups.inner);
    }
    return;
  }
  const int64_t width = ElementsOf(dataset->info.sample_shape);
  for (Split* split : {&dataset->train, &dataset->test}) {
    if (split->files == nullptr) continue;
    split->files = std::make_shared<ScaledRows>(
        split->files, width, static_cast<int64_t>(groups.inner), mean, deviation);
  }
  ForFloats(dataset, [&](std::vector<float>* values) {
    for (size_t i = 0; i < values->size(); ++i) {
      const size_t g = groups.of(i);
      (*values)[i] = ((*values)[i] - mean[g]) / deviation[g];
    }
  });
}

// Statistics::of. The content is known by its manifest, or by sizes and times of files; which of
// its samples are for training, and how they are read, follows from the URI.
std::string SamplesOf(const spec::DatasetUri& uri, const Split& train) {
  return uri.text + "\n" +
         (uri.manifest_sha256.empty() ? train.files->State() : uri.manifest_sha256);
}

Fault Measure(const spec::DatasetUri& uri, Dataset* dataset, std::vector<float>* mean,
              std::vector<float>* deviation) {
  std::optional<Statistics> known = std::exchange(dataset->statistics, {});
  if (dataset->train.files == nullptr) return MeasureTraining(*dataset, mean, deviation);
  const std::string samples = SamplesOf(uri, dataset->train);
  if (!known || known->of != samples) {
    known.emplace().of = samples;
    RETURN_IF_FAULT(MeasureTraining(*dataset, &known->mean, &known->deviation));
  }
  *mean = known->mean;
  *deviation = known->deviation;
  dataset->statistics = std::move(known);
  return {};
}

Fault Normalize(const spec::DatasetUri& uri, const Raw& raw, Dataset* dataset) {
  const ScaleGroups groups(raw.info.sample_shape);
  std::vector<float> mean, deviation;
  RETURN_IF_FAULT(Measure(uri, dataset, &mean, &deviation));
  for (size_t g = 0; g < raw.is_category.size(); ++g) {
    if (!raw.is_category[g]) continue;
    mean[g] = 0;
    deviation[g] = 1;
  }
  Scale(groups, mean, deviation, dataset);
  dataset->details["normalize"] = {{"mean", mean}, {"deviation", deviation}};
  return {};
}

// ---- as a model wants it

// The features of a table mean what those of the model's table did.
Fault CheckColumns(const Json& wanted, const Json& columns) {
  if (!wanted.is_array() || !columns.is_array() || wanted == columns) return {};
  for (size_t i = 0; i < std::max(wanted.size(), columns.size()); ++i) {
    const Json a = i < wanted.size() ? wanted[i] : Json("none");
    const Json b = i < columns.size() ? columns[i] : Json("none");
    if (a == b) continue;
    return Wrong("feature " + std::to_string(i + 1) +
                     " of the table is not that of the table which the model was trained on",
                 Shown(a.dump(), 200), Shown(b.dump(), 200),
                 "name the same columns in the same order with columns=");
  }
  return {};
}

// Of a prepared data set. *scaled: its features are as the model wants them. Bytes never are: their
// scale is dropped for the model's own.
Fault CheckScale(const Preparation& prepared, Dataset* dataset, bool* scaled) {
  const Json normalize = dataset->details.value("normalize", Json());
  if (std::holds_alternative<std::vector<uint8_t>>(dataset->train.features)) {
    for (Split* split : {&dataset->train, &dataset->test}) {
      split->scale.mean.clear();
      split->scale.deviation.clear();
      split->scale.inner = 1;
    }
    return {};
  }
  if (normalize.is_null()) return {};
  *scaled = normalize == Json{{"mean", prepared.mean}, {"deviation", prepared.deviation}};
  if (*scaled) return {};
  return Wrong("the data set was scaled by a mean and deviation of its own",
               prepared.mean.empty() ? "data that was not scaled"
                                     : "the mean and deviation that the model was trained with",
               "others", "take data that was prepared without normalize");
}

// Labels become the numbers of their classes' names in the model.
Fault RenumberClasses(const std::vector<std::string>& wanted, Dataset* dataset) {
  auto names = dataset->details.find("classes");
  if (wanted.empty() || names == dataset->details.end() || *names == Json(wanted)) return {};
  std::vector<int64_t> numbers;
  for (const Json& name : *names) {
    auto found = std::find(wanted.begin(), wanted.end(), name.get<std::string>());
    if (found == wanted.end()) {
      return Wrong("the model does not know the class '" + Shown(name.get<std::string>()) + "'",
                   "one of its " + std::to_string(wanted.size()) + " classes, such as '" +
                       Shown(wanted.front()) + "'",
                   "'" + Shown(name.get<std::string>()) + "'");
    }
    numbers.push_back(found - wanted.begin());
  }
  for (Split* split : {&dataset->train, &dataset->test}) {
    if (auto* labels = std::get_if<std::vector<int64_t>>(&split->labels)) {
      for (int64_t& label : *labels) label = numbers[static_cast<size_t>(label)];
    }
  }
  *names = wanted;
  dataset->info.classes = static_cast<int64_t>(wanted.size());
  return {};
}

// ---- the description

void Describe(Raw* raw) {
  spec::DatasetInfo& info = raw->info;
  const int64_t samples = spec::Sum(info.train_samples, info.test_samples),
                labels = spec::Product(ElementsOf(info.label_shape), raw->label_bytes),
                features = spec::Product(ElementsOf(info.sample_shape), raw->value_bytes);
  info.bytes_in_memory = spec::Product(samples, spec::Sum(features, labels));
  if (info.can_stream) {
    info.bytes_streamed =
        spec::Sum(spec::Product(samples, spec::Sum(kIndexBytes, labels)), raw->name_bytes,
                  kReaderBytes, std::max(raw->stream_bytes, spec::Product(4, features)));
  }
  info.description = raw->format + ", " + std::to_string(info.train_samples) + " train ";
  if (info.test_samples > 0) {
    info.description += "and " + std::to_string(info.test_samples) + " test ";
  }
  info.description +=
      "samples, " + (info.classes == 0 ? "regression"
                                       : std::to_string(info.classes) +
                                             (info.classes == 1 ? " class" : " classes"));
}

// What a model gets of them. Categories of a table are not scaled, and what was prepared may be.
DatasetInfo::Values ValuesOf(const spec::DatasetUri& uri, const Raw& raw) {
  using Kind = spec::DatasetUri::Kind;
  using Values = DatasetInfo::Values;
  if (uri.kind == Kind::kTable || uri.kind == Kind::kPrepared) return Values::kAny;
  if (uri.normalize) return Values::kAround;
  if (raw.value_bytes > 1) return Values::kAny;
  return uri.kind == Kind::kText ? Values::kBytes : Values::kParts;
}

// Whether there is anything in these samples for it to change.
Fault CheckAugmentation(const spec::Augmentation& augmentation, const Raw& raw) {
  const std::vector<int64_t>& shape = raw.info.sample_shape;
  if ((augmentation.moves() || augmentation.jitters()) && shape.size() != 3) {
    return Wrong((augmentation.moves() ? "flip and crop are" : "changes of colours are") +
                     std::string(" for images"),
                 "samples of [channels, height, width]", ShapeText(shape), "leave them out");
  }
  if (augmentation.crop > 0 && augmentation.crop >= std::min(shape[1], shape[2])) {
    return Wrong("crop moves the images out of sight", "less than their height and width",
                 std::to_string(augmentation.crop));
  }
  if (augmentation.jitters() && raw.value_bytes != 1) {
    return Wrong("changes of colours are for images of bytes", "values of u1", "real numbers",
                 "leave brightness, contrast, saturation and hue out");
  }
  if (augmentation.jitters() && shape[0] != 1 && shape[0] != 3) {
    return Wrong("changes of colours are for gray and colour images", "1 or 3 channels",
                 std::to_string(shape[0]), "leave brightness, contrast, saturation and hue out");
  }
  if (augmentation.mixup > 0 && !raw.info.label_shape.empty()) {
    return Wrong("mixup is for samples with one label", "one label a sample",
                 ShapeText(raw.info.label_shape) + " of them", "leave mixup out");
  }
  return {};
}

}  // namespace

Fault Prepare(const spec::DatasetUri& uri, const Preparation* prepared, Raw* raw) {
  spec::DatasetInfo& info = raw->info;
  RETURN_IF_FAULT(CheckAugmentation(uri.augmentation, *raw));
  int64_t test = 0;
  RETURN_IF_FAULT(CountTest(uri.test_split, *raw, &test));
  info.train_samples -= test;
  info.test_samples += test;
  info.values = ValuesOf(uri, *raw);
  Describe(raw);
  Dataset* dataset = raw->dataset;
  if (dataset == nullptr) return {};
  if (test > 0) {
    dataset->test.scale = dataset->train.scale;
    SetTestAside(raw->tells_test ? raw->is_test : ChooseTest(uri.test_split, dataset->train, test),
                 test, dataset);
  }
  dataset->info = info;
  if (prepared != nullptr) return {};
  if (raw->fills_mean) FillMeans(static_cast<size_t>(ElementsOf(info.sample_shape)), dataset);
  if (uri.normalize) return Normalize(uri, *raw, dataset);
  dataset->statistics.reset();
  return {};
}

Fault MeasureTraining(const Dataset& dataset, std::vector<float>* mean,
                      std::vector<float>* deviation) {
  const ScaleGroups groups(dataset.info.sample_shape);
  const Split& train = dataset.train;
  Measurement measurement(groups, train.has_floats() ? 1 : 1.0 / 255);
  const auto width = static_cast<size_t>(ElementsOf(dataset.info.sample_shape));
  if (train.files == nullptr) {
    std::visit([&](const auto& values) { measurement.Add(values.data(), values.size()); },
               train.features);
  } else {
    std::vector<float> floats(width);
    const size_t row_bytes = width * static_cast<size_t>(train.value_bytes());
    RETURN_IF_FAULT(ForEachRow(train, static_cast<int64_t>(row_bytes), [&](const uint8_t* row) {
      if (!train.has_floats()) return measurement.Add(row, width);
      std::memcpy(floats.data(), row, row_bytes);
      measurement.Add(floats.data(), width);
    }));
  }
  measurement.Give(mean, deviation);
  return {};
}

Fault Adapt(const spec::DatasetUri& uri, const Preparation& prepared, Dataset* dataset) {
  const std::vector<int64_t>& shape = dataset->info.sample_shape;
  const bool bytes = std::holds_alternative<std::vector<uint8_t>>(dataset->train.features);
  if (bytes && prepared.bytes && dataset->train.scale.divisor != prepared.divisor) {
    return Wrong("the values are not of the kind that the model was trained on",
                 "bytes that are divided by " + std::to_string(prepared.divisor),
                 "by " + std::to_string(dataset->train.scale.divisor));
  }
  RETURN_IF_FAULT(CheckColumns(prepared.columns, dataset->details.value("columns", Json())));
  const auto width = static_cast<size_t>(ElementsOf(shape));
  if (uri.table.missing == spec::TableOptions::Missing::kMean) {
    if (prepared.fill.size() != width) {
      return Wrong("the model does not know what stands for missing values",
                   "data that was read with missing=mean at its training", "none",
                   "leave missing out, or train it so");
    }
    Fill(prepared.fill, dataset);
  }
  const ScaleGroups groups(shape);
  if (!prepared.mean.empty() && prepared.mean.size() != groups.count) {
    return Wrong("the samples cannot be scaled as those which the model was trained on",
                 Count(static_cast<int64_t>(prepared.mean.size()), "channel or feature"),
                 std::to_string(groups.count));
  }
  if (prepared.mean.empty() && uri.normalize) {
    return Wrong("the model was trained on data that was not scaled", "no normalize",
                 "normalize=true", "leave normalize out");
  }
  bool scaled = false;
  if (uri.kind == spec::DatasetUri::Kind::kPrepared)
    RETURN_IF_FAULT(CheckScale(prepared, dataset, &scaled));
  if (!prepared.mean.empty() && !scaled) Scale(groups, prepared.mean, prepared.deviation, dataset);
  return prepared.labels ? RenumberClasses(prepared.classes, dataset) : Fault();
}

}  // namespace cyxwiz::data
