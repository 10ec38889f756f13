#include "data/web_dataset.h"

#include <chrono>
#include <cmath>

#include "data/picture_testing.h"
#include "data/testing.h"

namespace cyxwiz::data {
namespace {

using Members = std::vector<std::pair<std::string, std::string>>;

// Two samples of 2x3 in colour, with what else an archive may hold.
Members Samples() {
  return {{"a/0001.png", Png(Gradient(2, 3, 3))},
          {"a/0001.cls", "1\n"},
          {"a/0001.txt", "a caption"},
          {"README", "no sample"},
          {"a/._0001.png", "of another system"},
          {"a/0002.jpg", Png(Gradient(2, 3, 3, 9))},
          {"a/0002.json", R"({"label": 3, "class": "x", "far": 65536})"},
          {"a/0002.cls", " 2 "}};
}

std::vector<uint8_t> ChannelsFirst(const Picture& picture) {
  std::vector<uint8_t> values;
  for (int64_t c = 0; c < picture.channels; ++c) {
    for (size_t i = static_cast<size_t>(c); i < picture.pixels.size();
         i += static_cast<size_t>(picture.channels))
      values.push_back(picture.pixels[i]);
  }
  return values;
}

class WebDatasetTest : public DataTest {
 protected:
  void ExpectMembersWrong(const Members& members, Code code, const std::vector<std::string>& parts,
                          const std::string& parameters = "") {
    Write("x.tar", Tar(members));
    ExpectWrong(Uri("file://{}/x.tar" + parameters), code, parts);
  }
};

TEST_F(WebDatasetTest, OneArchive) {
  Write("x.tar", Tar(Samples()));
  const Dataset dataset = LoadOk(Uri("file://{}/x.tar"));
  EXPECT_EQ(dataset.info.sample_shape, (std::vector<int64_t>{3, 2, 3}));
  EXPECT_EQ(dataset.info.classes, 3);
  EXPECT_EQ(dataset.info.description, "WebDataset, images 3x2x3, 2 train samples, 3 classes");
  EXPECT_EQ(Classes(dataset.train), (std::vector<int64_t>{1, 2}));
  std::vector<uint8_t> expected = ChannelsFirst(Gradient(2, 3, 3));
  const std::vector<uint8_t> second = ChannelsFirst(Gradient(2, 3, 3, 9));
  expected.insert(expected.end(), second.begin(), second.end());
  EXPECT_EQ(Bytes(dataset.train), expected);
}

TEST_F(WebDatasetTest, FoldersAndPatternsNameManyInOrder) {
  for (int shard = 0; shard < 12; ++shard) {
    char name[32];
    std::snprintf(name, sizeof name, "set/s-%02d.tar", shard);
    Write(name, Tar({{"k.png", Png(Gradient(1, 1, 1, shard))}, {"k.cls", std::to_string(shard)}}));
  }
  Write("set/.hidden.tar", "");
  Write("set/notes.txt", "");
  const Dataset folder = LoadOk(Uri("file://{}/set?format=webdataset"));
  ASSERT_EQ(folder.train.samples, 12);
  for (size_t i = 0; i < 12; ++i) {
    EXPECT_EQ(Classes(folder.train)[i], static_cast<int64_t>(i));
    EXPECT_EQ(Bytes(folder.train)[i], i);
  }
  EXPECT_EQ(Classes(LoadOk(Uri("file://{}/set/s-{08..10}.tar")).train),
            (std::vector<int64_t>{8, 9, 10}));
  // Preparations come by themselves.
  const Dataset split = LoadOk(Uri("file://{}/set?format=webdataset&test_split=0.25&split=end"));
  EXPECT_EQ(Classes(split.test), (std::vector<int64_t>{9, 10, 11}));
  ExpectWrong(Uri("file://{}/set/s-{10..12}.tar"), Code::kNotFound, {"s-12.tar"});
}

TEST_F(WebDatasetTest, AFileThatChangesIsReadAnew) {
  Write("set/a.tar", Tar(Samples()));
  FileInspector inspector(roots(), true);
  spec::Problems problems;
  EXPECT_EQ(inspector.Inspect(Uri("file://{}/set?format=webdataset"), &problems)->train_samples, 2);
  Write("set/b.tar", Tar(Samples()));
  EXPECT_EQ(inspector.Inspect(Uri("file://{}/set?format=webdataset"), &problems)->train_samples, 4);
}

TEST_F(WebDatasetTest, LabelsOfJson) {
  Members members = Samples();
  members[1] = {"a/0001.json", R"({"label": 0})"};
  Write("x.tar", Tar(members));
  EXPECT_EQ(Classes(LoadOk(Uri("file://{}/x.tar?label=label")).train),
            (std::vector<int64_t>{0, 3}));
  ExpectMembersWrong(members, Code::kInvalidArgument, {"a/0001.json", "no member 'class'"},
                     "?label=class");
  members[1].second = R"({"class": "y", "far": 1.5})";
  ExpectMembersWrong(members, Code::kInvalidArgument, {"a finite number", "\"y\""}, "?label=class");
  const char* const classes = "?label=far&label_type=classes";
  ExpectMembersWrong(members, Code::kInvalidArgument,
                     {"a whole number from 0 to 65535", "found 1.5"}, classes);
  members[1].second = R"({"far": 1})";
  ExpectMembersWrong(members, Code::kInvalidArgument, {"a/0002.json", "found 65536"}, classes);
  members[1].second = "[";
  ExpectMembersWrong(members, Code::kInvalidArgument, {"a/0001.json", "holds no label"},
                     "?label=far");
  members[1].second = std::string((1 << 20) + 1, ' ');
  ExpectMembersWrong(members, Code::kResourceExhausted, {"too large for a label"}, "?label=far");
}

TEST_F(WebDatasetTest, NumbersThatAreNoClassesMakeARegression) {
  Members members = Samples();
  members[1] = {"a/0001.json", R"({"far": 1.5, "near": 2, "huge": 1e39})"};
  members[2] = {"a/0001.txt", "-2.5e1\n"};
  members[6] = {"a/0002.json", R"({"far": 65536, "near": 3.0, "huge": 1})"};
  members.emplace_back("a/0002.txt", " 7 ");
  Write("x.tar", Tar(members));
  auto targets = [&](const std::string& parameters) {
    const Dataset dataset = LoadOk(Uri("file://{}/x.tar?" + parameters));
    EXPECT_EQ(dataset.info.classes, 0);
    EXPECT_EQ(dataset.info.bytes_in_memory, 2 * (18 + 4));
    return dataset.info.classes == 0 ? Targets(dataset.train) : std::vector<float>();
  };
  EXPECT_EQ(targets("label=far"), (std::vector<float>{1.5, 65536}));
  EXPECT_EQ(targets("label=.txt"), (std::vector<float>{-25, 7}));
  EXPECT_EQ(targets("label=.TXT"), (std::vector<float>{-25, 7}));
  EXPECT_EQ(targets("label=near&label_type=numbers"), (std::vector<float>{2, 3}));
  const Dataset classes = LoadOk(Uri("file://{}/x.tar?label=near"));
  EXPECT_EQ(classes.info.classes, 4);
  EXPECT_EQ(Classes(classes.train), (std::vector<int64_t>{2, 3}));
  ExpectMembersWrong(members, Code::kInvalidArgument, {"a/0001.json", "a finite number"},
                     "?label=huge");
  members[2].second = "a caption";
  ExpectMembersWrong(members, Code::kInvalidArgument,
                     {"a/0001.txt' holds no label", "a finite number", "'a caption'"},
                     "?label=.txt");
  members[2].second = "nan";
  ExpectMembersWrong(members, Code::kInvalidArgument, {"a finite number"}, "?label=.txt");
}

std::string NpyOf(const std::string& descr, const std::string& shape, const std::string& values) {
  const std::string header =
      "{'descr': '" + descr + "', 'fortran_order': False, 'shape': " + shape + ", }\n";
  return std::string("\x93NUMPY\1\0", 8) + static_cast<char>(header.size()) + '\0' + header +
         values;
}

template <typename T>
std::string Packed(const std::vector<T>& values) {
  return {reinterpret_cast<const char*>(values.data()), values.size() * sizeof(T)};
}

TEST_F(WebDatasetTest, SamplesMayBeArrays) {
  Members members;
  for (int i = 0; i < 6; ++i) {
    const std::string key = std::to_string(i);
    const double at = i;
    members.emplace_back(key + ".x.npy", NpyOf("<f8", "(2, 2)", Packed<double>({at, 0.5, -at, 1})));
    members.emplace_back(key + ".txt", std::to_string(i) + ".25");
  }
  Write("x.tar", Tar(members));
  const Dataset floats = LoadOk(Uri("file://{}/x.tar?label=.txt"));
  EXPECT_EQ(floats.info.description, "WebDataset, arrays of 2x2, 6 train samples, regression");
  EXPECT_EQ(Floats(floats.train)[20], 5);
  EXPECT_EQ(Targets(floats.train)[5], 5.25f);
  ExpectSameInFiles(Uri("file://{}/x.tar?label=.txt"));
  ExpectSameInFiles(Uri("file://{}/x.tar?label=.txt&normalize=true&test_split=0.4"));
  ExpectMembersWrong(members, Code::kInvalidArgument, {"size and channels are for images"},
                     "?label=.txt&size=3");

  const Members bytes{{"a.npy", NpyOf("|u1", "(3,)", "abc")}, {"a.cls", "1"}};
  Write("x.tar", Tar(bytes));
  EXPECT_EQ(Bytes(LoadOk(Uri("file://{}/x.tar")).train), (std::vector<uint8_t>{'a', 'b', 'c'}));
  ExpectSameInFiles(Uri("file://{}/x.tar"));
  // Beside an image an array is something else.
  Write(
      "x.tar",
      Tar({{"a.png", Png(Gradient(1, 1, 1))}, {"a.1.npy", "?"}, {"a.2.npy", "?"}, {"a.cls", "1"}}));
  EXPECT_EQ(LoadOk(Uri("file://{}/x.tar")).info.sample_shape, (std::vector<int64_t>{1, 1, 1}));
}

TEST_F(WebDatasetTest, ArraysThatDoNotBelongTogetherAreNamed) {
  const std::string good = NpyOf("<f4", "(2,)", Packed<float>({1, 2}));
  const Members one{{"a.npy", good}, {"a.cls", "0"}};
  auto with = [&](const std::string& array) {
    Members members = one;
    members.insert(members.end(), {{"b.npy", array}, {"b.cls", "0"}});
    return members;
  };
  auto expect = [&](const std::string& array, const std::string& part) {
    Write("x.tar", Tar(with(array)));
    auto dataset = Load(Uri("file://{}/x.tar"), roots());
    ASSERT_FALSE(dataset.ok());
    EXPECT_NE(dataset.status().ToString().find("x.tar/b.npy'"), std::string::npos)
        << dataset.status();
    EXPECT_NE(dataset.status().ToString().find(part), std::string::npos) << dataset.status();
  };
  expect(NpyOf("<f4", "(3,)", Packed<float>({1, 2, 3})), "expected f4 of 2, found f4 of 3");
  expect(NpyOf("<f8", "(2,)", Packed<double>({1, 2})), "expected f4 of 2, found f8 of 2");
  expect(NpyOf("<f4", "(2,)", Packed<float>({1, INFINITY})), "column 2 is not a number that fits");
  expect(good + "x", "goes on after its last value");
  expect(good.substr(0, good.size() - 1), "is cut off");
  expect("no array", "is not a NumPy array");
  expect(NpyOf("<f4", "(99999999999,)", ""), "is cut off");
  ExpectMembersWrong({{"a.npy", "no array"}, {"a.cls", "0"}}, Code::kInvalidArgument,
                     {"x.tar/a.npy' is not a NumPy array"});
  ExpectMembersWrong({{"a.1.npy", good}, {"a.2.npy", good}, {"a.cls", "0"}}, Code::kInvalidArgument,
                     {"sample 'a'", "has several arrays"});
  Members mixed = one;
  mixed.insert(mixed.end(), {{"b.png", Png(Gradient(1, 2, 1))}, {"b.cls", "0"}});
  ExpectMembersWrong(mixed, Code::kInvalidArgument,
                     {"sample 'b'", "of another kind", "an array: .npy"});
}

TEST_F(WebDatasetTest, WhatIsNotReadIsNamed) {
  ExpectMembersWrong({{"a.webp", "x"}, {"a.cls", "1"}}, Code::kInvalidArgument,
                     {"has no image and no array", ".png, .jpg, .jpeg or .npy", "only .webp"});
  ExpectMembersWrong({{"a.flac", "x"}, {"a.json", "{}"}, {"a.cls", "1"}}, Code::kInvalidArgument,
                     {"only .flac, .json"});
  ExpectMembersWrong({{"a.png", "x"}, {"a.txt", "3"}}, Code::kInvalidArgument,
                     {"has no label", "only .txt", "label=.ENDING"});
}

TEST_F(WebDatasetTest, IncompleteSamplesAreNamed) {
  const std::string png = Png(Gradient(2, 3, 3));
  ExpectMembersWrong({{"a.png", png}, {"b.png", png}, {"b.cls", "1"}}, Code::kInvalidArgument,
                     {"sample 'a' of '", "has no label", "ends in .cls"});
  ExpectMembersWrong({{"a.png", png}, {"a.json", "{}"}}, Code::kInvalidArgument,
                     {"has no label", "label=NAME"});
  ExpectMembersWrong({{"a.cls", "1"}}, Code::kInvalidArgument, {"sample 'a'", "has no image"});
  ExpectMembersWrong({{"a.png", png}, {"a.mask.png", png}, {"a.cls", "1"}}, Code::kInvalidArgument,
                     {"has several images", "a.mask.png"});
  ExpectMembersWrong({{"a.png", png}, {"a.cls", "1"}, {"a.2.cls", "1"}}, Code::kInvalidArgument,
                     {"has several labels"});
  ExpectMembersWrong({{"README", "x"}}, Code::kInvalidArgument, {"has no samples"});
  for (const char* label : {"", "cat", "-1", "1.0", "65536", "1 2", "99999999999999999999"}) {
    ExpectMembersWrong({{"a.png", png}, {"a.cls", label}}, Code::kInvalidArgument,
                       {"a.cls' holds no label", "a whole number from 0 to 65535"});
  }
  ExpectMembersWrong({{"a.png", png}, {"a.cls", std::string(65, ' ')}}, Code::kResourceExhausted,
                     {"too large for a label"});
}

TEST_F(WebDatasetTest, ImagesOfOtherSizesAreScaledOrRefused) {
  Members members = Samples();
  members[5].second = Png(Gradient(3, 3, 3));
  Write("x.tar", Tar(members));
  auto dataset = Load(Uri("file://{}/x.tar"), roots());
  ASSERT_FALSE(dataset.ok());
  EXPECT_NE(dataset.status().ToString().find("a/0002.jpg' is of another size"), std::string::npos)
      << dataset.status();
  EXPECT_EQ(LoadOk(Uri("file://{}/x.tar?size=4&channels=1")).info.sample_shape,
            (std::vector<int64_t>{1, 4, 4}));
  members[5].second = "no image";
  Write("x.tar", Tar(members));
  dataset = Load(Uri("file://{}/x.tar"), roots());
  ASSERT_FALSE(dataset.ok());
  EXPECT_NE(dataset.status().ToString().find("0002.jpg' is not an image"), std::string::npos);
}

TEST_F(WebDatasetTest, SamplesThatStayInTheArchivesAreTheSame) {
  for (int shard = 0; shard < 3; ++shard) {
    Members members;
    for (int i = 0; i < 10; ++i) {
      const std::string key = std::to_string(shard) + std::to_string(i);
      members.emplace_back(key + ".png", Png(Gradient(2, 3, 3, shard * 10 + i)));
      members.emplace_back(key + ".cls", std::to_string(i % 3));
    }
    Write("set/" + std::to_string(shard) + ".tar", Tar(members));
  }
  for (const char* parameters : {"", "&normalize=true&test_split=0.3", "&test_split=0.2&size=4",
                                 "&test_split=0.3&split=stratified&channels=1"}) {
    SCOPED_TRACE(parameters);
    ExpectSameInFiles(Uri(std::string("file://{}/set?format=webdataset") + parameters));
  }
}

TEST_F(WebDatasetTest, AnArchiveThatChangesWhileItIsReadIsTold) {
  namespace fs = std::filesystem;
  // By its size alone, and by its time alone.
  for (const bool longer : {true, false}) {
    Write("x-0.tar", Tar(Samples()));
    const std::string path = Write("x-1.tar", Tar(Samples()));
    const auto time = fs::last_write_time(path);
    Loader loader(roots());
    const Result<Dataset> dataset = loader.Take(Uri("file://{}/x-{0..1}.tar"), /*streams=*/true);
    ASSERT_TRUE(dataset.ok()) << dataset.status();
    Members members = Samples();
    if (longer) members.emplace_back("a/0003.png", Png(Gradient(2, 3, 3)));
    Write("x-1.tar", Tar(members));
    fs::last_write_time(path, longer ? time : time + std::chrono::seconds(1));
    std::vector<uint8_t> row(18);
    EXPECT_TRUE(dataset->train.files->Read(1, row.data()).ok());
    const Status read = dataset->train.files->Read(2, row.data());
    EXPECT_EQ(read.code(), Code::kInvalidArgument);
    EXPECT_NE(read.ToString().find("x-1.tar' has changed"), std::string::npos) << read;
  }
}

TEST_F(WebDatasetTest, MoreArchivesAreReadThanAreOpenAtATime) {
  const auto open_files = [] {
    const std::filesystem::directory_iterator files("/proc/self/fd");
    return std::distance(begin(files), end(files));
  };
  const std::string archive = Tar(Samples());
  for (int i = 10; i < 60; ++i) Write("set/" + std::to_string(i) + ".tar", archive);
  Loader loader(roots());
  const Result<Dataset> dataset =
      loader.Take(Uri("file://{}/set?format=webdataset"), /*streams=*/true);
  ASSERT_TRUE(dataset.ok()) << dataset.status();
  const auto before = open_files();
  std::vector<uint8_t> row(18);
  for (int64_t i = 0; i < dataset->train.samples; ++i)
    ASSERT_TRUE(dataset->train.files->Read(i, row.data()).ok());
  EXPECT_LT(open_files() - before, 40);
  std::filesystem::remove(folder_ + "/set/59.tar");
  EXPECT_TRUE(dataset->train.files->Read(dataset->train.samples - 1, row.data()).ok())
      << "the one that was read last is open";
}

TEST_F(WebDatasetTest, LinksMustStayBelowTheRoots) {
  std::filesystem::create_directories(folder_ + "/set");
  std::filesystem::create_symlink("/etc/hostname", folder_ + "/set/x.tar");
  EXPECT_EQ(Load(Uri("file://{}/set?format=webdataset"), roots()).status().code(),
            Code::kPermissionDenied);
  EXPECT_EQ(Load(Uri("file://{}/set/x.tar"), roots()).status().code(), Code::kPermissionDenied);
}

TEST_F(WebDatasetTest, FoldersWithoutArchivesAreRefused) {
  Write("set/x.png", "");
  ExpectWrong(Uri("file://{}/set?format=webdataset"), Code::kInvalidArgument, {"has no archives"});
}

}  // namespace
}  // namespace cyxwiz::data
