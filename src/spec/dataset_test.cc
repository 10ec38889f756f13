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
  for (const auto& [text, kind] : std::initializer_list<std::pair<const char*, Kind>>{
           {"file:///d/iris.csv", Kind::kTable},
           {"file:///d/IRIS.CSV.GZ", Kind::kTable},
           {"file:///d/iris.tsv", Kind::kTable},
           {"file:///d/iris?format=csv", Kind::kTable},
           {"file:///d/corpus.txt", Kind::kText},
           {"file:///d/corpus.txt.gz", Kind::kText},
           {"file:///d/corpus.csv?format=text", Kind::kText},
           {"file:///d/x.npy?labels=/d/y.npy", Kind::kNpy},
           {"file:///d/a.npz", Kind::kNpz},
           {"file:///d/a.safetensors", Kind::kSafetensors},
           {"file:///d/photos?format=images", Kind::kImageFolder},
           {"file:///d/x.tar", Kind::kWebDataset},
           {"file:///d/x-{00..17}.tar", Kind::kWebDataset},
           {"file:///d/photos?format=webdataset", Kind::kWebDataset},
           {"file:///d/photos?format=tar", Kind::kWebDataset},
           {"dataset://photos@1/x-{0..3}.tar", Kind::kWebDataset},
           {"file:///d/odd.csv?format=idx", Kind::kIdxFolder}}) {
    EXPECT_EQ(Parse(text).kind, kind) << text;
  }
  EXPECT_EQ(Parse("file://localhost/d/x").path, "/d/x");
}

TEST(DatasetUri, TablesTakeTheirParameters) {
  using Table = TableOptions;
  DatasetUri uri = Parse(
      "file:///d/t.csv?label=species&header=true&delimiter=;&ignore=id,a%20b&categorical=zip"
      "&encoding=index&missing=mean&label_type=classes&split_column=part&normalize=true");
  EXPECT_EQ(uri.table.label, "species");
  EXPECT_EQ(uri.table.has_header, true);
  EXPECT_EQ(uri.table.delimiter, ';');
  EXPECT_EQ(uri.table.ignored, (std::vector<std::string>{"id", "a b"}));
  EXPECT_EQ(uri.table.categorical, std::vector<std::string>{"zip"});
  EXPECT_EQ(uri.table.encoding, Table::Encoding::kIndex);
  EXPECT_EQ(uri.table.missing, Table::Missing::kMean);
  EXPECT_EQ(uri.table.labels, Table::Labels::kClasses);
  EXPECT_EQ(uri.test_split.column, "part");
  EXPECT_TRUE(uri.normalize);
  DatasetUri plain = Parse("file:///d/t.csv");
  EXPECT_EQ(plain.table.has_header, std::nullopt);
  EXPECT_EQ(plain.table.delimiter, ',');
  EXPECT_FALSE(plain.normalize);
  EXPECT_EQ(Parse("file:///d/t.tsv").table.delimiter, '\t');
  EXPECT_EQ(Parse("file:///d/t.csv?delimiter=tab").table.delimiter, '\t');
  EXPECT_EQ(Parse("file:///d/t.csv?columns=a,b").table.columns.size(), 2u);
}

TEST(DatasetUri, SplitsImagesAndTextTakeTheirs) {
  DatasetUri split = Parse("file:///d/t.csv?test_split=0.2&split=stratified&split_seed=7");
  EXPECT_EQ(split.test_split.ratio, 0.2);
  EXPECT_EQ(split.test_split.mode, TestSplit::Mode::kStratified);
  EXPECT_EQ(split.test_split.seed, 7u);
  EXPECT_EQ(Parse("file:///d/t.csv?test_split=0.2").test_split.mode, TestSplit::Mode::kRandom);
  DatasetUri text = Parse("file:///d/t.txt?test_split=0.2&sequence_length=64");
  EXPECT_EQ(text.test_split.mode, TestSplit::Mode::kEnd);
  EXPECT_EQ(text.sequence_length, 64);
  DatasetUri images = Parse("file:///d?format=images&size=24x32&channels=3&flip=true&crop=4");
  EXPECT_EQ(images.images.height, 24);
  EXPECT_EQ(images.images.width, 32);
  EXPECT_EQ(images.images.channels, 3);
  EXPECT_TRUE(images.augmentation.flip);
  EXPECT_EQ(images.augmentation.crop, 4);
  EXPECT_FALSE(images.augmentation.jitters());
  DatasetUri coloured =
      Parse("file:///d?format=images&brightness=0.4&contrast=0.3&saturation=0.2&hue=0.1&mixup=0.8");
  EXPECT_TRUE(coloured.augmentation.jitters());
  EXPECT_FALSE(coloured.augmentation.moves());
  EXPECT_EQ(coloured.augmentation.brightness, 0.4);
  EXPECT_EQ(coloured.augmentation.contrast, 0.3);
  EXPECT_EQ(coloured.augmentation.saturation, 0.2);
  EXPECT_EQ(coloured.augmentation.hue, 0.1);
  EXPECT_EQ(coloured.augmentation.mixup, 0.8);
  EXPECT_EQ(Parse("file:///d/x.csv?mixup=1").augmentation.mixup, 1);
  EXPECT_EQ(Parse("file:///d?format=images&size=16").images.width, 16);
  const DatasetUri shards =
      Parse("file:///d/x.tar?size=16&label=y&stream=true&window=100&stream_memory=2MiB");
  EXPECT_EQ(shards.images.width, 16);
  EXPECT_EQ(shards.label_source, "y");
  EXPECT_EQ(shards.stream.wanted, true);
  EXPECT_EQ(shards.stream.window, 100);
  EXPECT_EQ(shards.stream.memory_bytes, 2 << 20);
  EXPECT_FALSE(Parse("file:///d/x.tar").stream.wanted.has_value());
  EXPECT_EQ(Parse("file:///d/x.tar?label=.TXT").label_source, ".txt");
  EXPECT_EQ(Parse("file:///d/x.tar?label_type=numbers").table.labels,
            TableOptions::Labels::kNumbers);
  EXPECT_EQ(Parse("file:///d/a.npz?features=x&labels=y").labels_name, "y");
  for (const char* text :
       {"file:///d/a.npz?stream=true", "file:///d/a.npy?labels=/b.npy&stream=true",
        "file:///d?stream=true", "file:///d/x?labels=/y&stream=true",
        "file:///d/a.safetensors?stream=true", "file:///d?format=images&stream=true",
        "file:///d/dataset.json?stream=true"})
    EXPECT_EQ(Parse(text).stream.wanted, true) << text;
}

