#include "data/text.h"

#include "data/testing.h"

namespace cyxwiz::data {
namespace {

class TextTest : public DataTest {
 protected:
  // As text.
  static std::string Window(const std::vector<uint8_t>& bytes, int64_t window, int64_t length) {
    return {bytes.begin() + window * length, bytes.begin() + (window + 1) * length};
  }
  static const std::vector<uint8_t>& Next(const Split& split) {
    return std::get<std::vector<uint8_t>>(split.labels);
  }
};

TEST_F(TextTest, EachByteIsLabelledWithTheNext) {
  Write("corpus.txt", "the quick brown fox");
  Dataset dataset = LoadOk(Uri("file://{}/corpus.txt?sequence_length=4"));
  EXPECT_EQ(dataset.info.sample_shape, std::vector<int64_t>{4});
  EXPECT_EQ(dataset.info.label_shape, std::vector<int64_t>{4});
  EXPECT_EQ(dataset.info.classes, 256);
  EXPECT_EQ(dataset.info.bytes_in_memory, 4 * 4 * 2);
  EXPECT_EQ(dataset.info.description, "text, sequences of 4 bytes, 4 train samples, 256 classes");
  EXPECT_EQ(dataset.train.scale.divisor, 1);
  EXPECT_EQ(Window(Bytes(dataset.train), 0, 4), "the ");
  EXPECT_EQ(Window(Next(dataset.train), 0, 4), "he q");
  EXPECT_EQ(Window(Bytes(dataset.train), 3, 4), "own ");
  EXPECT_EQ(Window(Next(dataset.train), 3, 4), "wn f");
}

TEST_F(TextTest, TheLastWindowNeedsAByteMore) {
  for (auto [text, windows] : {std::pair("12345678", 1), std::pair("123456789", 2)}) {
    Write("corpus.txt", text);
    EXPECT_EQ(LoadOk(Uri("file://{}/corpus.txt?sequence_length=4")).train.samples, windows);
  }
  Write("corpus.txt", "1234");
  ExpectWrong(Uri("file://{}/corpus.txt?sequence_length=4"), Code::kInvalidArgument,
              {"is too short", "5 bytes for one sequence", "found 4 bytes"});
  Write("corpus.txt", "");
  ExpectWrong(Uri("file://{}/corpus.txt"), Code::kInvalidArgument, {"is too short", "0 bytes"});
}

TEST_F(TextTest, TheTestPartIsTheEnd) {
  Write("notes", "aaaabbbbccccddddeeee.");
  Dataset dataset = LoadOk(Uri("file://{}/notes?format=text&sequence_length=4&test_split=0.4"));
  EXPECT_EQ(dataset.train.samples, 3);
  EXPECT_EQ(Window(Bytes(dataset.train), 2, 4), "cccc");
  EXPECT_EQ(Window(Next(dataset.train), 2, 4), "cccd");
  EXPECT_EQ(Window(Bytes(dataset.test), 0, 4), "dddd");
  EXPECT_EQ(Window(Next(dataset.test), 1, 4), "eee.");
  EXPECT_EQ(dataset.test.scale.divisor, 1);
}

TEST_F(TextTest, GzipIsUnpacked) {
  Write("corpus.txt.gz", Gzip(std::string(3 << 20, 'x')));
  EXPECT_EQ(LoadOk(Uri("file://{}/corpus.txt.gz?sequence_length=1024")).train.samples, 3071);
  Write("corpus.txt.gz", Gzip(std::string(3 << 20, 'x')).substr(0, 1000));
  ExpectWrong(Uri("file://{}/corpus.txt.gz"), Code::kInvalidArgument, {"is cut off"});
}

TEST_F(TextTest, ATextThatNoMemoryHoldsIsRefusedAtOnce) {
  const std::string path = Write("corpus.txt", "text");
  std::filesystem::resize_file(path, uint64_t{10} << 30);  // zeros that take no disk
  ExpectWrong(Uri("file://{}/corpus.txt"), Code::kResourceExhausted,
              {"at most 1.0 GiB of text", "found 10.0 GiB"});
}

TEST_F(TextTest, ABombIsStoppedAtTheLimit) {
  // Members of a gzip file follow each other: 17 times 64 MiB from 1 MiB.
  const std::string member = Gzip(std::string(64 << 20, '\0'));
  std::string bomb;
  for (int i = 0; i < 17; ++i) bomb += member;
  Write("corpus.txt.gz", bomb);
  spec::Problems problems;
  EXPECT_FALSE(FileInspector(roots(), true).Inspect(Uri("file://{}/corpus.txt.gz"), &problems));
  EXPECT_NE(problems.ToString().find("at most 1.0 GiB of text"), std::string::npos)
      << problems.ToString();
}

TEST_F(TextTest, AnyBytesAreText) {
  std::string all;
  for (int i = 0; i < 512; ++i) all += static_cast<char>(i);
  Write("corpus.txt", all);
  Dataset dataset = LoadOk(Uri("file://{}/corpus.txt?sequence_length=256"));
  EXPECT_EQ(Bytes(dataset.train)[255], 255);
  EXPECT_EQ(Next(dataset.train)[255], 0);
}

}  // namespace
}  // namespace cyxwiz::data
