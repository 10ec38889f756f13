// Values as bytes, for what a program writes and reads again itself. A type says of what it
// consists by `Fields`, a member or a free function beside it, which gives a tuple of references;
// one that is written in its own way has WriteTo and ReadFrom.
//
//   bool, integer, enum, time := varint, signed ones zigzag      double := 8 bytes
//   string := varint of a length, so many bytes                  container := count element*
//   pointer, optional, Rare := 0 | 1 value                       variant := index value
//
// What is read is not trusted: a damaged text gives an error, and takes no more memory than some
// times its own length.
#pragma once

#include <array>
#include <bit>
#include <chrono>
#include <cstdint>
#include <cstring>
#include <map>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <string_view>
#include <tuple>
#include <type_traits>
#include <unordered_map>
#include <utility>
#include <variant>
#include <vector>

#include "base/rare.h"

namespace cyxwiz {

namespace binary {

template <typename T>
concept HasOwnFields = requires(T& t) {
  t.Fields();
};
template <typename T>
concept HasFields = HasOwnFields<T> || requires(T& t) {
  Fields(t);
};

template <typename T>
auto FieldsOf(T& value) {
  if constexpr (HasOwnFields<T>) {
    return value.Fields();
  } else {
    return Fields(value);
  }
}

struct Anything {
  template <typename T>
  operator T() const;
};
template <typename T, size_t... I>
constexpr bool TakesSoMany(std::index_sequence<I...>) {
  return requires { T{(static_cast<void>(I), Anything())...}; };
}
template <typename T, size_t most = 64>
constexpr size_t MemberCount() {
  if constexpr (TakesSoMany<T>(std::make_index_sequence<most>())) {
    return most;
  } else {
    return MemberCount<T, most - 1>();
  }
}

}  // namespace binary

// Whether Fields names every member of the struct; not for one with arrays, optionals or variants.
template <typename T>
inline constexpr bool kNamesAllMembers =
    std::tuple_size_v<decltype(binary::FieldsOf(std::declval<T&>()))> == binary::MemberCount<T>();

// Appends to a string.
class BinaryWriter {
 public:
  explicit BinaryWriter(std::string* out) : out_(out) {}

  void Unsigned(uint64_t value) {
    char bytes[10];
    size_t length = 0;
    while (value >= 0x80) {
      bytes[length++] = static_cast<char>(value | 0x80);
      value >>= 7;
    }
    bytes[length++] = static_cast<char>(value);
    out_->append(bytes, length);
  }
  void Text(std::string_view text) {
    Unsigned(text.size());
    out_->append(text);
  }

  template <typename... T>
  void Write(const T&... values) {
    (One(values), ...);
  }

 private:
  template <typename T>
  void One(const T& value) {
    if constexpr (std::is_same_v<T, bool> || std::is_unsigned_v<T>) {
      Unsigned(value);
    } else if constexpr (std::is_integral_v<T>) {
      const auto wide = static_cast<int64_t>(value);
      Unsigned((static_cast<uint64_t>(wide) << 1) ^ static_cast<uint64_t>(wide >> 63));
    } else if constexpr (std::is_enum_v<T>) {
      One(static_cast<int64_t>(value));
    } else if constexpr (std::is_same_v<T, double>) {
      const auto bits = std::bit_cast<std::array<char, 8>>(value);
      out_->append(bits.data(), bits.size());
    } else if constexpr (requires { value.WriteTo(this); }) {
      value.WriteTo(this);
    } else if constexpr (binary::HasFields<T>) {
      // Only read here.
      std::apply([this](const auto&... fields) { Write(fields...); },
                 binary::FieldsOf(const_cast<T&>(value)));
    } else {
      Standard(value);
    }
  }
  template <typename T, size_t size>
  void Standard(const T (&value)[size]) {
    for (const T& one : value) One(one);
  }
  void Standard(const std::string& value) { Text(value); }
  void Standard(const std::monostate&) {}
  template <typename Rep, typename Period>
  void Standard(const std::chrono::duration<Rep, Period>& value) {
    One(static_cast<int64_t>(value.count()));
  }
  template <typename T>
  void Standard(const Rare<T>& value) {
    const bool given = !(*value == T());
    One(given);
    if (given) One(*value);
  }
  template <typename T>
  void Standard(const std::optional<T>& value) {
    One(value.has_value());
    if (value) One(*value);
  }
  template <typename T>
  void Standard(const std::shared_ptr<T>& value) {
    One(value != nullptr);
    if (value != nullptr) One(*value);
  }
  template <typename T>
  void Standard(const std::unique_ptr<T>& value) {
    One(value != nullptr);
    if (value != nullptr) One(*value);
  }
  template <typename A, typename B>
  void Standard(const std::pair<A, B>& value) {
    Write(value.first, value.second);
  }
  template <typename T, size_t size>
  void Standard(const std::array<T, size>& value) {
    for (const T& one : value) One(one);
  }
  template <typename... T>
  void Standard(const std::variant<T...>& value) {
    Unsigned(value.index());
    std::visit([this](const auto& one) { One(one); }, value);
  }
  // In the order of the keys: equal ones are written alike.
  template <typename K, typename V>
  void Standard(const std::unordered_map<K, V>& value) {
    std::map<K, const V*> sorted;
    for (const auto& [key, one] : value) sorted.emplace(key, &one);
    Unsigned(sorted.size());
    for (const auto& [key, one] : sorted) Write(key, *one);
  }
  template <typename Container>
  requires requires(const Container& c) {
    c.begin();
    c.size();
  }
  void Standard(const Container& value) {
    Unsigned(value.size());
    for (const auto& one : value) One(one);
  }

