// What a training is made of, against what PyTorch and scikit-learn say: losses, metrics,
// optimizers, schedules; and whole trainings with the options that change their course.
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <mutex>
#include <numeric>

#include "base/json.h"
#include "base/testing.h"
#include "data/testing.h"
#include "runner/divergence.h"
#include "runner/engine.h"
#include "runner/evaluation.h"
#include "runner/improvement.h"
#include "runner/loss.h"
#include "runner/optimizer.h"
#include "runner/permutation.h"
#include "runner/schedule.h"
#include "spec/hyperparameters.h"
#include "spec/job_spec.h"

namespace cyxwiz::runner {
namespace {

using End = TrainingResult::End;

// tests/golden/training.json; tests/golden/record_training.py writes it.
const Json& Golden() {
  static const Json golden = ReadGolden(CYXWIZ_GOLDEN "/training.json");
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
  ASSERT_GE(Golden()["losses"].size(), 12u);
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
  split.samples = 6;
  split.labels = std::vector<int64_t>{0, 0, 0, 1, 2, 2};
  at::Tensor weights =
      ClassWeights(Training({{"class_weights", "balanced"}}), split, {0, 1, 2, 3}, 4, at::kCPU);
  EXPECT_TRUE(at::allclose(weights, at::tensor({4.0f / 12, 1.0f, 0.0f, 0.0f})));
}

TEST(Loss, BalancedWeightsCountEachPosition) {
  data::Split split;
  split.samples = 3;
  split.labels = std::vector<uint8_t>{0, 0, 0, 1, 2, 2};
  at::Tensor weights =
      ClassWeights(Training({{"class_weights", "balanced"}}), split, {0, 1}, 4, at::kCPU);
  EXPECT_TRUE(at::allclose(weights, at::tensor({4.0f / 12, 1.0f, 0.0f, 0.0f})));
}

TEST(Loss, OfABatchWithoutWeightIsZero) {
  spec::TrainingSpec training = Training({{"class_weights", "1,0"}});
  LossFunction loss(training, ClassWeights(training, {}, {}, 2, at::kCPU));
  at::Tensor output = at::randn({3, 2}).requires_grad_();
  at::Tensor value = loss(output, at::ones({3}, at::kLong));
  value.backward();
  EXPECT_EQ(value.item<float>(), 0);
  EXPECT_TRUE(at::equal(output.grad(), at::zeros({3, 2})));
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

TEST(Metrics, OfEqualScoresTheFirstIsTheHigher) {
  Evaluation evaluation(Training({{"metrics", "top_2_accuracy,recall"}}), spec::Task::kClasses, 3);
  evaluation.Add(at::ones({3, 3}), {}, {}, at::tensor({0, 1, 2}, at::kLong));
  Metrics metrics;
  evaluation.Report("test", &metrics);
  EXPECT_DOUBLE_EQ(metrics["test_top_2_accuracy"], 2.0 / 3);
  EXPECT_DOUBLE_EQ(metrics["test_recall"], 1.0 / 3);
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

// ---- optimizers and schedules

// A tall weight, a bias and a wide weight in one flat tensor, as a model lays them out, on the way
// down sum(scale * (1 - cos(p - target))).
struct Problem {
  Problem() {
    const Json& golden = Golden()["optimizers"][0];
    for (size_t i = 0; i < golden["shapes"].size(); ++i) {
      auto shape = golden["shapes"][i].get<std::vector<int64_t>>();
      shapes.push_back(shape);
      starts.push_back(TensorOf(golden["start"][i]));
      targets.push_back(TensorOf(golden["target"][i]));
      scales.push_back(TensorOf(golden["scale"][i]));
    }
    parameters = at::cat(starts);
    target = at::cat(targets);
    scale = at::cat(scales);
    gradients = at::zeros_like(parameters);
  }

  double Evaluate() {
    at::Tensor away = parameters - target;
    gradients.copy_(scale * away.sin());
    return (scale * (1 - away.cos())).sum().item<double>();
  }

  std::vector<std::pair<std::string, at::Tensor>> PartsOf(const at::Tensor& flat) const {
    std::vector<std::pair<std::string, at::Tensor>> parts;
    int64_t used = 0;
    for (size_t i = 0; i < shapes.size(); ++i) {
      parts.emplace_back(std::to_string(i),
                         flat.narrow(0, used, starts[i].numel()).view(shapes[i]));
      used += starts[i].numel();
    }
    return parts;
  }

  std::vector<std::vector<int64_t>> shapes;
  std::vector<at::Tensor> starts, targets, scales;
  at::Tensor parameters, target, scale, gradients;
};

TEST(Optimizer, IsPyTorchs) {
  ASSERT_EQ(Golden()["optimizers"].size(), 16u);
  for (const Json& golden : Golden()["optimizers"]) {
    if (golden["name"] == "problem") continue;
    SCOPED_TRACE(golden["name"].get<std::string>());
    spec::TrainingSpec training =
        Training(golden["hyperparameters"].get<std::map<std::string, std::string>>());
    Problem problem;
    auto optimizer = MakeOptimizer(training, problem.parameters, problem.gradients,
                                   [&](const at::Tensor& flat) { return problem.PartsOf(flat); });
    for (int64_t step = 0; step < golden["steps"].get<int64_t>(); ++step) {
      if (optimizer->searches()) {
        optimizer->Search(training.learning_rate, [&] { return problem.Evaluate(); });
        continue;
      }
      problem.Evaluate();
      optimizer->Step(training.learning_rate);
    }
    at::Tensor expected = TensorOf(golden["result"]);
    EXPECT_TRUE(at::allclose(problem.parameters, expected, 1e-5, 1e-5))
        << (problem.parameters - expected).abs().max();
    EXPECT_FALSE(at::allclose(problem.parameters, at::cat(problem.starts), 1e-5, 1e-5));
  }
}

TEST(Schedule, IsPyTorchs) {
  ASSERT_EQ(Golden()["schedules"].size(), 16u);
  for (const Json& golden : Golden()["schedules"]) {
    SCOPED_TRACE(golden["name"].get<std::string>());
    auto hyperparameters = golden["hyperparameters"].get<std::map<std::string, std::string>>();
    hyperparameters["epochs"] = "6";
    spec::TrainingSpec training = Training(hyperparameters);
    training.monitor_greater = training.monitor == "train_accuracy";
    LearningRate rate(training, 5);
    for (size_t i = 0; i < golden["rates"].size(); ++i) {
      const int64_t step = static_cast<int64_t>(i);
      double found;
      if (golden.contains("values")) {
        rate.EpochDone(golden["values"][i].get<double>());
        found = rate.At(0, 1);
      } else {
        found = rate.At(step, 1 + step / 5);
      }
      const double expected = golden["rates"][i].get<double>();
      EXPECT_NEAR(found, expected, 1e-9 * expected) << i;
    }
  }
}

TEST(Schedule, TheEpochInWhichTheWarmUpEndsIsPartOfIt) {
  LearningRate rate(Training({{"learning_rate", "1"},
                              {"epochs", "6"},
                              {"lr_schedule", "step"},
                              {"lr_step_size", "1"},
                              {"lr_gamma", "0.5"},
                              {"warmup_steps", "7"}}),
                    5);
  EXPECT_EQ(rate.At(7, 2), 1);
  EXPECT_EQ(rate.At(10, 3), 1);
  EXPECT_EQ(rate.At(15, 4), 0.5);
}

TEST(Schedule, GoesOnWhereItWas) {
  for (const Json& golden : Golden()["schedules"]) {
    if (!golden.contains("values")) continue;
    spec::TrainingSpec training =
        Training(golden["hyperparameters"].get<std::map<std::string, std::string>>());
    training.monitor_greater = training.monitor == "train_accuracy";
    LearningRate whole(training, 5);
    for (size_t i = 0; i < golden["values"].size(); ++i) {
      LearningRate resumed(training, 5);
      resumed.Resume(whole.numbers());
      whole.EpochDone(golden["values"][i].get<double>());
      resumed.EpochDone(golden["values"][i].get<double>());
      EXPECT_EQ(resumed.numbers(), whole.numbers()) << i;
    }
  }
}

TEST(Improvement, IsMoreThanTheLeastChange) {
  Improvement lower(/*greater=*/false, 0.1);
  EXPECT_TRUE(lower.Add(1));
  EXPECT_FALSE(lower.Add(0.95));
  EXPECT_FALSE(lower.Add(std::nan("")));
  EXPECT_EQ(lower.waited(), 2);
  EXPECT_TRUE(lower.Add(0.85));
  EXPECT_EQ(lower.waited(), 0);
  EXPECT_EQ(lower.best(), 0.85);
  Improvement greater(/*greater=*/true, 0);
  EXPECT_TRUE(greater.Add(-5));
  EXPECT_FALSE(greater.Add(-5));
  EXPECT_TRUE(greater.Add(-4));
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

// The next byte of "abacabadabacaba..." in windows that begin anywhere.
TEST(Training, ASequenceIsLearntAtEachPosition) {
  Job job = MakeJob(R"({"type":"dense","units":2})", {});
  spec::JobDescription description;
  description.name = "text";
  description.model_definition =
      R"({"layers":[{"type":"input","shape":[6]},
                    {"type":"embedding","input_dim":256,"output_dim":8},
                    {"type":"lstm","units":24,"return_sequences":true},
                    {"type":"dense","units":256}]})";
  description.dataset_uri = "file:///nowhere/corpus.txt?sequence_length=6";
  description.hyperparameters = {{"epochs", "40"},
                                 {"learning_rate", "0.02"},
                                 {"seed", "1"},
                                 {"metrics", "accuracy,perplexity,top_2_accuracy,f1"},
                                 {"batch_size", "16"}};
  spec::Problems problems;
  auto spec = spec::CheckJob(description, nullptr, &problems);
  ASSERT_TRUE(spec) << problems.ToString();
  job.spec = *spec;
  for (data::Split* split : {&job.dataset.train, &job.dataset.test}) {
    std::vector<uint8_t> features, labels;
    for (uint8_t i = 0; features.size() < 6 * 64; ++i) {
      const char* period = "abacabad";
      for (uint8_t k = 0; k < 6; ++k) {
        features.push_back(static_cast<uint8_t>(period[(i * 7 + k) % 8]));
        labels.push_back(static_cast<uint8_t>(period[(i * 7 + k + 1) % 8]));
      }
    }
    split->samples = 64;
    split->scale.divisor = 1;
    split->features = features;
    split->labels = labels;
  }
  TrainingResult result = Trained(job);
  // From its second byte on, or its fourth, a window tells what follows; a whole half of the
  // positions is an "a" after another byte.
  EXPECT_GT(result.metrics["test_accuracy"], 0.75);
  EXPECT_LE(result.metrics["test_accuracy"], 1);
  EXPECT_LT(result.metrics["test_loss"], 0.7);
  EXPECT_NEAR(result.metrics["test_perplexity"], std::exp(result.metrics["test_loss"]), 1e-3);
  EXPECT_GE(result.metrics["test_top_2_accuracy"], result.metrics["test_accuracy"]);
  EXPECT_NEAR(result.metrics["train_accuracy"], result.metrics["test_accuracy"], 0.1);
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
  // Bytes are from 0 to 1 unless they are normalised.
  job.dataset.train.features = std::vector<uint8_t>(400, 255);
  job.dataset.test = {};
  EXPECT_EQ(Train(job.spec, job.dataset, 1, &silent).end, End::kSucceeded);
  job.dataset.train.scale.mean = job.dataset.train.scale.deviation = {1, 1};
  result = Train(job.spec, job.dataset, 1, &silent);
  EXPECT_EQ(result.failure.cause, "user_error");
  EXPECT_NE(result.failure.hint.find("leave normalize out"), std::string::npos);
}

TEST(Training, ClassWeightsOfNothingHideAClass) {
  TrainingResult result =
      Trained(MakeJob(R"({"type":"dense","units":2})",
                      {{"class_weights", "1,0"}, {"epochs", "20"}, {"learning_rate", "0.1"}}));
  EXPECT_LT(result.metrics["test_accuracy"], 0.7);
}

constexpr const char* kTwo = R"({"type":"dense","units":4,"activation":"tanh"},
                               {"type":"dense","units":2})";

std::string WeightBytes(const TrainingResult& result) {
  std::string bytes;
  for (const TensorView& t : result.weights) {
    bytes.append(static_cast<const char*>(t.data), static_cast<size_t>(t.bytes()));
  }
  return bytes;
}
at::Tensor WeightsOf(const TrainingResult& result) {
  std::string bytes = WeightBytes(result);
  return at::from_blob(bytes.data(), {static_cast<int64_t>(bytes.size() / 4)}, at::kFloat).clone();
}

// What an observer is told.
struct Recorder : TrainingObserver {
  std::vector<Progress> progress;
  std::vector<std::string> log;
  int64_t steps = 0;
  void OnProgress(const Progress& p) override { progress.push_back(p); }
  void OnStep(int64_t step) override { EXPECT_EQ(step, ++steps); }
  void Log(const std::string& line) override { log.push_back(line); }
  std::vector<double> Of(const std::string& metric) const {
    std::vector<double> values;
    for (const Progress& p : progress) {
      if (p.end_of_epoch) values.push_back(p.metrics.at(metric));
    }
    return values;
  }
};

TEST(Training, AccumulatedBatchesAreOneLargeBatch) {
  // 200 samples: the last step of an epoch has fewer of them.
  for (const char* optimizer : {"sgd", "adam"}) {
    Recorder large, small;
    Job job = MakeJob(kTwo, {{"optimizer", optimizer}, {"batch_size", "60"}, {"epochs", "3"}});
    TrainingResult expected = Train(job.spec, job.dataset, 1, &large);
    job = MakeJob(kTwo, {{"optimizer", optimizer},
                         {"batch_size", "20"},
                         {"epochs", "3"},
                         {"gradient_accumulation_steps", "3"}});
    TrainingResult found = Train(job.spec, job.dataset, 1, &small);
    EXPECT_EQ(small.steps, large.steps);
    EXPECT_TRUE(at::allclose(WeightsOf(found), WeightsOf(expected), 1e-4, 1e-5));
  }
}

TEST(Training, ClippingLimitsTheStep) {
  // With sgd the first step is the learning rate times the gradient.
  auto step = [](std::map<std::string, std::string> options) {
    options.insert({"optimizer", "sgd"});
    options.insert({"learning_rate", "1"});
    options.insert({"batch_size", "200"});
    Job job = MakeJob(kTwo, options);
    at::Tensor after = WeightsOf(Trained(job));
    job.spec.training.learning_rate = 1e-30;
    return after - WeightsOf(Trained(job));
  };
  at::Tensor free = step({});
  at::Tensor by_norm = step({{"clip_norm", "0.05"}}), by_value = step({{"clip_value", "0.01"}});
  ASSERT_GT(free.norm().item<double>(), 0.06);
  EXPECT_NEAR(by_norm.norm().item<double>(), 0.05, 1e-4);
  EXPECT_TRUE(at::allclose(by_norm / by_norm.norm(), free / free.norm(), 1e-3, 1e-4));
  EXPECT_TRUE(at::allclose(by_value, free.clamp(-0.01, 0.01), 1e-3, 1e-5));
  EXPECT_TRUE(at::equal(step({{"clip_norm", "100"}}), free));
}

TEST(Training, TheLearningRateIsReported) {
  Recorder recorder;
  Job job = MakeJob(kTwo, {{"epochs", "4"},
                           {"learning_rate", "0.1"},
                           {"lr_schedule", "exponential"},
                           {"lr_gamma", "0.5"}});
  (void)Train(job.spec, job.dataset, 1, &recorder);
  EXPECT_EQ(recorder.Of("learning_rate"), (std::vector<double>{0.1, 0.05, 0.025, 0.0125}));
}

// Notes which rows are read.
class NotedRows : public data::MemoryRows {
 public:
  using MemoryRows::MemoryRows;
  Status Read(int64_t row, uint8_t* out) const override {
    std::lock_guard lock(mutex_);
    read_.push_back(row);
    return MemoryRows::Read(row, out);
  }
  std::vector<int64_t> Take() const {
    std::lock_guard lock(mutex_);
    return std::exchange(read_, {});
  }

