#include "spec/dataset_reference.h"

#include <gtest/gtest.h>

#include "spec/dataset.h"

namespace cyxwiz::spec {
namespace {

TEST(DatasetReference, NamesAVersionAPathAndParameters) {
  Problems problems;
  auto one = ParseDatasetReference("dataset://flats@2/a%20b/c.csv?label=rent&ignore=x", &problems);
  ASSERT_TRUE(one) << problems.ToString();
  EXPECT_EQ(one->name, "flats");
  EXPECT_EQ(one->version, "2");
  EXPECT_EQ(one->path, "a b/c.csv");
  EXPECT_EQ(one->query, "?label=rent&ignore=x");
  EXPECT_EQ(one->FullName(), "flats@2");
  EXPECT_EQ(one->ToUri(), "dataset://flats@2/a%20b/c.csv?label=rent&ignore=x");
  auto newest = ParseDatasetReference("dataset://flats/", &problems);
  ASSERT_TRUE(newest) << problems.ToString();
  EXPECT_EQ(newest->version, "");
  EXPECT_EQ(newest->ToUri(), "dataset://flats");
}

TEST(DatasetReference, WhatIsNoneIsRefused) {
  for (const char* uri :
       {"dataset://", "dataset://@1", "dataset://a b", "dataset://a@", "dataset://-a",
        "dataset://a@1@2", "dataset://a@1/../b", "dataset://a@1/.git/x", "dataset://a@1/%2e%2e/x",
        "dataset://a@1/b%", "dataset://a@1/b//c"}) {
    Problems problems;
    EXPECT_FALSE(ParseDatasetReference(uri, &problems)) << uri;
    ASSERT_EQ(problems.count(), 1u) << uri;
    EXPECT_EQ(problems.list().front().path, "$.dataset");
  }
  EXPECT_FALSE(ParseFullName("a@1/b"));
  EXPECT_FALSE(ParseFullName(""));
}

TEST(DatasetUriOfStored, TakesTheParametersOfFiles) {
  Problems problems;
  auto table = ParseDatasetUri("dataset://flats@2/flats.csv?label=rent&normalize=true", &problems);
  ASSERT_TRUE(table) << problems.ToString();
  EXPECT_TRUE(table->stored());
  EXPECT_EQ(table->stored_as, "flats@2");
  EXPECT_EQ(table->path, "flats.csv");
  EXPECT_EQ(table->kind, DatasetUri::Kind::kTable);
  EXPECT_EQ(table->table.label, "rent");
  EXPECT_TRUE(table->normalize);
  auto arrays = ParseDatasetUri("dataset://a@1/x.npy?labels=sub/y.npy", &problems);
  ASSERT_TRUE(arrays) << problems.ToString();
  EXPECT_EQ(arrays->labels_path, "sub/y.npy");
  auto images = ParseDatasetUri("dataset://photos?format=images&size=8", &problems);
  ASSERT_TRUE(images) << problems.ToString();
  EXPECT_EQ(images->path, "");
  EXPECT_EQ(images->kind, DatasetUri::Kind::kImageFolder);
}

TEST(DatasetUriOfStored, LabelsLieWithinTheDataSet) {
  for (const char* labels : {"/etc/passwd", "../y.npy", "", "a/.x"}) {
    Problems problems;
    EXPECT_FALSE(ParseDatasetUri(std::string("dataset://a@1/x.npy?labels=") + labels, &problems))
        << labels;
    EXPECT_FALSE(problems.empty()) << labels;
  }
}

}  // namespace
}  // namespace cyxwiz::spec
