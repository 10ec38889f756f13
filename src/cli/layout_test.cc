#include "cli/layout.h"

#include <gtest/gtest.h>

namespace cyxwiz::cli {
namespace {

using std::chrono::milliseconds;
using std::chrono::seconds;

TEST(Layout, WidthCountsCharactersNotBytesNorColours) {
  EXPECT_EQ(DisplayWidth("Größe"), 5u);
  EXPECT_EQ(DisplayWidth("\x1b[32mok\x1b[0m"), 2u);
}

TEST(Layout, LongTextIsCutWithAMark) {
  EXPECT_EQ(Cut("abcdef", 6, true), "abcdef");
  EXPECT_EQ(Cut("abcdefg", 6, true), "abcde…");
  EXPECT_EQ(Cut("abcdefg", 6, false), "abc...");
  EXPECT_EQ(Cut("äöüäöüäöü", 4, true), "äöü…");
  EXPECT_EQ(Cut("abcdefg", 2, false), "..");
}

TEST(Layout, DurationsReadWell) {
  EXPECT_EQ(FormatDuration(milliseconds(420)), "0.4 s");
  EXPECT_EQ(FormatDuration(milliseconds(9960)), "10 s");
  EXPECT_EQ(FormatDuration(seconds(185)), "3 min 05 s");
  EXPECT_EQ(FormatDuration(seconds(7800)), "2 h 10 min");
  EXPECT_EQ(FormatDuration(seconds(3 * 86400 + 4 * 3600)), "3 d 4 h");
  EXPECT_EQ(FormatClock(seconds(7)), "0:07");
  EXPECT_EQ(FormatClock(seconds(3723)), "1:02:03");
  EXPECT_EQ(FormatAge(59), "59s");
  EXPECT_EQ(FormatAge(-5), "0s");
  EXPECT_EQ(FormatAge(7200), "2h");
}

TEST(Layout, NumbersReadWell) {
  EXPECT_EQ(FormatRate(48213), "48.2k samples/s");
  EXPECT_EQ(FormatRate(999.7), "1.0k samples/s");
  EXPECT_EQ(FormatRate(1.25e6), "1.2M samples/s");
  EXPECT_EQ(FormatRate(3.14), "3.1 samples/s");
  EXPECT_EQ(FormatNumber(0.31214), "0.3121");
  EXPECT_EQ(FormatNumber(1.2e-5), "1.2e-05");
  EXPECT_EQ(FormatNumber(48213.4), "48213");
  EXPECT_EQ(FormatPercent(0.999), " 99 %");
  EXPECT_EQ(FormatPercent(0.29), " 29 %");
  EXPECT_EQ(FormatPercent(1), "100 %");
}

TEST(Layout, ABarIsFullOnlyAtTheEnd) {
  EXPECT_EQ(Bar(0, 4, false), "----");
  EXPECT_EQ(Bar(0.5, 4, false), "##--");
  EXPECT_EQ(Bar(0.99, 4, false), "###-");
  EXPECT_EQ(Bar(1, 4, false), "####");
  EXPECT_EQ(Bar(2, 3, true), "███");
}

TEST(Layout, TableAlignsColumns) {
  Table table({{"ID"}, {"PROGRESS", true}, {"MESSAGE", false, true}});
  table.Add({{"a"}, {"5 %"}, {"waits"}});
  table.Add({{"long-id"}, {"100 %"}, {""}});
  EXPECT_EQ(table.ToString(0, true, false),
            "ID       PROGRESS  MESSAGE\n"
            "a             5 %  waits\n"
            "long-id     100 %  \n");
}

TEST(Layout, TableShrinksToTheTerminalAndNeverCutsAnId) {
  Table table({{"ID"}, {"NAME", false, true}, {"MESSAGE", false, true}});
  table.Add({{"0123456789"},
             {"a-rather-long-name-of-a-job"},
             {"a message that is longer than all the other columns"}});
  std::string text = table.ToString(60, false, false);
  for (size_t begin = 0, end; (end = text.find('\n', begin)) != std::string::npos;
       begin = end + 1) {
    EXPECT_LE(end - begin, 60u) << text;
  }
  EXPECT_NE(text.find("0123456789"), std::string::npos);
  EXPECT_NE(text.find("..."), std::string::npos);
}

TEST(Layout, ColoursDoNotDisturbTheAlignment) {
  Table table({{"STATE"}, {"N"}});
  table.Add({{"ok", "32"}, {"1"}});
  EXPECT_EQ(table.ToString(0, true, true),
            "\x1b[1mSTATE\x1b[0m  \x1b[1mN\x1b[0m\n\x1b[32mok\x1b[0m     1\n");
}

}  // namespace
}  // namespace cyxwiz::cli
