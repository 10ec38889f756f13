#include "spec/model_use.h"

#include "spec/estimate.h"
#include "spec/job_file.h"
#include "spec/test_support.h"

namespace cyxwiz::spec {
namespace {

const std::string kHash(64, 'a');

JobDescription Evaluation() {
  JobDescription job;
  job.type = JobType::kEvaluation;
  job.model_from.job_id = "job-1";
  job.dataset_uri = "mock://random_data";
  return job;
}

JobDescription Inference(const std::string& output = "csv") {
  JobDescription job = Evaluation();
  job.type = JobType::kInference;
  job.output = output;
  return job;
}

// As a training with these hyperparameters would leave it.
Json ModelFile(std::map<std::string, std::string> hyperparameters = {}) {
  JobDescription job = Job(R"({"layers": [{"type": "dense", "units": 10}]})");
  job.hyperparameters = std::move(hyperparameters);
  auto [spec, problems] = Check(job, std::nullopt);
  if (!spec) return {};
  return {{"format", "cyxwiz-model"},
          {"version", 1},
          {"model", ModelToJson(spec->model)},
          {"training", TrainingToJson(spec->training)},
          {"input", {{"type", "float32"}, {"divisor", 1}}}};
}

// The problems of a job whose model has not been looked up.
Problems ProblemsOf(const JobDescription& job) {
  Problems problems;
  EXPECT_FALSE(CheckJob(job, nullptr, &problems));
  return problems;
}

TEST(ModelUse, AJobIsRightBeforeItsModelIsKnown) {
  EXPECT_TRUE(ProblemsOf(Evaluation()).empty()) << ProblemsOf(Evaluation()).ToString();
  EXPECT_TRUE(ProblemsOf(Inference()).empty());
  JobDescription job = Inference("npy");
  job.model_from = {"", kHash, kHash, 0, ""};
  job.hyperparameters = {{"batch_size", "8"}, {"threads", "2"}};
  EXPECT_TRUE(ProblemsOf(job).empty());
  job = Evaluation();
  job.hyperparameters = {{"metrics", "f1, confusion_matrix"}};
  EXPECT_TRUE(ProblemsOf(job).empty());
}

TEST(ModelUse, AllThatIsWrongIsToldAtOnce) {
  JobDescription job = Evaluation();
  job.model_from.job_id = "../x";
  job.output = "csv";
  job.epochs = 3;
  job.dataset_uri = "nowhere";
  job.requested.cpu_millis = -1;
  job.hyperparameters = {{"learning_rate", "0.1"}, {"loss", "mse"}, {"threads", "-3"}};
  Problems problems = ProblemsOf(job);
  EXPECT_EQ(problems.count(), 8u) << problems.ToString();
  EXPECT_TRUE(Says(problems, "$.model_from", "no valid id"));
  EXPECT_TRUE(Says(problems, "$.output", "only inferences"));
  EXPECT_TRUE(Says(problems, "$.epochs", "has no epochs"));
  EXPECT_TRUE(Says(problems, "$.resources.cpus", "-1"));
  EXPECT_TRUE(Says(problems, "$.hyperparameters.learning_rate", "means nothing to an evaluation"));
  EXPECT_TRUE(Says(problems, "$.hyperparameters.loss", "means nothing to an evaluation"));
  EXPECT_TRUE(Says(problems, "$.hyperparameters.threads", "-3"));
}

TEST(ModelUse, TheModelMustBeNamedOnce) {
  JobDescription job = Evaluation();
  job.model_from = {};
  EXPECT_TRUE(SaysOnly(ProblemsOf(job), "$.model_from", "which model?"));
  job.model_from = {"job-1", kHash, kHash, 0, ""};
  EXPECT_TRUE(SaysOnly(ProblemsOf(job), "$.model_from", "a job and files"));
  job.model_from = {"", kHash, "short", 0, ""};
  EXPECT_TRUE(SaysOnly(ProblemsOf(job), "$.model_from.weights", "64 hexadecimal digits"));
  job.model_from = {"", "", kHash, 0, ""};
  EXPECT_TRUE(SaysOnly(ProblemsOf(job), "$.model_from.model", "found nothing"));
}

TEST(ModelUse, PredictionsNeedAForm) {
  EXPECT_TRUE(SaysOnly(ProblemsOf(Inference("")), "$.output", "missing"));
  EXPECT_TRUE(SaysOnly(ProblemsOf(Inference("json")), "$.output", "did you mean"));
  JobDescription job = Inference();
  job.hyperparameters["metrics"] = "f1";
  EXPECT_TRUE(SaysOnly(ProblemsOf(job), "$.hyperparameters.metrics", "an inference"));
}

TEST(ModelUse, ATrainingHasNoneOfIt) {
  JobDescription job = Job(R"({"layers": [{"type": "dense", "units": 10}]})");
  job.model_from.job_id = "job-1";
  job.output = "csv";
  Problems problems = Check(job).problems;
  EXPECT_TRUE(Says(problems, "$.model_from", "only evaluations and inferences"));
  EXPECT_TRUE(Says(problems, "$.output", "only inferences"));
}

TEST(ModelUse, TheTakenModelIsThatOfTheTraining) {
  Json file = ModelFile({{"loss", "cross_entropy"},
                         {"label_smoothing", "0.1"},
                         {"class_weights", "balanced"},
                         {"metrics", "accuracy, top_3_accuracy"},
                         {"batch_size", "7"},
                         {"precision", "bfloat16"},
                         {"optimizer", "sgd"},
                         {"epochs", "9"}});
  file["class_weights"] = {0.1f, 1, 1, 1, 1, 1, 1, 1, 1, 2.5f};
  file["data"] = {{"normalize", {{"mean", {1}}, {"deviation", {2}}}}};
  JobDescription job = Evaluation();
  Problems problems;
  TakeModel(file.dump(), &job, &problems);
  ASSERT_TRUE(problems.empty()) << problems.ToString();
  EXPECT_EQ(Json::parse(job.model_from.data)["data"], file["data"]);
  // It survives its way to the node.
  auto travelled = JobDescription::FromJson(Json::parse(job.ToJson().dump()));
  ASSERT_TRUE(travelled.ok()) << travelled.status();
  auto [spec, wrong] = Check(*travelled, std::nullopt);
  ASSERT_TRUE(spec) << wrong.ToString();
  EXPECT_EQ(spec->type, JobType::kEvaluation);
  EXPECT_EQ(spec->model.parameters, 110);
  EXPECT_EQ(spec->training.loss, Loss::kCrossEntropy);
  EXPECT_EQ(spec->training.label_smoothing, 0.1);
  EXPECT_EQ(spec->training.batch_size, 7);
  EXPECT_EQ(spec->training.precision, Precision::kFloat32) << "whatever it was trained in";
  ASSERT_EQ(spec->training.metrics.size(), 2u);
  EXPECT_EQ(spec->training.metrics[1].top, 3);
  ASSERT_EQ(spec->training.class_weights.size(), 10u);
  EXPECT_EQ(static_cast<float>(spec->training.class_weights[0]), 0.1f);
  EXPECT_FALSE(spec->training.balanced_class_weights);
}

TEST(ModelUse, WhatTheJobSaysItselfStays) {
  JobDescription job = Evaluation();
  job.batch_size = 3;
  job.hyperparameters["metrics"] = "f1";
  Problems problems;
  TakeModel(ModelFile({{"batch_size", "7"}}).dump(), &job, &problems);
  auto [spec, wrong] = Check(job, std::nullopt);
  ASSERT_TRUE(spec) << wrong.ToString();
  EXPECT_EQ(spec->training.batch_size, 3);
  ASSERT_EQ(spec->training.metrics.size(), 1u);
  EXPECT_EQ(spec->training.metrics[0].name, "f1");
}

TEST(ModelUse, ThePrecisionIsFloat32UnlessTheJobSaysOtherwise) {
  for (const auto& [said, expected] :
       {std::pair("", Precision::kFloat32), std::pair("bfloat16", Precision::kBfloat16)}) {
    JobDescription job = Evaluation();
    if (*said != '\0') job.hyperparameters["precision"] = said;
    Problems problems;
    TakeOutMisplaced(&job, &problems);
    TakeModel(ModelFile({{"precision", "bfloat16"}}).dump(), &job, &problems);
    ASSERT_TRUE(problems.empty()) << problems.ToString();
    auto [spec, wrong] = Check(job, std::nullopt);
    ASSERT_TRUE(spec) << wrong.ToString();
    EXPECT_EQ(spec->training.precision, expected) << said;
  }
  JobDescription job = Evaluation();
  job.hyperparameters["precision"] = "auto";
  Problems problems;
  TakeModel(ModelFile({}).dump(), &job, &problems);
  EXPECT_TRUE(SaysOnly(Check(job, std::nullopt).problems, "$.hyperparameters.precision",
                       "only a training finds out"));
}

TEST(ModelUse, FilesThatAreNoModelAreRefusedAndChangeNothing) {
  Json balanced = ModelFile({{"class_weights", "balanced"}});  // as an older release wrote it
  Json large = ModelFile();
  large["data"] = {{"classes", std::string(kMaxModelDataBytes, 'x')}};
  for (const auto& [text, part] :
       {std::pair(std::string("{"), "model.json"),
        {std::string("[]"), "cyxwiz-model"},
        {std::string(R"({"format": "cyxwiz-model"})"), "version"},
        {std::string(R"({"format": "cyxwiz-model", "version": 1})"), "'model' is missing"},
        {balanced.dump(), "weights of the classes"},
        {large.dump(), "at most"}}) {
    JobDescription job = Evaluation();
    Problems problems;
    TakeModel(text, &job, &problems);
    EXPECT_TRUE(SaysOnly(problems, "$.model_from", part));
    EXPECT_FALSE(HasModel(job));
    EXPECT_TRUE(job.hyperparameters.empty());
  }
}

TEST(ModelUse, DataMustFitTheModel) {
  JobDescription job = Evaluation();
  Problems problems;
  TakeModel(ModelFile().dump(), &job, &problems);
  job.dataset_uri = "mock://random_data?features=11";
  EXPECT_TRUE(
      SaysOnly(Check(job, std::nullopt).problems, "$.dataset", "expected [10], found [11]"));
  job.dataset_uri = "mock://random_data?classes=11";
  EXPECT_TRUE(
      SaysOnly(Check(job, std::nullopt).problems, "$.dataset", "beyond the model's outputs"));
  // Predictions need no labels, so none are wrong.
  job.type = JobType::kInference;
  job.output = "npy";
  EXPECT_TRUE(Check(job, std::nullopt).spec);
}

TEST(ModelUse, ItIsEstimatedFromTheModelAndTheTestPart) {
  JobDescription job = Inference("npy");
  Problems problems;
  TakeModel(ModelFile().dump(), &job, &problems);
  job.dataset_uri = "mock://random_data?samples=100&test_samples=50";
  auto [spec, wrong] = Check(job, std::nullopt);
  ASSERT_TRUE(spec) << wrong.ToString();
  EXPECT_EQ(spec->estimate.artifact_bytes, 50 * 10 * 4);
  EXPECT_EQ(spec->estimate.flops, 50 * spec->model.flops);
  EXPECT_GT(spec->resources.memory_bytes, 0);
  job.dataset_uri = "mock://random_data?samples=100&test_samples=0";
  EXPECT_EQ(Check(job, std::nullopt).spec->estimate.artifact_bytes, 100 * 10 * 4);
  job.output = "csv";
  EXPECT_GT(Check(job, std::nullopt).spec->estimate.artifact_bytes, 100 * 10 * 12);
}

TEST(ModelUse, JobFilesNameTheModelAndHaveNone) {
  Problems problems;
  auto file = ParseJobFile(R"({"type": "evaluation", "model_from": "job-1",
      "dataset": "mock://random_data", "hyperparameters": {"metrics": ["f1"]}})",
                           &problems);
  ASSERT_TRUE(file) << problems.ToString();
  EXPECT_EQ(file->description.model_from.job_id, "job-1");
  file = ParseJobFile(R"({"type": "inference", "output": "jsonl", "dataset": "mock://random_data",
      "model_from": {"model": ")" +
                          kHash + R"(", "weights": ")" + kHash + "\"}}",
                      &problems);
  ASSERT_TRUE(file) << problems.ToString();
  EXPECT_EQ(file->description.model_from.weights_sha256, kHash);
  EXPECT_EQ(file->description.output, "jsonl");

  EXPECT_FALSE(ParseJobFile(R"({"type": "evaluation", "model_from": 7, "array": 3, "model":
      {"layers": []}, "dataset": "mock://random_data"})",
                            &problems));
  EXPECT_TRUE(Says(problems, "$.model", "has no place here"));
  EXPECT_TRUE(Says(problems, "$.model_from", "names no model"));
  EXPECT_TRUE(Says(problems, "$.array", "for trainings"));
}

}  // namespace
}  // namespace cyxwiz::spec
