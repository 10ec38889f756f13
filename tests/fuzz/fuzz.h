// What the fuzz targets share. Each reads one input as a file of its format, looks into it and
// loads it; both must agree, and neither may crash, hang or take memory beyond what libFuzzer
// allows.
#pragma once

#include <unistd.h>

#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <string>
#include <string_view>

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

// uri: "{}" is the folder.
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
}

inline std::string_view TextOf(const uint8_t* data, size_t size) {
  return {reinterpret_cast<const char*>(data), size};
}

}  // namespace cyxwiz::fuzz