 private:
  mutable std::mutex mutex_;
  mutable std::vector<int64_t> read_;
};

TEST(Training, SamplesInFilesComeInTheOrderOfTheirFilesAndWindow) {
  // Rows 5 to 44 of files of 10 rows, as where a test part was taken out; a quarter validates.
  Job job = MakeJob(kTwo, {{"epochs", "2"}, {"validation_split", "0.25"}});
  job.spec.dataset_uri.stream.window = 4;
  job.dataset.test = {};
  data::Split& split = job.dataset.train;
  split.samples = 40;
  split.labels = std::vector<int64_t>(40, 1);
  split.features = std::vector<uint8_t>();
  const auto files = std::make_shared<NotedRows>(std::vector<uint8_t>(100, 7), 2, 10);
  split.files = files;
  split.rows.resize(40);
  std::iota(split.rows.begin(), split.rows.end(), 5);
  Trained(job);
  const std::vector<int64_t> read = files->Take();

  std::vector<int64_t> order = Permutation(40, 1, 0);
  const auto validation = order.end() - 10;
  std::sort(order.begin(), validation);
  std::sort(validation, order.end());
  std::vector<int64_t> trained(order.begin(), validation), first_of_file, expected;
  for (size_t i = 0; i < trained.size(); ++i) {
    const auto file_of = [&](size_t place) { return (trained[place] + 5) / 10; };
    if (i == 0 || file_of(i) != file_of(i - 1)) first_of_file.push_back(static_cast<int64_t>(i));
  }
  for (uint64_t epoch : {1, 2}) {
    for (int64_t place : WindowPermutation(first_of_file, 30, 4, 1, epoch))
      expected.push_back(trained[static_cast<size_t>(place)] + 5);
    for (auto sample = validation; sample != order.end(); ++sample) expected.push_back(*sample + 5);
  }
  EXPECT_EQ(read, expected);
}

TEST(Training, TheAverageIsThatOfTheStepsWeights) {
  // Of one, two and three steps the last weights, to average by hand.
  auto after = [](int64_t epochs, const char* decay) {
    std::map<std::string, std::string> options{{"batch_size", "200"},
                                               {"epochs", std::to_string(epochs)}};
    if (decay != nullptr) options["ema_decay"] = decay;
    return Trained(MakeJob(kTwo, options));
  };
  at::Tensor w1 = WeightsOf(after(1, nullptr)), w2 = WeightsOf(after(2, nullptr)),
             w3 = WeightsOf(after(3, nullptr));
  TrainingResult averaged = after(3, "0.75");
  at::Tensor expected = 0.75 * (0.75 * w1 + 0.25 * w2) + 0.25 * w3;
  EXPECT_TRUE(at::allclose(WeightsOf(averaged), expected, 1e-5, 1e-6));
  EXPECT_NE(averaged.metrics["test_loss"], after(3, nullptr).metrics["test_loss"]);
  EXPECT_EQ(averaged.metrics["train_loss"], after(3, nullptr).metrics["train_loss"]);
}

TEST(Training, EndsEarlyAndKeepsTheBest) {
  // A learning rate that makes it worse and better by turns.
  std::map<std::string, std::string> options{{"optimizer", "sgd"},
                                             {"learning_rate", "9"},
                                             {"epochs", "40"},
                                             {"validation_split", "0.2"},
                                             {"early_stopping_patience", "4"},
                                             {"metrics", "accuracy,confusion_matrix"},
                                             {"keep", "best"}};
  Recorder recorder;
  Job job = MakeJob(kTwo, options);
  job.dataset.test = {};
  TrainingResult result = Train(job.spec, job.dataset, 1, &recorder);
  ASSERT_EQ(result.end, End::kSucceeded) << result.failure.message;
  std::vector<double> losses = recorder.Of("validation_loss");
  const auto best = std::min_element(losses.begin(), losses.end());
  const int64_t best_epoch = best - losses.begin() + 1;
  ASSERT_LT(losses.size(), 40u);
  EXPECT_EQ(static_cast<int64_t>(losses.size()), best_epoch + 4);
  EXPECT_EQ(result.metrics["best_epoch"], static_cast<double>(best_epoch));
  EXPECT_EQ(result.metrics["validation_loss"], *best);
  EXPECT_NE(recorder.log[recorder.log.size() - 2].find("stopping early: validation_loss"),
            std::string::npos);
  // The weights are those that a training of so many epochs has, and the matrix is theirs.
  options.erase("early_stopping_patience");
  options.erase("keep");
  options["epochs"] = std::to_string(best_epoch);
  job = MakeJob(kTwo, options);
  job.dataset.test = {};
  TrainingResult shorter = Trained(job);
  EXPECT_EQ(WeightBytes(result), WeightBytes(shorter));
  ASSERT_TRUE(result.confusion_matrix && shorter.confusion_matrix);
  EXPECT_EQ(result.confusion_matrix->counts, shorter.confusion_matrix->counts);
}

TEST(Training, TheBestEpochIsTheOneWithTheGreatestAccuracy) {
  std::map<std::string, std::string> options{{"optimizer", "sgd"},
                                             {"learning_rate", "9"},
                                             {"epochs", "12"},
                                             {"validation_split", "0.2"},
                                             {"monitor", "validation_accuracy"},
                                             {"keep", "best"}};
  Recorder recorder;
  Job job = MakeJob(kTwo, options);
  TrainingResult result = Train(job.spec, job.dataset, 1, &recorder);
  ASSERT_EQ(result.end, End::kSucceeded) << result.failure.message;
  const std::vector<double> accuracies = recorder.Of("validation_accuracy");
  const auto best = std::max_element(accuracies.begin(), accuracies.end());
  ASSERT_LT(*std::min_element(accuracies.begin(), accuracies.end()), *best);
  EXPECT_EQ(result.metrics["validation_accuracy"], *best);
  EXPECT_EQ(result.metrics["best_epoch"], static_cast<double>(best - accuracies.begin() + 1));
}

TEST(Training, AnImprovementIsMoreThanTheLeastChange) {
  Recorder recorder;
  Job job = MakeJob(
      kTwo,
      {{"epochs", "20"}, {"early_stopping_patience", "3"}, {"early_stopping_min_delta", "100"}});
  ASSERT_EQ(Train(job.spec, job.dataset, 1, &recorder).end, End::kSucceeded);
  const std::vector<double> losses = recorder.Of("train_loss");
  EXPECT_EQ(losses.size(), 4u);
  EXPECT_LT(losses[3], losses[0]);
}

TEST(Training, TheLearningRateFallsOnAPlateau) {
  Recorder recorder;
  // The weights stay what they are.
  Job job = MakeJob(kTwo, {{"optimizer", "sgd"},
                           {"learning_rate", "0.5"},
                           {"clip_value", "1e-20"},
                           {"epochs", "4"},
                           {"lr_schedule", "plateau"},
                           {"lr_patience", "0"},
                           {"lr_factor", "0.5"}});
  ASSERT_EQ(Train(job.spec, job.dataset, 1, &recorder).end, End::kSucceeded);
  EXPECT_EQ(recorder.Of("learning_rate"), (std::vector<double>{0.5, 0.5, 0.25, 0.125}));
}

TEST(Training, OneCycleEndsWithTheTraining) {
  // 20 batches an epoch: 7 steps, the last of two batches.
  Recorder recorder;
  Job job = MakeJob(kTwo, {{"learning_rate", "0.1"},
                           {"epochs", "3"},
                           {"gradient_accumulation_steps", "3"},
                           {"lr_schedule", "one_cycle"}});
  ASSERT_EQ(Train(job.spec, job.dataset, 1, &recorder).end, End::kSucceeded);
  EXPECT_EQ(recorder.steps, 21);
  EXPECT_NEAR(recorder.Of("learning_rate").back(), 0.1 / 25 / 1e4, 1e-9);
}

TEST(Training, SaysWhatWasFirstNotFinite) {
  auto failure = [](const Job& job) {
    TrainingObserver silent;
    TrainingResult result = Train(job.spec, job.dataset, 1, &silent);
    EXPECT_EQ(result.end, End::kFailed);
    EXPECT_EQ(result.failure.cause, "diverged");
    return result.failure;
  };
  // With and without autograd.
  for (const char* activation : {"tanh", "relu"}) {
    const std::string layers =
        std::string(R"({"type":"dense","units":4,"name":"first","activation":")") + activation +
        R"("},{"type":"dense","units":2,"name":"second"})";
    Job job = MakeJob(layers, {{"optimizer", "sgd"}, {"learning_rate", "1e38"}});
    Failure weights = failure(job);
    EXPECT_NE(weights.message.find("epoch 1, step "), std::string::npos) << weights.message;
    EXPECT_NE(weights.message.find("the first that is none: the "), std::string::npos)
        << weights.message;