TEST(DatasetUri, PercentCodesAreDecoded) {
  EXPECT_EQ(Parse("file:///my%20data/a%3Fb%25").path, "/my data/a?b%");
  EXPECT_EQ(Parse("file:///my data/ü").path, "/my data/ü");
  EXPECT_EQ(Parse("file:///t.csv?label=a%26b%3dc+d").table.label, "a&b=c+d");
}

TEST(DatasetUri, WrongOnesAreRefusedWithWhatToDo) {
  for (auto [text, says] : std::initializer_list<std::pair<std::string, const char*>>{
           {"", "names no data set"},
           {"/data/x", "write file:///data/x"},
           {"gs://bucket/x", "no known kind"},
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
           {"file:///d/x.csv?delimiter=ab", "cannot separate cells"},
           {"file:///d/x.csv?delimiter=1", "cannot separate cells"},
           {"file:///d/x.csv?delimiter=%22", "cannot separate cells"},
           {"file:///d/x.csv?columns=a,,b", "a name that is empty"},
           {"file:///d/x.csv?columns=a&ignore=b", "does not go with columns"},
           {"file:///d/x.csv?missing=guess", "one of refuse, mean, zero, skip"},
           {"file:///d/x.csv?sequence_length=3", "ends in .txt"},
           {"file:///d/x.csv?flip=true", "format=images"},
           {"file:///d/x.csv?hue=0.1", "format=images"},
           {"file:///d/x.tar?labels=/y", "beside it"},
           {"file:///d/x.csv?stream=true", "ends in .tar"},
           {"file:///d/x.tar?label=.", "such as .cls or .txt"},
           {"file:///d/x.tar?label=.npy", "such as .cls or .txt"},
           {"file:///d/x.tar?label=.json", "the name of a member of the .json"},
           {"file:///d/x.tar?label=.a.b", "such as .cls or .txt"},
           {"file:///d/x.npy?labels=/y.npy&label_type=numbers", "ends in .csv"},
           {"file:///d/x.tar?window=0", "from 1 to 16777216"},
           {"file:///d/x.tar?stream_memory=much", "such as 256MiB"},
           {"file:///d/x.tar?stream_memory=8GiB", "such as 256MiB"},
           {"file:///d/x.tar?header=true", "ends in .csv"},
           {"file:///d/x-{3..0}.tar", "train-{000..146}.tar"},
           {"file:///d/x-{0..9999999}.tar", "at most 10000 numbers"},
           {"file:///d/x.txt?mixup=0.1", "format=images"},
           {"file:///d?format=images&hue=0.6", "from 0 to 0.5"},
           {"file:///d?format=images&brightness=-1", "from 0 to 10"},
           {"file:///d?format=images&mixup=5", "from 0 to 4"},
           {"file:///d/x.csv?test_split=1", "out of range"},
           {"file:///d/x.csv?split=end", "add test_split=0.2"},
           {"file:///d/x.csv?split_column=a&test_split=0.5", "does not go with split_column"},
           {"file:///d/x.csv?format=parquet", "one of csv, tsv, text, npy, npz"},
           {"file:///d/x.txt?sequence_length=0", "from 1 to 65536"},
           {"file:///d/x.txt?labels=/y", "the one after it"},
           {"file:///d/x.txt?test_split=0.5&split=stratified", "end or random"},
           {"file:///d/x.npy", "labels is missing"},
           {"file:///d/x.npy?labels=y.npy", "not an absolute path"},
           {"file:///d?format=images&size=0x3", "is not a size"},
           {"file:///d?format=images&size=32x", "is not a size"},
           {"file:///d?format=images&size=99999", "is not a size"},
           {"file:///d?format=images&channels=2", "1 (gray) or 3"},
           {"file:///d/x.npz?size=3", "format=images"},
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
