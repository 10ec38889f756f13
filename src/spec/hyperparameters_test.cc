#include "spec/hyperparameters.h"

#include <set>

#include "spec/test_support.h"

namespace cyxwiz::spec {
namespace {

struct Read {
  TrainingSpec training;
  Problems problems;
};
Read Hyperparameters(std::map<std::string, std::string> values, int64_t batch_size = 0,
                     int64_t epochs = 0) {
  JobDescription job;
  job.hyperparameters = std::move(values);
  job.batch_size = batch_size;
  job.epochs = epochs;
  Read read;
  CheckHyperparameters(job, &read.training, &read.problems);
  return read;
}

TEST(Hyperparameters, HaveDefaultsThatDependOnTheOptimizer) {
  TrainingSpec none = Hyperparameters({}).training;
  EXPECT_EQ(none.optimizer, Optimizer::kAdam);
  EXPECT_EQ(none.learning_rate, 1e-3);
  EXPECT_EQ(none.weight_decay, 0);
  EXPECT_EQ(none.batch_size, 32);
  EXPECT_EQ(none.epochs, 1);
  EXPECT_EQ(Hyperparameters({{"optimizer", "SGD"}}).training.learning_rate, 1e-2);
  EXPECT_EQ(Hyperparameters({{"optimizer", "AdamW"}}).training.weight_decay, 1e-2);
}

TEST(Hyperparameters, TakeEachValue) {
  auto [sgd, problems] = Hyperparameters({{"optimizer", "sgd"},
                                          {"lr", "1e-1"},
                                          {"momentum", "0.9"},
                                          {"nesterov", "True"},
                                          {"weight_decay", "5e-4"},
                                          {"batch_size", "64"},
                                          {"epochs", "3"},
                                          {"seed", "42"},
                                          {"loss", "mean_squared_error"},
                                          {"validation_split", "0.1"},
                                          {"threads", "2"},
                                          {"checkpoint_seconds", "0.5"}});
  EXPECT_TRUE(problems.empty()) << problems.ToString();
  EXPECT_EQ(sgd.learning_rate, 0.1);
  EXPECT_EQ(sgd.momentum, 0.9);
  EXPECT_TRUE(sgd.nesterov);
  EXPECT_EQ(sgd.weight_decay, 5e-4);
  EXPECT_EQ(sgd.batch_size, 64);
  EXPECT_EQ(sgd.epochs, 3);
  EXPECT_EQ(sgd.seed, 42u);
  EXPECT_EQ(sgd.loss, Loss::kMse);
  EXPECT_EQ(sgd.validation_split, 0.1);
  EXPECT_EQ(sgd.threads, 2);
  EXPECT_EQ(sgd.checkpoint_seconds, 0.5);
  TrainingSpec adam =
      Hyperparameters({{"beta_1", "0.8"}, {"beta2", "0.99"}, {"eps", "1e-7"}}).training;
  EXPECT_EQ(adam.beta1, 0.8);
  EXPECT_EQ(adam.beta2, 0.99);
  EXPECT_EQ(adam.epsilon, 1e-7);
}

TEST(Hyperparameters, LossesGoByTheirUsualNames) {
  for (const char* name : {"cross_entropy", "CrossEntropy", "CrossEntropyLoss", "crossentropy",
                           "categorical_crossentropy", "sparse_categorical_crossentropy"}) {
    EXPECT_EQ(Hyperparameters({{"loss", name}}).problems.count(), 0u) << name;
  }
  for (const char* name : {"mse", "MSE", "MSELoss", "mean_squared_error"}) {
    EXPECT_EQ(Hyperparameters({{"loss", name}}).training.loss, Loss::kMse) << name;
  }
}

TEST(Hyperparameters, LossesHaveOptionsOfTheirOwn) {
  auto [training, problems] = Hyperparameters({{"loss", "CrossEntropy"},
                                               {"label_smoothing", "0.1"},
                                               {"class_weights", " 1 , 2.5,0 "},
                                               {"metrics", "F1, top_5_accuracy"}});
  EXPECT_TRUE(problems.empty()) << problems.ToString();
  EXPECT_EQ(training.label_smoothing, 0.1);
  EXPECT_EQ(training.class_weights, (std::vector<double>{1, 2.5, 0}));
  ASSERT_EQ(training.metrics.size(), 2u);
  EXPECT_EQ(training.metrics[0].name, "f1");
  EXPECT_EQ(training.metrics[1].top, 5);
  EXPECT_TRUE(Hyperparameters({{"class_weight", "balanced"}}).training.balanced_class_weights);
  TrainingSpec huber = Hyperparameters({{"loss", "huber"}, {"huber_delta", "2"}}).training;
  EXPECT_EQ(huber.loss, Loss::kHuber);
  EXPECT_EQ(huber.huber_delta, 2);
  EXPECT_EQ(Hyperparameters({{"loss", "bce"}}).training.loss, Loss::kBinaryCrossEntropy);
  EXPECT_EQ(Hyperparameters({{"loss", "mae"}}).training.loss, Loss::kL1);
  EXPECT_EQ(Hyperparameters({{"loss", "KLDivLoss"}}).training.loss, Loss::kKl);
  EXPECT_EQ(Hyperparameters({{"target", "input"}}).training.target, Target::kInput);
}

TEST(Hyperparameters, OptionsOfAnotherLossAreRefused) {
  EXPECT_TRUE(SaysOnly(Hyperparameters({{"huber_delta", "2"}}).problems,
                       "$.hyperparameters.huber_delta", "it only with huber"));
  EXPECT_TRUE(SaysOnly(Hyperparameters({{"loss", "mse"}, {"label_smoothing", "0.1"}}).problems,
                       "$.hyperparameters.label_smoothing", "it only with cross_entropy"));
  EXPECT_TRUE(SaysOnly(Hyperparameters({{"loss", "mse"}, {"class_weight", "1,2"}}).problems,
                       "$.hyperparameters.class_weight", "it only with cross_entropy"));
}

TEST(Hyperparameters, EachOptimizerHasItsDefaults) {
  auto of = [](const char* optimizer) {
    auto read = Hyperparameters({{"optimizer", optimizer}});
    EXPECT_TRUE(read.problems.empty()) << read.problems.ToString();
    return read.training;
  };
  EXPECT_EQ(of("rmsprop").learning_rate, 1e-2);
  EXPECT_EQ(of("rmsprop").alpha, 0.99);
  EXPECT_EQ(of("adagrad").learning_rate, 1e-2);
  EXPECT_EQ(of("adagrad").epsilon, 1e-10);
  EXPECT_EQ(of("lbfgs").learning_rate, 1);
  EXPECT_EQ(of("lbfgs").history_size, 100);
  EXPECT_EQ(of("lion").learning_rate, 1e-4);
  EXPECT_EQ(of("lion").beta2, 0.99);
  EXPECT_EQ(of("muon").weight_decay, 0.1);
  EXPECT_EQ(of("muon").momentum, 0.95);
  EXPECT_TRUE(of("muon").nesterov);
}

TEST(Hyperparameters, SchedulesHaveOptionsOfTheirOwn) {
  auto [step, problems] = Hyperparameters({{"lr_schedule", "StepLR"},
                                           {"lr_step_size", "3"},
                                           {"lr_gamma", "0.5"},
                                           {"lr_interval", "step"},
                                           {"warmup_steps", "10"},
                                           {"warmup_start_factor", "0.1"}});
  EXPECT_TRUE(problems.empty()) << problems.ToString();
  EXPECT_EQ(step.lr_schedule, Schedule::kStep);
  EXPECT_EQ(step.lr_step_size, 3);
  EXPECT_EQ(step.lr_interval, Interval::kStep);
  EXPECT_EQ(step.warmup_steps, 10);
  EXPECT_EQ(Hyperparameters({{"lr_schedule", "one_cycle"}}).training.lr_interval, Interval::kStep);
  EXPECT_EQ(Hyperparameters({{"lr_schedule", "multi_step"}, {"lr_milestones", "3, 8"}})
                .training.lr_milestones,
            (std::vector<int64_t>{3, 8}));
}

TEST(Hyperparameters, WhatDoesNotBelongTogetherIsRefused) {
  struct Case {
    std::map<std::string, std::string> values;
    const char *name, *says;
  };
  for (const Case& c : std::initializer_list<Case>{
           {{{"optimizer", "lion"}, {"epsilon", "1e-3"}},
            "epsilon",
            "it only with adam, adamw, rmsprop, adagrad and muon"},
           {{{"alpha", "0.9"}}, "alpha", "it only with rmsprop"},
           {{{"optimizer", "lbfgs"}, {"weight_decay", "0.1"}}, "weight_decay", "it only with sgd"},
           {{{"optimizer", "lbfgs"}, {"clip_norm", "1"}}, "clip_norm", "any optimizer but lbfgs"},
           {{{"optimizer", "lbfgs"}, {"gradient_accumulation_steps", "2"}},
            "gradient_accumulation_steps",
            "any optimizer but lbfgs"},
           {{{"optimizer", "muon"}, {"shard_optimizer", "true"}},
            "shard_optimizer",
            "any optimizer but lbfgs and muon"},
           {{{"optimizer", "sgd"}, {"shard_optimizer", "true"}},
            "shard_optimizer",
            "momentum above 0"},
           {{{"lr_gamma", "0.5"}}, "lr_gamma", "it only with step, multi_step and exponential"},
           {{{"lr_schedule", "cosine"}, {"lr_patience", "1"}}, "lr_patience", "only with plateau"},
           {{{"lr_schedule", "step"}}, "lr_step_size", "is missing for this lr_schedule"},
           {{{"lr_schedule", "multi_step"}}, "lr_milestones", "is missing"},
           {{{"lr_schedule", "exponential"}}, "lr_gamma", "is missing"},
           {{{"lr_schedule", "multi_step"}, {"lr_milestones", "8,3"}}, "lr_milestones", "growing"},
           {{{"lr_schedule", "cosin"}}, "lr_schedule", "did you mean 'cosine'?"},
           {{{"warmup_steps", "5"}, {"warmup_epochs", "1"}}, "warmup_steps", "say the same thing"},
           {{{"warmup_epochs", "5"}}, "warmup_epochs", "at most epochs, 1"},
           {{{"warmup_start_factor", "0.1"}}, "warmup_start_factor", "without a warm-up"},
           {{{"lr_schedule", "cosine"}, {"lr_min", "0.1"}, {"learning_rate", "0.05"}},
            "lr_min",
            "at most learning_rate, 0.05"},
           {{{"lr_schedule", "plateau"}, {"lr_min", "0.01"}}, "lr_min", "at most learning_rate"},
           {{{"clip_norm", "1"}, {"clip_value", "1"}}, "clip_value", "both limit the gradients"},
           {{{"ema_decay", "1"}}, "ema_decay", "above 0 to below 1"},
           {{{"early_stopping_min_delta", "1"}},
            "early_stopping_min_delta",
            "without early stopping"},
           {{{"monitor", "train_loss"}}, "monitor", "nothing follows it"},
           {{{"keep", "first"}}, "keep", "one of last, best"},
       }) {
    EXPECT_TRUE(SaysOnly(Hyperparameters(c.values).problems,
                         std::string("$.hyperparameters.") + c.name, c.says))
        << c.name;
  }
}

TEST(Hyperparameters, WhatDecidesTheWeightsIsSpeltOut) {
  auto text = [](std::map<std::string, std::string> values) {
    return TrainingToJson(Hyperparameters(std::move(values)).training).dump();
  };
  const std::string plain = text({});
  EXPECT_EQ(plain.find("momentum"), std::string::npos);
  std::set<std::string> all{plain};
  const std::vector<std::map<std::string, std::string>> changes{
      {{"lr", "1"}},
      {{"epsilon", "1e-3"}},
      {{"optimizer", "muon"}},
      {{"optimizer", "muon"}, {"adjust_lr", "match_rms_adamw"}},
      {{"optimizer", "lbfgs"}, {"max_iter", "3"}},
      {{"lr_schedule", "cosine"}},
      {{"lr_schedule", "cosine"}, {"lr_min", "1e-5"}},
      {{"warmup_steps", "3"}},
      {{"clip_norm", "1"}},
      {{"clip_value", "1"}},
      {{"gradient_accumulation_steps", "2"}},
      {{"ema_decay", "0.9"}},
      {{"keep", "best"}},
      {{"early_stopping_patience", "2"}},
      {{"label_smoothing", "0.1"}},
      {{"class_weights", "1,2"}},
      {{"loss", "mse"}, {"target", "input"}},
  };
  for (const auto& change : changes) EXPECT_TRUE(all.insert(text(change)).second) << text(change);
}

TEST(Hyperparameters, WrongValuesAreRefused) {
  for (auto [name, value, says] : std::initializer_list<std::array<const char*, 3>>{
           {"learning_rate", "abc",
            "learning_rate is not a number: expected a number above 0, found \"abc\""},
           {"learning_rate", "NaN", "not a finite number"},
           {"learning_rate", "inf", "not a finite number"},
           {"learning_rate", "-1", "found -1"},
           {"learning_rate", "0", "above 0"},
           {"learning_rate", "", "not a number"},
           {"lr", "x", "lr is not a number"},
           {"epochs", "0", "from 1 to 1000000"},
           {"epochs", "1e3", "write 1000"},
           {"epochs", "2.5", "not a whole number"},
           {"epochs", "1000001", "from 1 to 1000000"},
           {"batch_size", "-32", "out of range"},
           {"batch_size", "99999999999999999999", "out of range"},
           {"optimizer", "adm", "did you mean 'adam'?"},
           {"loss", "hinge", "one of cross_entropy, binary_cross_entropy, mse, l1, huber, kl"},
           {"label_smoothing", "1", "to below 1"},
           {"class_weights", "1,,2", "empty part"},
           {"class_weights", "1,-2", "from 0 up"},
           {"class_weights", "0,0", "gives no class a weight"},
           {"class_weights", "1,1e39", "of float32"},
           {"class_weights", "1,1e-300", "of float32"},
           {"clip_norm", "1e-300", "is 0 in float32: expected a number above 0, within 1.4e-45"},
           {"clip_value", "1e39", "is infinite in float32"},
           {"learning_rate", "1e39", "is infinite in float32"},
           {"target", "inputs", "did you mean 'input'?"},
           {"metrics", "acuracy", "did you mean 'accuracy'?"},
           {"metrics", "top_1_accuracy", "2 to 1000"},
           {"metrics", "f1,f1", "twice"},
           {"metrics",
            "f1,f1,f1,f1,f1,f1,f1,f1,f1,f1,f1,f1,f1,f1,f1,f1,f1,f1,f1,f1,f1,f1,f1,f1,f1,f1,f1,f1,"
            "f1,"
            "f1,f1,f1,f1",
            "at most 32"},
           {"seed", "-1", "from 0 to"},
           {"validation_split", "1", "to below 1"},
           {"threads", "1000", "from 0 to 256"},
           {"checkpoint_seconds", "-1", "from 0 to 86400"},
           {"checkpoints_kept", "0", "from 1 to 100"},
           {"weight_decay", "-0.1", "from 0 up"},
           {"beta1", "1", "to below 1"},
           {"learnin_rate", "0.1", "did you mean 'learning_rate'?"},
           {"momentum", "0.9", "only with sgd"},
       }) {
    EXPECT_TRUE(SaysOnly(Hyperparameters({{name, value}}).problems,
                         std::string("$.hyperparameters.") + name, says))
        << name;
  }
  EXPECT_TRUE(SaysOnly(Hyperparameters({{"optimizer", "sgd"}, {"beta1", "0.9"}}).problems,
                       "$.hyperparameters.beta1", "only with adam"));
  EXPECT_TRUE(SaysOnly(Hyperparameters({{"optimizer", "sgd"}, {"nesterov", "true"}}).problems,
                       "$.hyperparameters.nesterov", "momentum above 0"));
  EXPECT_TRUE(SaysOnly(Hyperparameters({{"lr", "0.1"}, {"learning_rate", "0.1"}}).problems,
                       "$.hyperparameters.lr", "two names of the same thing"));
}

TEST(Hyperparameters, ARankAloneSharesItsOptimizerWithNobody) {
  auto problems = [](const std::string& shard, int64_t ranks) {
    Problems found;
    CheckSharing({{"shard_optimizer", shard}}, ranks, &found);
    return found;
  };
  EXPECT_TRUE(SaysOnly(problems("true", 1), "$.hyperparameters.shard_optimizer", "found 1 rank"));
  EXPECT_TRUE(SaysOnly(problems("1", 1), "$.hyperparameters.shard_optimizer", "resources.nodes"));
  EXPECT_TRUE(problems("true", 2).empty());
  EXPECT_TRUE(problems("false", 1).empty());
  EXPECT_TRUE(problems("perhaps", 1).empty()) << "another check says what is wrong with it";
  Problems found;
  CheckSharing({}, 1, &found);
  EXPECT_TRUE(found.empty());
}

TEST(Hyperparameters, FieldsAndMapAgreeOrAreRefused) {
  EXPECT_EQ(Hyperparameters({}, 16, 7).training.batch_size, 16);
  EXPECT_EQ(Hyperparameters({}, 16, 7).training.epochs, 7);
  auto equal = Hyperparameters({{"batch_size", "16"}, {"epochs", "7"}}, 16, 7);
  EXPECT_TRUE(equal.problems.empty());
  EXPECT_TRUE(SaysOnly(Hyperparameters({{"batch_size", "32"}}, 16).problems,
                       "$.hyperparameters.batch_size", "expected 16, found 32"));
  EXPECT_TRUE(SaysOnly(Hyperparameters({{"epochs", "3"}}, 0, 7).problems,
                       "$.hyperparameters.epochs", "leave one out"));
  EXPECT_TRUE(SaysOnly(Hyperparameters({}, -1).problems, "$.batch_size", "found -1"));
  EXPECT_TRUE(SaysOnly(Hyperparameters({}, 0, -1).problems, "$.epochs", "found -1"));
}

}  // namespace
}  // namespace cyxwiz::spec
