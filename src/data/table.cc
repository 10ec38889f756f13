#include "data/table.h"

#include <algorithm>
#include <charconv>
#include <cmath>
#include <limits>
#include <map>
#include <numeric>
#include <optional>
#include <string_view>
#include <utility>
#include <vector>

#include "base/resources.h"
#include "base/suggest.h"
#include "data/csv.h"

namespace cyxwiz::data {
namespace {

using spec::TableOptions;

constexpr float kMissing = std::numeric_limits<float>::quiet_NaN();

std::string_view Trimmed(std::string_view text) {
  while (!text.empty() && (text.front() == ' ' || text.front() == '\t')) text.remove_prefix(1);
  while (!text.empty() && (text.back() == ' ' || text.back() == '\t')) text.remove_suffix(1);
  return text;
}

// nullopt for what is not a number; out of range becomes infinite. "nan" and "inf" parse.
std::optional<double> ParseNumber(std::string_view cell) {
  if (cell.size() > 1 && cell[0] == '+' && cell[1] != '-') cell.remove_prefix(1);
  double value = 0;
  auto [end, error] = std::from_chars(cell.data(), cell.data() + cell.size(), value);
  if (end != cell.data() + cell.size() || error == std::errc::invalid_argument) return std::nullopt;
  if (error == std::errc::result_out_of_range) return std::numeric_limits<double>::infinity();
  return value;
}

// Whether the cell is a number that a float can hold; *value is that.
bool IsPlainNumber(std::string_view cell, float* value) {
  const std::optional<double> number = ParseNumber(cell);
  if (!number) return false;
  *value = static_cast<float>(*number);
  return std::isfinite(*value);
}

bool IsMissing(std::string_view cell) {
  if (cell.empty() || cell == "?") return true;
  if (cell.size() > 4 || std::string_view("nN").find(cell[0]) == std::string_view::npos) {
    return false;
  }
  for (std::string_view word : {"NA", "N/A", "n/a", "NaN", "nan", "NAN", "null", "NULL"}) {
    if (cell == word) return true;
  }
  return false;
}

// The distinct texts of a column, numbered as they come.
class Categories {
 public:
  // -1 when there are `most` already.
  int64_t Add(std::string_view text, size_t most) {
    auto found = numbers_.find(text);
    if (found != numbers_.end()) return found->second;
    if (numbers_.size() == most) return -1;
    int64_t number = static_cast<int64_t>(numbers_.size());
    numbers_.emplace(std::string(text), number);
    return number;
  }
  size_t size() const { return numbers_.size(); }

  // The texts in order: as numbers when all are, else byte by byte. *places: that of each number.
  std::vector<std::string> Sorted(std::vector<int64_t>* places) const {
    std::vector<std::pair<std::string, int64_t>> sorted(numbers_.begin(), numbers_.end());
    if (std::all_of(sorted.begin(), sorted.end(),
                    [](const auto& one) { return ParseNumber(one.first).has_value(); })) {
      std::stable_sort(sorted.begin(), sorted.end(), [](const auto& a, const auto& b) {
        return *ParseNumber(a.first) < *ParseNumber(b.first);
      });
    }
    places->resize(sorted.size());
    std::vector<std::string> texts;
    for (auto& [text, number] : sorted) {
      (*places)[static_cast<size_t>(number)] = static_cast<int64_t>(texts.size());
      texts.push_back(std::move(text));
    }
    return texts;
  }

 private:
  std::map<std::string, int64_t, std::less<>> numbers_;
};

struct Column {
  enum class Role { kFeature, kLabel, kSplit, kIgnored };
  enum class Type { kUnknown, kNumbers, kCategories };
  std::string name;
  Role role = Role::kFeature;
  Type type = Type::kUnknown;
  bool is_inferred = false;  // its type, from its first cell
  Categories categories;
  bool began_missing = false;  // before its type was known

  void Infer(bool holds_numbers) {
    type = holds_numbers ? Type::kNumbers : Type::kCategories;
    is_inferred = true;
  }
};

class TableReader {
 public:
  TableReader(const spec::DatasetUri& uri, int64_t checked_text_bytes, Raw* raw)
      : options_(uri.table),
        split_column_(uri.test_split.column),
        checked_text_bytes_(checked_text_bytes),
        raw_(*raw),
        records_(uri.table.delimiter) {}

