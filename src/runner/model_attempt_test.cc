// Attempts of evaluations and inferences, with models that attempts of trainings have left.
#include <gtest/gtest.h>

#include <cmath>
#include <filesystem>
#include <fstream>
#include <sstream>

#include "base/file.h"
#include "base/safetensors.h"
#include "base/testing.h"
#include "runner/attempt.h"
#include "runner/sha256.h"
#include "spec/model_use.h"

namespace cyxwiz::runner {
namespace {

using End = TrainingResult::End;

class ModelAttempt : public testing::Test {
 protected:
  // Trains, keeping the folder.
  AttemptResult Train(const std::string& layers, const std::string& dataset,
                      std::map<std::string, std::string> hyperparameters = {}) {
    StartMessage start;
    start.job.model_definition = "{\"layers\": " + layers + "}";
    start.job.dataset_uri = dataset;
    start.job.hyperparameters = std::move(hyperparameters);
    start.folder = folder_ / "training";
    start.data_roots = {folder_.path()};
    start.cpu_millis = 1000;
    AttemptResult result = RunAttempt(start, {});
    EXPECT_EQ(result.end, End::kSucceeded) << result.failure.message;
    return result;
  }

  // The job that uses what Train has left, as a server would make it.
  StartMessage Use(spec::JobType type, const std::string& dataset, const std::string& output = "") {
    StartMessage start;
    start.job.type = type;
    start.job.output = output;
    start.job.dataset_uri = dataset;
    start.folder = folder_ / (output.empty() ? "evaluation" : output);
    start.data_roots = {folder_.path()};
    start.cpu_millis = 1000;
    start.weights = "source.safetensors";
    auto model = ReadFile(folder_ / "training/model.json");
    EXPECT_TRUE(model.ok());
    spec::Problems problems;
    spec::TakeModel(*model, &start.job, &problems);
    EXPECT_TRUE(problems.empty()) << problems.ToString();
    start.job.model_from.job_id = "job-1";
    start.job.model_from.model_sha256 = Sha256Of(*model);
    auto hash = HashFile(folder_ / "training/weights.safetensors");
    EXPECT_TRUE(hash.ok());
    start.job.model_from.weights_sha256 = hash->sha256;
    std::filesystem::create_directories(start.folder);
    std::filesystem::copy_file(folder_ / "training/weights.safetensors",
                               start.folder + "/" + start.weights,
                               std::filesystem::copy_options::overwrite_existing);
    return start;
  }
  StartMessage Evaluation(const std::string& dataset) {
    return Use(spec::JobType::kEvaluation, dataset);
  }

  // That an evaluation gives the bits of the training's own.
  void ExpectSame(const std::string& layers, const std::string& dataset,
                  std::map<std::string, std::string> hyperparameters) {
    SCOPED_TRACE(layers);
    AttemptResult trained = Train(layers, dataset, std::move(hyperparameters));
    StartMessage start = Evaluation(dataset);
    AttemptResult evaluated = RunAttempt(start, {});
    ASSERT_EQ(evaluated.end, End::kSucceeded) << evaluated.failure.message;
    EXPECT_EQ(evaluated.files, std::vector<std::string>{"evaluation.json"});
    size_t compared = 0;
    for (const auto& [name, value] : trained.metrics) {
      if (!name.starts_with("test_")) continue;
      ++compared;
      ASSERT_EQ(evaluated.metrics.count(name), 1u) << name;
      EXPECT_EQ(evaluated.metrics.at(name), value) << name;
    }
    EXPECT_GT(compared, 1u);
    EXPECT_EQ(evaluated.metrics.size(), compared + 1) << "and samples_per_second";
    Json json = Json::parse(*ReadFile(start.folder + "/evaluation.json"));
    Json model = Json::parse(*ReadFile(folder_ / "training/model.json"));
    EXPECT_EQ(json["metrics"]["test_loss"], model["metrics"]["test_loss"]);
    EXPECT_EQ(json["part"], "test");
    EXPECT_EQ(json.value("confusion_matrix", Json()), model.value("confusion_matrix", Json()));
  }

  TemporaryFolder folder_;
};

constexpr char kMock[] = "mock://random_data?samples=300&test_samples=111";
constexpr char kMlp[] =
    R"([{"type": "dense", "units": 16, "activation": "relu"}, {"type": "batch_normalization"},
        {"type": "dropout"}, {"type": "dense", "units": 10}])";

