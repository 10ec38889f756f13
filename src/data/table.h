// Tables: a record is a sample, one column the label, the others features. Internal to src/data.
//
// The header, when has_header does not say, is there if the first record has text in a column where
// the second has a number, or is all text. Columns without a header are called "1", "2", ...
//
// A column holds numbers or texts; which, its first cell that is not missing tells, unless it is
// named as categorical. Numbers are decimal and finite and fit a 32-bit float, blanks around them
// are ignored. Texts are categories: as a feature one value for each (1 for its own, 0 for the
// others), or their place in sorted order. Missing is an empty cell, NA, N/A, NaN, null or ?.
//
// Labels that are texts are classes in sorted order. Labels that are all whole numbers from 0 to
// 65535 are classes of these numbers; any other numbers make it a regression.
//
// Limits: 65536 columns, 1000 categories a feature of 256 bytes each, 65536 classes, 64 MiB for all
// of these texts; the features 4 GiB of memory; and those of csv.h.
#pragma once

#include <cstdint>
#include <string>

#include "data/fault.h"
#include "data/raw.h"
#include "spec/dataset.h"

namespace cyxwiz::data {

inline constexpr size_t kMaxTableColumns = 65536;
inline constexpr int64_t kMaxTableBytes = int64_t{4} << 30;
inline constexpr int64_t kMaxTableClasses = 65536;
inline constexpr size_t kMaxCategories = 1000;
inline constexpr size_t kMaxCategoryBytes = 256;
inline constexpr size_t kMaxCategoriesBytes = 64 << 20;

// Reads the file at `path`, which is resolved. When it is only looked into, features beyond
// checked_text_bytes of text are not checked to be numbers; records, texts and labels always are.
Fault ReadTable(const std::string& path, const spec::DatasetUri& uri, int64_t checked_text_bytes,
                Raw* raw);

}  // namespace cyxwiz::data