    job = MakeJob(layers, {{"batch_size", "200"}});
    std::get<std::vector<float>>(job.dataset.train.features)[7] = std::nanf("");
    Failure input = failure(job);
    EXPECT_NE(input.message.find("epoch 1, step 1; the first that is none: the input"),
              std::string::npos)
        << input.message;
    EXPECT_EQ(input.path, "$.dataset");
  }
  // A sum of two inputs that overflows.
  Job job = MakeJob(R"({"type":"dense","units":512,"name":"first","activation":"relu"},
                       {"type":"dense","units":2,"name":"second"})",
                    {{"batch_size", "200"}});
  for (float& value : std::get<std::vector<float>>(job.dataset.train.features)) value = 3.4e38f;
  Failure output = failure(job);
  EXPECT_NE(output.message.find("the output of layer 'first'"), std::string::npos)
      << output.message;
}

TEST(Training, TheLayerWhoseGradientWasTooLargeIsNamed) {
  // The loss of the second step is no number, for a weight became infinite in the first.
  Job job = MakeJob(R"({"type":"dense","units":4,"name":"first","activation":"tanh"},
                       {"type":"dense","units":1,"name":"second"})",
                    {{"optimizer", "sgd"}, {"learning_rate", "1"}, {"loss", "mse"}}, false);
  for (float& label : std::get<std::vector<float>>(job.dataset.train.labels)) label = 1e18f;
  job.spec.training.learning_rate = 1e25;
  TrainingObserver silent;
  TrainingResult result = Train(job.spec, job.dataset, 1, &silent);
  EXPECT_NE(result.failure.message.find("step 2; the first that is none: the weights of layer "
                                        "'second'"),
            std::string::npos)
      << result.failure.message;
}

