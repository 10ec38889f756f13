// What the tests of src/data share: a folder of their own, files in it, gzip, IDX.
#pragma once

#include <gtest/gtest.h>
#include <zlib.h>

#include <algorithm>
#include <atomic>
#include <cstdint>
#include <cstdio>
#include <filesystem>
#include <fstream>
#include <memory>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "data/dataset.h"

namespace cyxwiz::data {

// window_bits: as zlib's deflateInit2; they choose the wrapping, too.
inline std::string Deflated(std::string_view content, int window_bits) {
  z_stream stream{};
  EXPECT_EQ(deflateInit2(&stream, 6, Z_DEFLATED, window_bits, 8, Z_DEFAULT_STRATEGY), Z_OK);
  std::string out(deflateBound(&stream, content.size()) + 64, '\0');
  stream.next_in = reinterpret_cast<Bytef*>(const_cast<char*>(content.data()));
  stream.avail_in = static_cast<uInt>(content.size());
  stream.next_out = reinterpret_cast<Bytef*>(out.data());
  stream.avail_out = static_cast<uInt>(out.size());
  EXPECT_EQ(deflate(&stream, Z_FINISH), Z_STREAM_END);
  out.resize(stream.total_out);
  deflateEnd(&stream);
  return out;
}

inline std::string Gzip(std::string_view content) { return Deflated(content, 15 + 16); }

inline std::string IdxHeader(const std::vector<uint32_t>& dims, unsigned char type = 0x08) {
  std::string text = {'\0', '\0', static_cast<char>(type), static_cast<char>(dims.size())};
  for (uint32_t dim : dims) {
    for (int shift : {24, 16, 8, 0}) text += static_cast<char>(dim >> shift & 255);
  }
  return text;
}

// Values count up from `first`, modulo `modulus`.
inline std::string Idx(const std::vector<uint32_t>& dims, unsigned first = 0,
                       unsigned modulus = 256) {
  std::string text = IdxHeader(dims);
  size_t count = 1;
  for (uint32_t dim : dims) count *= dim;
  for (size_t i = 0; i < count; ++i) text += static_cast<char>((first + i) % modulus);
  return text;
}

// Bytes in memory as rows of files: `row_bytes` each, `shard_rows` of them in a file. Counts the
// reads.
class MemoryRows : public RowReader {
 public:
  MemoryRows(std::vector<uint8_t> bytes, int64_t row_bytes, int64_t shard_rows)
      : bytes_(std::move(bytes)), row_bytes_(row_bytes), shard_rows_(shard_rows) {}
  Status Read(int64_t row, uint8_t* out) const override {
    ++reads_;
    std::copy_n(bytes_.data() + row * row_bytes_, row_bytes_, out);
    return OkStatus();
  }
  int64_t ShardOf(int64_t row) const override { return row / shard_rows_; }
  std::string State() const override { return "in memory"; }
  int64_t reads() const { return reads_; }

 private:
  const std::vector<uint8_t> bytes_;
  const int64_t row_bytes_, shard_rows_;
  mutable std::atomic<int64_t> reads_{0};
};

// Makes a split's bytes such rows.
inline std::shared_ptr<const MemoryRows> PutIntoFiles(int64_t shard_rows, Split* split) {
  auto bytes = std::get<std::vector<uint8_t>>(std::move(split->features));
  const auto row_bytes = static_cast<int64_t>(bytes.size()) / split->samples;
  auto rows = std::make_shared<const MemoryRows>(std::move(bytes), row_bytes, shard_rows);
  split->features = std::vector<uint8_t>();
  split->files = rows;
  for (int64_t i = 0; i < split->samples; ++i) split->rows.push_back(i);
  return rows;
}

// A member of a tar archive: header, content, padding.
inline std::string TarMemberOf(const std::string& name, std::string_view content, char type = '0',
                               const std::string& prefix = "") {
  std::string header(512, '\0');
  auto put = [&](size_t at, const std::string& text) { header.replace(at, text.size(), text); };
  auto octal = [](size_t number, int digits) {
    char text[32];
    std::snprintf(text, sizeof text, "%0*zo", digits, number);
    return std::string(text);
  };
  put(0, name.substr(0, 100));
  put(100, "0000644");
  put(124, octal(content.size(), 11));
  put(136, octal(0, 11));
  put(148, "        ");
  header[156] = type;
  put(257, std::string("ustar\00000", 8));
  put(345, prefix);
  size_t sum = 0;
  for (unsigned char c : header) sum += c;
  put(148, octal(sum, 6) + std::string("\0 ", 2));
  header += content;
  return header + std::string((512 - content.size() % 512) % 512, '\0');
}

inline std::string Tar(const std::vector<std::pair<std::string, std::string>>& files) {
  std::string tar;
  for (const auto& [name, content] : files) tar += TarMemberOf(name, content);
  return tar + std::string(1024, '\0');
}

class DataTest : public testing::Test {
 protected:
  void SetUp() override {
    std::string pattern = testing::TempDir() + "/cyxwiz_data_XXXXXX";
    ASSERT_NE(::mkdtemp(pattern.data()), nullptr);
    folder_ = std::filesystem::canonical(pattern).string();
  }
  void TearDown() override { std::filesystem::remove_all(folder_); }

