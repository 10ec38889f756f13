#include "data/csv.h"

#include <algorithm>
#include <charconv>
#include <cmath>
#include <cstring>
#include <limits>
#include <memory>
#include <string_view>

#include "base/resources.h"
#include "base/suggest.h"

namespace cyxwiz::data {
namespace {

// Splits a file into records and these into cells. Quoted cells are unescaped in place, in the
// buffer.
class RecordReader {
 public:
  Fault Open(const std::string& path) {
    RETURN_IF_FAULT(source_.Open(path));
    // Room for a whole record after the longest rest of a buffer, so that one refill completes any
    // record.
    buffer_.reset(new char[kBufferBytes]);  // not filled: a small file touches little of it
    RETURN_IF_FAULT(Fill());
    if (std::string_view(buffer_.get(), end_).starts_with("\xEF\xBB\xBF")) begin_ = 3;
    return {};
  }

  // The next record that is not an empty line; *done at the end. The cells are valid until the next
  // call.
  Fault Next(std::vector<std::string_view>* cells, bool* done) {
    cells->clear();
    *done = false;
    for (;;) {
      if (end_ - begin_ < kMaxCsvRecordBytes + 2 && !at_end_) RETURN_IF_FAULT(Fill());
      if (begin_ == end_) {
        *done = true;
        return {};
      }
      line_ = next_line_;
      size_t start = begin_;
      RETURN_IF_FAULT(Split(cells));
      bool blank = cells->size() == 1 && (*cells)[0].empty() && buffer_[start] != '"';
      if (!blank) return {};
      cells->clear();
    }
  }

  // Of the record that Next gave, from 1.
  int64_t line() const { return line_; }
  // "'file.csv', line 7"
  std::string Place() const { return "'" + source_.path() + "', line " + std::to_string(line_); }
  int64_t text_bytes() const { return source_.bytes_read() - static_cast<int64_t>(end_ - begin_); }
  const ByteSource& source() const { return source_; }

 private:
  static constexpr size_t kBufferBytes = 4 << 20;
  static_assert(kBufferBytes >= 2 * (kMaxCsvRecordBytes + 2));

  Fault Fill() {
    std::memmove(buffer_.get(), buffer_.get() + begin_, end_ - begin_);
    end_ -= begin_;
    begin_ = 0;
    size_t got = 0;
    RETURN_IF_FAULT(source_.Read(buffer_.get() + end_, kBufferBytes - end_, &got));
    at_end_ = got < kBufferBytes - end_;
    end_ += got;
    if (source_.bytes_read() > kMaxCsvTextBytes) {
      return TooLarge("CSV file '" + source_.path() + "' is too large",
                      "at most " + FormatBytes(kMaxCsvTextBytes) + " of text", "more");
    }
    return {};
  }

  // Takes one record from the buffer, which holds all of it unless it is too long.
  Fault Split(std::vector<std::string_view>* cells) {
    char* const limit = buffer_.get() + std::min(end_, begin_ + kMaxCsvRecordBytes + 2);
    char* at = buffer_.get() + begin_;
    next_line_ = line_ + 1;
    for (;;) {
      char* cell = at;
      if (at < limit && *at == '"') {
        RETURN_IF_FAULT(SplitQuoted(&at, limit, cells));
      } else {
        while (at < limit && *at != ',' && *at != '\n') ++at;
        char* cell_end = at;
        bool ends_line = at == limit || *at == '\n';
        if (ends_line && cell_end > cell && cell_end[-1] == '\r') --cell_end;
        cells->push_back({cell, static_cast<size_t>(cell_end - cell)});
      }
      bool in_text = at < limit;
      if (in_text && *at == ',') {
        ++at;
        continue;
      }
      if (!in_text && !IsEndOfFile(at)) return TooLong();
      begin_ = static_cast<size_t>(at - buffer_.get()) + (in_text ? 1 : 0);
      return {};
    }
  }

  // A quoted cell that begins at **at; leaves *at on the comma, line end or limit behind it.
  Fault SplitQuoted(char** at, char* limit, std::vector<std::string_view>* cells) {
    char* from = *at + 1;
    char* cell = from;
    char* to = from;  // unescaping only shortens, so the text can move within the cell
    for (;; ++from) {
      if (from == limit) {
        if (!IsEndOfFile(from)) return TooLong();
        return Wrong("CSV file " + Place() + ", column " + std::to_string(cells->size() + 1) +
                         " has a quote that is never closed",
                     "a closing \"", "the end of the file");
      }
      if (*from == '\n') ++next_line_;
      if (*from == '"') {
        if (from + 1 == limit || from[1] != '"') break;
        ++from;
      }
      *to++ = *from;
    }
    cells->push_back({cell, static_cast<size_t>(to - cell)});
    ++from;
    if (from < limit && *from == '\r' && (from + 1 == limit || from[1] == '\n')) ++from;
    if (from < limit && *from != ',' && *from != '\n') {
      char* rest = from;
      while (rest < limit && *rest != ',' && *rest != '\n') ++rest;
      return Wrong("CSV file " + Place() + ", column " + std::to_string(cells->size()) +
                       " goes on after its closing quote",
                   "a comma or the end of the line",
                   "'" + Shown({from, static_cast<size_t>(rest - from)}) + "'",
                   "a quote within a quoted cell is written twice");
    }
    *at = from;
    return {};
  }

