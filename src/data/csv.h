// Comma-separated values: numbers, one sample a record, one column of them the label. Internal to
// src/data.
//
//   file   = [UTF-8 byte order mark] [header] record*
//   record = cell ("," cell)* (LF | CRLF | end of file)      empty lines are skipped
//   cell   = text without comma, line end and leading quote, or a quoted text with "" for a quote
//   (RFC 4180)
//
// Spaces and tabs around a number are ignored. Numbers are decimal and finite and fit a 32-bit
// float. The header, when has_header does not say, is there if a cell of the first record that is
// not empty is not a number. Labels that are all whole numbers from 0 to 65535 are classes; any
// other (negative, fractional, larger) makes it a regression. A file may be gzip.
//
// Limits: a record has at most 1 MiB, the file 4 GiB of text, the features 4 GiB of memory.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <variant>
#include <vector>

#include "data/byte_source.h"
#include "data/dataset.h"

namespace cyxwiz::data {

inline constexpr size_t kMaxCsvRecordBytes = 1 << 20;
inline constexpr int64_t kMaxCsvTextBytes = int64_t{4} << 30;
inline constexpr int64_t kMaxCsvFeatureBytes = int64_t{4} << 30;
inline constexpr int64_t kMaxCsvClasses = 65536;

struct CsvOptions {
  std::string label_column;        // empty: the last one
  std::optional<bool> has_header;  // unset: found out
  // Features beyond this much text are not checked to be numbers; records, cells and labels always
  // are.
  int64_t checked_text_bytes = INT64_MAX;
};

struct CsvTable {
  int64_t samples = 0;
  int64_t features = 0;
  int64_t classes = 0;  // 0: regression
};

// Reads the file at `path`, which is resolved. The samples go to *split when it is not null.
Fault ReadCsv(const std::string& path, const CsvOptions& options, CsvTable* table, Split* split);

}  // namespace cyxwiz::data