  // Writes a file into the test's folder and returns its path.
  std::string Write(const std::string& name, std::string_view content) {
    std::string path = folder_ + "/" + name;
    std::filesystem::create_directories(std::filesystem::path(path).parent_path());
    // A new file each time: ext4 makes truncating an old one wait for the disk.
    std::filesystem::remove(path);
    std::ofstream(path, std::ios::binary)
        .write(content.data(), static_cast<std::streamsize>(content.size()));
    return path;
  }
  Roots roots() const { return Roots({folder_}); }

  // As it is written, "{}" being the test's folder.
  spec::DatasetUri Uri(std::string text) const {
    for (size_t at; (at = text.find("{}")) != text.npos;) text.replace(at, 2, folder_);
    spec::Problems problems;
    auto uri = spec::ParseDatasetUri(text, &problems);
    EXPECT_TRUE(uri) << problems.ToString();
    return uri.value_or(spec::DatasetUri());
  }
  spec::DatasetUri Folder(const std::string& path) const { return Uri("file://" + path); }
  spec::DatasetUri Pair(const std::string& images, const std::string& labels) const {
    return Uri("file://" + images + "?labels=" + labels);
  }
  // parameters: "label=a&header=true"
  spec::DatasetUri Csv(const std::string& path, const std::string& parameters = "") const {
    return Uri("file://" + path + (parameters.empty() ? "" : "?" + parameters));
  }

  // Loads and inspects; both must agree.
  Dataset LoadOk(const spec::DatasetUri& uri) {
    auto dataset = Load(uri, roots());
    EXPECT_TRUE(dataset.ok()) << dataset.status();
    spec::Problems problems;
    auto info = FileInspector(roots(), true).Inspect(uri, &problems);
    EXPECT_TRUE(info.has_value()) << problems.ToString();
    if (!dataset.ok() || !info) return {};
    EXPECT_EQ(info->sample_shape, dataset->info.sample_shape);
    EXPECT_EQ(info->train_samples, dataset->info.train_samples);
    EXPECT_EQ(info->test_samples, dataset->info.test_samples);
    EXPECT_EQ(info->classes, dataset->info.classes);
    EXPECT_EQ(info->bytes_in_memory, dataset->info.bytes_in_memory);
    EXPECT_EQ(info->description, dataset->info.description);
    EXPECT_EQ(info->label_shape, dataset->info.label_shape);
    EXPECT_EQ(dataset->train.samples, info->train_samples);
    EXPECT_EQ(dataset->test.samples, info->test_samples);
    return std::move(dataset).value();
  }