  std::string* out_;
};

// Reads what BinaryWriter wrote. After the first thing that cannot be there every further one is
// empty, and ok() is false.
class BinaryReader {
 public:
  explicit BinaryReader(std::string_view text) : text_(text) {}

  bool ok() const { return ok_; }
  // Whether nothing is left, and all of it was as it should be.
  bool done() const { return ok_ && text_.empty(); }
  void Fail() {
    ok_ = false;
    text_ = {};
  }

  uint64_t Unsigned() {
    uint64_t value = 0;
    for (int shift = 0; shift < 64; shift += 7) {
      if (text_.empty()) break;
      const auto byte = static_cast<unsigned char>(text_.front());
      text_.remove_prefix(1);
      value |= static_cast<uint64_t>(byte & 0x7f) << shift;
      if (byte < 0x80) return value;
    }
    Fail();
    return 0;
  }
  std::string_view Text() {
    const uint64_t size = Unsigned();
    if (size > text_.size()) {
      Fail();
      return {};
    }
    std::string_view text = text_.substr(0, size);
    text_.remove_prefix(size);
    return text;
  }

  template <typename... T>
  void Read(T&... values) {
    (One(values), ...);
  }
  template <typename T>
  T Take() {
    T value{};
    One(value);
    return value;
  }

 private:
  template <typename T>
  void One(T& value) {
    if constexpr (std::is_same_v<T, bool>) {
      value = Unsigned() != 0;
    } else if constexpr (std::is_unsigned_v<T>) {
      value = static_cast<T>(Unsigned());
    } else if constexpr (std::is_integral_v<T>) {
      const uint64_t bits = Unsigned();
      value = static_cast<T>(static_cast<int64_t>((bits >> 1) ^ (~(bits & 1) + 1)));
    } else if constexpr (std::is_enum_v<T>) {
      value = static_cast<T>(Take<int64_t>());
    } else if constexpr (std::is_same_v<T, double>) {
      std::array<char, 8> bits{};
      if (text_.size() < bits.size()) return Fail();
      std::memcpy(bits.data(), text_.data(), bits.size());
      text_.remove_prefix(bits.size());
      value = std::bit_cast<double>(bits);
    } else if constexpr (requires { value.ReadFrom(this); }) {
      value.ReadFrom(this);
    } else if constexpr (binary::HasFields<T>) {
      std::apply([this](auto&&... fields) { Read(fields...); }, binary::FieldsOf(value));
    } else {
      Standard(value);
    }
  }
  // Of what follows, each at least one byte.
  size_t Count() {
    const uint64_t count = Unsigned();
    if (count > text_.size()) Fail();
    return ok_ ? static_cast<size_t>(count) : 0;
  }
  template <typename T, size_t size>
  void Standard(T (&value)[size]) {
    for (T& one : value) One(one);
  }
  void Standard(std::string& value) { value = Text(); }
  void Standard(std::monostate&) {}
  template <typename Rep, typename Period>
  void Standard(std::chrono::duration<Rep, Period>& value) {
    value = std::chrono::duration<Rep, Period>(Take<int64_t>());
  }
  template <typename T>
  void Standard(Rare<T>& value) {
    value = Take<bool>() ? Rare<T>(Take<T>()) : Rare<T>();
  }
  template <typename T>
  void Standard(std::optional<T>& value) {
    value.reset();
    if (Take<bool>()) value = Take<T>();
  }
  template <typename T>
  void Standard(std::shared_ptr<T>& value) {
    value = nullptr;
    if (Take<bool>()) value = std::make_shared<T>(Take<std::remove_const_t<T>>());
  }
  template <typename T>
  void Standard(std::unique_ptr<T>& value) {
    value = nullptr;
    if (Take<bool>()) value = std::make_unique<T>(Take<T>());
  }
  template <typename A, typename B>
  void Standard(std::pair<A, B>& value) {
    Read(value.first, value.second);
  }
  template <typename T, size_t size>
  void Standard(std::array<T, size>& value) {
    for (T& one : value) One(one);
  }
  template <typename... T>
  void Standard(std::variant<T...>& value) {
    const uint64_t index = Unsigned();
    uint64_t at = 0;
    if (index >= sizeof...(T)) return Fail();
    ((at++ == index ? static_cast<void>(value = Take<T>()) : static_cast<void>(0)), ...);
  }
  template <typename K, typename V>
  void Standard(std::unordered_map<K, V>& value) {
    Map(value);
  }
  template <typename K, typename V>
  void Standard(std::map<K, V>& value) {
    Map(value);
  }
  template <typename Map_>
  void Map(Map_& value) {
    value.clear();
    for (size_t left = Count(); left > 0 && ok_; --left) {
      auto key = Take<typename Map_::key_type>();
      One(value[std::move(key)]);
    }
  }
  template <typename T>
  void Standard(std::set<T>& value) {
    value.clear();
    for (size_t left = Count(); left > 0 && ok_; --left) value.insert(value.end(), Take<T>());
  }
  template <typename T>
  void Standard(std::vector<T>& value) {
    value.clear();
    for (size_t left = Count(); left > 0 && ok_; --left) value.push_back(Take<T>());
  }

  std::string_view text_;
  bool ok_ = true;
};

}  // namespace cyxwiz