  Fault Read(const std::string& path) {
    path_ = path;
    RETURN_IF_FAULT(records_.Open(path));
    std::vector<std::string_view> cells;
    bool done = false;
    RETURN_IF_FAULT(records_.Next(&cells, &done));
    if (done) return Wrong("CSV file '" + path + "' is empty", "at least one record", "none");
    // The first record is looked at together with the second, which takes its place in the buffer.
    const std::vector<std::string> first(cells.begin(), cells.end());
    RETURN_IF_FAULT(CheckColumns(first));
    const int64_t first_line = records_.line();
    RETURN_IF_FAULT(records_.Next(&cells, &done));
    has_header_ = options_.has_header.value_or(LooksLikeHeader(first, cells));
    RETURN_IF_FAULT(TakeColumns(first));
    if (done && has_header_) {
      return Wrong("CSV file '" + path + "' has no sample", "at least one record after the header",
                   "none");
    }
    if (!has_header_) {
      RETURN_IF_FAULT(TakeRecord({first.begin(), first.end()}, first_line));
    }
    while (!done) {
      RETURN_IF_FAULT(TakeRecord(cells, records_.line()));
      RETURN_IF_FAULT(records_.Next(&cells, &done));
    }
    return Finish();
  }

 private:
  using Role = Column::Role;
  using Type = Column::Type;
  using Cells = std::vector<std::string_view>;
  static constexpr int64_t kSamplesBeforeReserve = 1000;
  static constexpr size_t kBytesBesideCategory = 100;

  static bool LooksLikeHeader(const std::vector<std::string>& first, const Cells& second) {
    bool all_text = true;
    for (size_t i = 0; i < first.size(); ++i) {
      std::string_view cell = Trimmed(first[i]);
      bool text = !IsMissing(cell) && !ParseNumber(cell);
      all_text = all_text && (text || cell.empty());
      if (text && i < second.size() && ParseNumber(Trimmed(second[i]))) return true;
    }
    return all_text;
  }

  Fault CheckColumns(const std::vector<std::string>& first) const {
    if (first.size() < 2) {
      return Wrong("CSV file '" + path_ + "' has too few columns",
                   "at least one feature and one label, separated by " + DelimiterName(),
                   "one column: '" + Shown(first[0]) + "'", "delimiter= names another separator");
    }
    if (first.size() <= kMaxTableColumns) return {};
    return TooLarge("CSV file '" + path_ + "' has too many columns",
                    "at most " + std::to_string(kMaxTableColumns), std::to_string(first.size()));
  }

  std::string DelimiterName() const {
    if (options_.delimiter == ',') return "commas";
    return options_.delimiter == '\t' ? "tabs" : "'" + std::string(1, options_.delimiter) + "'";
  }

  // ---- columns

  Fault TakeColumns(const std::vector<std::string>& first) {
    columns_.resize(first.size());
    for (size_t i = 0; i < first.size(); ++i) {
      columns_[i].name = has_header_ ? std::string(Trimmed(first[i])) : std::to_string(i + 1);
    }
    if (!options_.columns.empty()) {
      for (Column& column : columns_) column.role = Role::kIgnored;
    }
    size_t place = columns_.size() - 1;
    if (!options_.label.empty()) RETURN_IF_FAULT(Find(options_.label, "for the label", &place));
    const size_t label = label_ = place;
    for (const std::string& name : options_.columns) {
      RETURN_IF_FAULT(Find(name, "of columns", &place));
      columns_[place].role = Role::kFeature;
    }
    for (const std::string& name : options_.ignored) {
      RETURN_IF_FAULT(Find(name, "to ignore", &place));
      columns_[place].role = Role::kIgnored;
    }
    for (const std::string& name : options_.categorical) {
      RETURN_IF_FAULT(Find(name, "of categories", &place));
      columns_[place].type = Type::kCategories;
    }
    if (!split_column_.empty()) {
      RETURN_IF_FAULT(Find(split_column_, "for the split", &place));
      if (place == label) {
        return Wrong("CSV file '" + path_ + "' has one column for label and split", "two columns",
                     "'" + Shown(split_column_) + "'", "name the label with label=");
      }
      columns_[place].role = Role::kSplit;
      raw_.tells_test = true;
    }
    columns_[label].role = Role::kLabel;
    if (options_.labels == TableOptions::Labels::kClasses) columns_[label].type = Type::kCategories;
    if (options_.labels == TableOptions::Labels::kNumbers) columns_[label].type = Type::kNumbers;
    for (size_t i = 0; i < columns_.size(); ++i) {
      if (columns_[i].role == Role::kFeature) features_.push_back(i);
    }
    if (features_.empty()) {
      return Wrong("CSV file '" + path_ + "' has no feature left",
                   "a column beside the label that is not ignored",
                   std::to_string(columns_.size()) + " columns");
    }
    return {};
  }

