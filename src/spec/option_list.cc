#include "spec/option_list.h"

#include "spec/count.h"

namespace cyxwiz::spec {
namespace {

constexpr Choice kPaddings[] = {{"valid", static_cast<int>(Padding::kValid)},
                                {"same", static_cast<int>(Padding::kSame)}};

}  // namespace

void CheckDataFormat(ObjectReader& reader) {
  static constexpr Key kKey = {"data_format"};
  auto format = reader.Text(kKey);
  if (format && *format != "channels_first") {
    reader.Refuse(kKey, "is not supported", "\"channels_first\"",
                  "images have shape [channels, height, width]; leave data_format out");
  }
}

bool OptionList::Missing(const Key& key, Presence presence, const std::string& expected) {
  if (presence != kRequired || reader_->Find(key) != nullptr) return false;
  reader_->Refuse(key, "is missing", expected);
  return true;
}

void OptionList::Whole(const Key& key, int64_t* value, int64_t min, int64_t max,
                       Presence presence) {
  if (reader_ == nullptr) {
    (*layer_)[std::string(key.name)] = *value;
    return;
  }
  if (presence == kRequired) *value = min;
  if (Missing(key, presence,
              "a whole number from " + std::to_string(min) + " to " + std::to_string(max))) {
    return;
  }
  *value = reader_->Whole(key, min, max).value_or(*value);
}

void OptionList::Real(const Key& key, double* value, const RealRange& range) {
  if (reader_ == nullptr) {
    (*layer_)[std::string(key.name)] = *value;
  } else {
    *value = reader_->Real(key, range).value_or(*value);
  }
}

void OptionList::Bool(const Key& key, bool* value) {
  if (reader_ == nullptr) {
    (*layer_)[std::string(key.name)] = *value;
  } else {
    *value = reader_->Bool(key).value_or(*value);
  }
}

void OptionList::OneOfNumber(const Key& key, int* value, std::span<const Choice> choices) {
  if (reader_ != nullptr) {
    *value = reader_->OneOf(key, choices).value_or(*value);
    return;
  }
  for (const Choice& choice : choices) {
    if (choice.value != *value || choice.alias) continue;
    (*layer_)[std::string(key.name)] = choice.name;
    return;
  }
}

void OptionList::Sizes(const Key& key, spec::Sizes* value, size_t count, int64_t min, int64_t max,
                       int64_t standard, Presence presence) {
  if (reader_ == nullptr) {
    (*layer_)[std::string(key.name)] = *value;
    return;
  }
  *value = spec::Sizes(count, standard);
  if (Missing(key, presence, "a whole number" + OrSizes(count))) return;
  if (auto sizes = reader_->Sizes(key, count, min, max)) *value = *sizes;
}

void OptionList::Paddings(Padding* padding, spec::Sizes* sizes, size_t count) {
  static constexpr Key kKey = {"padding"};
  if (reader_ != nullptr) {
    const Json* value = reader_->Find(kKey);
    if (value != nullptr && value->is_string()) {
      *sizes = spec::Sizes(count, 0);
      if (auto choice = reader_->OneOf(kKey, kPaddings)) *padding = static_cast<Padding>(*choice);
    } else {
      Sizes(kKey, sizes, count, 0, kMaxWindow, 0);
    }
    return;
  }
  bool none = *sizes == spec::Sizes(count, 0);
  if (none) {
    (*layer_)["padding"] = *padding == Padding::kValid ? "valid" : "same";
  } else {
    (*layer_)["padding"] = *sizes;
  }
}

void OptionList::Inferred(const Key& key) {
  if (reader_ != nullptr) reader_->Whole(key, 1, kUncountable);
}

void OptionList::DataFormat() {
  if (reader_ != nullptr) CheckDataFormat(*reader_);
}

}  // namespace cyxwiz::spec
