#include "data/preparation.h"

#include "data/testing.h"

namespace cyxwiz::data {
namespace {

class PreparationTest : public DataTest {
 protected:
  // What a training on the data of that URI leaves for others.
  Preparation Learn(const std::string& uri) {
    Dataset dataset = LoadOk(Uri(uri));
    const bool bytes = std::holds_alternative<std::vector<uint8_t>>(dataset.train.features);
    Json json{{"input",
               {{"type", bytes ? "uint8" : "float32"},
                {"divisor", bytes ? dataset.train.scale.divisor : 1.0f}}},
              {"data", dataset.details}};
    Result<Preparation> read = ReadPreparation(json.dump());
    EXPECT_TRUE(read.ok()) << read.status();
    return read.ok() ? *read : Preparation();
  }
  Result<Dataset> LoadFor(const Preparation& preparation, const std::string& uri) {
    Loader loader(roots(), preparation);
    return loader.Take(Uri(uri));
  }
  Dataset LoadOkFor(const Preparation& preparation, const std::string& uri) {
    Result<Dataset> dataset = LoadFor(preparation, uri);
    EXPECT_TRUE(dataset.ok()) << dataset.status();
    return dataset.ok() ? std::move(*dataset) : Dataset();
  }
  void ExpectRefused(const Preparation& preparation, const std::string& uri,
                     const std::string& part) {
    Result<Dataset> dataset = LoadFor(preparation, uri);
    ASSERT_FALSE(dataset.ok());
    EXPECT_NE(dataset.status().message().find(part), std::string::npos) << dataset.status();
  }
};

TEST_F(PreparationTest, OtherDataIsScaledAsThatOfTheTraining) {
  Write("a.csv", "x,y\n1,0\n3,1\n");  // mean 2, deviation 1
  Write("b.csv", "x,y\n12,0\n2,1\n");
  Preparation preparation = Learn("file://{}/a.csv?normalize=true");
  // Whether the URI says so again or not.
  for (const char* parameters : {"", "?normalize=true"}) {
    Dataset dataset = LoadOkFor(preparation, std::string("file://{}/b.csv") + parameters);
    EXPECT_EQ(Floats(dataset.train), (std::vector<float>{10, 0})) << parameters;
  }
  // The bits of the training itself.
  Dataset trained = LoadOk(Uri("file://{}/a.csv?normalize=true"));
  EXPECT_EQ(Floats(LoadOkFor(preparation, "file://{}/a.csv").train), Floats(trained.train));
  ExpectRefused(Learn("file://{}/a.csv"), "file://{}/b.csv?normalize=true", "was not scaled");
}

TEST_F(PreparationTest, DataThatStaysInFilesIsScaledTheSame) {
  auto npy = [](const std::string& descr, const std::string& shape, const std::string& values) {
    const std::string header =
        "{'descr': '" + descr + "', 'fortran_order': False, 'shape': " + shape + ", }\n";
    return std::string("\x93NUMPY\1\0", 8) + static_cast<char>(header.size()) + '\0' + header +
           values;
  };
  const float values[] = {1, 5, 3, 6, 8, -1};
  Write("x.npy", npy("<f4", "(3, 2)", {reinterpret_cast<const char*>(values), sizeof values}));
  Write("y.npy", npy("|u1", "(3,)", std::string("\0\1\1", 3)));
  Write("a.csv", "x,z,y\n1,2,0\n3,6,1\n");
  Preparation preparation = Learn("file://{}/a.csv?normalize=true");
  preparation.columns = Json();
  const std::string uri = "file://{}/x.npy?labels={}/y.npy";
  const Dataset whole = LoadOkFor(preparation, uri);
  EXPECT_EQ(Floats(whole.train), (std::vector<float>{-1, 0.5, 1, 1, 6, -2.5}));
  Loader loader(roots(), preparation);
  const Result<Dataset> streamed = loader.Take(Uri(uri), /*streams=*/true);
  ASSERT_TRUE(streamed.ok()) << streamed.status();
  std::vector<float> rows(6);
  ASSERT_TRUE(
      streamed->train.files->ReadRun(0, 3, 8, reinterpret_cast<uint8_t*>(rows.data())).ok());
  EXPECT_EQ(rows, Floats(whole.train));
}

TEST_F(PreparationTest, ValuesThatAreMissingBecomeThoseOfTheTraining) {
  Write("a.csv", "x,z,y\n1,1,0\n3,1,1\n");
  Write("b.csv", "x,z,y\n,9,0\n100,9,1\n");
  Preparation preparation = Learn("file://{}/a.csv?missing=mean");
  Dataset dataset = LoadOkFor(preparation, "file://{}/b.csv?missing=mean");
  EXPECT_EQ(Floats(dataset.train), (std::vector<float>{2, 9, 100, 9}));
  ExpectRefused(Learn("file://{}/a.csv"), "file://{}/b.csv?missing=mean", "missing values");
}

TEST_F(PreparationTest, LabelsGetTheNumbersOfTheModelsClasses) {
  Write("a.csv", "x,y\n1,cat\n2,dog\n3,fox\n");
  Write("b.csv", "x,y\n1,fox\n2,cat\n");
  Preparation preparation = Learn("file://{}/a.csv");
  Dataset dataset = LoadOkFor(preparation, "file://{}/b.csv");
  EXPECT_EQ(Classes(dataset.train), (std::vector<int64_t>{2, 0}));
  EXPECT_EQ(dataset.info.classes, 3);
  Write("c.csv", "x,y\n1,cow\n2,cat\n");
  ExpectRefused(preparation, "file://{}/c.csv", "does not know the class 'cow'");
  preparation.labels = false;  // of predictions
  LoadOkFor(preparation, "file://{}/c.csv");
}

TEST_F(PreparationTest, ColumnsMustMeanTheSame) {
  Write("a.csv", "x,colour,y\n1,red,0\n2,blue,1\n");
  Write("b.csv", "x,colour,y\n1,red,0\n2,green,1\n");
  Write("c.csv", "colour,x,y\nred,1,0\nblue,2,1\n");
  Preparation preparation = Learn("file://{}/a.csv");
  ExpectRefused(preparation, "file://{}/b.csv", "feature 2 of the table");
  ExpectRefused(preparation, "file://{}/c.csv", "feature 1 of the table");
}

TEST_F(PreparationTest, BytesAreDividedAlike) {
  Preparation preparation;
  preparation.bytes = true;
  preparation.divisor = 1;
  Write("images", Idx({2, 2, 2}));
  Write("labels", Idx({2}, 0, 2));
  ExpectRefused(preparation, "file://{}/images?labels={}/labels", "bytes that are divided by");
}

TEST_F(PreparationTest, WhatIsNoDescriptionIsRefused) {
  for (const char* text :
       {"", "[]", "{}", R"({"input": {"type": "int8", "divisor": 1}})",
        R"({"input": {"type": "uint8", "divisor": 0}})",
        R"({"input": {"type": "uint8", "divisor": 1}, "data": 3})",
        R"({"input": {"type": "uint8", "divisor": 1}, "data": {"normalize": {"mean": [1]}}})",
        R"({"input": {"type": "uint8", "divisor": 1}, "data": {"classes": [1]}})",
        R"({"input": {"type": "uint8", "divisor": 1}, "data": {"fill": ["a"]}})"}) {
    EXPECT_FALSE(ReadPreparation(text).ok()) << text;
  }
}

}  // namespace
}  // namespace cyxwiz::data
