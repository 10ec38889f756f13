// What a training is made of, against what PyTorch and scikit-learn say: losses, metrics.
#include <gtest/gtest.h>

#include <cmath>

#include "base/file.h"
#include "base/json.h"
#include "runner/engine.h"
#include "runner/evaluation.h"
#include "runner/loss.h"
#include "spec/hyperparameters.h"
#include "spec/job_spec.h"

namespace cyxwiz::runner {
namespace {

using End = TrainingResult::End;

// tests/golden/training.json; tests/golden/training.py writes it.
const Json& Golden() {
  static const Json golden = [] {
    Result<std::string> text = ReadFile(CYXWIZ_GOLDEN "/training.json");
    if (!text.ok()) throw std::runtime_error(text.status().ToString());
    return *ParseJson(*text, "training.json");
  }();
  return golden;
}

spec::TrainingSpec Training(const std::map<std::string, std::string>& hyperparameters) {
  spec::JobDescription description;
  description.hyperparameters = hyperparameters;
  spec::TrainingSpec training;
  spec::Problems problems;
  spec::CheckHyperparameters(description, &training, &problems);
  if (!problems.empty()) throw std::runtime_error(problems.ToString());
  return training;
}

at::Tensor TensorOf(const Json& values) {
  return at::tensor(values.get<std::vector<double>>(), at::kDouble).to(at::kFloat);
}
at::Tensor TensorOf(const Json& values, const Json& shape) {
  return TensorOf(values).view(shape.get<std::vector<int64_t>>());
}

TEST(Loss, IsPyTorchs) {
  ASSERT_GE(Golden()["losses"].size(), 11u);
  for (const Json& golden : Golden()["losses"]) {
    SCOPED_TRACE(golden["name"].get<std::string>());
    spec::TrainingSpec training =
        Training(golden["hyperparameters"].get<std::map<std::string, std::string>>());
    at::Tensor output = TensorOf(golden["output"], golden["output_shape"]).requires_grad_();
    at::Tensor target = TensorOf(golden["target"], golden["target_shape"]);
    if (training.loss == spec::Loss::kCrossEntropy) target = target.to(at::kLong);
    LossFunction loss(training, ClassWeights(training, {}, {}, output.size(-1), at::kCPU));
    at::Tensor value = loss(output, target);
    value.backward();
    EXPECT_NEAR(value.item<double>(), golden["value"].get<double>(), 1e-6);
    EXPECT_TRUE(at::allclose(output.grad().flatten(), TensorOf(golden["gradient"]), 1e-5, 1e-7));
  }
}

TEST(Loss, BalancedWeightsMakeUpForRareClasses) {
  data::Split split;
  split.labels = std::vector<int64_t>{0, 0, 0, 1, 2, 2};
  at::Tensor weights =
      ClassWeights(Training({{"class_weights", "balanced"}}), split, {0, 1, 2, 3}, 4, at::kCPU);
  EXPECT_TRUE(at::allclose(weights, at::tensor({4.0f / 12, 1.0f, 0.0f, 0.0f})));
}

TEST(Metrics, AreScikitLearns) {
  const std::map<std::string, spec::Task> tasks{{"classes", spec::Task::kClasses},
                                                {"binary", spec::Task::kBinary},
                                                {"numbers", spec::Task::kNumbers}};
  ASSERT_EQ(Golden()["metrics"].size(), 3u);
  for (const Json& golden : Golden()["metrics"]) {
    SCOPED_TRACE(golden["name"].get<std::string>());
    std::string names = golden.contains("confusion_matrix") ? "confusion_matrix" : "";
    for (const auto& [name, value] : golden["metrics"].items()) {
      names += (names.empty() ? "" : ",") + name;
    }
    const spec::TrainingSpec training = Training({{"metrics", names}});
    const spec::Task task = tasks.at(golden["task"].get<std::string>());
    std::vector<at::Tensor> score_rows, label_rows;
    for (const Json& row : golden["scores"]) score_rows.push_back(TensorOf(row));
    at::Tensor scores = at::stack(score_rows), labels, numbers;
    if (task == spec::Task::kNumbers) {
      for (const Json& row : golden["labels"]) label_rows.push_back(TensorOf(row));
      numbers = at::stack(label_rows);
    } else {
      labels = at::tensor(golden["labels"].get<std::vector<int64_t>>(), at::kLong);
    }
    // In batches of uneven size.
    Evaluation evaluation(training, task, scores.size(1));
    ASSERT_TRUE(evaluation.wanted());
    for (int64_t first = 0; first < scores.size(0); first += 17) {
      int64_t count = std::min<int64_t>(17, scores.size(0) - first);
      auto part = [&](const at::Tensor& t) {
        return t.defined() ? t.narrow(0, first, count) : at::Tensor();
      };
      evaluation.Add(part(scores), part(scores), part(numbers), part(labels));
    }
    Metrics metrics;
    evaluation.Report("test", &metrics);
    EXPECT_EQ(metrics.size(), golden["metrics"].size());
    for (const auto& [name, value] : golden["metrics"].items()) {
      EXPECT_NEAR(metrics["test_" + name], value.get<double>(),
                  1e-6 * std::abs(value.get<double>()))
          << name;
    }
    if (!golden.contains("confusion_matrix")) continue;
    auto matrix = evaluation.confusion_matrix("test");
    ASSERT_TRUE(matrix);
    std::vector<int64_t> expected;
    for (const Json& row : golden["confusion_matrix"]) {
      for (const Json& count : row) expected.push_back(count.get<int64_t>());
    }
    EXPECT_EQ(matrix->counts, expected);
  }
}

TEST(Metrics, ThatAreNotDefinedAreLeftOut) {
  Evaluation evaluation(Training({{"metrics", "auc"}}), spec::Task::kBinary, 1);
  evaluation.Add(at::randn({4, 1}), {}, {}, at::ones({4}, at::kLong));
  Metrics metrics{{"test_auc", 0.5}};
  evaluation.Report("test", &metrics);
  EXPECT_TRUE(metrics.empty());
  Evaluation constant(Training({{"metrics", "r2,mae"}}), spec::Task::kNumbers, 1);
  constant.Add({}, at::zeros({4, 1}), at::full({4, 1}, 2.0f), {});
  constant.Report("test", &metrics);
  EXPECT_EQ(metrics, (Metrics{{"test_mae", 2}}));
}

// ---- whole trainings

struct Job {
  spec::JobSpec spec;
  data::Dataset dataset;
};

// On 200 samples of two numbers from 0 to 1. classes: labels are whether the first is the greater
// one; otherwise their mean.
Job MakeJob(const std::string& layers, std::map<std::string, std::string> hyperparameters,
            bool classes = true) {
  Job job;
  spec::JobDescription description;
  description.name = "test";
  description.model_definition = R"({"layers":[{"type":"input","shape":[2]},)" + layers + "]}";
  description.dataset_uri = "file:///nowhere/data.csv";
  hyperparameters.insert({"seed", "1"});
  hyperparameters.insert({"batch_size", "10"});
  description.hyperparameters = std::move(hyperparameters);
  spec::Problems problems;
  auto spec = spec::CheckJob(description, nullptr, &problems);
  if (!spec) throw std::runtime_error(problems.ToString());
  job.spec = *spec;
  for (data::Split* split : {&job.dataset.train, &job.dataset.test}) {
    split->samples = 200;
    std::vector<float> features, numbers;
    std::vector<int64_t> labels;
    uint64_t state = split == &job.dataset.train ? 1 : 2;
    auto next = [&] {
      state = state * 6364136223846793005u + 1442695040888963407u;
      return static_cast<float>(state >> 40) / static_cast<float>(1 << 24);
    };
    for (int64_t i = 0; i < split->samples; ++i) {
      float a = next(), b = next();
      features.insert(features.end(), {a, b});
      labels.push_back(a > b);
      numbers.push_back((a + b) / 2);
    }
    split->features = features;
    if (classes) {
      split->labels = labels;
    } else {
      split->labels = numbers;
    }
  }
  return job;
}

TrainingResult Trained(const Job& job) {
  TrainingObserver silent;
  TrainingResult result = Train(job.spec, job.dataset, 1, &silent);
  EXPECT_EQ(result.end, End::kSucceeded) << result.failure.message;
  return result;
}

TEST(Training, BinaryCrossEntropyLearnsTwoClassesWithOneOutput) {
  for (const char* layers :
       {R"({"type":"dense","units":1,"activation":"sigmoid"})", R"({"type":"dense","units":1})"}) {
    TrainingResult result =
        Trained(MakeJob(layers, {{"loss", "binary_cross_entropy"},
                                 {"epochs", "20"},
                                 {"learning_rate", "0.1"},
                                 {"metrics", "accuracy,auc,f1,confusion_matrix"}}));
    EXPECT_GT(result.metrics["test_accuracy"], 0.95);
    EXPECT_GT(result.metrics["train_accuracy"], 0.95);
    EXPECT_GT(result.metrics["test_auc"], 0.99);
    EXPECT_GT(result.metrics["test_f1"], 0.95);
    ASSERT_TRUE(result.confusion_matrix);
    EXPECT_EQ(result.confusion_matrix->part, "test");
    const auto& counts = result.confusion_matrix->counts;
    EXPECT_EQ(counts[0] + counts[1] + counts[2] + counts[3], 200);
    EXPECT_EQ(static_cast<double>(counts[0] + counts[3]) / 200, result.metrics["test_accuracy"]);
  }
}

TEST(Training, EachLossLearnsItsTarget) {
  const std::string one = R"({"type":"dense","units":1})", two = R"({"type":"dense","units":2})";
  for (const char* loss : {"mse", "l1", "huber"}) {
    TrainingResult result =
        Trained(MakeJob(one, {{"loss", loss}, {"epochs", "60"}, {"learning_rate", "0.05"}}, false));
    EXPECT_LT(result.metrics["test_rmse"], 0.1) << loss;
    EXPECT_GT(result.metrics["test_r2"], 0.8) << loss;
    EXPECT_EQ(result.metrics.count("test_accuracy"), 0u);
  }
  for (const char* loss : {"cross_entropy", "kl", "mse", "l1", "huber", "binary_cross_entropy"}) {
    TrainingResult result =
        Trained(MakeJob(two, {{"loss", loss}, {"epochs", "60"}, {"learning_rate", "0.05"}}));
    EXPECT_GT(result.metrics["test_accuracy"], 0.9) << loss;
  }
}

TEST(Training, AnAutoencoderLearnsItsInput) {
  const std::string layers =
      R"({"type":"dense","units":8,"activation":"tanh"},{"type":"dense","units":2)";
  for (const char* loss : {"mse", "l1", "huber"}) {
    TrainingResult result = Trained(MakeJob(
        layers + "}",
        {{"loss", loss}, {"target", "input"}, {"epochs", "40"}, {"learning_rate", "0.01"}}));
    EXPECT_GT(result.metrics["test_r2"], 0.9) << loss;
  }
  TrainingResult result =
      Trained(MakeJob(layers + R"(,"activation":"sigmoid"})", {{"loss", "binary_cross_entropy"},
                                                               {"target", "input"},
                                                               {"epochs", "60"},
                                                               {"learning_rate", "0.05"}}));
  EXPECT_GT(result.metrics["test_r2"], 0.8);
}

TEST(Training, RefusesTargetsThatTheLossCannotTake) {
  Job job = MakeJob(R"({"type":"dense","units":2})",
                    {{"loss", "binary_cross_entropy"}, {"target", "input"}});
  std::get<std::vector<float>>(job.dataset.train.features)[7] = 1.5f;
  TrainingObserver silent;
  TrainingResult result = Train(job.spec, job.dataset, 1, &silent);
  EXPECT_EQ(result.failure.cause, "user_error");
  EXPECT_NE(result.failure.message.find("found 1.5 among the inputs"), std::string::npos);
}

TEST(Training, ClassWeightsOfNothingHideAClass) {
  TrainingResult result =
      Trained(MakeJob(R"({"type":"dense","units":2})",
                      {{"class_weights", "1,0"}, {"epochs", "20"}, {"learning_rate", "0.1"}}));
  EXPECT_LT(result.metrics["test_accuracy"], 0.7);
}

}  // namespace
}  // namespace cyxwiz::runner