TEST(Training, AStepThatSpoilsTheModelEndsTheTrainingAtTheEpochsEnd) {
  // All samples in one batch of one epoch: its loss is that of the initial weights.
  const std::map<std::string, std::string> base{
      {"optimizer", "sgd"}, {"epochs", "1"}, {"batch_size", "200"}, {"loss", "mse"}};
  const std::vector<std::map<std::string, std::string>> variants{
      {},
      {{"validation_split", "0.2"}},
      {{"validation_split", "0.2"}, {"keep", "best"}},
      {{"validation_split", "0.2"}, {"early_stopping_patience", "1"}},
      {{"ema_decay", "0.9"}},
      {{"optimizer", "muon"}},
      {{"optimizer", "lbfgs"}, {"max_iter", "1"}},
      {{"gradient_accumulation_steps", "2"}, {"batch_size", "100"}}};
  for (bool test : {true, false}) {
    for (auto options : variants) {
      SCOPED_TRACE(Json(options).dump());
      options.insert(base.begin(), base.end());
      Job job = MakeJob(R"({"type":"dense","units":4,"name":"first","activation":"tanh"},
                           {"type":"dense","units":1,"name":"second"})",
                        options, false);
      for (float& label : std::get<std::vector<float>>(job.dataset.train.labels)) label = 1e18f;
      job.spec.training.learning_rate = 1e40;
      if (!test) job.dataset.test = {};
      TrainingObserver silent;
      TrainingResult result = Train(job.spec, job.dataset, 1, &silent);
      ASSERT_EQ(result.end, End::kFailed);
      EXPECT_EQ(result.failure.cause, "diverged");
      EXPECT_TRUE(result.weights.empty());
      EXPECT_NE(result.failure.message.find(
                    "the model's values are no longer finite numbers in epoch 1, step 1; the first "
                    "that is none: the weights of layer 'second'"),
                std::string::npos)
          << result.failure.message;
    }
  }
}