  Fault Find(const std::string& name, const char* purpose, size_t* place) const {
    auto is_it = [&](const Column& column) { return column.name == name; };
    auto found = std::find_if(columns_.begin(), columns_.end(), is_it);
    const std::string wanted = "'" + Shown(name) + "'";
    if (found == columns_.end()) return NoColumn(name, wanted + " " + purpose);
    if (std::count_if(found, columns_.end(), is_it) > 1) {
      return Wrong("CSV file '" + path_ + "' has several columns " + wanted,
                   "one column of that name", "more than one", "rename the others in the header");
    }
    *place = static_cast<size_t>(found - columns_.begin());
    return {};
  }

  Fault NoColumn(const std::string& name, const std::string& wanted) const {
    const std::string message = "CSV file '" + path_ + "' has no column " + wanted;
    if (!has_header_) {
      return Wrong(message,
                   "a number from 1 to " + std::to_string(columns_.size()) +
                       ": there is no header with names",
                   "'" + Shown(name) + "'", "if the first record is a header, set header=true");
    }
    std::string list;
    for (const Column& column : columns_) {
      if (list.size() > 200) {
        list += ", ...";
        break;
      }
      list += (list.empty() ? "'" : ", '") + Shown(column.name) + "'";
    }
    // Edit distances of very long or very many names are not worth their time.
    std::vector<std::string> candidates;
    for (const Column& column : columns_) {
      if (column.name.size() <= 100 && candidates.size() < 1000) candidates.push_back(column.name);
    }
    std::string nearest;
    if (name.size() <= 100) nearest = NearestName(name, candidates);
    return Wrong(message, "one of " + list, "'" + Shown(name) + "'",
                 nearest.empty() ? "" : "did you mean '" + Shown(nearest) + "'?");
  }

  // ---- records

  Fault TakeRecord(const Cells& cells, int64_t line) {
    line_ = line;
    if (cells.size() != columns_.size()) {
      return Wrong("CSV file " + Place() + " has the wrong number of cells",
                   Count(static_cast<int64_t>(columns_.size()), "cell") + " as in the first record",
                   Count(static_cast<int64_t>(cells.size()), "cell"));
    }
    if (options_.missing == TableOptions::Missing::kSkip && MissesAny(cells)) {
      ++skipped_;
      return {};
    }
    ++samples_;
    if (loads() && samples_ == kSamplesBeforeReserve) ReserveRest();
    if (samples_ > kMaxTableBytes / 4 / static_cast<int64_t>(features_.size())) {
      return TooMany("by line " + std::to_string(line_));
    }
    const bool check = loads() || records_.text_bytes() <= checked_text_bytes_;
    for (size_t i : features_) {
      if (!check && columns_[i].type == Type::kNumbers) continue;
      const std::string_view cell = Trimmed(cells[i]);
      float value = 0;
      // Most cells are plain numbers: what is missing or wrong is told from them below.
      if (columns_[i].type != Type::kNumbers || !IsPlainNumber(cell, &value))
        RETURN_IF_FAULT(TakeFeature(cell, i, &value));
      if (loads()) values_.push_back(value);
    }
    for (size_t i = 0; raw_.tells_test && i < columns_.size(); ++i) {
      if (columns_[i].role == Role::kSplit) RETURN_IF_FAULT(TakePart(Trimmed(cells[i]), i));
    }
    return TakeLabel(Trimmed(cells[label_]));
  }

  bool MissesAny(const Cells& cells) const {
    return IsMissing(Trimmed(cells[label_])) ||
           std::any_of(features_.begin(), features_.end(),
                       [&](size_t i) { return IsMissing(Trimmed(cells[i])); });
  }

