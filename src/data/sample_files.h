// Samples each of which has a file of its own, in folders or in archives, by number. Internal to
// src/data.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <utility>

#include "base/resources.h"
#include "data/fault.h"
#include "data/row_reader.h"

namespace cyxwiz::data {

inline constexpr int64_t kMaxSampleFileBytes = 64 << 20;

// Reading is any number of threads'.
class SampleFiles {
 public:
  virtual ~SampleFiles() = default;
  virtual int64_t size() const = 0;
  // The content of file `number`, and what messages call it. A fault when it has changed since it
  // was found.
  virtual Fault Read(int64_t number, std::string* content, std::string* name) const = 0;
  // As those of RowReader.
  virtual int64_t ShardOf(int64_t number) const = 0;
  virtual std::string State() const = 0;
};

// Each sample from its file.
class SampleRows : public RowReader {
 public:
  explicit SampleRows(std::shared_ptr<const SampleFiles> files) : files_(std::move(files)) {}

  Status Read(int64_t row, uint8_t* out) const final {
    std::string content, name;
    Fault fault = files_->Read(row, &content, &name);
    if (fault.ok()) fault = Decode(content, name, out);
    return fault.ToStatus();
  }
  int64_t ShardOf(int64_t row) const final { return files_->ShardOf(row); }
  std::string State() const final { return files_->State(); }

 private:
  // name: what messages call the file.
  virtual Fault Decode(std::string_view content, const std::string& name, uint8_t* out) const = 0;

  const std::shared_ptr<const SampleFiles> files_;
};

// name: what messages call it.
inline Fault CheckSampleFileSize(const std::string& name, int64_t bytes) {
  if (bytes <= kMaxSampleFileBytes) return {};
  return TooLarge("'" + name + "' is too large", "at most " + FormatBytes(kMaxSampleFileBytes),
                  FormatBytes(bytes));
}

// Of a file or an archive that is not as it was.
inline Fault Changed(const std::string& path, int64_t bytes, int64_t found) {
  return Wrong("'" + path + "' has changed since the job began to read it",
               Count(bytes, "byte") + " as they were",
               std::to_string(found) + ", written to at another time",
               "submit the job again to take it as it is now");
}

}  // namespace cyxwiz::data
