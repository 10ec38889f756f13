#include "wire/json.h"

#include <google/protobuf/descriptor.h>
#include <google/protobuf/reflection.h>

#include <cctype>
#include <cmath>
#include <cstdio>
#include <limits>
#include <optional>
#include <vector>

#include "base/suggest.h"
#include "base/text.h"

namespace cyxwiz::wire {
namespace {

using google::protobuf::Descriptor;
using google::protobuf::EnumDescriptor;
using google::protobuf::EnumValueDescriptor;
using google::protobuf::FieldDescriptor;
using google::protobuf::Message;
using google::protobuf::Reflection;

// ---- base64
// ----------------------------------------------------------------------------------------------

constexpr char kAlphabet[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

std::string Base64(const std::string& bytes) {
  std::string text;
  text.reserve((bytes.size() + 2) / 3 * 4);
  uint32_t bits = 0;
  int count = 0;
  for (unsigned char byte : bytes) {
    bits = bits << 8 | byte;
    for (count += 8; count >= 6; count -= 6) text += kAlphabet[bits >> (count - 6) & 63];
  }
  if (count > 0) text += kAlphabet[bits << (6 - count) & 63];
  while (text.size() % 4 != 0) text += '=';
  return text;
}

// False for text that Base64 cannot have written.
bool FromBase64(const std::string& text, std::string* bytes) {
  static const std::vector<int> values = [] {
    std::vector<int> v(256, -1);
    for (int i = 0; i < 64; ++i) v[static_cast<unsigned char>(kAlphabet[i])] = i;
    return v;
  }();
  if (text.size() % 4 != 0) return false;
  size_t length = text.size();
  while (length > 0 && text.size() - length < 2 && text[length - 1] == '=') --length;
  bytes->clear();
  uint32_t bits = 0;
  int count = 0;
  for (size_t i = 0; i < length; ++i) {
    int value = values[static_cast<unsigned char>(text[i])];
    if (value < 0) return false;
    bits = bits << 6 | static_cast<uint32_t>(value);
    count += 6;
    if (count >= 8) {
      count -= 8;
      *bytes += static_cast<char>(bits >> count & 255);
    }
  }
  return (bits & ((1u << count) - 1)) == 0;
}

// ---- Message to JSON
// -------------------------------------------------------------------------------------

Json DoubleToJson(double value) {
  if (std::isnan(value)) return "NaN";
  if (std::isinf(value)) return value > 0 ? "Infinity" : "-Infinity";
  return value;
}

// The shortest number that reads back as the same float: 0.1f is 0.1, not 0.10000000149011612.
Json FloatToJson(float value) {
  if (!std::isfinite(value)) return DoubleToJson(value);
  char text[32];
  for (int digits = 6; digits <= 9; ++digits) {
    std::snprintf(text, sizeof text, "%.*g", digits, static_cast<double>(value));
    if (static_cast<float>(*ParseDouble(text)) == value) break;
  }
  return *ParseDouble(text);
}

Json EnumToJson(const EnumDescriptor* type, int number) {
  const EnumValueDescriptor* value = type->FindValueByNumber(number);
  return value != nullptr ? Json(value->name()) : Json(number);
}

// index < 0: the singular field.
Json ValueToJson(const Message& message, const FieldDescriptor* field, int index) {
  const Reflection& r = *message.GetReflection();
  bool repeated = index >= 0;
  switch (field->cpp_type()) {
    case FieldDescriptor::CPPTYPE_INT32:
      return repeated ? r.GetRepeatedInt32(message, field, index) : r.GetInt32(message, field);
    case FieldDescriptor::CPPTYPE_INT64:
      return repeated ? r.GetRepeatedInt64(message, field, index) : r.GetInt64(message, field);
    case FieldDescriptor::CPPTYPE_UINT32:
      return repeated ? r.GetRepeatedUInt32(message, field, index) : r.GetUInt32(message, field);
    case FieldDescriptor::CPPTYPE_UINT64:
      return repeated ? r.GetRepeatedUInt64(message, field, index) : r.GetUInt64(message, field);
    case FieldDescriptor::CPPTYPE_DOUBLE:
      return DoubleToJson(repeated ? r.GetRepeatedDouble(message, field, index)
                                   : r.GetDouble(message, field));
    case FieldDescriptor::CPPTYPE_FLOAT:
      return FloatToJson(repeated ? r.GetRepeatedFloat(message, field, index)
                                  : r.GetFloat(message, field));
    case FieldDescriptor::CPPTYPE_BOOL:
      return repeated ? r.GetRepeatedBool(message, field, index) : r.GetBool(message, field);
    case FieldDescriptor::CPPTYPE_ENUM:
      return EnumToJson(field->enum_type(), repeated ? r.GetRepeatedEnumValue(message, field, index)
                                                     : r.GetEnumValue(message, field));
    case FieldDescriptor::CPPTYPE_STRING: {
      std::string scratch;
      const std::string& text = repeated
                                    ? r.GetRepeatedStringReference(message, field, index, &scratch)
                                    : r.GetStringReference(message, field, &scratch);
      return field->type() == FieldDescriptor::TYPE_BYTES ? Json(Base64(text)) : Json(text);
    }
    case FieldDescriptor::CPPTYPE_MESSAGE:
      return ToJson(repeated ? r.GetRepeatedMessage(message, field, index)
                             : r.GetMessage(message, field));
  }
  return nullptr;
}

Json MapToJson(const Message& message, const FieldDescriptor* field) {
  const Reflection& r = *message.GetReflection();
  Json object = Json::object();
  for (int i = 0; i < r.FieldSize(message, field); ++i) {
    const Message& entry = r.GetRepeatedMessage(message, field, i);
    Json key = ValueToJson(entry, field->message_type()->map_key(), -1);
    object[key.is_string() ? key.get<std::string>() : key.dump()] =
        ValueToJson(entry, field->message_type()->map_value(), -1);
  }
  return object;
}

// ---- JSON to message
// -------------------------------------------------------------------------------------

// Values in error messages are cut: a person needs the beginning.
std::string Shown(const Json& json) {
  std::string text = json.dump(-1, ' ', true, Json::error_handler_t::replace);
  return text.size() <= 60 ? text : text.substr(0, 57) + "...";
}

Status Wrong(const std::string& path, const std::string& expected, const Json& found) {
  return InvalidArgument(path + ": expected " + expected + ", found " + Shown(found));
}

template <typename Integer>
Result<Integer> IntegerFromJson(const Json& json, const std::string& path) {
  using Limits = std::numeric_limits<Integer>;
  if (json.is_number_unsigned()) {
    uint64_t value = json.get<uint64_t>();
    if (value <= static_cast<uint64_t>(Limits::max())) return static_cast<Integer>(value);
  } else if (json.is_number_integer()) {
    int64_t value = json.get<int64_t>();  // negative
    if constexpr (Limits::is_signed) {
      if (value >= static_cast<int64_t>(Limits::min())) return static_cast<Integer>(value);
    }
  }
  return Wrong(path,
               "a whole number from " + std::to_string(Limits::min()) + " to " +
                   std::to_string(Limits::max()),
               json);
}

Result<double> DoubleFromJson(const Json& json, const std::string& path) {
  if (json.is_number()) return json.get<double>();
  if (json == "NaN") return std::numeric_limits<double>::quiet_NaN();
  if (json == "Infinity") return std::numeric_limits<double>::infinity();
  if (json == "-Infinity") return -std::numeric_limits<double>::infinity();
  return Wrong(path, "a number", json);
}

Result<int> EnumFromJson(const EnumDescriptor& type, const Json& json, const std::string& path) {
  if (json.is_number_integer()) return IntegerFromJson<int32_t>(json, path);
  if (!json.is_string()) return Wrong(path, "the name of a " + type.name(), json);
  const EnumValueDescriptor* value = type.FindValueByName(json.get_ref<const std::string&>());
  if (value != nullptr) return value->number();
  std::string all;
  std::vector<std::string> names;
  for (int i = 0; i < type.value_count(); ++i) {
    names.push_back(type.value(i)->name());
    all += (i > 0 ? ", " : "") + names.back();
  }
  std::string text = json.get<std::string>(), nearest;
  size_t least = SIZE_MAX;
  // The names are upper case throughout, which NearestName does not expect.
  for (char& c : text) c = static_cast<char>(std::toupper(static_cast<unsigned char>(c)));
  for (const std::string& name : names) {
    size_t distance = text.size() > 64 ? SIZE_MAX : EditDistance(text, name);
    if (name.size() > text.size() && !text.empty() && name.ends_with("_" + text)) distance = 0;
    if (distance < least && distance <= name.size() / 3) {
      least = distance;
      nearest = name;
    }
  }
  return InvalidArgument(path + ": expected one of " + all + ", found " + Shown(json),
                         nearest.empty() ? "" : "did you mean '" + nearest + "'?");
}

// Sets the singular field, or adds to the repeated one.
Status SetValue(const Json& json, Message* message, const FieldDescriptor* field,
                const std::string& path) {
  const Reflection& r = *message->GetReflection();
  bool repeated = field->is_repeated();
  switch (field->cpp_type()) {
    case FieldDescriptor::CPPTYPE_INT32: {
      ASSIGN_OR_RETURN(int32_t value, IntegerFromJson<int32_t>(json, path));
      repeated ? r.AddInt32(message, field, value) : r.SetInt32(message, field, value);
      return OkStatus();
    }
    case FieldDescriptor::CPPTYPE_INT64: {
      ASSIGN_OR_RETURN(int64_t value, IntegerFromJson<int64_t>(json, path));
      repeated ? r.AddInt64(message, field, value) : r.SetInt64(message, field, value);
      return OkStatus();
    }
    case FieldDescriptor::CPPTYPE_UINT32: {
      ASSIGN_OR_RETURN(uint32_t value, IntegerFromJson<uint32_t>(json, path));
      repeated ? r.AddUInt32(message, field, value) : r.SetUInt32(message, field, value);
      return OkStatus();
    }
    case FieldDescriptor::CPPTYPE_UINT64: {
      ASSIGN_OR_RETURN(uint64_t value, IntegerFromJson<uint64_t>(json, path));
      repeated ? r.AddUInt64(message, field, value) : r.SetUInt64(message, field, value);
      return OkStatus();
    }
    case FieldDescriptor::CPPTYPE_DOUBLE: {
      ASSIGN_OR_RETURN(double value, DoubleFromJson(json, path));
      repeated ? r.AddDouble(message, field, value) : r.SetDouble(message, field, value);
      return OkStatus();
    }
    case FieldDescriptor::CPPTYPE_FLOAT: {
      ASSIGN_OR_RETURN(double value, DoubleFromJson(json, path));
      if (std::isfinite(value) && std::abs(value) > std::numeric_limits<float>::max()) {
        return Wrong(path, "a number that fits into 32 bits", json);
      }
      float narrow = static_cast<float>(value);
      repeated ? r.AddFloat(message, field, narrow) : r.SetFloat(message, field, narrow);
      return OkStatus();
    }
    case FieldDescriptor::CPPTYPE_BOOL: {
      if (!json.is_boolean()) return Wrong(path, "true or false", json);
      bool value = json.get<bool>();
      repeated ? r.AddBool(message, field, value) : r.SetBool(message, field, value);
      return OkStatus();
    }
    case FieldDescriptor::CPPTYPE_ENUM: {
      ASSIGN_OR_RETURN(int value, EnumFromJson(*field->enum_type(), json, path));
      repeated ? r.AddEnumValue(message, field, value) : r.SetEnumValue(message, field, value);
      return OkStatus();
    }
    case FieldDescriptor::CPPTYPE_STRING: {
      bool is_bytes = field->type() == FieldDescriptor::TYPE_BYTES;
      if (!json.is_string()) return Wrong(path, is_bytes ? "base64 text" : "a text", json);
      std::string value = json.get<std::string>();
      if (is_bytes && !FromBase64(json.get_ref<const std::string&>(), &value)) {
        return Wrong(path, "base64 text", json);
      }
      repeated ? r.AddString(message, field, std::move(value))
               : r.SetString(message, field, std::move(value));
      return OkStatus();
    }
    case FieldDescriptor::CPPTYPE_MESSAGE:
      return FromJson(
          json, repeated ? r.AddMessage(message, field) : r.MutableMessage(message, field), path);
  }
  return Internal(path + ": field of an unknown type");
}

// JSON keys are text, whatever the type of the map's key.
Result<Json> KeyFromText(const std::string& text, const FieldDescriptor* key,
                         const std::string& path) {
  if (key->cpp_type() == FieldDescriptor::CPPTYPE_STRING) return Json(text);
  if (key->cpp_type() == FieldDescriptor::CPPTYPE_BOOL) {
    if (text == "true" || text == "false") return Json(text == "true");
    return Wrong(path, "a key true or false", text);
  }
  std::optional<int64_t> number = ParseInt(text);
  if (!number) return Wrong(path, "a whole number as key", text);
  // The parser of JSON tells the two apart, and IntegerFromJson relies on it.
  return *number < 0 ? Json(*number) : Json(static_cast<uint64_t>(*number));
}

Status SetMap(const Json& json, Message* message, const FieldDescriptor* field,
              const std::string& path) {
  if (!json.is_object()) return Wrong(path, "an object", json);
  const FieldDescriptor* key = field->message_type()->map_key();
  const FieldDescriptor* value = field->message_type()->map_value();
  for (const auto& [name, item] : json.items()) {
    std::string item_path = path + "." + name;
    ASSIGN_OR_RETURN(Json key_json, KeyFromText(name, key, item_path));
    Message* entry = message->GetReflection()->AddMessage(message, field);
    RETURN_IF_ERROR(SetValue(key_json, entry, key, item_path));
    RETURN_IF_ERROR(SetValue(item, entry, value, item_path));
  }
  return OkStatus();
}

}  // namespace

Json ToJson(const Message& message) {
  const Descriptor* type = message.GetDescriptor();
  const Reflection& r = *message.GetReflection();
  Json object = Json::object();
  for (int i = 0; i < type->field_count(); ++i) {
    const FieldDescriptor* field = type->field(i);
    if (field->is_map()) {
      object[field->name()] = MapToJson(message, field);
    } else if (field->is_repeated()) {
      Json array = Json::array();
      for (int j = 0; j < r.FieldSize(message, field); ++j) {
        array.push_back(ValueToJson(message, field, j));
      }
      object[field->name()] = std::move(array);
    } else if (!field->has_presence() || r.HasField(message, field)) {
      object[field->name()] = ValueToJson(message, field, -1);
    }
  }
  return object;
}

std::string ToJsonText(const Message& message) {
  return ToJson(message).dump(-1, ' ', false, Json::error_handler_t::replace);
}

Status FromJson(const Json& json, Message* message, const std::string& what) {
  message->Clear();
  if (!json.is_object()) return Wrong(what, "an object", json);
  const Descriptor* type = message->GetDescriptor();
  for (const auto& [name, value] : json.items()) {
    std::string path = what + "." + name;
    const FieldDescriptor* field = type->FindFieldByName(name);
    if (field == nullptr) {
      std::vector<std::string> names;
      for (int i = 0; i < type->field_count(); ++i) names.push_back(type->field(i)->name());
      std::string nearest = NearestName(name, names);
      return InvalidArgument(path + ": " + type->name() + " has no field '" + name + "'",
                             nearest.empty() ? "" : "did you mean '" + nearest + "'?");
    }
    if (field->is_map()) {
      RETURN_IF_ERROR(SetMap(value, message, field, path));
    } else if (field->is_repeated()) {
      if (!value.is_array()) return Wrong(path, "an array", value);
      for (size_t i = 0; i < value.size(); ++i) {
        RETURN_IF_ERROR(SetValue(value[i], message, field, path + "[" + std::to_string(i) + "]"));
      }
    } else {
      RETURN_IF_ERROR(SetValue(value, message, field, path));
    }
  }
  return OkStatus();
}

Result<int> EnumFromText(const EnumDescriptor& type, const std::string& text,
                         const std::string& what) {
  std::optional<int64_t> number = ParseInt(text);
  return EnumFromJson(type, number ? Json(*number) : Json(text), what);
}

}  // namespace cyxwiz::wire
