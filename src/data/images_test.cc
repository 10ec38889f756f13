#include "data/images.h"

#include <chrono>
#include <cmath>

#include "data/picture.h"
#include "data/picture_testing.h"
#include "data/resize.h"
#include "data/testing.h"

namespace cyxwiz::data {
namespace {

class ImagesTest : public DataTest {
 protected:
  spec::DatasetUri Images(const std::string& parameters = "") const {
    return Uri("file://{}/set?format=images" + parameters);
  }
  void ExpectImageWrong(const std::string& file, Code code, const std::vector<std::string>& parts) {
    Write("set/a/x.png", file);
    auto dataset = Load(Images("&size=4"), roots());
    ASSERT_FALSE(dataset.ok());
    EXPECT_EQ(dataset.status().code(), code) << dataset.status();
    for (const std::string& part : parts) {
      EXPECT_NE(dataset.status().ToString().find(part), std::string::npos) << dataset.status();
    }
  }
};

TEST_F(ImagesTest, EachFolderIsAClass) {
  Write("set/dog/2.png", Png(Gradient(4, 6, 3, 9)));
  Write("set/dog/1.png", Png(Gradient(4, 6, 3)));
  Write("set/cat/x.PNG", Png(Gradient(4, 6, 3, 3)));
  Write("set/cat/notes.txt", "passed over");
  Write("set/cat/.hidden.png", "passed over");
  Write("set/readme", "passed over");
  Dataset dataset = LoadOk(Images());
  EXPECT_EQ(dataset.info.description, "images 3x4x6, 3 train samples, 2 classes");
  EXPECT_EQ(dataset.info.sample_shape, (std::vector<int64_t>{3, 4, 6}));
  EXPECT_EQ(dataset.info.bytes_in_memory, 3 * (72 + 8));
  EXPECT_EQ(Classes(dataset.train), (std::vector<int64_t>{0, 1, 1}));
  EXPECT_EQ(dataset.details["classes"], (Json{"cat", "dog"}));
  // Channels first: the pixel of row 1, column 2 in the third channel of the second image.
  const Picture picture = Gradient(4, 6, 3);
  EXPECT_EQ(Bytes(dataset.train)[72 + 2 * 24 + 1 * 6 + 2], picture.pixels[(1 * 6 + 2) * 3 + 2]);
}

TEST_F(ImagesTest, TrainAndTestFoldersAreParts) {
  Write("set/train/a/1.png", Png(Gradient(2, 2, 1)));
  Write("set/train/b/1.png", Png(Gradient(2, 2, 1)));
  Write("set/test/b/1.png", Png(Gradient(2, 2, 1, 50)));
  Dataset dataset = LoadOk(Images());
  EXPECT_EQ(dataset.info.test_samples, 1);
  EXPECT_EQ(Classes(dataset.test), std::vector<int64_t>{1});
  EXPECT_EQ(Bytes(dataset.test)[0], 50);
  ExpectWrong(Images("&test_split=0.5"), Code::kInvalidArgument, {"test part of its own"});
  Write("set/test/c/1.png", Png(Gradient(2, 2, 1)));
  ExpectWrong(Images(), Code::kInvalidArgument, {"set/test/c' is of no class"});
}

TEST_F(ImagesTest, ImagesThatStayInTheirFilesAreTheSame) {
  for (int i = 0; i < 12; ++i) {
    const std::string name = std::string(i % 2 == 0 ? "a/" : "b/") + std::to_string(i) + ".png";
    Write("set/train/" + name, Png(Gradient(3 + i % 2, 4, 3, i)));
    if (i < 4) Write("set/test/" + name, Png(Gradient(3, 4, 3, i + 50)));
  }
  Write("elsewhere.png", Png(Gradient(3, 4, 1)));
  std::filesystem::create_symlink(folder_ + "/elsewhere.png", folder_ + "/set/train/b/2.png");
  ExpectSameInFiles(Images("&size=5x4&normalize=true"));
  std::filesystem::remove_all(folder_ + "/set/test");
  ExpectSameInFiles(Images("&size=2&channels=1&test_split=0.4&split=stratified"));
}

TEST_F(ImagesTest, AnImageThatChangesWhileTheyAreReadIsTold) {
  Write("set/a/1.png", Png(Gradient(2, 2, 1)));
  Write("set/a/2.png", Png(Gradient(2, 2, 1)));
  Loader loader(roots());
  const Result<Dataset> dataset = loader.Take(Images(), /*streams=*/true);
  ASSERT_TRUE(dataset.ok()) << dataset.status();
  const std::string before = dataset->train.files->State();
  // By its size alone, and by its time alone.
  const std::string path = folder_ + "/set/a/2.png";
  const auto time = std::filesystem::last_write_time(path);
  for (const bool longer : {true, false}) {
    Write("set/a/2.png", Png(Gradient(2, 2, 1)) + (longer ? "x" : ""));
    std::filesystem::last_write_time(path, longer ? time : time + std::chrono::seconds(1));
    uint8_t row[4];
    EXPECT_TRUE(dataset->train.files->Read(0, row).ok());
    const Status read = dataset->train.files->Read(1, row);
    EXPECT_NE(read.ToString().find("a/2.png' has changed since"), std::string::npos) << read;
  }
  EXPECT_NE(Loader(roots()).Take(Images(), /*streams=*/true)->train.files->State(), before);
}

TEST_F(ImagesTest, SizeAndChannelsAreMadeAlike) {
  Write("set/a/1.png", Png(Gradient(8, 8, 1)));
  Write("set/a/2.jpg", Jpeg(Gradient(20, 10, 3)));
  Write("set/a/3.jpeg", Jpeg(Gradient(16, 16, 3), /*progressive=*/true));
  EXPECT_EQ(LoadOk(Images("&size=4x6")).info.sample_shape, (std::vector<int64_t>{1, 4, 6}));
  EXPECT_EQ(LoadOk(Images("&size=4&channels=3")).info.sample_shape,
            (std::vector<int64_t>{3, 4, 4}));
  auto dataset = Load(Images(), roots());
  ASSERT_FALSE(dataset.ok());
  EXPECT_NE(dataset.status().ToString().find("2.jpg' is of another size than the first: expected "
                                             "8x8, found 20x10 (size=8x8"),
            std::string::npos)
      << dataset.status();
}

TEST_F(ImagesTest, JpegIsDecodedNearly) {
  const Picture picture = Gradient(16, 16, 1);
  Picture decoded;
  ASSERT_TRUE(DecodePicture(Jpeg(picture), "x", 0, &decoded).ok());
  ASSERT_EQ(decoded.channels, 1);
  for (size_t i = 0; i < picture.pixels.size(); ++i) {
    EXPECT_NEAR(decoded.pixels[i], picture.pixels[i], 3) << i;
  }
}

TEST_F(ImagesTest, AFolderWithoutImagesIsRefused) {
  std::filesystem::create_directories(folder_ + "/set");
  ExpectWrong(Images(), Code::kInvalidArgument, {"has no images", "a folder for each class"});
  std::filesystem::create_directories(folder_ + "/set/a");
  ExpectWrong(Images(), Code::kInvalidArgument, {"set/a' has no images", "an empty folder"});
  std::filesystem::remove_all(folder_ + "/set");
  Write("set", "a file");
  ExpectWrong(Images(), Code::kInvalidArgument, {"is not a folder"});
}

TEST_F(ImagesTest, LinksStayBelowTheRoots) {
  Write("set/a/1.png", Png(Gradient(2, 2, 1)));
  Write("elsewhere.png", Png(Gradient(2, 2, 1)));
  std::filesystem::create_symlink(folder_ + "/elsewhere.png", folder_ + "/set/a/2.png");
  EXPECT_EQ(LoadOk(Images()).train.samples, 2);
  std::filesystem::create_symlink("/etc/passwd", folder_ + "/set/a/3.png");
  ExpectWrong(Images(), Code::kPermissionDenied, {"not below an allowed data folder"});
  std::filesystem::remove(folder_ + "/set/a/3.png");
  std::filesystem::create_symlink("/etc", folder_ + "/set/b");
  ExpectWrong(Images(), Code::kPermissionDenied, {"not below an allowed data folder"});
}

TEST_F(ImagesTest, DamagedImagesAreNamed) {
  const std::string png = Png(Gradient(32, 32, 3)), jpeg = Jpeg(Gradient(32, 32, 3));
  ExpectImageWrong("", Code::kInvalidArgument, {"a/x.png' is not an image that is read"});
  ExpectImageWrong("GIF89a", Code::kInvalidArgument, {"not an image that is read", "'GIF89a'"});
  ExpectImageWrong(png.substr(0, png.size() / 2), Code::kInvalidArgument, {"a/x.png' is damaged"});
  ExpectImageWrong(png.substr(0, 20), Code::kInvalidArgument, {"a/x.png' is damaged"});
  ExpectImageWrong(jpeg.substr(0, jpeg.size() / 2), Code::kInvalidArgument, {"is damaged"});
  ExpectImageWrong(jpeg.substr(0, 30), Code::kInvalidArgument, {"is damaged"});
  std::string flipped = png;
  flipped[png.size() - 30] ^= 4;
  ExpectImageWrong(flipped, Code::kInvalidArgument, {"is damaged"});
}

TEST_F(ImagesTest, HugeImagesAreRefusedBeforeMemoryIsTaken) {
  // Only the size in the header is changed, and its checksum.
  std::string png = Png(Gradient(4, 4, 1));
  for (size_t at : {16u, 20u}) png.replace(at, 4, std::string("\0\0\x40\0", 4));  // 16384
  uLong crc = crc32(0, reinterpret_cast<const Bytef*>(png.data()) + 12, 17);
  for (int i = 0; i < 4; ++i)
    png[29 + static_cast<size_t>(i)] = static_cast<char>(crc >> (24 - 8 * i));
  ExpectImageWrong(png, Code::kResourceExhausted, {"is too large", "16384x16384"});
}

TEST_F(ImagesTest, ResizingIsPillows) {
  // PIL.Image.resize((width, height), Image.BILINEAR) of Gradient(6, 5, 1), by Pillow 13; it rounds
  // between the two directions.
  struct Case {
    int64_t height, width;
    std::vector<int> pixels;
  };
  for (const Case& expected : std::vector<Case>{
           {3, 2, {10, 20, 23, 33, 35, 45}},
           {2, 8, {9, 11, 14, 17, 21, 24, 27, 29, 26, 28, 31, 34, 38, 41, 44, 46}},
           {1, 1, {28}},
           {9, 2, {5, 15, 9, 19, 13, 23, 18, 28, 23, 33, 27, 37, 32, 42, 37, 47, 40, 50}}}) {
    std::vector<uint8_t> pixels(static_cast<size_t>(expected.height * expected.width));
    Resize(Gradient(6, 5, 1), expected.height, expected.width, pixels.data());
    for (size_t i = 0; i < pixels.size(); ++i) {
      EXPECT_NEAR(pixels[i], expected.pixels[i], 1) << expected.height << "x" << expected.width;
    }
  }
  const Picture same = Gradient(6, 5, 1);
  std::vector<uint8_t> pixels(30);
  Resize(same, 6, 5, pixels.data());
  EXPECT_EQ(pixels, same.pixels);
}

}  // namespace
}  // namespace cyxwiz::data