TEST(Training, StatisticsThatAreNoNumbersEndIt) {
  Job job = MakeJob(R"({"type":"batch_normalization","name":"bn"},
                       {"type":"dense","units":2})",
                    {{"epochs", "1"}, {"batch_size", "200"}});
  // A variance that overflows, in a batch whose own normalisation hides it.
  auto& features = std::get<std::vector<float>>(job.dataset.train.features);
  for (size_t i = 0; i < features.size(); ++i) features[i] = i % 4 < 2 ? 1e21f : -1e21f;
  job.dataset.test = {};
  TrainingObserver silent;
  TrainingResult result = Train(job.spec, job.dataset, 1, &silent);
  ASSERT_EQ(result.end, End::kFailed);
  EXPECT_NE(result.failure.message.find("the statistics of layer 'bn'"), std::string::npos)
      << result.failure.message;
}

TEST(Training, ALossOfAnEvaluationThatIsNoNumberEndsIt) {
  auto message = [](const Job& job) {
    TrainingObserver silent;
    TrainingResult result = Train(job.spec, job.dataset, 1, &silent);
    EXPECT_EQ(result.end, End::kFailed);
    EXPECT_EQ(result.failure.cause, "diverged");
    return result.failure.message;
  };
  // Finite weights whose outputs overflow.
  std::map<std::string, std::string> options{
      {"optimizer", "sgd"}, {"learning_rate", "3e37"}, {"epochs", "1"}, {"batch_size", "160"}};
  options["validation_split"] = "0.2";
  const std::string layers = R"({"type":"dense","units":64,"name":"first"},
                                {"type":"dense","units":2,"name":"second"})";
  EXPECT_NE(message(MakeJob(layers, options))
                .find("the validation loss is not a finite number in epoch 1, step 1; the first "
                      "that is none: the output of layer "),
            std::string::npos);
  options.erase("validation_split");
  options["batch_size"] = "200";
  EXPECT_NE(message(MakeJob(layers, options))
                .find("the test loss is not a finite number in epoch 1, step 1; the first "
                      "that is none: the output of layer "),
            std::string::npos);
  Job job = MakeJob(layers, {{"epochs", "1"}});
  std::get<std::vector<float>>(job.dataset.test.features)[7] = std::nanf("");
  EXPECT_NE(message(job).find("the test loss is not a finite number in epoch 1, step 20; the first "
                              "that is none: the input"),
            std::string::npos);
}

