// Delimiter-separated values: a file of records, these of cells. Internal to src/data.
//
//   file   = [UTF-8 byte order mark] record*
//   record = cell (delimiter cell)* (LF | CRLF | end of file)      empty lines are skipped
//   cell   = text without delimiter, line end and leading quote, or a quoted text with "" for a
//            quote (RFC 4180)
//
// A file may be gzip.
//
// Limits: a record has at most 1 MiB, the file 4 GiB of text. The reader's memory is fixed, however
// long a line is.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "data/byte_source.h"
#include "data/fault.h"

namespace cyxwiz::data {

inline constexpr size_t kMaxCsvRecordBytes = 1 << 20;
inline constexpr int64_t kMaxCsvTextBytes = int64_t{4} << 30;

// One thread.
class RecordReader {
 public:
  explicit RecordReader(char delimiter) : delimiter_(delimiter) {}

  // `path` is a resolved one. most_bytes: of text, unpacked.
  Fault Open(const std::string& path, int64_t most_bytes = kMaxCsvTextBytes);

  // The next record that is not an empty line; *done at the end. The cells are valid until the next
  // call; quoted ones are unescaped.
  Fault Next(std::vector<std::string_view>* cells, bool* done);

  // Of the record that Next gave, from 1.
  int64_t line() const { return line_; }
  // "'file.csv', line 7"
  std::string Place() const { return "'" + source_.path() + "', line " + std::to_string(line_); }
  // Read so far.
  int64_t text_bytes() const { return source_.bytes_read() - static_cast<int64_t>(end_ - begin_); }
  const ByteSource& source() const { return source_; }

 private:
  static constexpr size_t kBufferBytes = 4 << 20;
  static_assert(kBufferBytes >= 2 * (kMaxCsvRecordBytes + 2));

  Fault Fill();
  // Takes one record from the buffer, which holds all of it unless it is too long.
  Fault Split(std::vector<std::string_view>* cells);
  // A quoted cell that begins at **at; leaves *at on the delimiter, line end or limit behind it.
  Fault SplitQuoted(char** at, char* limit, std::vector<std::string_view>* cells);
  bool IsEndOfFile(const char* at) const { return at_end_ && at == buffer_.get() + end_; }
  Fault TooLong() const;
  Fault TooLargeText(std::string found) const;

  const char delimiter_;
  int64_t most_bytes_ = kMaxCsvTextBytes;
  ByteSource source_;
  std::unique_ptr<char[]> buffer_;
  size_t begin_ = 0, end_ = 0;
  bool at_end_ = false;
  int64_t line_ = 1, next_line_ = 1;
};

}  // namespace cyxwiz::data