TEST_F(ModelAttempt, AnEvaluationHasTheBitsOfTheTrainingsOwn) {
  ExpectSame(kMlp, kMock,
             {{"metrics", "accuracy, top_3_accuracy, precision, f1, perplexity, confusion_matrix"},
              {"class_weights", "balanced"},
              {"label_smoothing", "0.1"},
              {"validation_split", "0.2"},
              {"ema_decay", "0.9"},
              {"epochs", "3"}});
  ExpectSame(kMlp, kMock, {{"precision", "bfloat16"}, {"batch_size", "7"}, {"keep", "best"}});
  ExpectSame(R"([{"type": "dense", "units": 10, "activation": "softmax"}])", kMock,
             {{"class_weights", "1, 2, 3, 4, 5, 6, 7, 8, 9, 0.3"}});
  ExpectSame(R"([{"type": "dense", "units": 1, "activation": "sigmoid"}])",
             "mock://random_data?classes=2&samples=300&test_samples=111",
             {{"loss", "binary_cross_entropy"}, {"metrics", "accuracy, auc, confusion_matrix"}});
  ExpectSame(R"([{"type": "dense", "units": 4}, {"type": "dense", "units": 10}])", kMock,
             {{"loss", "huber"}, {"huber_delta", "0.3"}, {"target", "input"}});
  ExpectSame(R"([{"type": "dense", "units": 10}])", kMock, {{"loss", "mse"}});
}

TEST_F(ModelAttempt, ScaledDataIsScaledByTheTrainingsNumbers) {
  std::ofstream(folder_ / "a.csv") << [] {
    std::ostringstream text;
    text << "x,z,y\n";
    for (int i = 0; i < 60; ++i) {
      text << i << "," << (i % 7 == 0 ? "" : std::to_string(100 * i)) << "," << 3 * i + 1 << ".5\n";
    }
    return text.str();
  }();
  const std::string uri =
      "file://" + folder_.path() + "/a.csv?normalize=true&missing=mean&test_split=0.3&split=end";
  ExpectSame(R"([{"type": "dense", "units": 1}])", uri, {{"loss", "mse"}});
  // The same samples as data of their own: other means, the same predictions.
  const std::string text = *ReadFile(folder_ / "a.csv");
  size_t row = 0;
  for (int i = 0; i < 1 + 42; ++i) row = text.find('\n', row) + 1;
  std::ofstream(folder_ / "b.csv") << "x,z,y\n" << text.substr(row);
  AttemptResult again =
      RunAttempt(Evaluation("file://" + folder_.path() + "/b.csv?missing=mean"), {});
  ASSERT_EQ(again.end, End::kSucceeded) << again.failure.message;
  EXPECT_EQ(Json::parse(*ReadFile(folder_ / "evaluation/evaluation.json"))["part"], "all");
  const Json model = Json::parse(*ReadFile(folder_ / "training/model.json"));
  EXPECT_EQ(again.metrics.at("test_loss"), model["metrics"]["test_loss"].get<double>());
}

TEST_F(ModelAttempt, PredictionsOfAllFormsAgreeWithEachOtherAndTheAccuracy) {
  Train(kMlp, kMock, {{"epochs", "2"}});
  AttemptResult evaluated = RunAttempt(Evaluation(kMock), {});
  std::map<std::string, std::string> files;
  for (const char* form : {"npy", "csv", "jsonl"}) {
    StartMessage start = Use(spec::JobType::kInference, kMock, form);
    AttemptResult result = RunAttempt(start, {});
    ASSERT_EQ(result.end, End::kSucceeded) << result.failure.message;
    ASSERT_EQ(result.files, std::vector<std::string>{std::string("predictions.") + form});
    files[form] = *ReadFile(start.folder + "/" + result.files[0]);
  }
  const size_t values_begin = files["npy"].size() - 111 * 10 * sizeof(float);
  std::istringstream csv(files["csv"]), jsonl(files["jsonl"]);
  std::string row, line;
  std::getline(csv, row);
  EXPECT_EQ(row.substr(0, 29), "sample,class,probability_0,pr");
  data::Roots roots({});
  spec::Problems problems;
  data::Dataset dataset = *data::Load(*spec::ParseDatasetUri(kMock, &problems), roots);
  const auto& labels = std::get<std::vector<int64_t>>(dataset.test.labels);
  int64_t correct = 0;
  for (size_t sample = 0; sample < 111; ++sample) {
    ASSERT_TRUE(std::getline(csv, row) && std::getline(jsonl, line));
    Json json = Json::parse(line);
    std::istringstream cells(row);
    std::string cell;
    std::getline(cells, cell, ',');
    EXPECT_EQ(cell, std::to_string(sample));
    EXPECT_EQ(json["sample"], sample);
    std::getline(cells, cell, ',');
    EXPECT_EQ(cell, json["class"].dump());
    correct += json["class"] == labels[sample];
    double sum = 0;
    for (size_t i = 0; i < 10; ++i) {
      float value = 0;
      std::memcpy(&value, files["npy"].data() + values_begin + (sample * 10 + i) * sizeof value,
                  sizeof value);
      ASSERT_TRUE(std::getline(cells, cell, ','));
      EXPECT_EQ(std::strtof(cell.c_str(), nullptr), value);
      EXPECT_EQ(json["probabilities"][i].get<float>(), value);
      sum += static_cast<double>(value);
    }
    EXPECT_NEAR(sum, 1, 1e-5);
  }
  EXPECT_FALSE(std::getline(csv, row) || std::getline(jsonl, line));
  EXPECT_EQ(static_cast<double>(correct) / 111, evaluated.metrics.at("test_accuracy"));
}

