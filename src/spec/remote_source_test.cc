#include "spec/remote_source.h"

#include "spec/dataset.h"
#include "spec/job_file.h"
#include "spec/test_support.h"

namespace cyxwiz::spec {
namespace {

using Kind = DatasetUri::Kind;

const std::string kHash(64, 'a'), kOther(64, 'b');

DatasetUri Parse(const std::string& text) {
  Problems problems;
  auto uri = ParseDatasetUri(text, &problems);
  EXPECT_TRUE(uri) << text << ": " << problems.ToString();
  return uri.value_or(DatasetUri());
}

Problems ProblemsOf(const std::string& text) {
  Problems problems;
  EXPECT_FALSE(ParseDatasetUri(text, &problems)) << text;
  return problems;
}

TEST(RemoteUri, OfHttpsTheParametersFollowTheHash) {
  const DatasetUri uri =
      Parse("https://h.example:8443/d/t.csv?token=a%26b&v=2#label=rent&test_split=0.2");
  EXPECT_TRUE(uri.fetched());
  EXPECT_TRUE(uri.delivered());
  EXPECT_FALSE(uri.stored());
  EXPECT_EQ(uri.kind, Kind::kTable);
  EXPECT_EQ(uri.path, "t.csv");
  EXPECT_EQ(uri.table.label, "rent");
  EXPECT_EQ(uri.test_split.ratio, 0.2);
  EXPECT_EQ(uri.remote.files,
            (std::vector<RemoteFile>{
                {.url = "https://h.example:8443/d/t.csv?token=a%26b&v=2", .name = "t.csv"}}));
}

TEST(RemoteUri, OfS3TheyFollowTheQuestionMark) {
  const DatasetUri uri = Parse("s3://my.bucket/a b/t%2B1.tsv?label=x&sha256=" + kHash);
  EXPECT_EQ(uri.path, "t+1.tsv");
  EXPECT_EQ(uri.table.delimiter, '\t');
  EXPECT_EQ(uri.table.label, "x");
  ASSERT_EQ(uri.remote.files.size(), 1u);
  EXPECT_EQ(uri.remote.files[0].url, "s3://my.bucket/a%20b/t%2B1.tsv");
  EXPECT_EQ(uri.remote.files[0].sha256, kHash);
}

TEST(RemoteUri, SingleFilesAreToldApartByNameOrFormat) {
  for (const auto& [text, kind] : std::initializer_list<std::pair<const char*, Kind>>{
           {"https://h/t.csv.gz", Kind::kTable},
           {"https://h/x.npz", Kind::kNpz},
           {"https://h/x.safetensors", Kind::kSafetensors},
           {"https://h/x.txt", Kind::kText},
           {"https://h/download?id=7#format=csv", Kind::kTable},
           {"s3://bucket/key?format=npz", Kind::kNpz}}) {
    const DatasetUri uri = Parse(text);
    EXPECT_EQ(uri.kind, kind) << text;
    EXPECT_EQ(uri.remote.files.size(), 1u) << text;
  }
  // What cannot be a file's name becomes one of ours.
  EXPECT_EQ(Parse("https://h/..%2f..%2fetc%2fpasswd#format=csv").path, "data");
  EXPECT_EQ(Parse("https://h/.ssh#format=csv").path, "data");
}

TEST(RemoteUri, ArchivesOfAWebDatasetAreOneFileOrAPattern) {
  DatasetUri uri = Parse("https://h/d/train-{09..11}.tar?k=1#size=32&sha256=train-10.tar:" + kHash);
  EXPECT_EQ(uri.kind, Kind::kWebDataset);
  EXPECT_EQ(uri.path, "train-{09..11}.tar");
  EXPECT_EQ(uri.remote.files,
            (std::vector<RemoteFile>{
                {.url = "https://h/d/train-09.tar?k=1", .name = "train-09.tar"},
                {.url = "https://h/d/train-10.tar?k=1", .name = "train-10.tar", .sha256 = kHash},
                {.url = "https://h/d/train-11.tar?k=1", .name = "train-11.tar"}}));
  uri = Parse("s3://bucket/d/train-{0..1}.tar");
  ASSERT_EQ(uri.remote.files.size(), 2u);
  EXPECT_EQ(uri.remote.files[1].url, "s3://bucket/d/train-1.tar");
  uri = Parse("https://h/d/train.tar");
  EXPECT_EQ(uri.kind, Kind::kWebDataset);
  EXPECT_EQ(uri.remote.files.size(), 1u);
  ProblemsOf("https://h/d/train-{3..1}.tar");
  ProblemsOf("https://h/d/table-{1..3}.csv");
}

TEST(RemoteUri, LabelsAreAUrlOrAFileBesideTheFeatures) {
  DatasetUri uri = Parse("https://h/a/x.npy?k=1#labels=y.npy&sha256=x.npy:" + kHash);
  EXPECT_EQ(uri.kind, Kind::kNpy);
  EXPECT_EQ(uri.labels_path, "y.npy");
  EXPECT_EQ(
      uri.remote.files,
      (std::vector<RemoteFile>{{.url = "https://h/a/x.npy?k=1", .name = "x.npy", .sha256 = kHash},
                               {.url = "https://h/a/y.npy?k=1", .name = "y.npy"}}));
  uri = Parse("https://h/images#labels=https%3A%2F%2Fother%2Fimages%3Fa%3D1");
  EXPECT_EQ(uri.kind, Kind::kIdxPair);
  EXPECT_EQ(uri.path, "images");
  EXPECT_EQ(uri.labels_path, "labels/images");
  EXPECT_EQ(uri.remote.files[1].url, "https://other/images?a=1");
  EXPECT_TRUE(SaysOnly(ProblemsOf("https://h/x.npy"), "$.dataset", "is missing"));
  for (const char* labels : {"s3://bucket/y.npy", "/etc/passwd", "../y.npy", "https://h/y/", ""}) {
    EXPECT_TRUE(SaysOnly(ProblemsOf("https://h/x.npy#labels=" + std::string(labels)), "$.dataset",
                         "no file that goes with the features"))
        << labels;
  }
}

TEST(RemoteUri, AFolderOfIdxFilesHasKnownNames) {
  const DatasetUri uri = Parse("https://h/mnist/?sig=1#normalize=true");
  EXPECT_EQ(uri.kind, Kind::kIdxFolder);
  EXPECT_EQ(uri.path, "");
  ASSERT_EQ(uri.remote.files.size(), 4u);
  EXPECT_EQ(uri.remote.files[0],
            (RemoteFile{.url = "https://h/mnist/train-images-idx3-ubyte.gz?sig=1",
                        .name = "train-images-idx3-ubyte.gz",
                        .or_unpacked = true}));
  EXPECT_TRUE(uri.remote.files[3].optional);
  // With a hash it is clear which one is meant, and that it is there.
  const DatasetUri given = Parse("s3://bucket/mnist/?sha256=train-images-idx3-ubyte:" + kHash +
                                 ",t10k-labels-idx1-ubyte.gz:" + kOther);
  EXPECT_EQ(given.remote.files[0], (RemoteFile{.url = "s3://bucket/mnist/train-images-idx3-ubyte",
                                               .name = "train-images-idx3-ubyte",
                                               .sha256 = kHash}));
  EXPECT_EQ(given.remote.files[3].sha256, kOther);
  EXPECT_FALSE(given.remote.files[3].optional);
  EXPECT_TRUE(given.remote.files[2].optional);
}

TEST(RemoteUri, ImagesAreListedAndOnlyS3CanDoThat) {
  const DatasetUri uri = Parse("s3://bucket/photos/?format=images&size=8&sha256=a/1.png:" + kHash);
  EXPECT_TRUE(uri.fetched());
  EXPECT_TRUE(uri.remote.lists());
  EXPECT_EQ(uri.path, "");
  EXPECT_EQ(uri.remote.sha256.at("a/1.png"), kHash);
  EXPECT_TRUE(SaysOnly(ProblemsOf("https://h/photos/#format=images"), "$.dataset",
                       "only s3:// can tell what a folder holds"));
  EXPECT_TRUE(
      SaysOnly(ProblemsOf("s3://bucket/photos?format=images"), "$.dataset", "with '/' at its end"));
}

TEST(RemoteUri, PreparedDataHasItsPartsBeside) {
  const DatasetUri uri = Parse("https://h/p/dataset.json#flip=true");
  EXPECT_EQ(uri.kind, Kind::kPrepared);
  ASSERT_EQ(uri.remote.files.size(), 3u);
  EXPECT_EQ(uri.remote.files[1].url, "https://h/p/train.safetensors");
  EXPECT_FALSE(uri.remote.files[1].optional);
  EXPECT_TRUE(uri.remote.files[2].optional);
}

TEST(RemoteUri, WhatIsNoneIsRefused) {
  for (const auto& [text, part] : std::initializer_list<std::pair<const char*, const char*>>{
           {"https://", "names no host"},
           {"https:///x.csv", "names no host"},
           {"https://h:0/x.csv", "names no host"},
           {"https://h:65536/x.csv", "names no host"},
           {"https://h:+1/x.csv", "names no host"},
           {"https://[::1/x.csv", "names no host"},
           {"https://a b/x.csv", "names no host"},
           {"https://user:hunter2@h/x.csv", "a user or a password"},
           {"https://h", "path of the URL"},
           {"https://h/", "path of the URL"},
           {"https://h/a b.csv", "path of the URL"},
           {"https://h/a\\b.csv", "path of the URL"},
           {"https://h/%zz.csv", "path of the URL"},
           {"https://h/\xc3\xa9.csv", "path of the URL"},
           {"https://h/x.csv?a=\"", "path of the URL"},
           {"s3://b/x.csv", "names no bucket"},
           {"s3://-bucket/x.csv", "names no bucket"},
           {"s3://a..b/x.csv", "names no bucket"},
           {"s3://bucket", "path of the URL"},
           {"https://h/archive.zip", "does not tell what the file is"},
           {"https://h/d/#format=csv", "that of a folder"},
           {"https://h/t.csv#labe=x", "label"},
           {"https://h/t.csv#sha256=abc", "sha256 is no hash"},
           {"ftp://h/t.csv", "of no known kind"},
       }) {
    const Problems problems = ProblemsOf(text);
    EXPECT_NE(problems.ToString().find(part), std::string::npos) << text << "\n"
                                                                 << problems.ToString();
    EXPECT_EQ(problems.ToString().find("hunter2"), std::string::npos) << problems.ToString();
  }
  EXPECT_TRUE(SaysOnly(ProblemsOf("https://h/x.npy#labels=y.npy&sha256=" + kHash), "$.dataset",
                       "names no file, and there are several"));
  EXPECT_TRUE(SaysOnly(ProblemsOf("https://h/x.npy#labels=y.npy&sha256=z.npy:" + kHash),
                       "$.dataset", "a file that is not fetched"));
}

TEST(RemoteUri, ParametersInTheQueryOfAUrlAreAskedAbout) {
  const Problems problems = ProblemsOf("https://h/t.csv?label=rent");
  EXPECT_TRUE(SaysOnly(problems, "$.dataset", "parameters of the data set follow '#'"));
  EXPECT_EQ(problems.list().front().expected, "https://HOST/PATH#label=rent");
  EXPECT_EQ(Parse("https://h/t.csv?label=rent#").remote.files[0].url, "https://h/t.csv?label=rent");
  EXPECT_EQ(Parse("https://h/t.csv?token=label").table.label, "");
  for (const char* name :
       {"label",    "label_type",   "labels",      "header",       "delimiter", "columns",
        "ignore",   "size",         "categorical", "encoding",     "missing",   "channels",
        "features", "flip",         "crop",        "split_column", "normalize", "sequence_length",
        "format",   "test_split",   "split",       "split_seed",   "normalise", "sha256",
        "mixup",    "brightness",   "contrast",    "saturation",   "hue",       "stream",
        "window",   "stream_memory"}) {
    EXPECT_TRUE(SaysOnly(ProblemsOf(std::string("https://h/t.csv?a=b&") + name + "=1"), "$.dataset",
                         "parameters of the data set follow '#'"))
        << name;
  }
  EXPECT_EQ(Parse("https://h/t.csv?samples=3&token=1").path, "t.csv") << "samples are of no file";
}

TEST(RemoteUri, IdentityIsThatOfWhatIsFetched) {
  auto identity = [](const std::string& text) { return Parse(text).remote.Identity(); };
  EXPECT_EQ(identity("https://h/t.csv#label=a"), identity("https://h/t.csv#label=b"));
  EXPECT_NE(identity("https://h/t.csv"), identity("https://h/t.csv?x=1"));
  EXPECT_NE(identity("https://h/t.csv"), identity("https://h/t.csv#sha256=" + kHash));
  EXPECT_NE(identity("https://h/x.npy#labels=y.npy"), identity("https://h/x.npy#labels=z.npy"));
}

TEST(RemoteUri, AQueryIsNotShown) {
  EXPECT_EQ(WithoutQuery("https://h/t.csv?sig=secret"), "https://h/t.csv?...");
  EXPECT_EQ(WithoutQuery("https://h/t.csv"), "https://h/t.csv");
  const Problems problems = ProblemsOf("https://h/archive.zip?sig=secret#");
  EXPECT_EQ(problems.ToString().find("secret"), std::string::npos) << problems.ToString();
}

TEST(JobFileDataset, HasTheHashesBesideTheUri) {
  auto uri_of = [](const std::string& dataset, Problems* problems) {
    auto file = ParseJobFile(
        R"({"model": {"layers": [{"type": "dense", "units": 2}]}, "dataset": )" + dataset + "}",
        problems);
    return file ? file->description.dataset_uri : "";
  };
  Problems problems;
  EXPECT_EQ(uri_of(R"({"uri": "https://h/t.csv", "sha256": ")" + kHash + "\"}", &problems),
            "https://h/t.csv#sha256=" + kHash);
  EXPECT_EQ(uri_of(R"({"uri": "https://h/t.csv#label=a", "sha256": ")" + kHash + "\"}", &problems),
            "https://h/t.csv#label=a&sha256=" + kHash);
  EXPECT_EQ(uri_of(R"({"uri": "s3://bucket/x.npy?labels=y.npy", "sha256": {"x.npy": ")" + kHash +
                       R"(", "y.npy": ")" + kOther + "\"}}",
                   &problems),
            "s3://bucket/x.npy?labels=y.npy&sha256=x.npy:" + kHash + ",y.npy:" + kOther);
  EXPECT_TRUE(problems.empty()) << problems.ToString();
  EXPECT_EQ(uri_of(R"({"uri": "file:///t.csv", "sha256": ")" + kHash + "\"}", &problems), "");
  EXPECT_TRUE(SaysOnly(problems, "$.dataset.sha256", "is for what is fetched"));
  Problems wrong;
  EXPECT_EQ(uri_of(R"({"uri": "https://h/t.csv", "sha256": 5})", &wrong), "");
  EXPECT_TRUE(SaysOnly(wrong, "$.dataset.sha256", "is no hash"));
  // No way to slip in other parameters.
  Problems none;
  EXPECT_EQ(uri_of(R"({"uri": "https://h/t.csv", "sha256": "a&label=x"})", &none),
            "https://h/t.csv#sha256=a%26label%3Dx");
}

}  // namespace
}  // namespace cyxwiz::spec
