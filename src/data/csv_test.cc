#include "data/csv.h"

#include <cmath>

#include "data/testing.h"

namespace cyxwiz::data {
namespace {

class CsvTest : public DataTest {
 protected:
  Dataset LoadText(std::string_view text, const std::string& label = "",
                   std::optional<bool> header = std::nullopt) {
    spec::DatasetUri uri = Csv(Write("table.csv", text), label);
    uri.has_header = header;
    return LoadOk(uri);
  }
  void ExpectTextWrong(std::string_view text, const std::vector<std::string>& parts,
                       const std::string& label = "", std::optional<bool> header = std::nullopt) {
    spec::DatasetUri uri = Csv(Write("table.csv", text), label);
    uri.has_header = header;
    ExpectWrong(uri, Code::kInvalidArgument, parts);
  }
};

TEST_F(CsvTest, TheLastColumnIsTheLabelAndTheHeaderIsFound) {
  Dataset dataset = LoadText("a,b,kind\n1,2.5,0\n-3,4e2,2\n");
  EXPECT_EQ(dataset.info.sample_shape, std::vector<int64_t>{2});
  EXPECT_EQ(dataset.info.classes, 3);
  EXPECT_EQ(dataset.info.description, "CSV, 2 features, 2 train samples, 3 classes");
  EXPECT_EQ(dataset.info.bytes_in_memory, 2 * (8 + 8));
  EXPECT_EQ(Floats(dataset.train), (std::vector<float>{1, 2.5, -3, 400}));
  EXPECT_EQ(Classes(dataset.train), (std::vector<int64_t>{0, 2}));
  EXPECT_EQ(dataset.test.samples, 0);
}

TEST_F(CsvTest, TheLabelColumnMayBeNamed) {
  Dataset dataset = LoadText("kind,a,b\n1,2,3\n0,5,6\n", "kind");
  EXPECT_EQ(Floats(dataset.train), (std::vector<float>{2, 3, 5, 6}));
  EXPECT_EQ(Classes(dataset.train), (std::vector<int64_t>{1, 0}));
  Dataset middle = LoadText("a,kind,b\n1,2,3\n4,0,6\n", "kind");
  EXPECT_EQ(Floats(middle.train), (std::vector<float>{1, 3, 4, 6}));
}

TEST_F(CsvTest, WithoutAHeaderTheFirstRecordIsASample) {
  EXPECT_EQ(LoadText("1,2,0\n3,4,1\n").train.samples, 2);
  // A header of numbers has to be declared.
  EXPECT_EQ(LoadText("1,2,0\n3,4,1\n", "", true).train.samples, 1);
  EXPECT_EQ(Floats(LoadText("1900,2000,2010\n3,4,1\n", "2000", true).train),
            (std::vector<float>{3, 1}));
  ExpectTextWrong("a,b,c\n1,2,0\n", {"line 1, column 1", "'a'"}, "", false);
}

TEST_F(CsvTest, QuotingFollowsRfc4180) {
  Dataset dataset = LoadText(
      "\"a, \"\"first\"\"\",\"two\nlines\",kind\r\n\"1\",2,\"0\"\r\n3,\"4\",1\r\n", "kind");
  EXPECT_EQ(Floats(dataset.train), (std::vector<float>{1, 2, 3, 4}));
  EXPECT_EQ(LoadText("\"a, \"\"first\"\"\",b\n0,2\n", "a, \"first\"").train.samples, 1);
  ExpectTextWrong("a,b\n\"1\"x,2\n", {"line 2, column 1", "closing quote", "'x'"});
  ExpectTextWrong("a,b\n1,\"2\n3,4\n", {"line 2, column 2", "never closed"});
  // Lines are counted as an editor counts them, also behind a cell of several lines.
  ExpectTextWrong("\"a\n\n\",b\n1,2\n3,x\n", {"line 5, column 2", "'x'"});
}

TEST_F(CsvTest, LineEndsSpacesEmptyLinesAndByteOrderMarksDoNotMatter) {
  const std::vector<float> expected = {1, 2, 3, 4};
  for (const char* text :
       {"a,b,c\n1,2,0\n3,4,1", "a,b,c\r\n1,2,0\r\n3,4,1\r\n", "\n\na,b,c\n\n1,2,0\n\n\n3,4,1\n\n",
        "\xEF\xBB\xBF"
        "a,b,c\n1,2,0\n3,4,1\n",
        "a, b, c\n 1,\t2 , 0\n3, 4, 1\n", "a,b,c\n+1,2.0,0\n3.,4,1.0\n"}) {
    EXPECT_EQ(Floats(LoadText(text).train), expected) << text;
  }
}

TEST_F(CsvTest, GzipIsUnpacked) {
  EXPECT_EQ(LoadOk(Csv(Write("table.csv.gz", Gzip("a,b\n1,0\n2,1\n")))).train.samples, 2);
  std::string packed = Gzip("a,b\n1,0\n2,1\n");
  ExpectWrong(Csv(Write("table.csv.gz", packed.substr(0, packed.size() - 4))),
              Code::kInvalidArgument, {"table.csv.gz", "is cut off"});
}

TEST_F(CsvTest, ATextCellIsNamedByLineAndColumn) {
  ExpectTextWrong("a,width,kind\n1,2,0\n3,wide,1\n",
                  {"table.csv', line 3, column 2 ('width')", "expected a number", "found 'wide'"});
  ExpectTextWrong("1,2,0\n3,4,1\nfoo,4,1\n", {"line 3, column 1 is not a number", "found 'foo'"});
  ExpectTextWrong("a,b,kind\n1,2,iris\n",
                  {"line 2, column 3 ('kind'), the label,", "found 'iris'"});
  ExpectTextWrong("a,b,kind\n1,,0\n",
                  {"line 2, column 2 ('b')", "an empty cell", "missing values"});
  ExpectTextWrong("a,b,kind\n1,0x10,0\n", {"found '0x10'"});
  ExpectTextWrong("a,b,kind\n1,1 2,0\n", {"found '1 2'"});
  ExpectTextWrong("a,b,kind\n1," + std::string(500, 'z') + ",0\n",
                  {"found '" + std::string(40, 'z') + "...'"});
  ExpectTextWrong("a,b,kind\n1,\x01\xff,0\n", {"found '\\x01\\xff'"});
}

TEST_F(CsvTest, NumbersMustBeFiniteAndFitAFloat) {
  for (const char* number : {"nan", "inf", "-inf", "1e39", "1e999"}) {
    ExpectTextWrong("a,b\n" + std::string(number) + ",0\n",
                    {"line 2, column 1", "32-bit float", number});
    ExpectTextWrong("a,b\n0," + std::string(number) + "\n",
                    {"line 2, column 2", "the label", number});
  }
  EXPECT_EQ(Floats(LoadText("a,b\n3.4e38,0\n1e-45,0\n-0,1\n").train)[0], 3.4e38f);
}

TEST_F(CsvTest, RaggedRecordsAreNamed) {
  ExpectTextWrong("a,b,c\n1,2,0\n3,4\n", {"line 3", "expected 3 cells", "found 2 cells"});
  ExpectTextWrong("a,b,c\n1,2,0\n3,4,5,6\n", {"line 3", "expected 3 cells", "found 4 cells"});
  ExpectTextWrong("a,b,c\n1,2,0\n3,4,\n", {"line 3, column 3", "empty cell"});
  ExpectTextWrong("1;2;0\n3;4;1\n", {"too few columns", "separated by commas", "'1;2;0'"});
}

TEST_F(CsvTest, EmptyFilesAreRefused) {
  ExpectTextWrong("", {"is empty"});
  ExpectTextWrong("\n\r\n\n", {"is empty"});
  ExpectTextWrong("a,b,c\n", {"has no sample"});
}

TEST_F(CsvTest, AnUnknownLabelColumnIsRefusedWithTheNearest) {
  ExpectTextWrong(
      "length,width,species\n1,2,0\n",
      {"no column 'specis'", "one of 'length', 'width', 'species'", "did you mean 'species'?"},
      "specis");
  ExpectTextWrong("1,2,0\n3,4,1\n", {"no header", "'kind'"}, "kind");
  ExpectTextWrong("a,b,c\n3,4,1\n", {"no header", "header=true"}, "c", false);
  ExpectTextWrong("a,a,c\n3,4,1\n", {"several columns 'a'"}, "a");
}

TEST_F(CsvTest, LabelsThatAreNoClassesMakeARegression) {
  Dataset fractions = LoadText("a,b\n1,0.5\n2,1\n");
  EXPECT_EQ(fractions.info.classes, 0);
  EXPECT_EQ(fractions.info.description, "CSV, 1 feature, 2 train samples, regression");
  EXPECT_EQ(fractions.info.bytes_in_memory, 2 * (4 + 4));
  EXPECT_EQ(Targets(fractions.train), (std::vector<float>{0.5, 1}));
  EXPECT_EQ(Targets(LoadText("a,b\n1,-1\n2,1\n").train), (std::vector<float>{-1, 1}));
  EXPECT_EQ(LoadText("a,b\n1,65535\n").info.classes, 65536);
  EXPECT_EQ(LoadText("a,b\n1,65536\n").info.classes, 0);
  EXPECT_EQ(LoadText("a,b\n1,-0\n2,1.0\n").info.classes, 2);
}

TEST_F(CsvTest, RecordsAreWholeAcrossBuffers) {
  // Some 14 MB, so that the buffer is refilled many times at every offset within a record.
  std::string text = "a,b,c,label\n";
  std::vector<float> expected;
  for (int i = 0; text.size() < 14u << 20; ++i) {
    for (int c = 0; c < 3; ++c) {
      expected.push_back(static_cast<float>(i % 977) + static_cast<float>(c) / 4);
      text += (i % 5 == c ? "\"" : "") + std::to_string(i % 977) +
              (c == 0   ? ""
               : c == 1 ? ".25"
                        : ".5") +
              (i % 5 == c ? "\"," : ",");
    }
    text += std::to_string(i % 10) + (i % 3 == 0 ? "\r\n" : "\n");
  }
  Dataset dataset = LoadText(text);
  EXPECT_EQ(dataset.info.classes, 10);
  EXPECT_TRUE(Floats(dataset.train) == expected);
  EXPECT_TRUE(Floats(LoadOk(Csv(Write("big.csv.gz", Gzip(text)))).train) == expected);
}

TEST_F(CsvTest, TheLimitOfARecordIsExact) {
  std::string cell(kMaxCsvRecordBytes - 4, '0');
  for (const char* end : {"\n", "\r\n", "", "\n3,1\n"}) {
    EXPECT_GE(LoadText("a,b\n" + cell + "1,1" + "5" + end).train.samples, 1);
  }
  for (const char* end : {"\n", "\n3,1\n"}) {
    spec::DatasetUri uri = Csv(Write("table.csv", "a,b\n" + cell + "123,15" + end));
    ExpectWrong(uri, Code::kResourceExhausted, {"line 2", "too long", "1.0 MiB"});
  }
  ExpectWrong(Csv(Write("table.csv", "a,b\n1,\"" + std::string(5 << 20, '\n'))),
              Code::kResourceExhausted, {"line 2", "too long", "never closed"});
  ExpectWrong(Csv(Write("table.csv.gz", Gzip(std::string(64 << 20, '1')))),
              Code::kResourceExhausted, {"too long"});
}

TEST_F(CsvTest, FeaturesBehindTheCheckedTextAreLeftToLoading) {
  std::string path = Write("table.csv", "a,b\n1,0\nx,1\n");
  CsvTable table;
  CsvOptions options;
  options.checked_text_bytes = 8;
  EXPECT_TRUE(ReadCsv(path, options, &table, nullptr).ok());
  EXPECT_EQ(table.samples, 2);
  Split split;
  EXPECT_FALSE(ReadCsv(path, options, &table, &split).ok());
  options.checked_text_bytes = 12;
  EXPECT_FALSE(ReadCsv(path, options, &table, nullptr).ok());
}

}  // namespace
}  // namespace cyxwiz::data
