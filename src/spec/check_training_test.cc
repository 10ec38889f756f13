// Losses, targets and metrics against what the model says and the data holds.
#include "spec/check_training.h"

#include <tuple>

#include "spec/test_support.h"

namespace cyxwiz::spec {
namespace {

JobDescription With(const std::string& layers, std::map<std::string, std::string> hyperparameters) {
  JobDescription job = Job("{\"layers\": [" + layers + "]}", "file:///data");
  job.hyperparameters = std::move(hyperparameters);
  return job;
}

JobDescription WithUnits(int units, std::map<std::string, std::string> hyperparameters) {
  return With("{\"type\":\"flatten\"},{\"type\":\"dense\",\"units\":" + std::to_string(units) + "}",
              std::move(hyperparameters));
}

DatasetInfo Table(int64_t classes) {
  DatasetInfo info;
  info.sample_shape = {4};
  info.train_samples = 100;
  info.classes = classes;
  return info;
}

std::string MetricNames(const Checked& checked) {
  std::string names;
  if (!checked.spec) return checked.problems.ToString();
  for (const Metric& metric : checked.spec->training.metrics) names += metric.name + " ";
  return names;
}

TEST(Output, BinaryCrossEntropyTakesOneOutputForTwoClassesOrOneForEach) {
  const std::map<std::string, std::string> bce{{"loss", "binary_cross_entropy"}};
  EXPECT_TRUE(Check(WithUnits(1, bce), Table(2)).spec);
  EXPECT_TRUE(Check(WithUnits(2, bce), Table(2)).spec);
  EXPECT_TRUE(Check(WithUnits(3, bce), Table(3)).spec);
  EXPECT_TRUE(Check(WithUnits(1, bce), Table(0)).spec);  // numbers from 0 to 1
  EXPECT_TRUE(SaysOnly(Check(WithUnits(1, bce), Table(3)).problems, "$.model.layers[1].units",
                       "expected [3], found [1] (set \"loss\" to \"cross_entropy\""));
  EXPECT_TRUE(SaysOnly(Check(WithUnits(4, bce), Table(3)).problems, "$.model.layers[1].units",
                       "expected [1], or [3] for one-hot labels, found [4]"));
}

TEST(Output, AnActivationAtTheEndBelongsToTheLoss) {
  auto ended = [](const char* activation, const char* loss) {
    return Check(
               With(std::string(R"({"type":"dense","units":2,"activation":")") + activation + "\"}",
                    {{"loss", loss}}),
               Table(2))
        .problems;
  };
  EXPECT_TRUE(ended("softmax", "cross_entropy").empty());
  EXPECT_TRUE(ended("softmax", "kl").empty());
  EXPECT_TRUE(ended("sigmoid", "binary_cross_entropy").empty());
  EXPECT_TRUE(ended("sigmoid", "mse").empty());
  EXPECT_TRUE(SaysOnly(ended("sigmoid", "cross_entropy"), "$.model.layers[0]",
                       "set \"loss\" to \"binary_cross_entropy\""));
  EXPECT_TRUE(SaysOnly(ended("softmax", "binary_cross_entropy"), "$.model.layers[0]",
                       "set \"loss\" to \"cross_entropy\""));
}

TEST(Output, ASequenceOfLabelsNeedsTheClassesAtEachPosition) {
  DatasetInfo text;
  text.sample_shape = text.label_shape = {16};
  text.train_samples = 100;
  text.classes = 256;
  const std::string embedding = R"({"type":"embedding","input_dim":256,"output_dim":8},)";
  const std::string lstm = R"({"type":"lstm","units":8,"return_sequences":true},)";
  auto check = [&](const std::string& layers, std::map<std::string, std::string> hyperparameters,
                   std::optional<DatasetInfo> seen) {
    return Check(With(embedding + layers, std::move(hyperparameters)), std::move(seen));
  };
  const std::string right = lstm + R"({"type":"dense","units":256})";
  EXPECT_TRUE(check(right, {}, text).spec);
  EXPECT_EQ(MetricNames(check(right, {{"metrics", "accuracy,perplexity,top_5_accuracy"}}, text)),
            "accuracy perplexity top_5_accuracy ");
  EXPECT_TRUE(SaysOnly(check(right, {{"loss", "mse"}}, text).problems, "$.hyperparameters.loss",
                       "a class at each position: expected cross_entropy"));
  EXPECT_TRUE(SaysOnly(check(lstm + R"({"type":"dense","units":255})", {}, text).problems,
                       "$.model.layers[2].units", "at least [256]"));
  EXPECT_TRUE(SaysOnly(
      check(R"({"type":"lstm","units":8},{"type":"dense","units":256})", {}, text).problems,
      "$.model.layers[2]", "expected [16, 256], found [256]"));
  // Where the data has one label a sample, or is not seen.
  DatasetInfo flat = text;
  flat.label_shape = {};
  EXPECT_TRUE(SaysOnly(check(right, {}, flat).problems, "$.model.layers[2]", "is not flat"));
  JobDescription unseen = With(embedding + right, {});
  unseen.model_definition.insert(1, R"("input_shape": [16], )");
  EXPECT_TRUE(Check(unseen, std::nullopt).spec);
}

TEST(Output, AnAutoencoderGivesBackItsInputsShapeOrAllItsValues) {
  std::map<std::string, std::string> input{{"loss", "mse"}, {"target", "input"}};
  EXPECT_TRUE(Check(WithUnits(784, input)).spec);
  EXPECT_TRUE(
      Check(With(R"({"type":"conv2d","filters":1,"kernel_size":3,"padding":"same"})", input)).spec);
  EXPECT_TRUE(SaysOnly(Check(WithUnits(10, input)).problems, "$.model.layers[1].units",
                       "expected [1, 28, 28] or [784], found [10]"));
  input["loss"] = "cross_entropy";
  EXPECT_TRUE(SaysOnly(Check(WithUnits(784, input)).problems, "$.hyperparameters.loss",
                       "binary_cross_entropy fits"));
}

TEST(Output, LossesOfNumbersFrom0To1AreForSuchLabels) {
  auto check = [](const char* loss, double least, double greatest) {
    DatasetInfo info = Table(0);
    info.label_range = {least, greatest};
    return Check(WithUnits(1, {{"loss", loss}}), info).problems;
  };
  EXPECT_TRUE(check("binary_cross_entropy", 0, 1).empty());
  EXPECT_TRUE(check("mse", -1, 7).empty());
  for (auto [least, greatest, found] :
       {std::tuple(-0.5, 1.0, "found -0.5 to 1 "), std::tuple(0.0, 1.5, "found 0 to 1.5 ")}) {
    EXPECT_TRUE(
        SaysOnly(check("binary_cross_entropy", least, greatest), "$.hyperparameters.loss", found));
  }
}

TEST(Output, LossesOfNumbersFrom0To1AreForSuchInputs) {
  using Values = DatasetInfo::Values;
  auto check = [](const char* loss, Values values) {
    DatasetInfo info = FashionMnist();
    info.values = values;
    return Check(WithUnits(784, {{"loss", loss}, {"target", "input"}}), info).problems;
  };
  for (const char* loss : {"binary_cross_entropy", "kl"}) {
    EXPECT_TRUE(check(loss, Values::kAny).empty());
    EXPECT_TRUE(check(loss, Values::kParts).empty());
    EXPECT_TRUE(
        SaysOnly(check(loss, Values::kAround), "$.hyperparameters.loss", "leave normalize out"));
    EXPECT_TRUE(
        SaysOnly(check(loss, Values::kBytes), "$.hyperparameters.loss", "found bytes of text"));
  }
  EXPECT_TRUE(check("mse", Values::kAround).empty());
  // With labels as the target it does not matter.
  DatasetInfo info = FashionMnist();
  info.values = Values::kAround;
  EXPECT_TRUE(Check(WithUnits(10, {{"loss", "binary_cross_entropy"}}), info).problems.empty());
}

TEST(Output, ClassWeightsAreAsManyAsOutputs) {
  EXPECT_TRUE(Check(WithUnits(3, {{"class_weights", "1, 2, 0.5"}}), Table(3)).spec);
  EXPECT_TRUE(Check(WithUnits(3, {{"class_weights", "balanced"}}), Table(3)).spec);
  EXPECT_TRUE(SaysOnly(Check(WithUnits(3, {{"class_weights", "1,2"}}), Table(3)).problems,
                       "$.hyperparameters.class_weights", "expected 3 weights, found 2"));
  EXPECT_TRUE(SaysOnly(Check(WithUnits(3, {{"class_weights", "1,2,-1"}}), Table(3)).problems,
                       "$.hyperparameters.class_weights", "is no list of weights"));
}

TEST(Warmup, EndsWithinTheTraining) {
  auto check = [](const char* steps, std::map<std::string, std::string> values, bool seen = true) {
    values["warmup_steps"] = steps;
    values["epochs"] = "2";
    values["batch_size"] = "30";
    JobDescription job = With(R"({"type":"dense","units":3})", std::move(values));
    job.model_definition.insert(1, R"("input_shape": [4], )");
    return Check(job, seen ? std::optional(Table(3)) : std::nullopt).problems;
  };
  const char* path = "$.hyperparameters.warmup_steps";
  // 100 samples are 4 batches, 50 are 2.
  EXPECT_TRUE(check("8", {}).empty());
  EXPECT_TRUE(SaysOnly(check("9", {}), path, "at most its steps, 8, found 9"));
  EXPECT_TRUE(SaysOnly(check("5", {{"validation_split", "0.5"}}), path, "at most its steps, 4"));
  EXPECT_TRUE(SaysOnly(check("5", {{"gradient_accumulation_steps", "3"}}), path, "steps, 4"));
  EXPECT_TRUE(check("1000", {}, /*seen=*/false).empty());
}

TEST(BatchNormalization, NeedsTwoSamplesToTrainOn) {
  auto check = [](int64_t samples, const char* validation_split) {
    DatasetInfo info = Table(3);
    info.train_samples = samples;
    return Check(With(R"({"type":"batch_normalization"},{"type":"dense","units":3})",
                      {{"validation_split", validation_split}}),
                 info)
        .problems;
  };
  EXPECT_TRUE(check(2, "0").empty());
  EXPECT_TRUE(SaysOnly(check(1, "0"), "$.model.layers[0]", "2 training samples or more, found 1"));
  EXPECT_TRUE(SaysOnly(check(2, "0.5"), "$.model.layers[0]", "2 training samples or more"));
}

TEST(Metrics, FollowFromLossAndOutput) {
  EXPECT_EQ(MetricNames(Check(WithUnits(10, {}))), "accuracy ");
  EXPECT_EQ(MetricNames(Check(WithUnits(10, {{"loss", "mse"}}))), "accuracy ");
  EXPECT_EQ(MetricNames(Check(WithUnits(1, {{"loss", "mse"}}), Table(0))), "mae rmse r2 ");
  EXPECT_EQ(MetricNames(Check(WithUnits(1, {{"loss", "bce"}}), Table(2))), "accuracy ");
  EXPECT_EQ(MetricNames(Check(WithUnits(784, {{"loss", "mse"}, {"target", "input"}}))),
            "mae rmse r2 ");
}

TEST(Metrics, ThoseThatDoNotFitAreRefused) {
  auto problems = [](int units, const char* metrics, const char* loss, int64_t classes) {
    return Check(WithUnits(units, {{"loss", loss}, {"metrics", metrics}}), Table(classes)).problems;
  };
  const char* path = "$.hyperparameters.metrics";
  EXPECT_TRUE(problems(6, "accuracy,top_5_accuracy, F1_score,perplexity,confusion_matrix",
                       "cross_entropy", 6)
                  .empty());
  EXPECT_TRUE(problems(1, "auc,f1", "binary_cross_entropy", 2).empty());
  EXPECT_TRUE(problems(2, "auc", "cross_entropy", 2).empty());
  EXPECT_TRUE(SaysOnly(problems(3, "auc", "cross_entropy", 3), path, "auc (two classes)"));
  EXPECT_TRUE(
      SaysOnly(problems(3, "r2", "cross_entropy", 3), path, "there is no r2 for this loss"));
  EXPECT_TRUE(SaysOnly(problems(1, "accuracy", "mse", 0), path, "expected mae, rmse, r2"));
  EXPECT_TRUE(SaysOnly(problems(3, "perplexity", "mse", 3), path, "perplexity (cross_entropy)"));
  EXPECT_TRUE(SaysOnly(problems(5, "top_5_accuracy", "cross_entropy", 5), path, "always be 1"));
  EXPECT_TRUE(SaysOnly(problems(1001, "confusion_matrix", "cross_entropy", 1001), path,
                       "confusion_matrix (to 1000 classes)"));
}

TEST(Monitor, IsTheLossUnlessAnotherMetricIsNamed) {
  auto check = [](std::map<std::string, std::string> values) {
    values["keep"] = "best";
    return Check(WithUnits(10, std::move(values)));
  };
  EXPECT_EQ(check({}).spec->training.monitor, "train_loss");
  EXPECT_EQ(check({{"validation_split", "0.1"}}).spec->training.monitor, "validation_loss");
  EXPECT_FALSE(check({}).spec->training.monitor_greater);
  Checked f1 =
      check({{"validation_split", "0.1"}, {"metrics", "f1"}, {"monitor", "validation_f1"}});
  ASSERT_TRUE(f1.spec) << f1.problems.ToString();
  EXPECT_TRUE(f1.spec->training.monitor_greater);
  EXPECT_TRUE(check({{"monitor", "train_accuracy"}}).spec->training.monitor_greater);
  const char* path = "$.hyperparameters.monitor";
  EXPECT_TRUE(SaysOnly(check({{"monitor", "validation_loss"}}).problems, path,
                       "add \"validation_split\": 0.1"));
  EXPECT_TRUE(SaysOnly(check({{"monitor", "train_los"}}).problems, path,
                       "one of train_loss, train_accuracy, found \"train_los\" "
                       "(did you mean 'train_loss'?)"));
  EXPECT_TRUE(SaysOnly(check({{"monitor", "test_loss"}}).problems, path, "is not measured"));
  for (const char* metric : {"f1", "top_3_accuracy"}) {
    EXPECT_TRUE(SaysOnly(check({{"monitor", std::string("validation_") + metric}}).problems, path,
                         std::string("(add \"") + metric + "\" to metrics)"));
  }
  EXPECT_TRUE(SaysOnly(check({{"monitor", "validation_confusion_matrix"}}).problems, path,
                       "is not measured: expected one of train_loss, train_accuracy, found "
                       "\"validation_confusion_matrix\""));
}

TEST(Estimate, CountsWhatOptimizerAndAveragesKeep) {
  auto memory = [](std::map<std::string, std::string> values) {
    Checked checked = Check(WithUnits(1000, std::move(values)));
    EXPECT_TRUE(checked.spec) << checked.problems.ToString();
    return checked.spec->estimate.memory_bytes;
  };
  const int64_t weights = 4 * 785 * 1000;
  const int64_t sgd = memory({{"optimizer", "sgd"}});
  EXPECT_EQ(memory({{"optimizer", "adam"}}), sgd + 4 * weights);
  EXPECT_EQ(memory({{"optimizer", "lion"}}), sgd + 3 * weights);
  EXPECT_EQ(memory({{"optimizer", "lbfgs"}, {"history_size", "5"}}), sgd + 29 * weights);
  EXPECT_EQ(memory({{"optimizer", "sgd"}, {"ema_decay", "0.9"}}), sgd + 3 * weights);
  EXPECT_EQ(memory({{"optimizer", "sgd"}, {"keep", "best"}}), sgd + 2 * weights);
  EXPECT_EQ(memory({{"optimizer", "sgd"}, {"gradient_accumulation_steps", "2"}}), sgd + weights);
}

TEST(BatchSize, IsTheLargestThatFitsWhenItIsToBeChosen) {
  auto chosen = [](int64_t memory, int64_t samples, const char* validation_split = "0") {
    JobDescription job =
        WithUnits(10, {{"batch_size", "auto"}, {"validation_split", validation_split}});
    job.requested.memory_bytes = memory;
    DatasetInfo info = Table(10);
    info.sample_shape = {100'000};
    info.train_samples = samples;
    return Check(job, info);
  };
  const int64_t mib = 1 << 20;
  Checked checked = chosen(400 * mib, 60'000);
  ASSERT_TRUE(checked.spec) << checked.problems.ToString();
  const int64_t batch = checked.spec->training.batch_size;
  EXPECT_LE(checked.spec->estimate.memory_bytes, 400 * mib);
  EXPECT_GT(batch, 1);
  EXPECT_EQ(batch & (batch - 1), 0);
  JobDescription twice = WithUnits(10, {{"batch_size", std::to_string(2 * batch)}});
  DatasetInfo info = Table(10);
  info.sample_shape = {100'000};
  info.train_samples = 60'000;
  EXPECT_GT(Check(twice, info).spec->estimate.memory_bytes, 400 * mib);
  EXPECT_EQ(chosen(int64_t{1} << 40, 60'000).spec->training.batch_size, kMaxAutoBatchSize);
  EXPECT_EQ(chosen(int64_t{1} << 40, 100).spec->training.batch_size, 64);
  EXPECT_EQ(chosen(int64_t{1} << 40, 100, "0.5").spec->training.batch_size, 32);
  const char* path = "$.hyperparameters.batch_size";
  EXPECT_TRUE(SaysOnly(chosen(0, 100).problems, path, "resources.memory"));
  EXPECT_TRUE(SaysOnly(chosen(100 * mib, 100).problems, path, "no batch fits into the memory"));
  JobDescription both = WithUnits(10, {{"batch_size", "auto"}});
  both.requested.memory_bytes = 400 * mib;
  both.batch_size = 32;
  EXPECT_TRUE(SaysOnly(Check(both).problems, path, "leave one out"));
}

TEST(Precision, Bfloat16IsForTheCpu) {
  JobDescription job = WithUnits(10, {{"precision", "bfloat16"}});
  EXPECT_TRUE(Check(job).spec);
  job.required_device = Device::kCuda;
  EXPECT_TRUE(SaysOnly(Check(job).problems, "$.hyperparameters.precision", "for the CPU only"));
  job.hyperparameters["precision"] = "auto";
  ASSERT_TRUE(Check(job).spec) << "which is float32 there";
  EXPECT_EQ(Check(job).spec->training.precision, Precision::kAuto);
}

}  // namespace
}  // namespace cyxwiz::spec
