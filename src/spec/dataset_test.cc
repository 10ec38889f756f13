#include "spec/dataset.h"

#include "spec/test_support.h"

namespace cyxwiz::spec {
namespace {

using Kind = DatasetUri::Kind;

DatasetUri Parse(const std::string& text) {
  Problems problems;
  auto uri = ParseDatasetUri(text, &problems);
  EXPECT_TRUE(uri) << text << ": " << problems.ToString();
  EXPECT_TRUE(problems.empty());
  return uri.value_or(DatasetUri());
}

TEST(DatasetUri, MockHasDocumentedDefaults) {
  DatasetUri uri = Parse("mock://random_data");
  EXPECT_EQ(uri.kind, Kind::kMock);
  EXPECT_EQ(uri.samples, 1000);
  EXPECT_EQ(uri.test_samples, 200);
  EXPECT_EQ(uri.features, 10);
  EXPECT_EQ(uri.classes, 10);
  EXPECT_EQ(uri.seed, 0u);
  EXPECT_EQ(uri.noise, 0.5);
  EXPECT_EQ(uri.text, "mock://random_data");
}

TEST(DatasetUri, MockTakesEachParameter) {
  DatasetUri uri =
      Parse("mock://random_data?samples=5&test_samples=0&features=3&classes=2&seed=9&noise=0.25");
  EXPECT_EQ(uri.samples, 5);
  EXPECT_EQ(uri.test_samples, 0);
  EXPECT_EQ(uri.features, 3);
  EXPECT_EQ(uri.classes, 2);
  EXPECT_EQ(uri.seed, 9u);
  EXPECT_EQ(uri.noise, 0.25);
  DatasetInfo info = MockInfo(uri);
  EXPECT_EQ(info.sample_shape, std::vector<int64_t>{3});
  EXPECT_EQ(info.train_samples, 5);
  EXPECT_EQ(info.classes, 2);
  EXPECT_EQ(info.bytes_in_memory, 5 * (3 * 4 + 8));
}

TEST(DatasetUri, FilesAreToldApartByName) {
  DatasetUri folder = Parse("file:///usr/share/datasets/fashion-mnist");
  EXPECT_EQ(folder.kind, Kind::kIdxFolder);
  EXPECT_EQ(folder.path, "/usr/share/datasets/fashion-mnist");
  DatasetUri pair = Parse("file:///d/images-idx3-ubyte.gz?labels=/d/labels-idx1-ubyte.gz");
  EXPECT_EQ(pair.kind, Kind::kIdxPair);
  EXPECT_EQ(pair.labels_path, "/d/labels-idx1-ubyte.gz");
  DatasetUri csv = Parse("file:///d/iris.csv?label=species&header=true");
  EXPECT_EQ(csv.kind, Kind::kCsv);
  EXPECT_EQ(csv.label_column, "species");
  EXPECT_EQ(csv.has_header, true);
  EXPECT_EQ(Parse("file:///d/IRIS.CSV.GZ").kind, Kind::kCsv);
  EXPECT_EQ(Parse("file:///d/iris.csv").has_header, std::nullopt);
  EXPECT_EQ(Parse("file://localhost/d/x").path, "/d/x");
}

TEST(DatasetUri, PercentCodesAreDecoded) {
  EXPECT_EQ(Parse("file:///my%20data/a%3Fb%25").path, "/my data/a?b%");
  EXPECT_EQ(Parse("file:///my data/ü").path, "/my data/ü");
  EXPECT_EQ(Parse("file:///t.csv?label=a%26b%3dc+d").label_column, "a&b=c+d");
}

TEST(DatasetUri, WrongOnesAreRefusedWithWhatToDo) {
  for (auto [text, says] : std::initializer_list<std::pair<std::string, const char*>>{
           {"", "names no data set"},
           {"/data/x", "write file:///data/x"},
           {"s3://bucket/x", "no known kind"},
           {"file://data/x", "three slashes"},
           {"file:///a%2", "% code"},
           {"file:///a%zz", "% code"},
           {"file:///a%00b", "% code"},
           {"mock://random", "write mock://random_data"},
           {"mock://random_data?sample=3", "did you mean 'samples'?"},
           {"mock://random_data?samples=-3", "found -3"},
           {"mock://random_data?samples=1e3", "write 1000"},
           {"mock://random_data?samples=99999999999999999999", "out of range"},
           {"mock://random_data?noise=nan", "not a finite number"},
           {"mock://random_data?classes=1", "from 2 to"},
           {"mock://random_data?samples=10000000&features=1000", "at most 4.0 GiB"},
           {"mock://random_data?classes=100000&features=10000", "at most 4.0 GiB"},
           {"mock://random_data?samples", "name=value"},
           {"mock://random_data?seed=1&seed=1", "twice"},
           {"file:///d/images?labels=labels", "not an absolute path"},
           {"file:///d/images?label=x", "ends in .csv"},
           {"file:///d/x.csv?labels=/y", "label="},
           {"file:///d/x.csv?header=maybe", "true or false"},
           {"file:///a\nb", "control characters"},
           {"file:///\xff", "plain text"},
           {"file:///" + std::string(5000, 'a'), "at most 4096"},
       }) {
    Problems problems;
    EXPECT_FALSE(ParseDatasetUri(text, &problems)) << text;
    EXPECT_TRUE(SaysOnly(problems, "$.dataset", says)) << text;
  }
}

}  // namespace
}  // namespace cyxwiz::spec