  Fault TakeFeature(std::string_view cell, size_t place, float* value) {
    Column& column = columns_[place];
    if (IsMissing(cell)) {
      if (options_.missing == TableOptions::Missing::kRefuse) return IsMissingFault(cell, place);
      if (column.type != Type::kCategories) {
        *value = kMissing;
        misses_ = true;
        column.began_missing |= column.type == Type::kUnknown;
        return {};
      }
      cell = "";
    }
    std::optional<double> number;
    if (column.type != Type::kCategories) {
      number = ParseNumber(cell);
      if (column.type == Type::kUnknown) column.Infer(number.has_value());
    } else if (column.is_inferred && ParseNumber(cell)) {
      return NumberAmongTexts(cell, place);
    }
    if (column.type == Type::kCategories) {
      int64_t category = 0;
      RETURN_IF_FAULT(TakeCategory(cell, place, kMaxCategories, &category));
      *value = static_cast<float>(category);
      return {};
    }
    *value = number ? static_cast<float>(*number) : 0.0f;
    return number && std::isfinite(*value) ? Fault() : NotANumber(cell, place, number);
  }

  Fault TakeCategory(std::string_view cell, size_t place, size_t most, int64_t* category) {
    if (cell.size() > kMaxCategoryBytes) {
      return Wrong(Where(place) + " holds a text that is too long for a category",
                   "at most " + std::to_string(kMaxCategoryBytes) + " bytes",
                   std::to_string(cell.size()) + " bytes", IgnoreHint(place));
    }
    Categories& categories = columns_[place].categories;
    const size_t before = categories.size();
    *category = categories.Add(cell, most);
    if (categories.size() > before) category_bytes_ += cell.size() + kBytesBesideCategory;
    if (category_bytes_ > kMaxCategoriesBytes) {
      return TooLarge("CSV file '" + path_ + "' holds too many different texts",
                      "at most " + FormatBytes(kMaxCategoriesBytes) + " in all columns",
                      "more by line " + std::to_string(line_), IgnoreHint(place));
    }
    if (*category >= 0) return {};
    return Wrong(Where(place) + " holds too many different texts",
                 "at most " + std::to_string(most), "more: '" + Shown(cell) + "'",
                 IgnoreHint(place));
  }

  Fault TakeLabel(std::string_view cell) {
    Column& column = columns_[label_];
    if (IsMissing(cell)) return IsMissingFault(cell, label_);
    std::optional<double> label;
    if (column.type != Type::kCategories) {
      label = ParseNumber(cell);
      if (column.type == Type::kUnknown) column.Infer(label.has_value());
    } else if (column.is_inferred && ParseNumber(cell)) {
      return NumberAmongTexts(cell, label_);
    }
    if (column.type == Type::kCategories) {
      int64_t category = 0;
      RETURN_IF_FAULT(TakeCategory(cell, label_, static_cast<size_t>(kMaxTableClasses), &category));
      if (loads()) labels_.push_back(static_cast<double>(category));
      return {};
    }
    if (!label || !std::isfinite(static_cast<float>(*label))) {
      return NotANumber(cell, label_, label);
    }
    is_class_ = is_class_ && *label >= 0 && *label < static_cast<double>(kMaxTableClasses) &&
                *label == std::floor(*label);
    least_ = std::min(least_, *label);
    most_ = std::max(most_, *label);
    if (loads()) labels_.push_back(*label);
    return {};
  }

  Fault TakePart(std::string_view cell, size_t place) {
    const bool test = cell == "test";
    if (!test && cell != "train") {
      return Wrong(Where(place) + " does not say which part the sample belongs to",
                   "'train' or 'test'", "'" + Shown(cell) + "'");
    }
    raw_.told_test += test;
    if (loads()) raw_.is_test.push_back(test);
    return {};
  }

  bool loads() const { return raw_.dataset != nullptr; }

  // Guesses from the records so far how many a plain file has, so that the features are not copied
  // as they grow.
  void ReserveRest() {
    if (records_.source().compressed()) return;
    double share = static_cast<double>(records_.source().file_bytes()) /
                   static_cast<double>(std::max<int64_t>(records_.text_bytes(), 1));
    double samples = 1.05 * share * static_cast<double>(samples_);
    double most = static_cast<double>(kMaxTableBytes / 4);
    values_.reserve(
        static_cast<size_t>(std::min(samples * static_cast<double>(features_.size()), most)));
  }