TEST(Training, AStateHoldsFiniteNumbersOnly) {
  struct Saving : TrainingObserver {
    bool StateWanted() override { return true; }
    void OnState(TrainingState state) override {
      ++states;
      for (const TensorView& t : state.tensors) {
        if (!t.name.starts_with("model.") || t.type != DataType::kFloat32) continue;
        at::Tensor values = at::from_blob(const_cast<void*>(t.data), t.shape, at::kFloat);
        EXPECT_TRUE(at::isfinite(values).all().item<bool>()) << t.name;
      }
    }
    int states = 0;
  } saving;
  Job job = MakeJob(kTwo, {{"optimizer", "sgd"}});
  job.spec.training.learning_rate = 1e45;
  TrainingResult result = Train(job.spec, job.dataset, 1, &saving);
  ASSERT_EQ(result.end, End::kFailed);
  EXPECT_EQ(result.failure.cause, "diverged");
  EXPECT_EQ(saving.states, 0);
}

TEST(Divergence, LargeFiniteValuesAreNone) {
  EXPECT_TRUE(IsFinite(at::full({64}, 3e38f)));  // whose sum overflows
  EXPECT_FALSE(IsFinite(at::tensor({1.0f, HUGE_VALF, -HUGE_VALF})));
  EXPECT_FALSE(IsFinite(at::tensor({1.0f, std::nanf("")})));
}

TEST(Training, Bfloat16LearnsToo) {
  std::map<std::string, std::string> options{{"epochs", "20"}, {"learning_rate", "0.05"}};
  TrainingResult full = Trained(MakeJob(kTwo, options));
  options["precision"] = "bfloat16";
  TrainingResult half = Trained(MakeJob(kTwo, options));
  EXPECT_GT(half.metrics["test_accuracy"], 0.9);
  EXPECT_NE(WeightBytes(full), WeightBytes(half));
  EXPECT_EQ(WeightBytes(half), WeightBytes(Trained(MakeJob(kTwo, options))));
  for (const TensorView& t : half.weights) EXPECT_EQ(t.type, DataType::kFloat32);
}

}  // namespace
}  // namespace cyxwiz::runner