  // Both loading and inspecting must fail with `code`, and with each of `parts` in the message.
  void ExpectWrong(const spec::DatasetUri& uri, Code code, const std::vector<std::string>& parts) {
    auto dataset = Load(uri, roots());
    ASSERT_FALSE(dataset.ok()) << dataset->info.description;
    EXPECT_EQ(dataset.status().code(), code) << dataset.status();
    spec::Problems problems;
    EXPECT_FALSE(FileInspector(roots(), true).Inspect(uri, &problems));
    ASSERT_EQ(problems.count(), 1u);
    EXPECT_EQ(problems.list()[0].path, "$.dataset");
    EXPECT_FALSE(problems.list()[0].expected.empty()) << problems.ToString();
    EXPECT_FALSE(problems.list()[0].found.empty()) << problems.ToString();
    for (const std::string& part : parts) {
      EXPECT_NE(dataset.status().ToString().find(part), std::string::npos)
          << "no \"" << part << "\" in: " << dataset.status();
      EXPECT_NE(problems.ToString().find(part), std::string::npos)
          << "no \"" << part << "\" in: " << problems.ToString();
    }
  }

  // Whether the samples are the same as those of `whole` when they stay in files.
  void ExpectSameInFiles(const spec::DatasetUri& uri, const Dataset& whole) {
    Loader loader(roots());
    const Result<Dataset> streamed = loader.Take(uri, /*streams=*/true);
    ASSERT_TRUE(streamed.ok()) << streamed.status();
    EXPECT_TRUE(streamed->info.can_stream);
    EXPECT_EQ(streamed->details, whole.details);
    for (auto part : {&Dataset::train, &Dataset::test}) {
      const Split &expected = whole.*part, &split = (*streamed).*part;
      EXPECT_EQ(split.samples, expected.samples);
      EXPECT_EQ(split.labels, expected.labels);
      if (expected.samples == 0) continue;
      EXPECT_EQ(split.scale.mean, expected.scale.mean);
      EXPECT_EQ(split.scale.deviation, expected.scale.deviation);
      ASSERT_NE(split.files, nullptr);
      ASSERT_EQ(split.features.index(), expected.features.index());
      ASSERT_EQ(static_cast<int64_t>(split.rows.size()), expected.samples);
      std::visit(
          [&](const auto& values) {
            EXPECT_TRUE(std::get<std::decay_t<decltype(values)>>(split.features).empty());
            auto row = values;
            row.resize(values.size() / split.rows.size());
            for (size_t i = 0; i < split.rows.size(); ++i) {
              const Status read =
                  split.files->Read(split.rows[i], reinterpret_cast<uint8_t*>(row.data()));
              ASSERT_TRUE(read.ok()) << read;
              EXPECT_TRUE(std::equal(row.begin(), row.end(), values.data() + i * row.size())) << i;
            }
            ExpectSameInRuns(split, values);
          },
          expected.features);
    }
  }
  void ExpectSameInFiles(const spec::DatasetUri& uri) { ExpectSameInFiles(uri, LoadOk(uri)); }

  // Whether rows that follow each other are the same when they are read at once.
  template <typename T>
  static void ExpectSameInRuns(const Split& split, const std::vector<T>& values) {
    const size_t width = values.size() / split.rows.size();
    for (size_t first = 0, end = 1; first < split.rows.size(); first = end++) {
      while (end < split.rows.size() && split.rows[end] == split.rows[end - 1] + 1) ++end;
      std::vector<T> run((end - first) * width);
      const Status read = split.files->ReadRun(split.rows[first], static_cast<int64_t>(end - first),
                                               static_cast<int64_t>(width * sizeof(T)),
                                               reinterpret_cast<uint8_t*>(run.data()));
      ASSERT_TRUE(read.ok()) << read;
      EXPECT_TRUE(std::equal(run.begin(), run.end(), values.data() + first * width)) << first;
    }
  }

  static const std::vector<uint8_t>& Bytes(const Split& split) {
    return std::get<std::vector<uint8_t>>(split.features);
  }
  static const std::vector<float>& Floats(const Split& split) {
    return std::get<std::vector<float>>(split.features);
  }
  static const std::vector<int64_t>& Classes(const Split& split) {
    return std::get<std::vector<int64_t>>(split.labels);
  }
  static const std::vector<float>& Targets(const Split& split) {
    return std::get<std::vector<float>>(split.labels);
  }

  std::string folder_;
};

}  // namespace cyxwiz::data
