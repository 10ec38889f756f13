#include "data/prepared.h"

#include <algorithm>
#include <cmath>
#include <filesystem>
#include <type_traits>
#include <utility>

#include "base/file.h"
#include "base/safetensors.h"
#include "data/array_rows.h"
#include "data/arrays.h"
#include "data/prepare.h"
#include "data/safetensors_arrays.h"
#include "spec/count.h"

namespace cyxwiz::data {
namespace {

constexpr char kFormat[] = "cyxwiz-prepared";
constexpr char kFeatures[] = "features", kLabels[] = "labels";
constexpr size_t kMaxJsonBytes = 64 << 20;
constexpr int64_t kMaxClasses = 65536;
constexpr int64_t kMaxSamples = int64_t{1} << 40;

template <typename T>
constexpr const char* TypeName() {
  if constexpr (std::is_same_v<T, uint8_t>) return "uint8";
  if constexpr (std::is_same_v<T, int64_t>) return "int64";
  return "float32";
}

template <typename T>
constexpr DataType TypeOf() {
  if constexpr (std::is_same_v<T, uint8_t>) return DataType::kUint8;
  if constexpr (std::is_same_v<T, int64_t>) return DataType::kInt64;
  return DataType::kFloat32;
}

template <typename T>
constexpr ElementType ElementOf() {
  if constexpr (std::is_same_v<T, uint8_t>) return ElementType::kUint8;
  if constexpr (std::is_same_v<T, int64_t>) return ElementType::kInt64;
  return ElementType::kFloat32;
}

std::vector<int64_t> Rows(int64_t samples, const std::vector<int64_t>& shape) {
  std::vector<int64_t> rows{samples};
  rows.insert(rows.end(), shape.begin(), shape.end());
  return rows;
}

// ---- writing

template <typename Variant>
TensorView ViewOf(const char* name, const Variant& values, std::vector<int64_t> shape) {
  return std::visit(
      [&](const auto& list) {
        using T = typename std::decay_t<decltype(list)>::value_type;
        return TensorView{name, TypeOf<T>(), std::move(shape), list.data()};
      },
      values);
}

std::string NameOfType(const auto& values) {
  return std::visit(
      [](const auto& list) {
        return std::string(TypeName<typename std::decay_t<decltype(list)>::value_type>());
      },
      values);
}

// How often each class occurs.
std::vector<int64_t> CountClasses(const Split& split, int64_t classes) {
  std::vector<int64_t> counts(static_cast<size_t>(classes));
  std::visit(
      [&](const auto& labels) {
        for (auto label : labels) ++counts[static_cast<size_t>(label)];
      },
      split.labels);
  return counts;
}

Status WritePart(const Split& split, const spec::DatasetInfo& info, const std::string& name,
                 const std::string& folder, Json* parts, std::vector<std::string>* files) {
  const std::string file = name + ".safetensors";
  RETURN_IF_ERROR(
      WriteSafetensors(folder + "/" + file,
                       {ViewOf(kFeatures, split.features, Rows(split.samples, info.sample_shape)),
                        ViewOf(kLabels, split.labels, Rows(split.samples, info.label_shape))},
                       {}));
  Json part{{"file", file}, {"samples", split.samples}};
  if (info.classes > 0) part["class_counts"] = CountClasses(split, info.classes);
  (*parts)[name] = std::move(part);
  files->push_back(file);
  return OkStatus();
}

// ---- reading

Fault Broken(const std::string& path, const std::string& what, const std::string& expected,
             const std::string& found) {
  return Wrong("'" + path + "': " + what, expected, Shown(found, 200),
               "make the data set again with 'cyxwiz preprocess'");
}

// A list of numbers; empty when it is not there.
bool TakeNumbers(const Json& json, const char* key, std::vector<float>* numbers) {
  const Json list = json.value(key, Json::array());
  if (!list.is_array()) return false;
  for (const Json& number : list) {
    if (!number.is_number()) return false;
    numbers->push_back(number.get<float>());
  }
  return true;
}

bool TakeShape(const Json& json, const char* key, std::vector<int64_t>* shape) {
  const Json list = json.value(key, Json());
  if (!list.is_array() || list.size() > kMaxArrayRank) return false;
  for (const Json& size : list) {
    if (!size.is_number_unsigned() || size.get<uint64_t>() < 1 ||
        size.get<uint64_t>() > static_cast<uint64_t>(kMaxSamples))
      return false;
    shape->push_back(size.get<int64_t>());
  }
  return true;
}

struct Part {
  std::string file;
  int64_t samples = 0;
};

struct Description {
  Json json;
  std::string features, labels;
  ByteScale scale;
  Part train, test;
};

bool TakePart(const Json& parts, const char* name, Part* part) {
  const Json json = parts.value(name, Json());
  if (!json.is_object() || !json.value("samples", Json()).is_number_unsigned()) return false;
  part->samples = json["samples"].get<int64_t>();
  part->file = std::string(name) + ".safetensors";
  return part->samples >= 1 && part->samples <= kMaxSamples && json.value("file", "") == part->file;
}

Fault ReadDescription(const std::string& path, Raw* raw, Description* description) {
  Result<std::string> text = ReadFile(path, kMaxJsonBytes);
  if (!text.ok()) return FaultOf(text.status());
  Result<Json> json = ParseJson(*text, "it");
  if (!json.ok()) return Broken(path, "is not read", "JSON", json.status().message());
  if (!json->is_object() || json->value("format", Json()) != kFormat ||
      json->value("version", Json()) != 1) {
    return Broken(path, "is not what a preprocessing leaves",
                  R"("format": "cyxwiz-prepared", "version": 1)",
                  json->is_object() ? json->value("format", Json()).dump() : "no object");
  }
  description->json = *std::move(json);
  const Json& all = description->json;
  auto wrong = [&](const char* member) {
    return Broken(path, std::string("'") + member + "' is wrong",
                  "what src/data/prepared.h describes", all.value(member, Json()).dump());
  };
  spec::DatasetInfo& info = raw->info;
  if (!TakeShape(all, "sample_shape", &info.sample_shape) || info.sample_shape.empty())
    return wrong("sample_shape");
  if (!TakeShape(all, "label_shape", &info.label_shape)) return wrong("label_shape");
  const Json classes = all.value("classes", Json());
  if (!classes.is_number_unsigned() || classes.get<int64_t>() > kMaxClasses)
    return wrong("classes");
  info.classes = classes.get<int64_t>();
  const Json features = all.value("features", Json()), labels = all.value("labels", Json());
  const Json type = features.is_object() ? features.value("type", Json()) : Json();
  if (type != "uint8" && type != "float32") return wrong("features");
  description->features = type.get<std::string>();
  ByteScale& scale = description->scale;
  if (type == "uint8") {
    const Json divisor = features.value("divisor", Json()), inner = features.value("inner", Json());
    if (!divisor.is_number() || !(divisor.get<float>() > 0) || !inner.is_number_unsigned() ||
        inner.get<int64_t>() < 1 || !TakeNumbers(features, "mean", &scale.mean) ||
        !TakeNumbers(features, "deviation", &scale.deviation) ||
        scale.mean.size() != scale.deviation.size())
      return wrong("features");
    scale.divisor = divisor.get<float>();
    scale.inner = inner.get<int64_t>();
  }
  if (labels != "int64" && labels != "float32" && labels != "uint8") return wrong("labels");
  description->labels = labels.get<std::string>();
  if ((labels == "float32") != (info.classes == 0)) return wrong("labels");
  const Json parts = all.value("parts", Json());
  if (!parts.is_object() || !TakePart(parts, "train", &description->train) ||
      (parts.contains("test") && !TakePart(parts, "test", &description->test)))
    return wrong("parts");
  if (!all.value("details", Json::object()).is_object()) return wrong("details");
  if (!all.value("description", Json()).is_string()) return wrong("description");
  info.train_samples = description->train.samples;
  info.test_samples = description->test.samples;
  return {};
}

// Opens a tensor of a part, which must be of that type and shape.
template <typename T>
Fault OpenTensor(const std::string& file, const char* name, const std::vector<int64_t>& shape,
                 ArraySource* array) {
  RETURN_IF_FAULT(OpenSafetensor(file, name, array));
  if (array->type == ElementOf<T>() && array->shape == shape) return {};
  return Wrong(array->place + " is not what " + std::string(kPreparedFile) + " says",
               std::string(TypeName<T>()) + " of " + ShapeText(shape),
               "another type, or " + ShapeText(array->shape),
               "make the data set again with 'cyxwiz preprocess'");
}

// Its values too, when `values` is not null.
template <typename T>
Fault ReadTensor(const std::string& file, const char* name, const std::vector<int64_t>& shape,
                 std::vector<T>* values) {
  ArraySource array;
  RETURN_IF_FAULT(OpenTensor<T>(file, name, shape, &array));
  if (values == nullptr) return {};
  values->resize(static_cast<size_t>(spec::ElementCount(shape)));
  const size_t bytes = values->size() * sizeof(T);
  size_t got = 0;
  RETURN_IF_FAULT(array.bytes->Read(values->data(), bytes, &got));
  if (got == bytes) return {};
  return Wrong(array.place + " is cut off", Count(static_cast<int64_t>(bytes), "byte"),
               std::to_string(got));
}

Fault CheckLabels(const std::string& file, const Split& split, int64_t classes) {
  Fault fault;
  std::visit(
      [&](const auto& labels) {
        for (auto label : labels) {
          bool right = true;
          if constexpr (std::is_floating_point_v<decltype(label)>) {
            right = std::isfinite(label);
          } else {
            right = static_cast<int64_t>(label) >= 0 && static_cast<int64_t>(label) < classes;
          }
          if (right) continue;
          fault = Wrong("'" + file + "' has a label that is none",
                        classes == 0 ? "finite numbers" : "0 to " + std::to_string(classes - 1),
                        std::to_string(label), "make the data set again with 'cyxwiz preprocess'");
          return;
        }
      },
      split.labels);
  return fault;
}

template <typename T, typename Variant>
std::vector<T>* Hold(Variant* variant) {
  return variant == nullptr ? nullptr : &variant->template emplace<std::vector<T>>();
}

Fault ReadPart(const std::string& file, const Description& description, int64_t samples,
               const spec::DatasetInfo& info, Split* split) {
  const auto features = Rows(samples, info.sample_shape), labels = Rows(samples, info.label_shape);
  auto* to_labels = split == nullptr ? nullptr : &split->labels;
  ArraySource array;
  RETURN_IF_FAULT(description.features == "uint8"
                      ? OpenTensor<uint8_t>(file, kFeatures, features, &array)
                      : OpenTensor<float>(file, kFeatures, features, &array));
  RETURN_IF_FAULT(
      description.labels == "int64"   ? ReadTensor(file, kLabels, labels, Hold<int64_t>(to_labels))
      : description.labels == "uint8" ? ReadTensor(file, kLabels, labels, Hold<uint8_t>(to_labels))
                                      : ReadTensor(file, kLabels, labels, Hold<float>(to_labels)));
  if (split == nullptr) return {};
  RETURN_IF_FAULT(LeaveInFile(array, split));
  split->scale = description.scale;
  return CheckLabels(file, *split, info.classes);
}

int64_t BytesOfType(const std::string& type) {
  return type == "uint8" ? 1 : type == "int64" ? 8 : 4;
}

}  // namespace

Status WritePrepared(const Dataset& dataset, const std::string& source,
                     const std::string& source_sha256, const std::string& folder,
                     std::vector<std::string>* files) {
  const spec::DatasetInfo& info = dataset.info;
  const ByteScale& scale = dataset.train.scale;
  Json features{{"type", NameOfType(dataset.train.features)}};
  if (features["type"] == "uint8") {
    features["divisor"] = scale.divisor;
    features["mean"] = scale.mean;
    features["deviation"] = scale.deviation;
    features["inner"] = scale.inner;
  }
  Json statistics = dataset.details.value("normalize", Json());
  if (statistics.is_null()) {
    std::vector<float> mean, deviation;
    if (Fault fault = MeasureTraining(dataset, &mean, &deviation); !fault.ok())
      return fault.ToStatus();
    statistics = {{"mean", mean}, {"deviation", deviation}};
  }
  Json parts = Json::object();
  files->push_back(kPreparedFile);
  RETURN_IF_ERROR(WritePart(dataset.train, info, "train", folder, &parts, files));
  if (dataset.test.samples > 0)
    RETURN_IF_ERROR(WritePart(dataset.test, info, "test", folder, &parts, files));
  Json json{{"format", kFormat},
            {"version", 1},
            {"source", source},
            {"sample_shape", info.sample_shape},
            {"label_shape", info.label_shape},
            {"classes", info.classes},
            {"features", std::move(features)},
            {"labels", NameOfType(dataset.train.labels)},
            {"parts", std::move(parts)},
            {"statistics", std::move(statistics)},
            {"details", dataset.details},
            {"description", info.description}};
  if (!source_sha256.empty()) json["source_sha256"] = source_sha256;
  return WriteFileAtomically(folder + "/" + kPreparedFile,
                             json.dump(1, ' ', false, Json::error_handler_t::replace) + "\n");
}

Fault ReadPrepared(const std::string& path, int64_t stream_bytes, Raw* raw) {
  Description description;
  RETURN_IF_FAULT(ReadDescription(path, raw, &description));
  const spec::DatasetInfo& info = raw->info;
  raw->value_bytes = BytesOfType(description.features);
  raw->label_bytes = BytesOfType(description.labels);
  raw->stream_bytes = stream_bytes;
  raw->info.can_stream = true;
  const std::string folder = std::filesystem::path(path).parent_path().string();
  Dataset* dataset = raw->dataset;
  RETURN_IF_FAULT(ReadPart(folder + "/" + description.train.file, description, info.train_samples,
                           info, dataset != nullptr ? &dataset->train : nullptr));
  if (info.test_samples > 0) {
    RETURN_IF_FAULT(ReadPart(folder + "/" + description.test.file, description, info.test_samples,
                             info, dataset != nullptr ? &dataset->test : nullptr));
  }
  if (dataset != nullptr) {
    dataset->test.scale = dataset->train.scale;
    dataset->details = description.json.value("details", Json::object());
  }
  raw->format = "prepared from " + Shown(description.json.value("source", ""), 100);
  return {};
}

}  // namespace cyxwiz::data
