#include "base/binary.h"

#include <gtest/gtest.h>

#include <limits>

namespace cyxwiz {
namespace {

enum class Colour { kRed = -1, kBlue = 7 };

struct Inner {
  std::string text;
  double number = 0;
  auto Fields() { return std::tie(text, number); }
  bool operator==(const Inner&) const = default;
};
struct Outer {
  int64_t most = 0, least = 0;
  uint64_t large = 0;
  bool yes = false;
  Colour colour = Colour::kRed;
  std::chrono::nanoseconds time = {};
  std::vector<Inner> list;
  std::map<std::string, int32_t> map;
  std::unordered_map<int64_t, std::set<int64_t>> hashed;
  std::optional<Inner> maybe;
  Rare<Inner> rare;
  std::variant<std::monostate, Inner, int32_t> either;
  std::array<int32_t, 2> pair = {};
  auto Fields() {
    return std::tie(most, least, large, yes, colour, time, list, map, hashed, maybe, rare, either,
                    pair);
  }
  bool operator==(const Outer&) const = default;
};
static_assert(kNamesAllMembers<Inner>);

struct Forgetful {
  int a = 0, b = 0;
  auto Fields() { return std::tie(a); }
};
static_assert(!kNamesAllMembers<Forgetful>);

Outer Full() {
  return {std::numeric_limits<int64_t>::max(),
          std::numeric_limits<int64_t>::min(),
          std::numeric_limits<uint64_t>::max(),
          true,
          Colour::kBlue,
          std::chrono::seconds(-3),
          {{"a", 1.5}, {std::string("\0b", 2), -0.0}},
          {{"x", -1}, {"y", 300}},
          {{5, {1, 2}}, {-5, {}}},
          Inner{"maybe", 2},
          Inner{"rare", 3},
          Inner{"either", 4},
          {-70'000, 70'000}};
}

std::string Written(const Outer& value) {
  std::string text;
  BinaryWriter(&text).Write(value);
  return text;
}

TEST(Binary, ReadsWhatItWrote) {
  for (const Outer& value : {Outer(), Full()}) {
    const std::string text = Written(value);
    BinaryReader reader(text);
    EXPECT_EQ(reader.Take<Outer>(), value);
    EXPECT_TRUE(reader.done());
  }
}

TEST(Binary, WritesEqualValuesAlike) {
  Outer a, b;
  for (int64_t i = 0; i < 1000; ++i) {
    a.hashed[i];
    b.hashed[999 - i];
  }
  b.rare.Edit();
  EXPECT_EQ(Written(a), Written(b));
}

TEST(Binary, EndsWithinItsBoundsWhateverIsThere) {
  const std::string whole = Written(Full());
  for (size_t size = 0; size < whole.size(); ++size) {
    BinaryReader reader(std::string_view(whole).substr(0, size));
    (void)reader.Take<Outer>();
    EXPECT_FALSE(reader.ok()) << size;
  }
  for (size_t at = 0; at < whole.size(); ++at) {
    for (int byte = 0; byte < 256; ++byte) {
      std::string damaged = whole;
      damaged[at] = static_cast<char>(byte);
      BinaryReader reader(damaged);
      (void)reader.Take<Outer>();
    }
  }
}

TEST(Binary, TakesNoCountBeyondWhatFollows) {
  std::string text;
  BinaryWriter(&text).Unsigned(uint64_t{1} << 60);
  BinaryReader reader(text);
  EXPECT_TRUE(reader.Take<std::vector<int64_t>>().empty());
  EXPECT_FALSE(reader.ok());
  BinaryReader endless(std::string_view("\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff", 11));
  EXPECT_EQ(endless.Unsigned(), 0u);
  EXPECT_FALSE(endless.ok());
}

}  // namespace
}  // namespace cyxwiz
