#include "base/rare.h"

#include <gtest/gtest.h>

#include <string>
#include <vector>

namespace cyxwiz {
namespace {

using RareText = Rare<std::string>;

TEST(Rare, TakesTheRoomOfAPointer) { EXPECT_EQ(sizeof(RareText), sizeof(void*)); }

TEST(Rare, IsTheDefaultUntilItIsGiven) {
  RareText text;
  EXPECT_EQ(*text, "");
  EXPECT_TRUE(text->empty());
  text = std::string("given");
  EXPECT_EQ(*text, "given");
  EXPECT_EQ(text->size(), 5u);
  text = {};
  EXPECT_EQ(*text, "");
}

TEST(Rare, CopiesItsValue) {
  RareText a = std::string("one");
  RareText b = a;
  b.Edit() += " more";
  EXPECT_EQ(*a, "one");
  EXPECT_EQ(*b, "one more");
  a = b;
  b = {};
  EXPECT_EQ(*a, "one more");
  RareText& same = a;
  a = same;
  EXPECT_EQ(*a, "one more");
}

TEST(Rare, LeavesNothingBehindWhenMoved) {
  RareText a = std::string("one");
  RareText b = std::move(a);
  EXPECT_EQ(*a, "");
  EXPECT_EQ(*b, "one");
}

TEST(Rare, ComparesByValue) {
  RareText none, empty = std::string(), one = std::string("one");
  EXPECT_EQ(none, empty);
  EXPECT_NE(none, one);
  EXPECT_EQ(one, RareText(std::string("one")));
  none.Edit();
  EXPECT_EQ(none, empty) << "an empty one in a room of its own";
}

TEST(Rare, IsMadeByTheFirstChange) {
  Rare<std::vector<int>> numbers;
  numbers.Edit().push_back(7);
  EXPECT_EQ(*numbers, std::vector<int>{7});
}

}  // namespace
}  // namespace cyxwiz
