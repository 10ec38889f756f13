#include "spec/object_reader.h"

#include <algorithm>
#include <cctype>
#include <cmath>

#include "base/suggest.h"
#include "base/text.h"

namespace cyxwiz::spec {
namespace {

constexpr size_t kMostShown = 60;
constexpr int64_t kMaxDimension = int64_t{1} << 31;
constexpr size_t kMaxRank = 8;

// The first `size` bytes, fewer where a character would be cut in two.
std::string_view Head(std::string_view text, size_t size) {
  if (text.size() <= size) return text;
  while (size > 0 && (static_cast<unsigned char>(text[size]) & 0xC0) == 0x80) --size;
  return text.substr(0, size);
}

std::string Dump(const Json& value) {
  return value.dump(-1, ' ', false, Json::error_handler_t::replace);
}

std::string NumberText(double value) { return Json(value).dump(); }

std::string Expected(int64_t min, int64_t max) {
  return "a whole number from " + std::to_string(min) + " to " + std::to_string(max);
}

std::string Expected(const RealRange& range) {
  std::string text = std::string("a number ") + (range.above_min ? "above " : "from ");
  auto bound = [](double value) {
    return value == std::floor(value) && std::abs(value) < 1e15
               ? std::to_string(static_cast<int64_t>(value))
               : NumberText(value);
  };
  text += bound(range.min);
  if (std::isfinite(range.max)) {
    text += range.below_max ? " to below " : " to ";
    text += bound(range.max);
  } else if (!range.above_min) {
    text += " up";
  }
  return text;
}

bool AllDigits(std::string_view text) {
  if (!text.empty() && (text[0] == '-' || text[0] == '+')) text.remove_prefix(1);
  return !text.empty() && text.find_first_not_of("0123456789") == std::string_view::npos;
}

// For 1e3 and 32.0, which are whole but not written so.
std::string WholeHint(double value) {
  if (value != std::floor(value) || std::abs(value) > 1e15) return "";
  return "write " + std::to_string(static_cast<int64_t>(value));
}

}  // namespace

std::string Shown(std::string_view text) {
  std::string_view head = Head(text, kMostShown);
  return Dump(Json(std::string(head))) + (head.size() < text.size() ? "..." : "");
}

std::string Shown(const Json& value) {
  if (value.is_string()) return Shown(std::string_view(value.get_ref<const std::string&>()));
  std::string text = Dump(value);
  std::string_view head = Head(text, kMostShown);
  return std::string(head) + (head.size() < text.size() ? "..." : "");
}

std::string Member(const std::string& path, std::string_view key) {
  bool plain = !key.empty() && key.size() <= kMostShown &&
               key.find_first_not_of(
                   "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"
                   "0123456789_") == std::string_view::npos;
  return plain ? path + "." + std::string(key) : path + "[" + Shown(key) + "]";
}

bool SameName(std::string_view a, std::string_view b) {
  size_t i = 0, j = 0;
  while (true) {
    while (i < a.size() && a[i] == '_') ++i;
    while (j < b.size() && b[j] == '_') ++j;
    if (i == a.size() || j == b.size()) return i == a.size() && j == b.size();
    if (std::tolower(static_cast<unsigned char>(a[i++])) !=
        std::tolower(static_cast<unsigned char>(b[j++]))) {
      return false;
    }
  }
}

std::string DidYouMean(std::string_view name, const std::vector<std::string>& candidates) {
  std::string nearest = NearestName(name, candidates);
  return nearest.empty() ? "" : "did you mean '" + nearest + "'?";
}

bool IsPlainText(std::string_view text) {
  bool ascii = true;
  for (char c : text) {
    if (static_cast<unsigned char>(c) < 0x20 || c == 0x7F) return false;
    ascii &= static_cast<unsigned char>(c) < 0x80;
  }
  if (ascii) return true;
  try {
    (void)Json(std::string(text)).dump();
    return true;
  } catch (const Json::exception&) {  // not UTF-8
    return false;
  }
}

std::string OrSizes(size_t count) {
  if (count == 1) return "";
  return count == 2 ? ", or [height, width]" : ", or [depth, height, width]";
}

ObjectReader::ObjectReader(const Json& object, std::string path, Problems* problems, Values values)
    : object_(object), path_(std::move(path)), problems_(problems), values_(values) {
  entries_.reserve(object_.size());
  for (auto member = object_.begin(); member != object_.end(); ++member)
    entries_.push_back({member.key(), &*member, false});
  asked_.reserve(16);
}

// Objects have few members, so comparing with each is faster than a search for every name.
const ObjectReader::Entry* ObjectReader::Look(const Key& key) {
  asked_.push_back(key);
  Entry* found = nullptr;
  for (std::string_view name : {key.name, key.alias, key.second_alias}) {
    if (name.empty()) continue;
    auto entry = std::find_if(entries_.begin(), entries_.end(),
                              [name](const Entry& one) { return one.name == name; });
    if (entry == entries_.end()) continue;
    if (found == nullptr) {
      found = &*entry;
    } else if (!entry->known) {
      problems_->Add({values_ == Values::kQuery ? path_ : Member(path_, name),
                      std::string(name) + " and " + std::string(found->name) +
                          " are two names of the same thing",
                      "one of them", "both", "leave one out"});
    }
    entry->known = true;
  }
  return found;
}

const Json* ObjectReader::Find(const Key& key) {
  const Entry* entry = Look(key);
  return entry == nullptr ? nullptr : entry->value;
}

// A number that came as a text is shown as the number it is.
std::string ObjectReader::ShownValue(const Json& value) const {
  if (values_ != Values::kJson && value.is_string()) {
    const std::string& text = value.get_ref<const std::string&>();
    if (text.size() <= kMostShown && ParseDouble(text)) return text;
  }
  return Shown(value);
}

void ObjectReader::Refuse(const Key& key, const std::string& what, std::string expected,
                          std::string hint) {
  const Entry* entry = Look(key);
  std::string_view name = entry == nullptr ? key.name : entry->name;
  problems_->Add({values_ == Values::kQuery ? path_ : Member(path_, name),
                  std::string(name) + " " + what, std::move(expected),
                  entry == nullptr ? "nothing" : ShownValue(*entry->value), std::move(hint)});
}

void ObjectReader::RefuseObject(std::string message, std::string expected, std::string found,
                                std::string hint) {
  problems_->Add(
      {path_, std::move(message), std::move(expected), std::move(found), std::move(hint)});
}

std::optional<int64_t> ObjectReader::Whole(const Key& key, int64_t min, int64_t max) {
  const Json* value = Find(key);
  if (value == nullptr) return std::nullopt;
  std::optional<int64_t> number;
  bool whole = false;
  std::string hint;
  if (values_ == Values::kJson) {
    whole = value->is_number_integer();
    bool too_large =
        value->is_number_unsigned() && value->get<uint64_t>() > static_cast<uint64_t>(max);
    if (whole && !too_large) number = value->get<int64_t>();
    if (value->is_number_float()) hint = WholeHint(value->get<double>());
  } else {
    const std::string& text = value->get_ref<const std::string&>();
    number = ParseInt(text);
    whole = number.has_value() || AllDigits(text);
    if (auto real = whole ? std::nullopt : ParseDouble(text)) hint = WholeHint(*real);
  }
  if (number && *number >= min && *number <= max) return number;
  Refuse(key, whole ? "is out of range" : "is not a whole number", Expected(min, max), hint);
  return std::nullopt;
}

bool FitsFloat32(double number) {
  const auto narrow = static_cast<float>(number);
  return std::isfinite(narrow) && (narrow != 0 || number == 0);
}

std::optional<double> ObjectReader::Real(const Key& key, const RealRange& range) {
  const Json* value = Find(key);
  if (value == nullptr) return std::nullopt;
  std::optional<double> number;
  if (values_ == Values::kJson) {
    if (value->is_number()) number = value->get<double>();
  } else {
    number = ParseDouble(value->get_ref<const std::string&>());
  }
  // NaN fails every comparison, so it is refused as out of range.
  if (number && std::isfinite(*number) &&
      (range.above_min ? *number > range.min : *number >= range.min) &&
      (range.below_max ? *number < range.max : *number <= range.max)) {
    if (FitsFloat32(*number)) return number;
    Refuse(key, std::abs(*number) < 1 ? "is 0 in float32" : "is infinite in float32",
           Expected(range) + ", within 1.4e-45 and 3.4e38");
    return std::nullopt;
  }
  const char* what = "is not a number";
  if (number) what = std::isfinite(*number) ? "is out of range" : "is not a finite number";
  Refuse(key, what, Expected(range));
  return std::nullopt;
}

std::optional<bool> ObjectReader::Bool(const Key& key) {
  const Json* value = Find(key);
  if (value == nullptr) return std::nullopt;
  if (values_ == Values::kJson) {
    if (value->is_boolean()) return value->get<bool>();
  } else {
    const std::string& text = value->get_ref<const std::string&>();
    if (text == "1" || SameName(text, "true")) return true;
    if (text == "0" || SameName(text, "false")) return false;
  }
  Refuse(key, "is neither true nor false", "true or false");
  return std::nullopt;
}

std::optional<std::string> ObjectReader::Text(const Key& key) {
  const Json* value = Find(key);
  if (value == nullptr) return std::nullopt;
  if (value->is_string()) return value->get<std::string>();
  Refuse(key, "is not a text", "a text in quotes");
  return std::nullopt;
}

std::optional<int> ObjectReader::OneOf(const Key& key, std::span<const Choice> choices) {
  const Json* value = Find(key);
  if (value == nullptr) return std::nullopt;
  std::string listed, hint;
  std::vector<std::string> names;
  if (value->is_string()) {
    const std::string& text = value->get_ref<const std::string&>();
    for (const Choice& choice : choices) {
      if (SameName(text, choice.name)) return choice.value;
    }
    for (const Choice& choice : choices) names.emplace_back(choice.name);
    if (problems_->count() < Problems::kMost) hint = DidYouMean(text, names);
  }
  for (const Choice& choice : choices) {
    if (choice.alias) continue;
    if (!listed.empty()) listed += ", ";
    listed += choice.name;
  }
  Refuse(key, "is not known", "one of " + listed, hint);
  return std::nullopt;
}

std::optional<std::vector<std::string>> ObjectReader::List(const Key& key) {
  auto text = Text(key);
  if (!text) return std::nullopt;
  std::vector<std::string> parts;
  for (size_t begin = 0; begin <= text->size();) {
    size_t end = std::min(text->find(',', begin), text->size());
    std::string part = text->substr(begin, end - begin);
    part.erase(0, part.find_first_not_of(' '));
    part.erase(part.find_last_not_of(' ') + 1);
    if (part.empty()) {
      Refuse(key, "has an empty part", "values separated by commas");
      return std::nullopt;
    }
    parts.push_back(std::move(part));
    begin = end + 1;
  }
  return parts;
}

std::optional<std::vector<int64_t>> ObjectReader::Sizes(const Key& key, size_t count, int64_t min,
                                                        int64_t max) {
  const Json* value = Find(key);
  if (value == nullptr) return std::nullopt;
  if (value->is_number()) {
    auto number = Whole(key, min, max);
    if (!number) return std::nullopt;
    return std::vector<int64_t>(count, *number);
  }
  auto good = [&](const Json& part) {
    return part.is_number_integer() &&
           !(part.is_number_unsigned() && part.get<uint64_t>() > static_cast<uint64_t>(max)) &&
           part.get<int64_t>() >= min && part.get<int64_t>() <= max;
  };
  if (value->is_array() && value->size() == count &&
      std::all_of(value->begin(), value->end(), good)) {
    return value->get<std::vector<int64_t>>();
  }
  std::string numbers = count == 1 ? "" : " of such numbers";
  Refuse(key, "is wrong", Expected(min, max) + OrSizes(count) + numbers);
  return std::nullopt;
}

std::optional<std::vector<int64_t>> ObjectReader::Shape(const Key& key) {
  const Json* value = Find(key);
  if (value == nullptr) return std::nullopt;
  bool good = value->is_array() && !value->empty() && value->size() <= kMaxRank;
  std::vector<int64_t> shape;
  if (good) {
    for (const Json& part : *value) {
      good = good && part.is_number_integer() &&
             !(part.is_number_unsigned() &&
               part.get<uint64_t>() > static_cast<uint64_t>(kMaxDimension)) &&
             part.get<int64_t>() >= 1;
      if (good) shape.push_back(part.get<int64_t>());
    }
  }
  if (good) return shape;
  std::string hint;
  if (value->is_array() && !value->empty() && (value->front().is_null() || value->front() == -1)) {
    hint = "leave the batch dimension out";
  } else if (value->is_number_integer()) {
    hint = "write [" + Shown(*value) + "]";
  }
  Refuse(key, "is not a shape", "one to 8 positive whole numbers, such as [1, 28, 28]", hint);
  return std::nullopt;
}

bool ObjectReader::Matches(const Key& key, int64_t inferred, const std::string& meaning) {
  const Json* value = Find(key);
  if (value == nullptr || *value == inferred) return true;
  Refuse(key, "does not fit " + meaning, std::to_string(inferred), "leave it out: it is inferred");
  return false;
}

void ObjectReader::RefuseUnknown() {
  auto known = [](const Entry& entry) { return entry.known; };
  if (std::all_of(entries_.begin(), entries_.end(), known)) return;
  std::vector<std::string> names;
  std::string listed;
  for (size_t i = 0; i < asked_.size(); ++i) {
    const Key& key = asked_[i];
    auto same = [&key](const Key& one) { return one.name == key.name; };
    if (std::any_of(asked_.begin(), asked_.begin() + i, same)) continue;
    for (std::string_view name : {key.name, key.alias, key.second_alias}) {
      if (!name.empty()) names.emplace_back(name);
    }
    if (!listed.empty()) listed += ", ";
    listed += key.name;
  }
  for (const Entry& entry : entries_) {
    if (entry.known) continue;
    // The nearest name is dear to find; an object of a hundred thousand wrong keys must not hold up
    // the server.
    bool full = problems_->count() >= Problems::kMost;
    problems_->Add({values_ == Values::kQuery ? path_ : Member(path_, entry.name),
                    "there is no " + Shown(entry.name) + " here", "one of " + listed,
                    Shown(entry.name), full ? "" : DidYouMean(std::string(entry.name), names)});
  }
}

}  // namespace cyxwiz::spec