  // ---- what is wrong

  // "'file.csv', line 7"
  std::string Place() const { return "'" + path_ + "', line " + std::to_string(line_); }

  std::string Where(size_t place) const {
    std::string where = "CSV file " + Place() + ", column " + std::to_string(place + 1);
    if (has_header_) where += " ('" + Shown(columns_[place].name) + "')";
    return place == label_ ? where + ", the label," : where;
  }

  std::string IgnoreHint(size_t place) const {
    if (place == label_) return "set label_type=numbers for a regression";
    return "leave the column out with ignore=" + Shown(columns_[place].name);
  }

  Fault IsMissingFault(std::string_view cell, size_t place) const {
    return Wrong(Where(place) + " is missing", "a value",
                 cell.empty() ? "an empty cell" : "'" + Shown(cell) + "'",
                 place == label_ ? "leave such records out with missing=skip"
                                 : "fill in missing values with missing=mean or missing=zero, or "
                                   "leave such records out with missing=skip");
  }

  Fault NotANumber(std::string_view cell, size_t place, const std::optional<double>& value) const {
    std::string found = cell.empty() ? "an empty cell" : "'" + Shown(cell) + "'";
    if (value) {
      return Wrong(Where(place) + " does not fit a 32-bit float", "a finite number up to 3.4e38",
                   found);
    }
    std::string hint = place == label_ ? "set label_type=classes when the labels are texts"
                                       : "if the column holds categories, name it: categorical=" +
                                             Shown(columns_[place].name);
    if (options_.labels == TableOptions::Labels::kNumbers && place == label_) hint = "";
    return Wrong(Where(place) + " is not a number", "a number as in the records before", found,
                 hint);
  }

  Fault NumberAmongTexts(std::string_view cell, size_t place) const {
    return Wrong(Where(place) + " is a number", "a text as in the records before",
                 "'" + Shown(cell) + "'",
                 place == label_ ? "set label_type=classes when the labels are names"
                                 : "if the column holds categories, name it: categorical=" +
                                       Shown(columns_[place].name));
  }

  Fault TooMany(const std::string& where) const {
    return TooLarge("CSV file '" + path_ + "' holds too many numbers",
                    "at most " + FormatBytes(kMaxTableBytes) + " of features", "more " + where);
  }

  // ---- the whole

  Fault Finish() {
    if (samples_ == 0) {
      return Wrong("CSV file '" + path_ + "' has no sample without missing values",
                   "at least one complete record", "none", "fill in with missing=mean instead");
    }
    std::vector<Encoded> encoded;
    int64_t width = 0;
    for (size_t i : features_) {
      Column& column = columns_[i];
      Encoded one;
      if (column.type == Type::kCategories) {
        if (column.began_missing) one.missing = column.categories.Add("", kMaxCategories + 1);
        one.names = column.categories.Sorted(&one.places);
        one.one_hot = options_.encoding == TableOptions::Encoding::kOneHot;
        if (one.one_hot) one.width = static_cast<int64_t>(one.places.size());
      }
      width += one.width;
      encoded.push_back(std::move(one));
    }
    if (samples_ > kMaxTableBytes / 4 / width) return TooMany("with a feature for each category");
    spec::DatasetInfo& info = raw_.info;
    info.sample_shape = {width};
    info.train_samples = samples_;
    std::vector<int64_t> class_places;
    std::vector<std::string> class_names;
    const Column& label = columns_[label_];
    if (label.type == Type::kCategories) {
      class_names = label.categories.Sorted(&class_places);
      info.classes = static_cast<int64_t>(class_names.size());
    } else if (is_class_ && options_.labels != TableOptions::Labels::kNumbers) {
      info.classes = static_cast<int64_t>(most_) + 1;
    } else {
      info.label_range = {least_, most_};
    }
    raw_.format = "CSV, " + Count(width, "feature");
    if (skipped_ > 0) raw_.format += ", " + Count(skipped_, "record") + " left out";
    raw_.value_bytes = 4;
    raw_.label_bytes = info.classes > 0 ? 8 : 4;
    if (!loads()) return {};
    Describe(encoded, width, class_names);
    StoreFeatures(encoded, width);
    StoreLabels(class_places);
    return {};
  }