TEST_F(ModelAttempt, PredictionsNeedNoLabelsThatFit) {
  Train(R"([{"type": "dense", "units": 10}])", kMock);
  StartMessage start = Use(spec::JobType::kInference,
                           "mock://random_data?classes=20&samples=40&test_samples=0", "csv");
  AttemptResult result = RunAttempt(start, {});
  ASSERT_EQ(result.end, End::kSucceeded) << result.failure.message;
  const std::string text = *ReadFile(start.folder + "/predictions.csv");
  EXPECT_EQ(std::count(text.begin(), text.end(), '\n'), 41);
  EXPECT_EQ(RunAttempt(Evaluation(start.job.dataset_uri), {}).failure.cause, "user_error");
}

TEST_F(ModelAttempt, DamagedWeightsAreFoundBeforeTheyAreUsed) {
  Train(kMlp, kMock);
  StartMessage start = Evaluation(kMock);
  const std::string path = start.folder + "/" + start.weights;
  std::fstream file(path, std::ios::in | std::ios::out | std::ios::binary);
  file.seekp(-1, std::ios::end);
  file.put('\x55');
  file.close();
  AttemptResult result = RunAttempt(start, {});
  EXPECT_EQ(result.end, End::kFailed);
  EXPECT_EQ(result.failure.cause, "data_unavailable");
  EXPECT_EQ(result.failure.path, "$.model_from");
  EXPECT_NE(result.failure.message.find("damaged"), std::string::npos) << result.failure.message;
  std::filesystem::remove(path);
  EXPECT_EQ(RunAttempt(start, {}).failure.cause, "data_unavailable");
}

TEST_F(ModelAttempt, WeightsOfAnotherModelAreRefused) {
  Train(kMlp, kMock);
  StartMessage start = Evaluation(kMock);
  Train(R"([{"type": "dense", "units": 10}])", kMock);
  StartMessage other = Evaluation(kMock);  // the file is the other one's now
  start.job.model_from.weights_sha256 = other.job.model_from.weights_sha256;
  AttemptResult result = RunAttempt(start, {});
  EXPECT_EQ(result.failure.cause, "user_error");
  EXPECT_NE(result.failure.message.find("not those of the model"), std::string::npos)
      << result.failure.message;
}

TEST_F(ModelAttempt, ItStopsAndYieldsWithinABatchAndLeavesNothing) {
  const std::string many = "mock://random_data?samples=100&test_samples=20000";
  Train(kMlp, many);
  for (Directive asked : {Directive::kStop, Directive::kYield}) {
    StartMessage start = Use(spec::JobType::kInference, many, "npy");
    AttemptHooks hooks;
    int asks = 0, reports = 0;
    hooks.asked = [&] { return ++asks > 3 ? asked : Directive::kGoOn; };
    hooks.progress = [&](const Progress& progress) {
      ++reports;
      EXPECT_GT(progress.part, 0);
      EXPECT_LT(progress.part, 1);
      EXPECT_EQ(progress.epochs, 0);
    };
    AttemptResult result = RunAttempt(start, hooks);
    EXPECT_EQ(result.end, asked == Directive::kStop ? End::kStopped : End::kYielded);
    EXPECT_EQ(asks, 4);
    EXPECT_GE(reports, 1);
    EXPECT_FALSE(std::filesystem::exists(start.folder + "/predictions.npy"));
    EXPECT_FALSE(std::filesystem::exists(start.folder + "/predictions.npy.new"));
  }
}

TEST_F(ModelAttempt, AJobWhoseModelNobodyHasLookedUpIsRefused) {
  StartMessage start;
  start.job.type = spec::JobType::kEvaluation;
  start.job.dataset_uri = kMock;
  start.job.model_from.job_id = "job-1";
  start.folder = folder_ / "a";
  AttemptResult result = RunAttempt(start, {});
  EXPECT_EQ(result.failure.cause, "user_error");
  EXPECT_EQ(result.failure.path, "$.model_from");
}

}  // namespace
}  // namespace cyxwiz::runner
