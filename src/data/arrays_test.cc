#include "data/arrays.h"

#include <cmath>
#include <filesystem>
#include <fstream>
#include <optional>

#include "data/testing.h"

namespace cyxwiz::data {
using namespace std::string_literals;
namespace {

template <typename T>
std::string Packed(const std::vector<T>& values) {
  return {reinterpret_cast<const char*>(values.data()), values.size() * sizeof(T)};
}

std::string Little(uint64_t number, size_t bytes) {
  std::string text;
  for (size_t i = 0; i < bytes; ++i) text += static_cast<char>(number >> (8 * i) & 255);
  return text;
}

std::string NpyOfHeader(const std::string& header, const std::string& values, int version = 1) {
  return "\x93NUMPY" + std::string(1, static_cast<char>(version)) + std::string(1, '\0') +
         Little(header.size(), version == 1 ? 2 : 4) + header + values;
}

// descr: "<f4"; shape: "(3, 4)"
std::string Npy(const std::string& descr, const std::string& shape, const std::string& values,
                int version = 1) {
  return NpyOfHeader(
      "{'descr': '" + descr + "', 'fortran_order': False, 'shape': " + shape + ", }         \n",
      values, version);
}

struct ZipMember {
  std::string name, content;
  bool deflate = false;
};

// As numpy.savez writes it: an extra field in the local header. said: what each member is said to
// unpack to, when that is a lie.
std::string Zip(const std::vector<ZipMember>& members, std::optional<uint64_t> said = {}) {
  std::string archive, directory;
  for (const ZipMember& member : members) {
    const std::string data = member.deflate ? Deflated(member.content, -15) : member.content;
    const uint64_t crc = crc32(0, reinterpret_cast<const Bytef*>(member.content.data()),
                               static_cast<uInt>(member.content.size()));
    const std::string common = Little(20, 2) + Little(0, 2) + Little(member.deflate ? 8 : 0, 2) +
                               Little(0, 4) + Little(crc, 4) + Little(data.size(), 4) +
                               Little(said.value_or(member.content.size()), 4) +
                               Little(member.name.size(), 2);
    directory += "PK\1\2" + Little(20, 2) + common + Little(0, 2) + Little(0, 2) + Little(0, 8) +
                 Little(archive.size(), 4) + member.name;
    archive += "PK\3\4" + common + Little(4, 2) + member.name + "\1\0\0\0"s + data;
  }
  const std::string count = Little(members.size(), 2);
  return archive + directory + "PK\5\6" + Little(0, 4) + count + count +
         Little(directory.size(), 4) + Little(archive.size(), 4) + Little(0, 2);
}

std::string Safetensors(const std::string& header, const std::string& data) {
  return Little(header.size(), 8) + header + data;
}

const std::vector<float> kSix = {1, 2, 3, 4, 5, 6.5};

class ArraysTest : public DataTest {
 protected:
  void WriteNpy(const std::string& features, const std::string& labels) {
    Write("x.npy", features);
    Write("y.npy", labels);
  }
  spec::DatasetUri NpyUri() const { return Uri("file://{}/x.npy?labels={}/y.npy"); }
  void ExpectNpyWrong(const std::string& features, const std::string& labels,
                      const std::vector<std::string>& parts, Code code = Code::kInvalidArgument) {
    WriteNpy(features, labels);
    ExpectWrong(NpyUri(), code, parts);
  }
  const std::string good_x_ = Npy("<f4", "(3, 2)", Packed(kSix));
  const std::string good_y_ = Npy("<i8", "(3,)", Packed<int64_t>({0, 2, 1}));
};

TEST_F(ArraysTest, NpyOfFloatsAndClasses) {
  WriteNpy(good_x_, good_y_);
  Dataset dataset = LoadOk(NpyUri());
  EXPECT_EQ(dataset.info.sample_shape, std::vector<int64_t>{2});
  EXPECT_EQ(dataset.info.description, "NPY, samples of 2, 3 train samples, 3 classes");
  EXPECT_EQ(Floats(dataset.train), kSix);
  EXPECT_EQ(Classes(dataset.train), (std::vector<int64_t>{0, 2, 1}));
}

TEST_F(ArraysTest, EveryElementTypeIsRead) {
  for (const auto& [descr, values] : std::vector<std::pair<std::string, std::string>>{
           {"<i4", Packed<int32_t>({1, 2, 3, 4, 5, -6})},
           {"<i8", Packed<int64_t>({1, 2, 3, 4, 5, -6})},
           {"<f4", Packed<float>({1, 2, 3, 4, 5, -6})},
           {"<f8", Packed<double>({1, 2, 3, 4, 5, -6})}}) {
    WriteNpy(Npy(descr, "(3, 2)", values), good_y_);
    EXPECT_EQ(Floats(LoadOk(NpyUri()).train), (std::vector<float>{1, 2, 3, 4, 5, -6})) << descr;
  }
  // Bytes are pixels, and stay bytes.
  WriteNpy(Npy("|u1", "(3, 1, 2, 1)", "abcdef"), Npy("|u1", "(3, 1)", "\0\1\0"s));
  Dataset images = LoadOk(NpyUri());
  EXPECT_EQ(images.info.sample_shape, (std::vector<int64_t>{1, 2, 1}));
  EXPECT_EQ(Bytes(images.train)[5], 'f');
  EXPECT_EQ(images.info.bytes_in_memory, 3 * (2 + 8));
}

TEST_F(ArraysTest, FloatsAndNegativeLabelsMakeARegression) {
  WriteNpy(good_x_, Npy("<f8", "(3,)", Packed<double>({0, 1, 2})));
  EXPECT_EQ(Targets(LoadOk(NpyUri()).train), (std::vector<float>{0, 1, 2}));
  WriteNpy(good_x_, Npy("<i4", "(3,)", Packed<int32_t>({-1, 1, 2})));
  EXPECT_EQ(Targets(LoadOk(NpyUri()).train), (std::vector<float>{-1, 1, 2}));
  EXPECT_EQ(LoadOk(NpyUri()).info.label_range, std::pair(-1.0, 2.0));
}

TEST_F(ArraysTest, LabelsOfTwoDimensionsAreClassesOfPositions) {
  WriteNpy(good_x_, Npy("<i4", "(3, 2)", Packed<int32_t>({0, 5, 1, 0, 2, 2})));
  Dataset dataset = LoadOk(NpyUri());
  EXPECT_EQ(dataset.info.label_shape, std::vector<int64_t>{2});
  EXPECT_EQ(dataset.info.classes, 6);
  EXPECT_EQ(dataset.info.bytes_in_memory, 3 * (2 * 4 + 2 * 8));
  EXPECT_EQ(Classes(dataset.train), (std::vector<int64_t>{0, 5, 1, 0, 2, 2}));
  ExpectNpyWrong(good_x_, Npy("<f4", "(3, 2)", Packed(kSix)),
                 {"several numbers for each sample", "3x2"});
  ExpectNpyWrong(good_x_, Npy("|u1", "(3, 2, 1)", "abcdef"), {"wrong shape for labels", "3x2x1"});
}

TEST_F(ArraysTest, TargetsMustBeExact) {
  WriteNpy(good_x_, Npy("<i8", "(3,)", Packed<int64_t>({-1, 1 << 24, 2})));
  EXPECT_EQ(Targets(LoadOk(NpyUri()).train)[1], 16777216.0f);
  ExpectNpyWrong(good_x_, Npy("<i8", "(3,)", Packed<int64_t>({-1, 2, INT64_MAX})),
                 {"y.npy', row 3 is too large to be exact", "9223372036854775807"});
  ExpectNpyWrong(good_x_, Npy("<i8", "(3,)", Packed<int64_t>({INT64_MIN, 2, 1})),
                 {"y.npy', row 1 is too large to be exact"});
}

TEST_F(ArraysTest, OtherVersionsAndGzipAreRead) {
  for (int version : {2, 3}) {
    WriteNpy(Npy("<f4", "(3, 2)", Packed(kSix), version), good_y_);
    EXPECT_EQ(Floats(LoadOk(NpyUri()).train), kSix);
  }
  Write("x.npy.gz", Gzip(good_x_));
  EXPECT_EQ(Floats(LoadOk(Uri("file://{}/x.npy.gz?labels={}/y.npy")).train), kSix);
}

TEST_F(ArraysTest, NotANumberIsNamedByRowAndColumn) {
  std::vector<float> values = kSix;
  values[3] = std::nanf("");
  ExpectNpyWrong(Npy("<f4", "(3, 2)", Packed(values)), good_y_, {"row 2, column 2"});
  ExpectNpyWrong(good_x_, Npy("<f8", "(3,)", Packed<double>({0, 1e300, 2})),
                 {"y.npy', row 2 is not a number that fits a 32-bit float"});
  ExpectNpyWrong(Npy("<i8", "(3, 1)", Packed<int64_t>({1, 1 << 24, (1 << 24) + 1})), good_y_,
                 {"row 3 is too large to be exact"});
}

TEST_F(ArraysTest, FeaturesAreLookedAtUpToALimit) {
  auto seen = [&](const std::string& features) {
    WriteNpy(features, good_y_);
    spec::Problems problems;
    auto info = FileInspector(roots(), true).Inspect(NpyUri(), &problems);
    EXPECT_TRUE(info) << problems.ToString();
    return info ? info->seen : std::nullopt;
  };
  auto numbers = seen(good_x_);
  ASSERT_TRUE(numbers);
  EXPECT_EQ(std::pair(numbers->least, numbers->greatest), std::pair(1.0, 6.5));
  EXPECT_EQ(numbers->fraction, 6.5);
  numbers = seen(Npy("<i8", "(3, 1)", Packed<int64_t>({-3, 7, 0})));
  ASSERT_TRUE(numbers);
  EXPECT_EQ(std::pair(numbers->least, numbers->greatest), std::pair(-3.0, 7.0));
  EXPECT_FALSE(numbers->fraction);
  EXPECT_FALSE(seen(Npy("|u1", "(3, 2)", "abcdef"))) << "bytes are what they are";

  // The rest is left to who reads it: zeros that take no disk, and one value behind the limit.
  const int64_t width = (kCheckedArrayBytes / 4 + 3) / 3;
  const std::string header = Npy("<f4", "(3, " + std::to_string(width) + ")", "");
  ASSERT_GT(3 * width * 4, kCheckedArrayBytes);
  Write("x.npy", header);
  std::filesystem::resize_file(folder_ + "/x.npy",
                               header.size() + static_cast<uint64_t>(3 * width * 4 - 4));
  std::ofstream(folder_ + "/x.npy", std::ios::app | std::ios::binary)
      << Packed(std::vector<float>{std::nanf("")});
  spec::Problems problems;
  EXPECT_TRUE(FileInspector(roots(), true).Inspect(NpyUri(), &problems)) << problems.ToString();
  auto dataset = Load(NpyUri(), roots());
  ASSERT_FALSE(dataset.ok());
  EXPECT_NE(dataset.status().message().find("row 3, column"), std::string::npos);
}

TEST_F(ArraysTest, HostileNpyHeadersAreRefused) {
  ExpectNpyWrong("hello", good_y_, {"not a NumPy array", "'hello'"});
  ExpectNpyWrong("\x93NUMPY\1", good_y_, {"not a NumPy array"});
  ExpectNpyWrong("\x93NUMPY\1\0"s, good_y_, {"ends within its header"});
  ExpectNpyWrong("\x93NUMPY\x09\0\0\0"s, good_y_, {"unknown version", "9.0"});
  ExpectNpyWrong(good_x_.substr(0, 40), good_y_, {"ends within its header"});
  ExpectNpyWrong(good_x_.substr(0, good_x_.size() - 1), good_y_, {"is cut off", "(3x2)"});
  ExpectNpyWrong(Npy("<f4", "(99999999, 99999999)", ""), good_y_, {"too large"},
                 Code::kResourceExhausted);
  ExpectNpyWrong(Npy("<f4", "(9223372036854775807, 9223372036854775807)", ""), good_y_,
                 {"too large"}, Code::kResourceExhausted);
  ExpectNpyWrong(Npy("<f4", "(99999999999999999999,)", ""), good_y_, {"a header that is not read"});
  ExpectNpyWrong(Npy("<f4", "(-1,)", ""), good_y_, {"a header that is not read"});
  ExpectNpyWrong(Npy("<f4", "(0, 2)", ""), good_y_, {"holds nothing"});
  ExpectNpyWrong(Npy("<f4", "()", ""), good_y_, {"number of dimensions"});
  ExpectNpyWrong(Npy("<f4", "(1,1,1,1,1,1,1,1,1)", "1234"), good_y_, {"8 dimensions"});
  ExpectNpyWrong(Npy(">f4", "(3, 2)", Packed(kSix)), good_y_, {"'>f4'", "little endian"});
  ExpectNpyWrong(Npy("|O", "(3, 2)", Packed(kSix)), good_y_, {"'|O'"});
  ExpectNpyWrong(
      NpyOfHeader("{'descr': '<f4', 'fortran_order': True, 'shape': (3, 2)}", Packed(kSix)),
      good_y_, {"Fortran order", "ascontiguousarray"});
  ExpectNpyWrong(
      NpyOfHeader("{'descr': [('a', '<f4')], 'fortran_order': False, 'shape': (3,)}", Packed(kSix)),
      good_y_, {"structured arrays"});
  ExpectNpyWrong(NpyOfHeader(std::string(50, '{'), ""), good_y_, {"a header that is not read"});
  ExpectNpyWrong("\x93NUMPY\2\0"s + Little(0xFFFFFFFF, 4), good_y_, {"too large a header"},
                 Code::kResourceExhausted);
}

TEST_F(ArraysTest, ArraysMustBelongTogether) {
  ExpectNpyWrong(good_x_, Npy("<i8", "(2,)", Packed<int64_t>({0, 1})),
                 {"do not belong together", "3 samples", "2 labels"});
  WriteNpy(good_x_ + "x", good_y_);
  auto dataset = Load(NpyUri(), roots());
  ASSERT_FALSE(dataset.ok());
  EXPECT_NE(dataset.status().message().find("goes on after its last value"), std::string::npos);
}

TEST_F(ArraysTest, NpzMembersAreStoredOrDeflated) {
  for (bool deflate : {false, true}) {
    Write("a.npz", Zip({{"other.npy", "?", false},
                        {"labels.npy", good_y_, deflate},
                        {"features.npy", good_x_, deflate}}));
    Dataset dataset = LoadOk(Uri("file://{}/a.npz"));
    EXPECT_EQ(Floats(dataset.train), kSix);
    EXPECT_EQ(Classes(dataset.train), (std::vector<int64_t>{0, 2, 1}));
  }
  Write("a.npz", Zip({{"x.npy", good_x_}, {"y.npy", good_y_}}));
  EXPECT_EQ(LoadOk(Uri("file://{}/a.npz?features=x&labels=y")).train.samples, 3);
  ExpectWrong(Uri("file://{}/a.npz"), Code::kInvalidArgument,
              {"no member 'features.npy'", "one of 'x.npy', 'y.npy'", "features="});
}

// As NumPy writes archives of 4 GiB and more: sizes, offsets and the directory's place have 64
// bits. lie: what the 64 bits of the last member's offset say.
std::string Zip64(const std::vector<ZipMember>& members, std::optional<uint64_t> lie = {}) {
  std::string archive, directory;
  for (const ZipMember& member : members) {
    const uint64_t crc = crc32(0, reinterpret_cast<const Bytef*>(member.content.data()),
                               static_cast<uInt>(member.content.size()));
    const uint64_t size = member.content.size();
    const std::string common = Little(45, 2) + Little(0, 2) + Little(0, 2) + Little(0, 4) +
                               Little(crc, 4) + Little(0xFFFFFFFF, 4) + Little(0xFFFFFFFF, 4) +
                               Little(member.name.size(), 2);
    const bool last = &member == &members.back();
    const std::string sizes = Little(size, 8) + Little(size, 8);
    directory += "PK\1\2" + Little(45, 2) + common + Little(4 + 3 + 4 + 24, 2) + Little(0, 2) +
                 Little(0, 8) + Little(0xFFFFFFFF, 4) + member.name + Little(7, 2) + Little(3, 2) +
                 "abc" + Little(1, 2) + Little(24, 2) + sizes +
                 Little(last && lie ? *lie : archive.size(), 8);
    archive += "PK\3\4" + common + Little(20, 2) + member.name + Little(1, 2) + Little(16, 2) +
               sizes + member.content;
  }
  const std::string count = Little(members.size(), 8);
  return archive + directory + "PK\6\6" + Little(44, 8) + Little(45, 2) + Little(45, 2) +
         Little(0, 8) + count + count + Little(directory.size(), 8) + Little(archive.size(), 8) +
         "PK\6\7" + Little(0, 4) + Little(archive.size() + directory.size(), 8) + Little(1, 4) +
         "PK\5\6" + Little(0, 4) + Little(0xFFFF, 2) + Little(0xFFFF, 2) + Little(0xFFFFFFFF, 4) +
         Little(0xFFFFFFFF, 4) + Little(0, 2);
}

TEST_F(ArraysTest, ArchivesOfLargeMembersAreRead) {
  const std::vector<ZipMember> members{{"features.npy", good_x_}, {"labels.npy", good_y_}};
  const std::string good = Zip64(members);
  Write("a.npz", good);
  EXPECT_EQ(Floats(LoadOk(Uri("file://{}/a.npz")).train), kSix);
  ExpectSameInFiles(Uri("file://{}/a.npz"));
  for (uint64_t lie : {good.size(), size_t{0x7FFFFFFFFFFFFFFF}, size_t{0xFFFFFFFFFFFFFFFF}}) {
    Write("a.npz", Zip64(members, lie));
    ExpectWrong(Uri("file://{}/a.npz"), Code::kInvalidArgument, {"is cut off"});
  }
  // Its end and its directory elsewhere.
  const size_t end = good.find("PK\6\6"), locator = good.find("PK\6\7");
  for (auto [at, says] :
       {std::pair{locator + 8, "no record where"}, std::pair{locator + 15, "beyond its end"},
        std::pair{end + 55, "directory beyond its end"},
        std::pair{end + 48, "a directory that is not read"}}) {
    std::string archive = good;
    archive[at] ^= 1;
    Write("a.npz", archive);
    ExpectWrong(Uri("file://{}/a.npz"), Code::kInvalidArgument, {says});
  }
  std::string archive = good;
  archive[end + 46] = 1;
  Write("a.npz", archive);
  ExpectWrong(Uri("file://{}/a.npz"), Code::kResourceExhausted, {"too many members"});
}

TEST_F(ArraysTest, HostileArchivesAreRefused) {
  auto expect = [&](const std::string& archive, const std::vector<std::string>& parts,
                    Code code = Code::kInvalidArgument) {
    Write("a.npz", archive);
    ExpectWrong(Uri("file://{}/a.npz"), code, parts);
  };
  const std::vector<ZipMember> members = {{"features.npy", good_x_, true},
                                          {"labels.npy", good_y_, true}};
  const std::string good = Zip(members);
  expect("", {"not a zip archive"});
  expect(std::string(100, 'x'), {"not a zip archive"});
  expect(good.substr(0, good.size() - 1), {"not a zip archive"});
  expect(good.substr(10), {"a.npz'"});
  expect(Zip({}), {"no member 'features.npy'"});
  // A member that is said to be far larger than its data can be, and one of 64 bits.
  expect(Zip(members, 2'000'000'000), {"sizes that cannot be"});
  expect(Zip(members, 0xFFFFFFFF), {"sizes of 64 bits", "found none"});
  // One that unpacks to less than it says.
  expect(Zip(members, good_x_.size() + 1), {"a.npz'"});
  std::string other_crc = good;
  const size_t directory = good.find("PK\1\2");
  other_crc[good.find("PK\1\2", directory + 1) + 16] ^= 1;
  expect(other_crc, {"is damaged", "checksum"});
  std::string encrypted = good;
  encrypted[directory + 8] = 1;
  expect(encrypted, {"is encrypted"});
  std::string lzma = good;
  lzma[directory + 10] = 14;
  expect(lzma, {"a method that is not read", "14"});
  std::string elsewhere = good;
  elsewhere[directory + 42] = 3;
  expect(elsewhere, {"no member where its directory says"});
  // Many members.
  std::string end = good;
  end[good.size() - 22 + 10] = end[good.size() - 22 + 11] = '\xff';
  expect(end, {"too many members"}, Code::kResourceExhausted);
}

TEST_F(ArraysTest, WhatIsNotCompressedCanStayInItsFile) {
  std::vector<double> numbers;
  std::vector<int64_t> labels;
  for (int i = 0; i < 40; ++i) {
    numbers.insert(numbers.end(), {i * 0.5, 1.0 - i, 3.0});
    labels.push_back(i % 3);
  }
  std::vector<float> floats(numbers.begin(), numbers.end());
  std::vector<int32_t> whole(numbers.begin(), numbers.end());
  std::vector<uint8_t> bytes(whole.begin(), whole.end());
  Write("y.npy", Npy("<i8", "(40,)", Packed(labels)));
  for (const auto& [descr, values] :
       std::vector<std::pair<std::string, std::string>>{{"<f8", Packed(numbers)},
                                                        {"<f4", Packed(floats)},
                                                        {"<i4", Packed(whole)},
                                                        {"|u1", Packed(bytes)}}) {
    SCOPED_TRACE(descr);
    const std::string array = Npy(descr, "(40, 3)", values);
    Write("x.npy", array);
    Write("x.npy.gz", Gzip(array));
    Write("a.npz",
          Zip({{"features.npy", array}, {"labels.npy", Npy("<i8", "(40,)", Packed(labels))}}));
    for (const char* parameters : {"", "&test_split=0.3", "&normalize=true",
                                   "&normalize=true&test_split=0.25&split=stratified"}) {
      SCOPED_TRACE(parameters);
      const auto uri = Uri(std::string("file://{}/x.npy?labels={}/y.npy") + parameters);
      ExpectSameInFiles(uri);
      // What was always in memory.
      const Dataset packed =
          LoadOk(Uri(std::string("file://{}/x.npy.gz?labels={}/y.npy") + parameters));
      EXPECT_FALSE(packed.info.can_stream);
      ExpectSameInFiles(uri, packed);
      ExpectSameInFiles(Uri(std::string("file://{}/a.npz?features=features") + parameters), packed);
    }
  }
  const spec::DatasetInfo info = LoadOk(NpyUri()).info;
  EXPECT_EQ(info.bytes_streamed, 40 * (56 + 8) + (36 << 20) + (64 << 20));
}

TEST_F(ArraysTest, WhatIsLargerThanMemoryIsLookedInto) {
  // 6 GiB of zeros that take no disk.
  WriteNpy(Npy("|u1", "(3, 2147483648)", ""), good_y_);
  const auto header = std::filesystem::file_size(folder_ + "/x.npy");
  std::filesystem::resize_file(folder_ + "/x.npy", header + 3 * (uint64_t{1} << 31));
  spec::Problems problems;
  auto info = FileInspector(roots(), true).Inspect(NpyUri(), &problems);
  ASSERT_TRUE(info) << problems.ToString();
  EXPECT_TRUE(info->can_stream);
  EXPECT_EQ(info->bytes_in_memory, 3 * ((int64_t{1} << 31) + 8));
  const auto dataset = Load(NpyUri(), roots());
  EXPECT_EQ(dataset.status().code(), Code::kResourceExhausted);
  EXPECT_NE(dataset.status().ToString().find("too large to be kept in memory"), std::string::npos);
  // Compressed it cannot stay where it is.
  std::string packed = Gzip(Npy("|u1", "(3, 2147483648)", ""));
  for (const std::string nothing = Gzip(""); packed.size() < 7 << 20;) packed += nothing;
  Write("x.npy", packed);
  ExpectWrong(NpyUri(), Code::kResourceExhausted, {"at most 4.0 GiB of what is compressed"});
}

TEST_F(ArraysTest, PartsOfSixteenMebibytesAreReadTogether) {
  // Rows of 6 MiB of zeros that take no disk.
  WriteNpy(Npy("<f4", "(6, 1572864)", ""), Npy("<i8", "(6,)", std::string(48, '\0')));
  const auto header = std::filesystem::file_size(folder_ + "/x.npy");
  std::filesystem::resize_file(folder_ + "/x.npy", header + (36 << 20));
  Loader loader(roots());
  const Result<Dataset> dataset = loader.Take(NpyUri(), /*streams=*/true);
  ASSERT_TRUE(dataset.ok()) << dataset.status();
  std::vector<int64_t> parts;
  for (int64_t row = 0; row < 6; ++row) parts.push_back(dataset->train.files->ShardOf(row));
  EXPECT_EQ(parts, (std::vector<int64_t>{0, 0, 1, 1, 2, 2}));
}

TEST_F(ArraysTest, WhatTellsThatAFileIsTheSame) {
  WriteNpy(good_x_, good_y_);
  auto state = [&](const std::string& parameters) {
    Loader loader(roots());
    auto dataset =
        loader.Take(Uri("file://{}/x.npy?labels={}/y.npy" + parameters), /*streams=*/true);
    return dataset.ok() ? dataset->train.files->State() : dataset.status().ToString();
  };
  const std::string plain = state("");
  EXPECT_EQ(state(""), plain);
  EXPECT_NE(state("&normalize=true"), plain);
  std::filesystem::last_write_time(
      folder_ + "/x.npy", std::filesystem::file_time_type::clock::now() + std::chrono::seconds(5));
  EXPECT_NE(state(""), plain);
}

TEST_F(ArraysTest, AFileThatIsCutOffWhileItIsReadIsTold) {
  WriteNpy(good_x_, good_y_);
  Loader loader(roots());
  const Result<Dataset> dataset = loader.Take(NpyUri(), /*streams=*/true);
  ASSERT_TRUE(dataset.ok()) << dataset.status();
  std::filesystem::resize_file(folder_ + "/x.npy", good_x_.size() - 9);
  float row[6];
  EXPECT_TRUE(dataset->train.files->Read(0, reinterpret_cast<uint8_t*>(row)).ok());
  for (const Status& read :
       {dataset->train.files->Read(1, reinterpret_cast<uint8_t*>(row)),
        dataset->train.files->ReadRun(0, 3, 8, reinterpret_cast<uint8_t*>(row))})
    EXPECT_NE(read.ToString().find("is cut off in row 2"), std::string::npos) << read;
}

TEST_F(ArraysTest, SafetensorsAreRead) {
  const std::string header =
      R"({"__metadata__":{"a":"b"},"features":{"dtype":"F32","shape":[3,2],"data_offsets":[3,27]},)"
      R"("labels":{"dtype":"U8","shape":[3],"data_offsets":[0,3]}}   )";
  const std::string data = "\0\2\1"s + Packed(kSix);
  Write("a.safetensors", Safetensors(header, data));
  Dataset dataset = LoadOk(Uri("file://{}/a.safetensors"));
  EXPECT_EQ(Floats(dataset.train), kSix);
  EXPECT_EQ(Classes(dataset.train), (std::vector<int64_t>{0, 2, 1}));
  ExpectSameInFiles(Uri("file://{}/a.safetensors?normalize=true"));
  ExpectWrong(Uri("file://{}/a.safetensors?features=x"), Code::kInvalidArgument,
              {"no tensor 'x'", "one of 'features', 'labels'"});
  ExpectWrong(Uri("file://{}/a.safetensors?features=__metadata__"), Code::kInvalidArgument,
              {"no tensor"});
}

TEST_F(ArraysTest, HostileSafetensorsAreRefused) {
  auto expect = [&](const std::string& file, const std::vector<std::string>& parts,
                    Code code = Code::kInvalidArgument) {
    Write("a.safetensors", file);
    ExpectWrong(Uri("file://{}/a.safetensors"), code, parts);
  };
  auto with = [](const std::string& entry) {
    return Safetensors(R"({"features":)" + entry + "}", std::string(24, 'x'));
  };
  expect("", {"not a safetensors file"});
  expect("1234567", {"not a safetensors file"});
  expect(Little(~uint64_t{0}, 8) + "{}", {"not a safetensors file, or cut off"});
  expect(Little(3, 8) + "{}", {"cut off"});
  expect(Safetensors("[]", ""), {"a JSON object"});
  expect(Safetensors("{", ""), {"a header that is not read"});
  expect(Safetensors(std::string(1000, '['), ""), {"a header that is not read"});
  expect(Safetensors("{}", ""), {"no tensor 'features'", "one of none"});
  expect(with("3"), {"a header that is not read"});
  expect(with(R"({"dtype":"F32","shape":[3,2]})"), {"a header that is not read"});
  expect(with(R"({"dtype":"F32","shape":[3,-2],"data_offsets":[0,24]})"),
         {"a header that is not read"});
  expect(with(R"({"dtype":"F32","shape":[3,2.5],"data_offsets":[0,24]})"),
         {"a header that is not read"});
  expect(with(R"({"dtype":"BF16","shape":[3,2],"data_offsets":[0,24]})"), {"'BF16'"});
  expect(with(R"({"dtype":"F32","shape":[3,2],"data_offsets":[0,25]})"), {"does not lie"});
  expect(with(R"({"dtype":"F32","shape":[3,2],"data_offsets":[1,25]})"), {"does not lie"});
  expect(with(R"({"dtype":"F32","shape":[3,2],"data_offsets":[24,0]})"), {"does not lie"});
  expect(with(R"({"dtype":"F32","shape":[3,2],"data_offsets":[9223372036854775784,)"
              R"(9223372036854775807]})"),
         {"does not lie"});
  expect(with(R"({"dtype":"F32","shape":[4294967296,4294967296],"data_offsets":[0,24]})"),
         {"too large"}, Code::kResourceExhausted);
  expect(with(R"({"dtype":"F32","shape":[18446744073709551615],"data_offsets":[0,24]})"),
         {"a header that is not read"});
}

}  // namespace
}  // namespace cyxwiz::data
