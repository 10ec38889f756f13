#include "data/idx.h"

#include <zlib.h>

#include "data/testing.h"

namespace cyxwiz::data {
namespace {

class IdxTest : public DataTest {
 protected:
  // A pair of good files: 6 images of 2x3 and labels 0 .. 5.
  void WritePair(std::string_view images, std::string_view labels) {
    images_ = Write("images", images);
    labels_ = Write("labels", labels);
  }
  void ExpectPairWrong(Code code, const std::vector<std::string>& parts) {
    ExpectWrong(Pair(images_, labels_), code, parts);
  }
  std::string images_, labels_;
};

TEST_F(IdxTest, PixelsStayBytesAndGrayImagesHaveOneChannel) {
  WritePair(Idx({6, 2, 3}), Idx({6}, 0, 4));
  Dataset dataset = LoadOk(Pair(images_, labels_));
  EXPECT_EQ(dataset.info.sample_shape, (std::vector<int64_t>{1, 2, 3}));
  EXPECT_EQ(dataset.info.classes, 4);
  EXPECT_EQ(dataset.info.bytes_in_memory, 6 * (6 + 8));
  EXPECT_EQ(dataset.info.description, "IDX images 2x3, 6 train samples, 4 classes");
  ASSERT_EQ(Bytes(dataset.train).size(), 36u);
  for (size_t i = 0; i < 36; ++i) EXPECT_EQ(Bytes(dataset.train)[i], i);
  EXPECT_EQ(Classes(dataset.train), (std::vector<int64_t>{0, 1, 2, 3, 0, 1}));
  EXPECT_EQ(dataset.test.samples, 0);
}

TEST_F(IdxTest, RowsAndColourImagesKeepTheirShape) {
  WritePair(Idx({4, 5}), Idx({4}));
  Dataset rows = LoadOk(Pair(images_, labels_));
  EXPECT_EQ(rows.info.sample_shape, std::vector<int64_t>{5});
  EXPECT_EQ(rows.info.description, "IDX rows of 5, 4 train samples, 4 classes");
  WritePair(Idx({4, 3, 2, 5}), Idx({4}));
  Dataset colour = LoadOk(Pair(images_, labels_));
  EXPECT_EQ(colour.info.sample_shape, (std::vector<int64_t>{3, 2, 5}));
  EXPECT_EQ(colour.info.description, "IDX images 3x2x5, 4 train samples, 4 classes");
}

TEST_F(IdxTest, ImagesThatAreNotCompressedCanStayInTheirFile) {
  Write("set/train-images-idx3-ubyte", Idx({40, 2, 3}));
  Write("set/train-labels-idx1-ubyte", Idx({40}, 0, 3));
  ExpectSameInFiles(Uri("file://{}/set?normalize=true&test_split=0.25"));
  Write("set/t10k-images-idx3-ubyte", Idx({10, 2, 3}, 5));
  Write("set/t10k-labels-idx1-ubyte", Idx({10}, 0, 3));
  ExpectSameInFiles(Uri("file://{}/set?normalize=true"));
  // One part that is compressed is enough for none to stay.
  std::filesystem::remove(folder_ + "/set/t10k-images-idx3-ubyte");
  Write("set/t10k-images-idx3-ubyte.gz", Gzip(Idx({10, 2, 3}, 5)));
  EXPECT_FALSE(LoadOk(Uri("file://{}/set")).info.can_stream);
}

TEST_F(IdxTest, GzipIsKnownByItsContentNotItsName) {
  images_ = Write("images.plain", Gzip(Idx({6, 2, 3})));
  labels_ = Write("labels.gz", Idx({6}));
  EXPECT_EQ(Bytes(LoadOk(Pair(images_, labels_)).train).size(), 36u);
}

TEST_F(IdxTest, AGzipFileOfSeveralMembersIsOneFile) {
  std::string whole = Idx({6, 2, 3});
  WritePair(Gzip(whole.substr(0, 21)) + Gzip(whole.substr(21)), Gzip(Idx({6})));
  EXPECT_EQ(Bytes(LoadOk(Pair(images_, labels_)).train).back(), 35);
}

TEST_F(IdxTest, AFolderHasTrainAndPerhapsTest) {
  Write("set/train-images-idx3-ubyte", Idx({6, 2, 3}));
  Write("set/train-labels-idx1-ubyte.gz", Gzip(Idx({6}, 0, 3)));
  EXPECT_EQ(LoadOk(Folder(folder_ + "/set")).info.test_samples, 0);
  Write("set/t10k-images-idx3-ubyte.gz", Gzip(Idx({2, 2, 3}, 100)));
  Write("set/t10k-labels-idx1-ubyte", Idx({2}, 6));
  Dataset dataset = LoadOk(Folder(folder_ + "/set/"));
  EXPECT_EQ(dataset.info.description, "IDX images 2x3, 6 train and 2 test samples, 8 classes");
  EXPECT_EQ(dataset.info.classes, 8) << "a class may occur in the test part alone";
  EXPECT_EQ(Bytes(dataset.test)[0], 100);
  EXPECT_EQ(dataset.info.bytes_in_memory, 8 * (6 + 8));
}

TEST_F(IdxTest, AFolderOfLinksBelowTheRootsIsFine) {
  Write("store/a", Idx({6, 2, 3}));
  Write("store/b", Idx({6}));
  std::filesystem::create_directory(folder_ + "/set");
  std::filesystem::create_symlink("../store/a", folder_ + "/set/train-images-idx3-ubyte");
  std::filesystem::create_symlink(folder_ + "/store/b", folder_ + "/set/train-labels-idx1-ubyte");
  EXPECT_EQ(LoadOk(Folder(folder_ + "/set")).info.train_samples, 6);
  std::filesystem::create_symlink("/etc/passwd", folder_ + "/set/t10k-images-idx3-ubyte");
  Write("set/t10k-labels-idx1-ubyte", Idx({6}));
  ExpectWrong(Folder(folder_ + "/set"), Code::kPermissionDenied,
              {"t10k-images-idx3-ubyte", folder_, "data_roots"});
}

TEST_F(IdxTest, AMissingPartOfAFolderIsNamed) {
  std::filesystem::create_directory(folder_ + "/set");
  ExpectWrong(Folder(folder_ + "/set"), Code::kNotFound,
              {"train-images-idx3-ubyte or train-images-idx3-ubyte.gz", "an empty folder"});
  Write("set/train-images-idx3-ubyte", Idx({6, 2, 3}));
  Write("set/readme", "");
  ExpectWrong(Folder(folder_ + "/set"), Code::kNotFound, {"train-labels-idx1-ubyte", "'readme'"});
  Write("set/train-labels-idx1-ubyte", Idx({6}));
  Write("set/t10k-labels-idx1-ubyte", Idx({6}));
  ExpectWrong(Folder(folder_ + "/set"), Code::kNotFound, {"t10k-images"});
  ExpectWrong(Folder(folder_ + "/set/readme"), Code::kInvalidArgument,
              {"is not a folder", "?labels="});
}

TEST_F(IdxTest, TestSamplesMustHaveTheShapeOfTrainSamples) {
  Write("train-images-idx3-ubyte", Idx({6, 2, 3}));
  Write("train-labels-idx1-ubyte", Idx({6}));
  Write("t10k-images-idx3-ubyte", Idx({6, 3, 2}));
  Write("t10k-labels-idx1-ubyte", Idx({6}));
  ExpectWrong(Folder(folder_), Code::kInvalidArgument, {"t10k-images", "expected 2x3, found 3x2"});
}

TEST_F(IdxTest, LabelsMustBeAsManyAsImages) {
  WritePair(Idx({6, 2, 3}), Idx({5}));
  ExpectPairWrong(Code::kInvalidArgument, {"do not belong together", "6 images", "5 labels"});
}

TEST_F(IdxTest, ATruncatedFileSaysExpectedAndFound) {
  WritePair(Idx({6, 2, 3}).substr(0, 40), Idx({6}));
  ExpectPairWrong(Code::kInvalidArgument,
                  {images_, "cut off", "expected 52 bytes", "found 40 bytes"});
  WritePair(Idx({6, 2, 3}), Idx({6}).substr(0, 10));
  ExpectPairWrong(Code::kInvalidArgument,
                  {labels_, "cut off", "expected 14 bytes", "found 10 bytes"});
  WritePair(Idx({6, 2, 3}).substr(0, 9), Idx({6}));
  ExpectPairWrong(Code::kInvalidArgument, {"within its header", "16 bytes of header", "9 bytes"});
  WritePair("", Idx({6}));
  ExpectPairWrong(Code::kInvalidArgument, {"not an IDX file", "an empty file"});
}

TEST_F(IdxTest, ATruncatedGzipFileSaysExpectedAndFound) {
  std::string noise = IdxHeader({100, 20, 20});
  uint32_t x = 1;
  for (int i = 0; i < 40000; ++i)
    noise += static_cast<char>((x = x * 1664525u + 1013904223u) >> 24);
  std::string packed = Gzip(noise);
  WritePair(packed.substr(0, packed.size() / 2), Gzip(Idx({100})));
  ExpectPairWrong(Code::kInvalidArgument,
                  {images_, "cut off", "40016 bytes as its header declares (100x20x20)", "found ",
                   "its end after " + std::to_string(packed.size() / 2) + " compressed bytes"});
  // Even when only the checksum is missing.
  WritePair(packed.substr(0, packed.size() - 3), Gzip(Idx({100})));
  ExpectPairWrong(Code::kInvalidArgument, {images_, "cut off"});
  // Even a header alone.
  WritePair(packed.substr(0, 10), Gzip(Idx({100})));
  ExpectPairWrong(Code::kInvalidArgument, {images_, "cut off"});
}

TEST_F(IdxTest, ADamagedGzipFileIsNoticedByItsChecksum) {
  std::string packed = Gzip(Idx({6, 2, 3}));
  packed[packed.size() - 6] = static_cast<char>(packed[packed.size() - 6] ^ 1);
  WritePair(packed, Idx({6}));
  // The lengths fit, so only loading, which unpacks everything, can tell.
  auto dataset = Load(Pair(images_, labels_), roots());
  ASSERT_FALSE(dataset.ok());
  EXPECT_NE(dataset.status().message().find("is damaged"), std::string::npos) << dataset.status();
  EXPECT_NE(dataset.status().message().find("incorrect data check"), std::string::npos)
      << dataset.status();
}

TEST_F(IdxTest, TrailingBytesAreRefused) {
  WritePair(Idx({6, 2, 3}) + "x", Idx({6}));
  ExpectPairWrong(Code::kInvalidArgument,
                  {"goes on after its last value", "expected 52 bytes", "found 53 bytes"});
  WritePair(Gzip(Idx({6, 2, 3}) + "x"), Idx({6}));
  ExpectPairWrong(Code::kInvalidArgument, {"goes on after its last value", "at least one more"});
  WritePair(Gzip(Idx({6, 2, 3})) + "rubbish", Idx({6}));
  ExpectPairWrong(Code::kInvalidArgument, {"goes on after its end"});
}

TEST_F(IdxTest, AGzipBombIsStoppedAtWhatTheHeaderDeclares) {
  // 64 MiB of zeros in some 64 KiB, behind a header that declares 36 values.
  z_stream stream{};
  ASSERT_EQ(deflateInit2(&stream, 9, Z_DEFLATED, 15 + 16, 8, Z_DEFAULT_STRATEGY), Z_OK);
  std::string packed(1 << 20, '\0'), zeros(1 << 20, '\0'), header = IdxHeader({6, 2, 3});
  stream.next_out = reinterpret_cast<Bytef*>(packed.data());
  stream.avail_out = static_cast<uInt>(packed.size());
  stream.next_in = reinterpret_cast<Bytef*>(header.data());
  stream.avail_in = static_cast<uInt>(header.size());
  ASSERT_EQ(deflate(&stream, Z_NO_FLUSH), Z_OK);
  for (int i = 0; i < 64; ++i) {
    stream.next_in = reinterpret_cast<Bytef*>(zeros.data());
    stream.avail_in = static_cast<uInt>(zeros.size());
    ASSERT_EQ(deflate(&stream, i == 63 ? Z_FINISH : Z_NO_FLUSH), i == 63 ? Z_STREAM_END : Z_OK);
  }
  packed.resize(stream.total_out);
  deflateEnd(&stream);
  WritePair(packed, Idx({6}));
  ExpectPairWrong(Code::kInvalidArgument, {"goes on after its last value"});
}

TEST_F(IdxTest, AHeaderCannotMakeUsTakeMemory) {
  WritePair(IdxHeader({0xFFFFFFFF, 0xFFFFFFFF, 0xFFFFFFFF, 0xFFFFFFFF}), Idx({6}));
  ExpectPairWrong(Code::kResourceExhausted, {"too large", "1.0 PiB"});
  WritePair(IdxHeader({0x80000000, 2, 1}), Idx({6}));
  ExpectPairWrong(Code::kInvalidArgument, {"cut off", "4294967312 bytes"});
  WritePair(IdxHeader({0x80000000, 2, 2}), Idx({6}));
  ExpectPairWrong(Code::kInvalidArgument, {"cut off", "8589934608 bytes"});
  WritePair(Gzip(IdxHeader({0x80000000, 2, 2})), Idx({6}));
  ExpectPairWrong(Code::kResourceExhausted, {"too large", "4.0 GiB", "gunzip"});
  // Within the limit, but no gzip file of this size can hold it.
  WritePair(Gzip(IdxHeader({1000, 1000, 1000})), Idx({6}));
  ExpectPairWrong(Code::kInvalidArgument, {"cut off", "1000000016 bytes"});
  WritePair(Idx({6, 2, 3}), IdxHeader({0xFFFFFFFF}));
  ExpectPairWrong(Code::kInvalidArgument, {"cut off"});
}

TEST_F(IdxTest, OtherFilesAreToldApart) {
  WritePair("hello world, this is text", Idx({6}));
  ExpectPairWrong(Code::kInvalidArgument, {"is not an IDX file", "00 00 08", "68 65 6c 6c"});
  WritePair(IdxHeader({6, 2, 3}, 0x0D) + std::string(144, '\0'), Idx({6}));
  ExpectPairWrong(Code::kInvalidArgument, {"unsigned bytes (0x08)", "32-bit floats (0x0d)"});
  WritePair(Idx({6}), Idx({6, 2, 3}));
  ExpectPairWrong(Code::kInvalidArgument, {"dimensions for images", "swapped"});
  WritePair(Idx({6, 2, 3}), Idx({6, 2, 3}));
  ExpectPairWrong(Code::kInvalidArgument, {"dimensions for labels", "expected 1, found 3"});
  WritePair(Idx({0, 2, 3}), Idx({0}));
  ExpectPairWrong(Code::kInvalidArgument, {"holds nothing", "0x2x3"});
  ExpectWrong(Pair(folder_, labels_), Code::kInvalidArgument, {"is not a file", "a folder"});
  ASSERT_EQ(::mkfifo((folder_ + "/pipe").c_str(), 0600), 0);
  ExpectWrong(Pair(folder_ + "/pipe", labels_), Code::kInvalidArgument,
              {"is not a file", "a pipe"});
}

TEST_F(IdxTest, FashionMnistIsReadWhole) {
  const std::string path = "/usr/share/datasets/fashion-mnist";
  if (!std::filesystem::exists(path)) GTEST_SKIP() << "no package dataset-fashion-mnist";
  Roots roots({path});
  auto dataset = Load(Folder(path), roots);
  ASSERT_TRUE(dataset.ok()) << dataset.status();
  EXPECT_EQ(dataset->info.description,
            "IDX images 28x28, 60000 train and 10000 test samples, 10 classes");
  EXPECT_EQ(dataset->info.sample_shape, (std::vector<int64_t>{1, 28, 28}));
  EXPECT_EQ(dataset->info.bytes_in_memory, 70000 * (784 + 8));
  ASSERT_EQ(Bytes(dataset->train).size(), 60000u * 784);
  ASSERT_EQ(Bytes(dataset->test).size(), 10000u * 784);
  // The first labels as its authors publish them: an ankle boot; each class has 6,000 and 1,000
  // samples.
  EXPECT_EQ(Classes(dataset->train)[0], 9);
  EXPECT_EQ(Classes(dataset->test)[0], 9);
  for (const Split* split : {&dataset->train, &dataset->test}) {
    for (int64_t c = 0; c < 10; ++c) {
      EXPECT_EQ(std::count(Classes(*split).begin(), Classes(*split).end(), c), split->samples / 10);
    }
  }
  // The published mean of the training pixels is 0.2860.
  double sum = 0;
  for (uint8_t pixel : Bytes(dataset->train)) sum += pixel;
  EXPECT_NEAR(sum / 255 / 60000 / 784, 0.2860, 5e-5);
}

}  // namespace
}  // namespace cyxwiz::data