  // How a column becomes features.
  struct Encoded {
    std::vector<std::string> names;  // of the categories, in order
    std::vector<int64_t> places;     // in that order, of each category as it came; empty: a number
    int64_t missing = 0;             // the category that stands for a missing value
    bool one_hot = false;
    int64_t width = 1;
  };

  void Describe(const std::vector<Encoded>& encoded, int64_t width,
                const std::vector<std::string>& class_names) {
    Json columns = Json::array();
    for (size_t k = 0; k < features_.size(); ++k) {
      Json column{{"name", columns_[features_[k]].name}};
      if (!encoded[k].names.empty()) {
        column["categories"] = encoded[k].names;
        column["encoding"] = encoded[k].one_hot ? "one_hot" : "index";
      }
      columns.push_back(std::move(column));
    }
    Json& details = raw_.dataset->details;
    details["columns"] = std::move(columns);
    details["label"] = columns_[label_].name;
    if (!class_names.empty()) details["classes"] = class_names;
    if (options_.missing == TableOptions::Missing::kZero)
      details["fill"] = std::vector<float>(static_cast<size_t>(width), 0);
  }

  void StoreFeatures(const std::vector<Encoded>& encoded, int64_t width) {
    for (const Encoded& one : encoded) {
      raw_.is_category.insert(raw_.is_category.end(), static_cast<size_t>(one.width),
                              !one.places.empty());
    }
    const bool expands = width > static_cast<int64_t>(features_.size());
    std::vector<float> expanded;
    if (expands) expanded.reserve(static_cast<size_t>(samples_ * width));
    float* value = values_.data();
    for (int64_t sample = 0; sample < samples_; ++sample) {
      for (const Encoded& one : encoded) {
        if (!one.places.empty()) {
          int64_t came = std::isnan(*value) ? one.missing : static_cast<int64_t>(*value);
          *value = static_cast<float>(one.places[static_cast<size_t>(came)]);
        } else if (std::isnan(*value) && options_.missing == TableOptions::Missing::kZero) {
          *value = 0;
        }
        if (one.one_hot) {
          for (int64_t i = 0; i < one.width; ++i) {
            const float place = static_cast<float>(i);
            if (expands) {
              expanded.push_back(*value == place ? 1.0f : 0.0f);
            }
          }
          if (!expands) *value = 1;  // of one category
        } else if (expands) {
          expanded.push_back(*value);
        }
        ++value;
      }
    }
    raw_.fills_mean = options_.missing == TableOptions::Missing::kMean;
    raw_.dataset->train.samples = samples_;
    raw_.dataset->train.features = expands ? std::move(expanded) : std::move(values_);
  }

  void StoreLabels(const std::vector<int64_t>& class_places) {
    Split& split = raw_.dataset->train;
    if (raw_.info.classes == 0) {
      split.labels = std::vector<float>(labels_.begin(), labels_.end());
      return;
    }
    std::vector<int64_t> classes(labels_.begin(), labels_.end());
    if (!class_places.empty()) {
      for (int64_t& label : classes) label = class_places[static_cast<size_t>(label)];
    }
    split.labels = std::move(classes);
  }

  const TableOptions& options_;
  const std::string& split_column_;
  const int64_t checked_text_bytes_;
  Raw& raw_;
  RecordReader records_;
  std::string path_;
  bool has_header_ = false;
  std::vector<Column> columns_;
  std::vector<size_t> features_;  // places of the columns that are
  size_t label_ = 0;
  int64_t line_ = 0;  // of the record that is taken
  int64_t samples_ = 0, skipped_ = 0;
  std::vector<float> values_;  // a category its number in the order in which they came
  std::vector<double> labels_;
  size_t category_bytes_ = 0;
  bool misses_ = false;
  bool is_class_ = true;
  double least_ = std::numeric_limits<double>::infinity(), most_ = -least_;  // of the labels
};

}  // namespace

Fault ReadTable(const std::string& path, const spec::DatasetUri& uri, int64_t checked_text_bytes,
                Raw* raw) {
  return TableReader(uri, checked_text_bytes, raw).Read(path);
}

}  // namespace cyxwiz::data