  bool IsEndOfFile(const char* at) const { return at_end_ && at == buffer_.get() + end_; }

  Fault TooLong() {
    return TooLarge("CSV file " + Place() + " is too long",
                    "at most " + FormatBytes(kMaxCsvRecordBytes), "more",
                    "is a quote never closed, or is this not a CSV file?");
  }

  ByteSource source_;
  std::unique_ptr<char[]> buffer_;
  size_t begin_ = 0, end_ = 0;
  bool at_end_ = false;
  int64_t line_ = 1, next_line_ = 1;
};

std::string_view Trimmed(std::string_view text) {
  while (!text.empty() && (text.front() == ' ' || text.front() == '\t')) text.remove_prefix(1);
  while (!text.empty() && (text.back() == ' ' || text.back() == '\t')) text.remove_suffix(1);
  return text;
}

// nullopt for what is not a number; out of range becomes infinite. "nan" and "inf" parse.
std::optional<double> ParseNumber(std::string_view cell) {
  cell = Trimmed(cell);
  if (cell.size() > 1 && cell[0] == '+' && cell[1] != '-') cell.remove_prefix(1);
  double value = 0;
  auto [end, error] = std::from_chars(cell.data(), cell.data() + cell.size(), value);
  if (end != cell.data() + cell.size() || error == std::errc::invalid_argument) return std::nullopt;
  if (error == std::errc::result_out_of_range) return std::numeric_limits<double>::infinity();
  return value;
}

class TableReader {
 public:
  TableReader(const CsvOptions& options, CsvTable* table, Split* split)
      : options_(options), table_(table), split_(split) {}

  Fault Read(const std::string& path) {
    RETURN_IF_FAULT(records_.Open(path));
    std::vector<std::string_view> cells;
    bool done = false;
    RETURN_IF_FAULT(records_.Next(&cells, &done));
    if (done) return Wrong("CSV file '" + path + "' is empty", "at least one record", "none");
    bool first_is_header = options_.has_header.value_or(LooksLikeHeader(cells));
    RETURN_IF_FAULT(TakeColumns(path, cells, first_is_header));
    if (first_is_header) RETURN_IF_FAULT(records_.Next(&cells, &done));
    if (done) {
      return Wrong("CSV file '" + path + "' has no sample", "at least one record after the header",
                   "none");
    }
    for (; !done;) {
      RETURN_IF_FAULT(TakeRecord(cells));
      RETURN_IF_FAULT(records_.Next(&cells, &done));
    }
    Finish();
    return {};
  }

 private:
  static constexpr int64_t kSamplesBeforeReserve = 1000;

  static bool LooksLikeHeader(const std::vector<std::string_view>& cells) {
    return std::any_of(cells.begin(), cells.end(), [](std::string_view cell) {
      return !Trimmed(cell).empty() && !ParseNumber(cell);
    });
  }

  Fault TakeColumns(const std::string& path, const std::vector<std::string_view>& cells,
                    bool is_header) {
    columns_ = cells.size();
    if (columns_ < 2) {
      return Wrong("CSV file '" + path + "' has too few columns",
                   "at least one feature and one label, separated by commas",
                   "one column: '" + Shown(cells[0]) + "'");
    }
    if (is_header) {
      for (std::string_view cell : cells) names_.emplace_back(Trimmed(cell));
    }
    table_->features = static_cast<int64_t>(columns_) - 1;
    label_ = columns_ - 1;
    if (options_.label_column.empty()) return {};
    const std::string wanted = "'" + Shown(options_.label_column) + "'";
    if (!is_header) {
      return Wrong(
          "CSV file '" + path + "' has no header to find the label column " + wanted + " in",
          "column names in the first record", "numbers: '" + Shown(cells[0]) + "', ...",
          options_.has_header ? "set header=true, or leave label out to use the last column"
                              : "leave label out to use the last column");
    }
    auto found = std::find(names_.begin(), names_.end(), options_.label_column);
    if (found == names_.end()) {
      std::string list;
      for (const std::string& name : names_) {
        if (list.size() > 200) {
          list += ", ...";
          break;
        }
        list += (list.empty() ? "'" : ", '") + Shown(name) + "'";
      }
      // Edit distances of very long or very many names are not worth their time.
      std::vector<std::string> candidates;
      for (const std::string& name : names_) {
        if (name.size() <= 100 && candidates.size() < 1000) candidates.push_back(name);
      }
      std::string nearest;
      if (options_.label_column.size() <= 100)
        nearest = NearestName(options_.label_column, candidates);
      return Wrong("CSV file '" + path + "' has no column " + wanted + " for the label",
                   "one of " + list, wanted,
                   nearest.empty() ? "" : "did you mean '" + Shown(nearest) + "'?");
    }
    if (std::count(found, names_.end(), options_.label_column) > 1) {
      return Wrong("CSV file '" + path + "' has several columns " + wanted, "one label column",
                   "more than one", "rename the others in the header");
    }
    label_ = static_cast<size_t>(found - names_.begin());
    return {};
  }

