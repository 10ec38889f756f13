#include "central/page_token.h"

#include <gtest/gtest.h>

namespace cyxwiz::central {
namespace {

constexpr char kFilter[] = "jobs/0/0/ada";

TEST(PageToken, ComesBackAsItsPosition) {
  for (int64_t position : {int64_t{0}, int64_t{1}, int64_t{0xabcdef}, INT64_MAX}) {
    auto parsed = ParsePageToken(MakePageToken(position, kFilter), kFilter);
    ASSERT_TRUE(parsed.ok()) << parsed.status();
    EXPECT_EQ(*parsed, position);
  }
}

TEST(PageToken, OfAnotherListingIsRefused) {
  std::string token = MakePageToken(7, kFilter);
  for (std::string filter : {"", "jobs/0/0/", "jobs/0/0/adam", "jobs/1/0/ada", "nodes/0/0/ada"}) {
    auto parsed = ParsePageToken(token, filter);
    EXPECT_EQ(parsed.status().code(), Code::kInvalidArgument) << filter;
    EXPECT_NE(parsed.status().message().find("page_token"), std::string::npos) << parsed.status();
  }
}

TEST(PageToken, WhoseFilterPartWasTouchedIsRefused) {
  std::string token = MakePageToken(7, kFilter);
  for (size_t i = 16; i < token.size(); ++i) {
    std::string tampered = token;
    tampered[i] = tampered[i] == '0' ? '1' : '0';
    EXPECT_FALSE(ParsePageToken(tampered, kFilter).ok()) << tampered;
  }
}

TEST(PageToken, GarbageIsRefused) {
  std::string token = MakePageToken(7, kFilter);
  std::string hash = token.substr(16);
  for (std::string garbage :
       {std::string(""), std::string("7"), token.substr(1), token + "0", token + token,
        "000000000000000g" + hash, "-000000000000007" + hash, "+000000000000007" + hash,
        " 00000000000007 " + hash, "0x00000000000007" + hash,
        "8000000000000000" + hash,  // beyond INT64_MAX
        "ffffffffffffffff" + hash, std::string(32, '\0'), std::string(32, '\xff')}) {
    EXPECT_EQ(ParsePageToken(garbage, kFilter).status().code(), Code::kInvalidArgument) << garbage;
  }
}

TEST(PageSize, HasADefaultAndALimit) {
  EXPECT_EQ(*CheckPageSize(0), 100);
  EXPECT_EQ(*CheckPageSize(1), 1);
  EXPECT_EQ(*CheckPageSize(1000), 1000);
  EXPECT_EQ(*CheckPageSize(1001), 1000);
  EXPECT_EQ(*CheckPageSize(INT32_MAX), 1000);
  EXPECT_EQ(CheckPageSize(-1).status().code(), Code::kInvalidArgument);
  EXPECT_EQ(CheckPageSize(INT32_MIN).status().code(), Code::kInvalidArgument);
}

}  // namespace
}  // namespace cyxwiz::central
