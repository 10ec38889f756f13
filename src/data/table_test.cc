#include "data/table.h"

#include <cmath>

#include "data/csv.h"
#include "data/testing.h"

namespace cyxwiz::data {
namespace {

class TableTest : public DataTest {
 protected:
  // parameters: "label=a&header=true"
  Dataset LoadText(std::string_view text, const std::string& parameters = "") {
    return LoadOk(Csv(Write("table.csv", text), parameters));
  }
  void ExpectTextWrong(std::string_view text, const std::vector<std::string>& parts,
                       const std::string& parameters = "") {
    ExpectWrong(Csv(Write("table.csv", text), parameters), Code::kInvalidArgument, parts);
  }
};

TEST_F(TableTest, TheLastColumnIsTheLabelAndTheHeaderIsFound) {
  Dataset dataset = LoadText("a,b,kind\n1,2.5,0\n-3,4e2,2\n");
  EXPECT_EQ(dataset.info.sample_shape, std::vector<int64_t>{2});
  EXPECT_EQ(dataset.info.classes, 3);
  EXPECT_EQ(dataset.info.description, "CSV, 2 features, 2 train samples, 3 classes");
  EXPECT_EQ(dataset.info.bytes_in_memory, 2 * (8 + 8));
  EXPECT_EQ(Floats(dataset.train), (std::vector<float>{1, 2.5, -3, 400}));
  EXPECT_EQ(Classes(dataset.train), (std::vector<int64_t>{0, 2}));
  EXPECT_EQ(dataset.test.samples, 0);
}

TEST_F(TableTest, TheLabelColumnMayBeNamed) {
  Dataset dataset = LoadText("kind,a,b\n1,2,3\n0,5,6\n", "label=kind");
  EXPECT_EQ(Floats(dataset.train), (std::vector<float>{2, 3, 5, 6}));
  EXPECT_EQ(Classes(dataset.train), (std::vector<int64_t>{1, 0}));
  Dataset middle = LoadText("a,kind,b\n1,2,3\n4,0,6\n", "label=kind");
  EXPECT_EQ(Floats(middle.train), (std::vector<float>{1, 3, 4, 6}));
}

TEST_F(TableTest, WithoutAHeaderTheFirstRecordIsASample) {
  EXPECT_EQ(LoadText("1,2,0\n3,4,1\n").train.samples, 2);
  // A header of numbers has to be declared.
  EXPECT_EQ(LoadText("1,2,0\n3,4,1\n", "header=true").train.samples, 1);
  EXPECT_EQ(Floats(LoadText("1900,2000,2010\n3,4,1\n", "label=2000&header=true").train),
            (std::vector<float>{3, 1}));
  // Text above numbers, and text alone, are a header; text above text beside numbers is none.
  EXPECT_EQ(LoadText("a,1\n1,0\n").train.samples, 1);
  EXPECT_EQ(LoadText("5.1,setosa\n4.9,virginica\n").train.samples, 2);
  EXPECT_EQ(LoadText("name,city\nBob,Rome\n").train.samples, 1);
  EXPECT_EQ(LoadText("Bob,Rome\nAl,Oslo\n", "header=false").train.samples, 2);
  EXPECT_EQ(Floats(LoadText("1,0\n2,1\n", "label=1").train), (std::vector<float>{0, 1}));
}

TEST_F(TableTest, QuotingFollowsRfc4180) {
  Dataset dataset = LoadText(
      "\"a, \"\"first\"\"\",\"two\nlines\",kind\r\n\"1\",2,\"0\"\r\n3,\"4\",1\r\n", "label=kind");
  EXPECT_EQ(Floats(dataset.train), (std::vector<float>{1, 2, 3, 4}));
  EXPECT_EQ(LoadText("\"a, \"\"first\"\"\",b\n0,2\n", "label=a, %22first%22").train.samples, 1);
  ExpectTextWrong("a,b\n\"1\"x,2\n", {"line 2, column 1", "closing quote", "'x'"});
  ExpectTextWrong("a,b\n1,\"2\n3,4\n", {"line 2, column 2", "never closed"});
  // Lines are counted as an editor counts them, also behind a cell of several lines.
  ExpectTextWrong("\"a\n\n\",b\n1,2\n3,x\n", {"line 5, column 2", "'x'"});
}

TEST_F(TableTest, LineEndsSpacesEmptyLinesAndByteOrderMarksDoNotMatter) {
  const std::vector<float> expected = {1, 2, 3, 4};
  for (const char* text :
       {"a,b,c\n1,2,0\n3,4,1", "a,b,c\r\n1,2,0\r\n3,4,1\r\n", "\n\na,b,c\n\n1,2,0\n\n\n3,4,1\n\n",
        "\xEF\xBB\xBF"
        "a,b,c\n1,2,0\n3,4,1\n",
        "a, b, c\n 1,\t2 , 0\n3, 4, 1\n", "a,b,c\n+1,2.0,0\n3.,4,1.0\n"}) {
    EXPECT_EQ(Floats(LoadText(text).train), expected) << text;
  }
}

TEST_F(TableTest, GzipIsUnpacked) {
  EXPECT_EQ(LoadOk(Csv(Write("table.csv.gz", Gzip("a,b\n1,0\n2,1\n")))).train.samples, 2);
  std::string packed = Gzip("a,b\n1,0\n2,1\n");
  ExpectWrong(Csv(Write("table.csv.gz", packed.substr(0, packed.size() - 4))),
              Code::kInvalidArgument, {"table.csv.gz", "is cut off"});
}

TEST_F(TableTest, ATextAmongNumbersIsNamedByLineAndColumn) {
  ExpectTextWrong("a,width,kind\n1,2,0\n3,wide,1\n",
                  {"table.csv', line 3, column 2 ('width')", "expected a number", "found 'wide'",
                   "categorical=width"});
  ExpectTextWrong("1,2,0\n3,4,1\nfoo,4,1\n", {"line 3, column 1 is not a number", "found 'foo'"});
  ExpectTextWrong("a,b,kind\n1,2,0\n1,2,iris\n",
                  {"line 3, column 3 ('kind'), the label,", "found 'iris'", "label_type=classes"});
  ExpectTextWrong("a,b,kind\n1,2,0\n1,0x10,0\n", {"found '0x10'"});
  ExpectTextWrong("a,b,kind\n1,2,0\n1,1 2,0\n", {"found '1 2'"});
  ExpectTextWrong("a,b,kind\n1,2,0\n1," + std::string(500, 'z') + ",0\n",
                  {"found '" + std::string(40, 'z') + "...'"});
  ExpectTextWrong("a,b,kind\n1,2,0\n1,\x01\xff,0\n", {"found '\\x01\\xff'"});
}

TEST_F(TableTest, ANumberAmongTextsIsNamedByLineAndColumn) {
  ExpectTextWrong("a,width,kind\nfoo,1,0\n2,3,1\n",
                  {"table.csv', line 3, column 1 ('a') is a number", "found '2'", "categorical=a"});
  ExpectTextWrong("a,b,kind\n1,2,iris\n1,2,7\n",
                  {"line 3, column 3 ('kind'), the label,", "found '7'", "label_type=classes"});
  Dataset named = LoadText("cabin,y\nB7,0.5\n12,1.5\n", "categorical=cabin&encoding=index");
  EXPECT_EQ(named.details["columns"][0]["categories"].size(), 2u);
  Dataset classes = LoadText("a,kind\n1,iris\n2,7\n", "label_type=classes");
  EXPECT_EQ(classes.info.classes, 2);
}

TEST_F(TableTest, TextsAreCategoriesInSortedOrder) {
  const std::string text = "city,rooms,price\nrome,2,1.5\noslo,3,2.5\nrome,1,0.5\nbonn,4,7.5\n";
  Dataset one_hot = LoadText(text);
  EXPECT_EQ(one_hot.info.sample_shape, std::vector<int64_t>{4});
  EXPECT_EQ(Floats(one_hot.train),
            (std::vector<float>{0, 0, 1, 2, 0, 1, 0, 3, 0, 0, 1, 1, 1, 0, 0, 4}));
  EXPECT_EQ(Targets(one_hot.train), (std::vector<float>{1.5, 2.5, 0.5, 7.5}));
  EXPECT_EQ(
      one_hot.details["columns"][0],
      (Json{{"name", "city"}, {"categories", {"bonn", "oslo", "rome"}}, {"encoding", "one_hot"}}));
  EXPECT_EQ(one_hot.details["columns"][1], (Json{{"name", "rooms"}}));
  EXPECT_EQ(one_hot.details["label"], "price");
  Dataset index = LoadText(text, "encoding=index");
  EXPECT_EQ(Floats(index.train), (std::vector<float>{2, 2, 1, 3, 2, 1, 0, 4}));
  // Numbers that are named as categories are sorted as numbers.
  Dataset named = LoadText("zip,y\n10,0.5\n9,1.5\n", "categorical=zip&encoding=index");
  EXPECT_EQ(Floats(named.train), (std::vector<float>{1, 0}));
  EXPECT_EQ(named.details["columns"][0]["categories"], (Json{"9", "10"}));
  // A single category.
  EXPECT_EQ(Floats(LoadText("a,b\nx,1\nx,0\n").train), (std::vector<float>{1, 1}));
}

TEST_F(TableTest, LabelsThatAreTextsAreClassesInSortedOrder) {
  Dataset dataset = LoadText("a,kind\n1,setosa\n2,iris\n3,setosa\n");
  EXPECT_EQ(dataset.info.classes, 2);
  EXPECT_EQ(Classes(dataset.train), (std::vector<int64_t>{1, 0, 1}));
  EXPECT_EQ(dataset.details["classes"], (Json{"iris", "setosa"}));
  Dataset signs = LoadText("a,kind\n1,1\n2,-1\n3,1\n", "label_type=classes");
  EXPECT_EQ(Classes(signs.train), (std::vector<int64_t>{1, 0, 1}));
  EXPECT_EQ(signs.details["classes"], (Json{"-1", "1"}));
  Dataset whole = LoadText("a,price\n1,3\n2,0\n", "label_type=numbers");
  EXPECT_EQ(whole.info.classes, 0);
  EXPECT_EQ(Targets(whole.train), (std::vector<float>{3, 0}));
  ExpectTextWrong("a,price\n1,x\n", {"line 2, column 2", "the label", "'x'"},
                  "label_type=numbers&header=true");
}

TEST_F(TableTest, ColumnsAreChosen) {
  const std::string text = "id,a,b,y\n7,1,2,0\n8,3,4,1\n";
  EXPECT_EQ(Floats(LoadText(text, "ignore=id").train), (std::vector<float>{1, 2, 3, 4}));
  EXPECT_EQ(Floats(LoadText(text, "columns=b").train), (std::vector<float>{2, 4}));
  EXPECT_EQ(Floats(LoadText(text, "columns=b,a&label=id").train), (std::vector<float>{1, 2, 3, 4}));
  // A text in a column that is ignored is nobody's business.
  EXPECT_EQ(LoadText("id,a,y\nq,1,0\n7,3,1\n", "ignore=id").info.classes, 2);
  ExpectTextWrong(text, {"no column 'ids' to ignore", "did you mean 'id'?"}, "ignore=ids");
  ExpectTextWrong(text, {"no column 'c' of columns"}, "columns=a,c");
  ExpectTextWrong(text, {"no feature left"}, "ignore=id,a,b");
}

TEST_F(TableTest, DelimitersAndTsv) {
  const std::vector<float> expected = {1, 2, 3, 4};
  EXPECT_EQ(Floats(LoadText("a;b;c\n1;2;0\n3;4;1\n", "delimiter=;").train), expected);
  EXPECT_EQ(Floats(LoadText("a|b|c\n1|2|0\n3|4|1\n", "delimiter=|").train), expected);
  EXPECT_EQ(Floats(LoadOk(Csv(Write("t.tsv", "a\tb\tc\n1\t2\t0\n3\t4\t1\n"))).train), expected);
  EXPECT_EQ(
      Floats(LoadOk(Csv(Write("data", "a\tb\tc\n1\t2\t0\n3\t4\t1\n"), "format=csv&delimiter=tab"))
                 .train),
      expected);
}

TEST_F(TableTest, MissingValuesAreTreatedAsTheRuleSays) {
  const std::string text = "a,b,y\n1,x,0\n,y,1\n5,NA,0\n";
  ExpectTextWrong(text, {"line 3, column 1 ('a') is missing", "an empty cell", "missing=mean"});
  ExpectTextWrong("a,y\n1,0\nnan,1\n", {"line 3, column 1 ('a') is missing", "found 'nan'"});
  // The mean of 1 and 5; a missing text is a category of its own, first in order.
  Dataset mean = LoadText(text, "missing=mean");
  EXPECT_EQ(Floats(mean.train), (std::vector<float>{1, 0, 1, 0, 3, 0, 0, 1, 5, 1, 0, 0}));
  EXPECT_EQ(mean.details["columns"][1]["categories"], (Json{"", "x", "y"}));
  Dataset zero = LoadText(text, "missing=zero");
  EXPECT_EQ(Floats(zero.train)[4], 0.0f);
  Dataset skip = LoadText(text, "missing=skip");
  EXPECT_EQ(skip.train.samples, 1);
  EXPECT_EQ(Floats(skip.train), (std::vector<float>{1, 1}));
  EXPECT_NE(skip.info.description.find("2 records left out"), std::string::npos);
  // A column that begins with a missing value is told by its first value.
  EXPECT_EQ(Floats(LoadText("a,b,y\n,1,0\nx,2,1\n", "missing=zero&encoding=index").train),
            (std::vector<float>{0, 1, 1, 2}));
  EXPECT_EQ(Floats(LoadText("a,b,y\n,1,0\n4,2,1\n", "missing=mean").train),
            (std::vector<float>{4, 1, 4, 2}));
  EXPECT_EQ(Floats(LoadText("a,b,y\n,1,0\n,2,1\n", "missing=mean").train),
            (std::vector<float>{0, 1, 0, 2}));
  ExpectTextWrong("a,y\n1,0\n2,\n", {"line 3, column 2 ('y'), the label, is missing"},
                  "missing=mean");
  ExpectTextWrong("a,y\n,0\n2,\n", {"no sample without missing values"}, "missing=skip");
}

TEST_F(TableTest, CategoriesAreBounded) {
  std::string many = "a,y\n";
  for (int i = 0; i <= 1000; ++i) many += "t" + std::to_string(i) + ",0\n";
  ExpectTextWrong(many, {"line 1002, column 1 ('a')", "at most 1000", "ignore=a"});
  ExpectTextWrong("a,y\n" + std::string(257, 'x') + ",0\n", {"too long", "256 bytes"});
  // Many columns of few categories each: 60000 x 13 x 101 bytes.
  std::string columns;
  for (int record = 0; record < 13; ++record) {
    for (int i = 0; i < 60000; ++i) columns += {static_cast<char>('a' + record), ','};
    columns += "0\n";
  }
  ExpectWrong(Csv(Write("table.csv", columns), "header=false"), Code::kResourceExhausted,
              {"too many different texts", "64.0 MiB", "line 12"});
  std::string wide;
  for (size_t i = 0; i <= kMaxTableColumns; ++i) wide += "1,";
  ExpectWrong(Csv(Write("table.csv", wide + "1\n")), Code::kResourceExhausted,
              {"too many columns", "65536"});
}

TEST_F(TableTest, NumbersMustBeFiniteAndFitAFloat) {
  for (const char* number : {"inf", "-inf", "1e39", "1e999"}) {
    ExpectTextWrong("a,b\n" + std::string(number) + ",0\n",
                    {"line 2, column 1", "32-bit float", number});
    ExpectTextWrong("a,b\n0," + std::string(number) + "\n",
                    {"line 2, column 2", "the label", number});
  }
  EXPECT_EQ(Floats(LoadText("a,b\n3.4e38,0\n1e-45,0\n-0,1\n").train)[0], 3.4e38f);
}

TEST_F(TableTest, RaggedRecordsAreNamed) {
  ExpectTextWrong("a,b,c\n1,2,0\n3,4\n", {"line 3", "expected 3 cells", "found 2 cells"});
  ExpectTextWrong("a,b,c\n1,2,0\n3,4,5,6\n", {"line 3", "expected 3 cells", "found 4 cells"});
  ExpectTextWrong("a,b,c\n1,2,0\n3,4,\n",
                  {"line 3, column 3", "the label, is missing", "empty cell"});
  ExpectTextWrong("1;2;0\n3;4;1\n", {"too few columns", "separated by commas", "'1;2;0'"});
}

TEST_F(TableTest, EmptyFilesAreRefused) {
  ExpectTextWrong("", {"is empty"});
  ExpectTextWrong("\n\r\n\n", {"is empty"});
  ExpectTextWrong("a,b,c\n", {"has no sample"});
}

TEST_F(TableTest, AnUnknownLabelColumnIsRefusedWithTheNearest) {
  ExpectTextWrong(
      "length,width,species\n1,2,0\n",
      {"no column 'specis'", "one of 'length', 'width', 'species'", "did you mean 'species'?"},
      "label=specis");
  ExpectTextWrong("1,2,0\n3,4,1\n", {"no header", "a number from 1 to 3", "'kind'"}, "label=kind");
  ExpectTextWrong("a,b,c\n3,4,1\n", {"no header", "header=true"}, "label=c&header=false");
  ExpectTextWrong("a,a,c\n3,4,1\n", {"several columns 'a'"}, "label=a");
}

TEST_F(TableTest, LabelsThatAreNoClassesMakeARegression) {
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

TEST_F(TableTest, RecordsAreWholeAcrossBuffers) {
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

TEST_F(TableTest, TheLimitOfARecordIsExact) {
  std::string cell(kMaxCsvRecordBytes - 4, '0');
  for (const char* end : {"\n", "\r\n", "", "\n3,1\n"}) {
    EXPECT_GE(LoadText("a,b\n" + cell + "1,1" + "5" + end).train.samples, 1);
  }
  for (const char* end : {"\n", "\n3,1\n"}) {
    ExpectWrong(Csv(Write("table.csv", "a,b\n" + cell + "123,15" + end)), Code::kInvalidArgument,
                {"line 2", "too long", "1.0 MiB"});
  }
  ExpectWrong(Csv(Write("table.csv", "a,b\n1,\"" + std::string(5 << 20, '\n'))),
              Code::kInvalidArgument, {"line 2", "too long", "never closed"});
  ExpectWrong(Csv(Write("table.csv.gz", Gzip(std::string(64 << 20, '1')))), Code::kInvalidArgument,
              {"too long"});
}

TEST_F(TableTest, FilesThatNoMemoryHoldsAreRefusedAtOnce) {
  // Zeros that take no disk: one line.
  const std::string path = Write("table.csv", "a,b\n1,0\n2,");
  std::filesystem::resize_file(path, uint64_t{3} << 30);
  ExpectWrong(Csv(path), Code::kInvalidArgument, {"line 3", "too long", "1.0 MiB"});
  std::filesystem::resize_file(path, uint64_t{10} << 30);
  ExpectWrong(Csv(path), Code::kResourceExhausted,
              {"at most 4.0 GiB of text", "found 10.0 GiB", ".npy"});
}

TEST_F(TableTest, ABombIsStoppedAtTheLimit) {
  // Members of a gzip file follow each other: 512 MiB from less than 1, of lines that hold nothing.
  const std::string member = Gzip(std::string(32 << 20, '\n'));
  std::string bomb = Gzip("a,b\n1,0\n");
  for (int i = 0; i < 16; ++i) bomb += member;
  ASSERT_LT(bomb.size(), 1u << 20);
  const std::string path = Write("table.csv.gz", bomb);
  RecordReader reader(',');
  ASSERT_TRUE(reader.Open(path, int64_t{100} << 20).ok());
  std::vector<std::string_view> cells;
  bool done = false;
  Fault fault;
  int records = 0;
  for (; fault.ok() && !done; ++records) fault = reader.Next(&cells, &done);
  EXPECT_EQ(records, 3) << "the header, a record, and what ends it";
  EXPECT_EQ(fault.code, Code::kResourceExhausted);
  const std::string told = fault.ToStatus().ToString();
  for (const char* part : {"table.csv.gz", "at most 100 MiB of text", "found more", ".npy"})
    EXPECT_NE(told.find(part), std::string::npos) << told;
}

TEST_F(TableTest, FeaturesBehindTheCheckedTextAreLeftToLoading) {
  const std::string path = Write("table.csv", "a,b\n1,0\nx,1\n");
  Raw raw;
  EXPECT_TRUE(ReadTable(path, Csv(path), 8, &raw).ok());
  EXPECT_EQ(raw.info.train_samples, 2);
  Dataset dataset;
  Raw loading;
  loading.dataset = &dataset;
  EXPECT_FALSE(ReadTable(path, Csv(path), 8, &loading).ok());
  Raw again;
  EXPECT_FALSE(ReadTable(path, Csv(path), 12, &again).ok());
}

}  // namespace
}  // namespace cyxwiz::data