  Fault TakeRecord(const std::vector<std::string_view>& cells) {
    if (cells.size() != columns_) {
      return Wrong("CSV file " + records_.Place() + " has the wrong number of cells",
                   Count(static_cast<int64_t>(columns_), "cell") + " as in the first record",
                   Count(static_cast<int64_t>(cells.size()), "cell"));
    }
    ++table_->samples;
    if (split_ != nullptr && table_->samples == kSamplesBeforeReserve) ReserveRest();
    bool check = split_ != nullptr || records_.text_bytes() <= options_.checked_text_bytes;
    if (table_->samples > kMaxCsvFeatureBytes / 4 / table_->features) {
      return TooLarge("CSV file '" + records_.source().path() + "' holds too many numbers",
                      "at most " + FormatBytes(kMaxCsvFeatureBytes) + " of features",
                      "more by line " + std::to_string(records_.line()));
    }
    for (size_t i = 0; i < columns_; ++i) {
      if (i == label_ || !check) continue;
      std::optional<double> value = ParseNumber(cells[i]);
      float feature = value ? static_cast<float>(*value) : 0.0f;
      if (!value || !std::isfinite(feature)) return NotANumber(cells[i], i, value);
      if (split_ != nullptr) features_.push_back(feature);
    }
    std::optional<double> label = ParseNumber(cells[label_]);
    if (!label || !std::isfinite(static_cast<float>(*label))) {
      return NotANumber(cells[label_], label_, label);
    }
    is_class_ = is_class_ && *label >= 0 && *label < static_cast<double>(kMaxCsvClasses) &&
                *label == std::floor(*label);
    most_ = std::max(most_, *label);
    if (split_ != nullptr) labels_.push_back(*label);
    return {};
  }

  // Guesses from the records so far how many a plain file has, so that the features are not copied
  // as they grow.
  void ReserveRest() {
    if (records_.source().compressed()) return;
    double share = static_cast<double>(records_.source().file_bytes()) /
                   static_cast<double>(std::max<int64_t>(records_.text_bytes(), 1));
    double samples = 1.05 * share * static_cast<double>(table_->samples);
    double most = static_cast<double>(kMaxCsvFeatureBytes / 4);
    features_.reserve(
        static_cast<size_t>(std::min(samples * static_cast<double>(table_->features), most)));
  }

  Fault NotANumber(std::string_view cell, size_t column, const std::optional<double>& value) {
    std::string where = "CSV file " + records_.Place() + ", column " + std::to_string(column + 1);
    if (!names_.empty()) where += " ('" + Shown(names_[column]) + "')";
    if (column == label_) where += ", the label,";
    std::string_view text = Trimmed(cell);
    std::string found = text.empty() ? "an empty cell" : "'" + Shown(text) + "'";
    if (value) {
      return Wrong(where + " does not fit a 32-bit float", "a finite number up to 3.4e38", found);
    }
    return Wrong(where + " is not a number", "a number", found,
                 text.empty() ? "fill in missing values, or leave the record out" : "");
  }

  void Finish() {
    table_->classes = is_class_ ? static_cast<int64_t>(most_) + 1 : 0;
    if (split_ == nullptr) return;
    split_->samples = table_->samples;
    split_->features = std::move(features_);
    if (is_class_) {
      split_->labels = std::vector<int64_t>(labels_.begin(), labels_.end());
    } else {
      std::vector<float> targets(labels_.size());
      std::transform(labels_.begin(), labels_.end(), targets.begin(),
                     [](double label) { return static_cast<float>(label); });
      split_->labels = std::move(targets);
    }
  }

  const CsvOptions& options_;
  CsvTable* const table_;
  Split* const split_;
  RecordReader records_;
  size_t columns_ = 0, label_ = 0;
  std::vector<std::string> names_;  // empty without a header
  std::vector<float> features_;
  std::vector<double> labels_;
  bool is_class_ = true;
  double most_ = 0;
};

}  // namespace

Fault ReadCsv(const std::string& path, const CsvOptions& options, CsvTable* table, Split* split) {
  *table = {};
  return TableReader(options, table, split).Read(path);
}

}  // namespace cyxwiz::data
