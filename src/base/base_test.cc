#include <gtest/gtest.h>

#include "base/file.h"
#include "base/ids.h"
#include "base/json.h"
#include "base/logging.h"
#include "base/resources.h"
#include "base/suggest.h"
#include "base/testing.h"
#include "base/text.h"

namespace cyxwiz {
namespace {

TEST(Json, SaysWhereTheTextIsWrong) {
  auto result = ParseJson("{\n  \"a\": x}", "model_definition");
  ASSERT_FALSE(result.ok());
  EXPECT_EQ(result.status().code(), Code::kInvalidArgument);
  EXPECT_NE(result.status().message().find("model_definition"), std::string::npos);
  EXPECT_NE(result.status().message().find("line 2, column 8"), std::string::npos)
      << result.status();
}

TEST(Json, RefusesAMegabyteOfNestedBrackets) {
  auto result = ParseJson(std::string(1 << 20, '['), "model_definition");
  ASSERT_FALSE(result.ok());
  EXPECT_NE(result.status().message().find("deeper than 64"), std::string::npos);
}

TEST(Json, BracketsInStringsDoNotNest) {
  EXPECT_TRUE(ParseJson("[\"" + std::string(1000, '[') + "\\\"[\"]", "x").ok());
}

TEST(Json, RefusesDuplicateKeys) {
  auto result = ParseJson(R"({"units": 1, "units": 2})", "x");
  ASSERT_FALSE(result.ok());
  EXPECT_NE(result.status().message().find("\"units\" twice"), std::string::npos);
  EXPECT_TRUE(ParseJson(R"([{"a": 1}, {"a": 2}])", "x").ok());
}

TEST(Json, RefusesInvalidUtf8) { EXPECT_FALSE(ParseJson("\"\xff\"", "x").ok()); }

TEST(Suggest, FindsTheNearestNameAndOnlyANearOne) {
  std::vector<std::string> names = {"dense", "dropout", "conv2d"};
  EXPECT_EQ(NearestName("dence", names), "dense");
  EXPECT_EQ(NearestName("Dense", names), "dense");
  EXPECT_EQ(NearestName("ocnv2d", names), "conv2d");
  EXPECT_EQ(NearestName("transformer", names), "");
}

TEST(Text, ParsesWholeNumbersOnly) {
  EXPECT_EQ(ParseInt("42"), 42);
  EXPECT_EQ(ParseInt("-3"), -3);
  EXPECT_EQ(ParseInt("4x"), std::nullopt);
  EXPECT_EQ(ParseInt(""), std::nullopt);
  EXPECT_EQ(ParseInt("99999999999999999999"), std::nullopt);
  EXPECT_EQ(ParseDouble("1e-3"), 1e-3);
  EXPECT_EQ(ParseDouble("abc"), std::nullopt);
  EXPECT_EQ(ParseDouble("0.1 "), std::nullopt);
}

TEST(Ids, AreSafeInFileNames) {
  EXPECT_TRUE(IsValidId("job-1.a_B"));
  for (const char* bad : {"", ".", "..", "a/b", "-x", "a b", "a\n"})
    EXPECT_FALSE(IsValidId(bad)) << bad;
  EXPECT_FALSE(IsValidId(std::string(129, 'a')));
}

TEST(Resources, FormatForPeople) {
  EXPECT_EQ(ToString(Resources{1000, 512ll << 20, 0}), "1 core, 512 MiB");
  EXPECT_EQ(ToString(Resources{1500, 8ll << 30, 1}), "1.5 cores, 8.0 GiB, 1 GPU");
}

TEST(File, AtomicWriteReplacesWholeContent) {
  TemporaryFolder folder;
  std::string path = folder / "file";
  for (const char* content : {"one", "two"}) {
    Status written = WriteFileAtomically(path, content);
    ASSERT_TRUE(written.ok()) << written;
  }
  EXPECT_EQ(ReadFile(path).value(), "two");
  EXPECT_EQ(ReadFile(path + ".absent").status().code(), Code::kNotFound);
  EXPECT_EQ(ReadFile(path, 2).status().code(), Code::kResourceExhausted);
}

TEST(Text, OfOthersCannotDriveTheTerminal) {
  EXPECT_EQ(Printable("a\x1b[2Jb\r\nc\x07"), "a?[2Jb  c?");
  EXPECT_EQ(Printable("\xC2\x9B"
                      "31m"),
            "?31m");
  EXPECT_EQ(Printable("Größe"), "Größe");
}

TEST(Logging, TextOfOthersForgesNoLineAndDrivesNoTerminal) {
  ASSERT_TRUE(SetUpLogging("program", "info").ok());
  testing::internal::CaptureStderr();
  spdlog::info("stopping: {}", "a\n2026-01-01T00:00:00.000 error node: forged\x1b[2J");
  std::string text = testing::internal::GetCapturedStderr();
  EXPECT_EQ(text.find('\n'), text.size() - 1) << text;
  EXPECT_NE(text.find("program: stopping: a 2026-01-01T00:00:00.000 error node: forged?[2J"),
            std::string::npos)
      << text;
}

}  // namespace
}  // namespace cyxwiz
