// What the fuzz targets share. Each reads one input as a file of its format, looks into it and
// loads it; both must agree, and neither may crash, hang or take memory beyond what libFuzzer
// allows.
#pragma once

#include <unistd.h>

#include <algorithm>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <string>
#include <string_view>
#include <type_traits>
#include <variant>
#include <vector>

#include "data/dataset.h"

namespace cyxwiz::fuzz {

inline void Require(bool good, const char* what) {
  if (good) return;
  std::fprintf(stderr, "wrong: %s\n", what);
  std::abort();
}

// A folder in memory that goes with the process.
class Folder {
 public:
  Folder() : path_("/dev/shm/cyxwiz-fuzz-" + std::to_string(::getpid())) {
    std::filesystem::create_directories(path_);
  }
  ~Folder() { std::filesystem::remove_all(path_); }
  const std::string& path() const { return path_; }

  void Write(const std::string& name, std::string_view content) const {
    std::FILE* file = std::fopen((path_ + "/" + name).c_str(), "wb");
    Require(file != nullptr, "cannot write the input");
    std::fwrite(content.data(), 1, content.size(), file);
    std::fclose(file);
  }

 private:
  std::string path_;
};

template <typename Values>
size_t SizeOf(const Values& values) {
  return std::visit([](const auto& v) { return v.size(); }, values);
}

inline void CheckPart(const data::Split& split, const spec::DatasetInfo& info) {
  size_t width = 1, labels = 1;
  for (int64_t dim : info.sample_shape) width *= static_cast<size_t>(dim);
  for (int64_t dim : info.label_shape) labels *= static_cast<size_t>(dim);
  const size_t samples = static_cast<size_t>(split.samples);
  Require(SizeOf(split.features) == samples * width, "as many features as samples have");
  Require(SizeOf(split.labels) == samples * labels, "as many labels as samples have");
  if (const auto* classes = std::get_if<std::vector<int64_t>>(&split.labels)) {
    for (int64_t label : *classes) Require(label >= 0 && label < info.classes, "known classes");
  }
}

// The samples of a part as they are read one by one from files, against those in memory.
inline void CheckStreamed(const data::Split& streamed, const data::Split& whole) {
  if (streamed.files == nullptr) return;
  Require(streamed.labels == whole.labels, "the same labels in files as in memory");
  std::visit(
      [&](const auto& values) {
        using T = typename std::decay_t<decltype(values)>::value_type;
        std::vector<T> row(values.size() / streamed.rows.size());
        for (size_t i = 0; i < streamed.rows.size(); ++i) {
          const Status read =
              streamed.files->Read(streamed.rows[i], reinterpret_cast<uint8_t*>(row.data()));
          Require(read.ok() && std::equal(row.begin(), row.end(), values.data() + i * row.size()),
                  "the same samples in files as in memory");
        }
      },
      whole.features);
}

// uri: "{}" is the folder. What a file says of itself may be right and its samples wrong: loading
// finds what looking does not.
inline void Read(const Folder& folder, std::string uri) {
  for (size_t at; (at = uri.find("{}")) != uri.npos;) uri.replace(at, 2, folder.path());
  spec::Problems problems;
  auto parsed = spec::ParseDatasetUri(uri, &problems);
  Require(parsed.has_value(), "the target's own URI");
  const data::Roots roots({folder.path()});
  auto info = data::FileInspector(roots, true).Inspect(*parsed, &problems);
  auto dataset = data::Load(*parsed, roots);
  if (!dataset.ok()) {
    Require(dataset.status().code() != Code::kInternal && !dataset.status().message().empty(),
            "a message for who gave the file");
    return;
  }
  Require(info.has_value(), "what loads is also found right when looked into");
  Require(info->description == dataset->info.description, "both say the same");
  CheckPart(dataset->train, dataset->info);
  CheckPart(dataset->test, dataset->info);
  if (!dataset->info.can_stream) return;
  data::Loader loader(roots);
  auto streamed = loader.Take(*parsed, /*streams=*/true);
  Require(streamed.ok(), "what loads can be left in its files");
  CheckStreamed(streamed->train, dataset->train);
  if (dataset->test.samples > 0) CheckStreamed(streamed->test, dataset->test);
}

inline std::string_view TextOf(const uint8_t* data, size_t size) {
  return {reinterpret_cast<const char*>(data), size};
}

}  // namespace cyxwiz::fuzz
