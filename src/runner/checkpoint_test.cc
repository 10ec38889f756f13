// A training that is ended at any moment and goes on from a checkpoint gives the same bits as one
// that was left alone; a checkpoint that is damaged or of another training is never used.
#include <gtest/gtest.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <limits>
#include <set>

#include "base/file.h"
#include "base/json.h"
#include "base/testing.h"
#include "data/testing.h"
#include "runner/attempt.h"
#include "runner/checkpoint.h"
#include "runner/engine.h"
#include "runner/sha256.h"

namespace cyxwiz::runner {
namespace {

using End = TrainingResult::End;

// ---- trainings to interrupt

struct Training {
  std::string name;
  spec::JobSpec job;
  data::Dataset dataset;
};

data::Split Images(int64_t samples, int64_t seed) {
  data::Split split;
  split.samples = samples;
  std::vector<uint8_t> pixels(static_cast<size_t>(samples) * 3 * 8 * 8);
  for (size_t i = 0; i < pixels.size(); ++i) {
    pixels[i] = static_cast<uint8_t>((i + static_cast<size_t>(seed)) * i % 251);
  }
  split.features = pixels;
  std::vector<int64_t> labels(static_cast<size_t>(samples));
  for (size_t i = 0; i < labels.size(); ++i) labels[i] = static_cast<int64_t>(i % 4);
  split.labels = labels;
  return split;
}

constexpr const char* kDense =
    R"({"layers":[{"type":"dense","units":16,"activation":"relu"},{"type":"dense","units":10}]})";
constexpr const char* kDenseWithDropout =
    R"({"layers":[{"type":"dense","units":16,"activation":"tanh"},{"type":"dropout","rate":0.3},
                  {"type":"batch_normalization"},{"type":"dense","units":10}]})";
constexpr const char* kConvolutional =
    R"({"layers":[{"type":"input","shape":[3,8,8]},
                  {"type":"conv2d","filters":6,"kernel_size":3,"activation":"relu"},
                  {"type":"batch_normalization"},{"type":"max_pooling2d"},
                  {"type":"dropout","rate":0.25},{"type":"flatten"},
                  {"type":"dense","units":4}]})";

constexpr const char* kGraph =
    R"({"layers":[{"type":"input","shape":[3,8,8]},
                  {"type":"conv2d","filters":8,"kernel_size":3,"padding":1},
                  {"type":"block","name":"body","repeat":2,"residual":true,"layers":[
                    {"type":"batch_normalization","activation":"relu"},
                    {"type":"conv2d","filters":8,"kernel_size":3,"padding":1}]},
                  {"type":"reshape","target_shape":[8,64]},
                  {"type":"transformer_encoder","num_heads":2,"feed_forward":16},
                  {"type":"lstm","units":8},{"type":"dense","units":4}]})";

// parameters: of the URI of images, "?flip=true".
Training Make(const std::string& name, const char* model,
              std::map<std::string, std::string> hyperparameters,
              const std::string& parameters = "") {
  const bool images = model == kConvolutional || model == kGraph;
  spec::JobDescription description;
  description.name = name;
  description.model_definition = model;
  description.dataset_uri = images ? "file:///nowhere/images" + parameters
                                   : "mock://random_data?samples=90&test_samples=20";
  hyperparameters.insert({"epochs", "3"});
  hyperparameters.insert({"batch_size", "16"});
  hyperparameters.insert({"seed", "7"});
  hyperparameters.insert({"validation_split", "0.2"});
  description.hyperparameters = hyperparameters;
  spec::Problems problems;
  std::optional<spec::JobSpec> job = spec::CheckJob(description, nullptr, &problems);
  if (!job) throw std::runtime_error(problems.ToString());
  Training training{name, *job, {}};
  if (images) {
    training.dataset.train = Images(70, 1);
    training.dataset.test = Images(20, 5);
    if (name == "in files") {
      data::PutIntoFiles(9, &training.dataset.train);
      data::PutIntoFiles(9, &training.dataset.test);
      training.job.dataset_uri.stream.window = 12;
      training.job.dataset_uri.stream.memory_bytes = 3000;
    }
  } else {
    training.dataset = *data::Load(job->dataset_uri, data::Roots({}));
  }
  return training;
}

std::string Npy(const char* type, const std::string& shape, const void* values, size_t bytes) {
  const std::string header =
      std::string("{'descr': '") + type + "', 'fortran_order': False, 'shape': " + shape + ", }\n";
  return std::string("\x93NUMPY\1\0", 8) + static_cast<char>(header.size()) + '\0' + header +
         std::string(static_cast<const char*>(values), bytes);
}

// On an array of NumPy that stays in its file and is scaled as it is read.
Training OfArrayInItsFile() {
  static const TemporaryFolder folder;
  Training training = Make("an array in its file", kDense, {});
  const data::Split& mock = training.dataset.train;
  const auto& values = std::get<std::vector<float>>(mock.features);
  const auto& labels = std::get<std::vector<int64_t>>(mock.labels);
  EXPECT_TRUE(WriteFileAtomically(folder / "x.npy",
                                  Npy("<f4", "(90, 10)", values.data(), values.size() * 4))
                  .ok());
  EXPECT_TRUE(
      WriteFileAtomically(folder / "y.npy", Npy("<i8", "(90,)", labels.data(), labels.size() * 8))
          .ok());
  spec::JobDescription description;
  description.name = training.name;
  description.model_definition = kDense;
  description.dataset_uri = "file://" + (folder / "x.npy") + "?labels=" + (folder / "y.npy") +
                            "&normalize=true&test_split=0.2&stream=true&window=12&"
                            "stream_memory=300B";
  description.hyperparameters = {
      {"epochs", "3"}, {"batch_size", "16"}, {"seed", "7"}, {"validation_split", "0.2"}};
  spec::Problems problems;
  data::Loader loader(data::Roots({folder.path()}));
  auto job = spec::CheckJob(description, &loader, &problems);
  if (!job) throw std::runtime_error(problems.ToString());
  EXPECT_TRUE(job->dataset->streams);
  return {training.name, *job, *loader.Take(job->dataset_uri, job->dataset->streams)};
}

std::vector<Training> Trainings() {
  return {
      OfArrayInItsFile(),
      Make("dense, adam", kDense, {}),
      Make("dense, adamw", kDense, {{"optimizer", "adamw"}}),
      Make("dense, sgd", kDense, {{"optimizer", "sgd"}}),
      Make("dense, sgd with momentum", kDense, {{"optimizer", "sgd"}, {"momentum", "0.9"}}),
      Make("dense, mse, nesterov", kDense,
           {{"optimizer", "sgd"}, {"momentum", "0.9"}, {"nesterov", "true"}, {"loss", "mse"}}),
      Make("dense with dropout, adam with weight decay", kDenseWithDropout,
           {{"weight_decay", "0.01"}}),
      Make("without validation", kDenseWithDropout, {{"validation_split", "0"}}),
      Make("convolutional, adam", kConvolutional, {}),
      Make("convolutional, adamw", kConvolutional, {{"optimizer", "adamw"}}),
      Make("graph with attention and lstm", kGraph, {}),
      Make("augmented", kConvolutional, {}, "?flip=true&crop=2"),
      Make("in files", kConvolutional, {}, "?flip=true&mixup=0.4"),
      Make("colours and mixup", kConvolutional, {},
           "?crop=1&brightness=0.4&contrast=0.4&saturation=0.4&hue=0.1&mixup=0.4"),
      Make("convolutional, nesterov", kConvolutional,
           {{"optimizer", "sgd"}, {"momentum", "0.9"}, {"nesterov", "true"}}),
      Make("rmsprop", kDense,
           {{"optimizer", "rmsprop"}, {"momentum", "0.5"}, {"centered", "true"}}),
      Make("adagrad", kDense, {{"optimizer", "adagrad"}, {"lr_decay", "0.1"}}),
      Make("lion", kDense, {{"optimizer", "lion"}}),
      Make("muon", kConvolutional, {{"optimizer", "muon"}}),
      Make("lbfgs", kDense,
           {{"optimizer", "lbfgs"}, {"max_iter", "3"}, {"history_size", "5"}, {"lr", "0.1"}}),
      Make("lbfgs with dropout and batch normalisation", kConvolutional,
           {{"optimizer", "lbfgs"}, {"max_iter", "4"}, {"lr", "0.01"}, {"epochs", "2"}}),
      Make("bfloat16", kConvolutional, {{"precision", "bfloat16"}}),
      Make("accumulation", kDenseWithDropout,
           {{"gradient_accumulation_steps", "2"}, {"clip_norm", "0.1"}}),
      Make("one cycle", kDense, {{"lr_schedule", "one_cycle"}}),
      Make("plateau", kDense,
           {{"lr_schedule", "plateau"}, {"lr_patience", "0"}, {"epochs", "5"}, {"lr", "0.3"}}),
      Make("average", kDenseWithDropout, {{"ema_decay", "0.9"}}),
      Make("best", kDenseWithDropout, {{"keep", "best"}, {"lr", "0.5"}, {"epochs", "5"}}),
      Make("best average, early end", kConvolutional,
           {{"keep", "best"},
            {"ema_decay", "0.5"},
            {"early_stopping_patience", "1"},
            {"lr", "0.1"},
            {"epochs", "8"},
            {"metrics", "f1,accuracy"},
            {"monitor", "validation_f1"}}),
  };
}

// Counts how often it is asked; the `yield_at`th time (from 1; 0: never) it asks to yield.
struct Interrupter : TrainingObserver {
  int64_t asked = 0, yield_at = 0, steps = 0;
  std::optional<TrainingState> state;
  std::vector<std::string> log;
  std::optional<Started> started;

  Directive Asked() override { return ++asked == yield_at ? Directive::kYield : Directive::kGoOn; }
  void OnStep(int64_t) override { ++steps; }
  void OnState(TrainingState s) override { state = std::move(s); }
  void OnStarted(const Started& s) override { started = s; }
  void Log(const std::string& line) override { log.push_back(line); }
  bool Said(const std::string& part) const {
    return std::any_of(log.begin(), log.end(), [&](const std::string& line) {
      return line.find(part) != std::string::npos;
    });
  }
};

// All that must be the same: weights and buffers, and the metrics that are no measure of time.
std::string Outcome(const TrainingResult& result) {
  if (result.end != End::kSucceeded) return "not succeeded: " + result.failure.message;
  std::string bytes;
  for (const TensorView& t : result.weights) {
    bytes += t.name;
    bytes.append(static_cast<const char*>(t.data), static_cast<size_t>(t.bytes()));
  }
  Metrics metrics = result.metrics;
  metrics.erase("samples_per_second");
  return Sha256Of(bytes) + " " + Json(metrics).dump();
}

// Writes the state to a disk and reads it back.
std::optional<TrainingState> ThroughTheDisk(const std::string& folder, const std::string& identity,
                                            TrainingState state) {
  Result<Checkpoint> written = WriteCheckpoint(folder, identity, state);
  EXPECT_TRUE(written.ok()) << written.status();
  Result<TrainingState> read = ReadCheckpoint(folder, written->name, identity);
  EXPECT_TRUE(read.ok()) << read.status();
  if (!read.ok()) return std::nullopt;
  return std::move(*read);
}

TEST(Resume, GivesTheSameBitsWhereverTheTrainingWasEnded) {
  TemporaryFolder folder;
  for (const Training& training : Trainings()) {
    SCOPED_TRACE(training.name);
    Interrupter alone;
    const std::string expected = Outcome(Train(training.job, training.dataset, 1, &alone));
    ASSERT_NE(expected.substr(0, 3), "not");
    const std::string identity = IdentityOf(training.job, training.dataset);
    // Each batch of training, of validation and of the test is a place to end.
    for (int64_t place = 1; place <= alone.asked; ++place) {
      SCOPED_TRACE("ended at batch " + std::to_string(place) + " of " +
                   std::to_string(alone.asked));
      Interrupter first;
      first.yield_at = place;
      ASSERT_EQ(Train(training.job, training.dataset, 1, &first).end, End::kYielded);
      ASSERT_TRUE(first.state);
      Interrupter second;
      TrainingResult resumed =
          Train(training.job, training.dataset, 1, &second,
                ThroughTheDisk(folder.path(), identity, std::move(*first.state)));
      ASSERT_EQ(Outcome(resumed), expected);
      // It went on, it did not begin again.
      ASSERT_EQ(first.steps + second.steps, alone.steps);
      ASSERT_TRUE(second.started && second.started->resumed);
      ASSERT_EQ(second.started->resumed->step, first.steps);
      ASSERT_TRUE(second.Said("going on from a checkpoint")) << second.log.front();
    }
  }
}

TEST(Resume, GivesTheSameBitsAfterAnEndInEachBatch) {
  TemporaryFolder folder;
  Training training = Make("convolutional", kConvolutional, {});
  Interrupter alone;
  const std::string expected = Outcome(Train(training.job, training.dataset, 1, &alone));
  const std::string identity = IdentityOf(training.job, training.dataset);
  std::optional<TrainingState> state;
  int64_t lives = 0;
  for (;; ++lives) {
    ASSERT_LT(lives, 1000);
    Interrupter observer;
    observer.yield_at = 1;
    // An evaluation is done as a whole: a life that begins with one needs another batch.
    if (state && (state->samples > 0 || state->epoch > training.job.training.epochs)) {
      observer.yield_at = 2;
    }
    TrainingResult result = Train(training.job, training.dataset, 1, &observer, std::move(state));
    if (result.end == End::kSucceeded) {
      EXPECT_EQ(Outcome(result), expected);
      break;
    }
    state = ThroughTheDisk(folder.path(), identity, std::move(*observer.state));
  }
  EXPECT_GT(lives, 3);
}

TEST(Resume, GoesOnInThePrecisionThatWasSettledOn) {
  const Training open = Make("auto", kConvolutional, {{"precision", "auto"}});
  TrainingObserver silent;
  // Timing the passes has left nothing behind.
  TrainingResult settled = Train(open.job, open.dataset, 1, &silent);
  ASSERT_NE(settled.precision, spec::Precision::kAuto);
  std::map<spec::Precision, std::string> expected;
  for (const auto& [precision, name] : {std::pair(spec::Precision::kFloat32, "float32"),
                                        std::pair(spec::Precision::kBfloat16, "bfloat16")}) {
    const Training named = Make(name, kConvolutional, {{"precision", name}});
    expected[precision] = Outcome(Train(named.job, named.dataset, 1, &silent));
  }
  EXPECT_NE(expected[spec::Precision::kFloat32], expected[spec::Precision::kBfloat16]);
  EXPECT_EQ(Outcome(settled), expected[settled.precision]);

  // Wherever it goes on: as if the first machine had settled on either.
  for (const auto& [precision, name] : {std::pair(spec::Precision::kFloat32, "float32"),
                                        std::pair(spec::Precision::kBfloat16, "bfloat16")}) {
    SCOPED_TRACE(name);
    const Training named = Make(name, kConvolutional, {{"precision", name}});
    Interrupter first;
    first.yield_at = 3;
    (void)Train(named.job, named.dataset, 1, &first);
    ASSERT_EQ(first.state->numbers.count("precision"), 0u);
    first.state->numbers["precision"] = precision == spec::Precision::kBfloat16 ? 16 : 32;
    TrainingResult resumed = Train(open.job, open.dataset, 1, &silent, std::move(first.state));
    EXPECT_EQ(resumed.precision, precision);
    EXPECT_EQ(Outcome(resumed), expected[precision]);
  }
  Interrupter yields;
  yields.yield_at = 3;
  (void)Train(open.job, open.dataset, 1, &yields);
  EXPECT_EQ(yields.state->numbers.count("precision"), 1u);
  EXPECT_TRUE(yields.Said("precision: "));
}

TEST(Resume, CountsTheTimeThatWasSpentBefore) {
  Training training = Make("dense", kDense, {});
  Interrupter first;
  first.yield_at = 5;
  TrainingResult before = Train(training.job, training.dataset, 1, &first);
  first.state->compute_seconds = 1000;
  first.state->training_seconds = 900;
  first.state->training_cpu_seconds = 800;
  Interrupter second;
  TrainingResult after = Train(training.job, training.dataset, 1, &second, std::move(first.state));
  EXPECT_GT(after.compute_seconds, 1000);
  EXPECT_GT(after.training_seconds, 900);
  EXPECT_GT(after.training_cpu_seconds, 800);
  EXPECT_LT(before.compute_seconds, 1000);
}

TEST(Resume, BeginsAtTheBeginningWhenTheStateIsNotOfThisModel) {
  // What it had waited for and kept is forgotten, too.
  Training training =
      Make("dense", kDense,
           {{"keep", "best"}, {"early_stopping_patience", "2"}, {"lr", "0.5"}, {"epochs", "5"}});
  Interrupter alone;
  const std::string expected = Outcome(Train(training.job, training.dataset, 1, &alone));
  for (const char* what : {"another shape", "a missing tensor", "another place"}) {
    SCOPED_TRACE(what);
    Interrupter first;
    first.yield_at = alone.asked - 1;
    (void)Train(training.job, training.dataset, 1, &first);
    TrainingState& state = *first.state;
    if (std::string(what) == "another shape") state.tensors[0].shape = {16, 5};
    if (std::string(what) == "a missing tensor") state.tensors.pop_back();
    if (std::string(what) == "another place") state.samples = 5;
    Interrupter second;
    EXPECT_EQ(Outcome(Train(training.job, training.dataset, 1, &second, std::move(first.state))),
              expected);
    EXPECT_EQ(second.steps, alone.steps);
    EXPECT_TRUE(second.Said("beginning at the beginning"));
    EXPECT_FALSE(second.started->resumed);
  }
}

// ---- the files

// A state without a model.
TrainingState SmallState(int64_t step) {
  TrainingState state;
  state.step = step;
  state.samples = 3 * step;
  auto values = std::make_shared<std::vector<float>>(100, static_cast<float>(step));
  state.tensors = {{"model.w", DataType::kFloat32, {10, 10}, values->data()}};
  state.owner = values;
  return state;
}

void Flip(const std::string& path, size_t at) {
  std::string content = *ReadFile(path);
  content[at % content.size()] ^= 1;
  ASSERT_TRUE(WriteFileAtomically(path, content).ok());
}

TEST(Checkpoint, GivesBackTheWholeState) {
  TemporaryFolder folder;
  TrainingState state = SmallState(17);
  state.epoch = 4;
  state.correct = 5;
  state.loss_sum = 0.1 + 0.2;  // no short decimal number
  state.metrics = {{"train_loss", 1.0 / 3},
                   {"validation_loss", std::numeric_limits<double>::infinity()},
                   {"test_loss", std::numeric_limits<double>::quiet_NaN()}};
  state.numbers = {{"stop.best", -std::numeric_limits<double>::infinity()}, {"x", 0.1}};
  state.compute_seconds = 2.5;
  state.training_seconds = 1.5;
  state.training_cpu_seconds = 1.25;
  Result<Checkpoint> written = WriteCheckpoint(folder.path(), "id", state);
  ASSERT_TRUE(written.ok()) << written.status();
  EXPECT_EQ(written->name, "000000000017");
  EXPECT_EQ(written->files.back().name, "manifest.json");
  for (const CheckpointFile& file : written->files) {
    Result<FileHash> hash = HashFile(folder / (written->name + "/" + file.name));
    ASSERT_TRUE(hash.ok());
    EXPECT_EQ(hash->sha256, file.sha256);
    EXPECT_EQ(hash->size, file.size);
  }
  Result<TrainingState> read = ReadCheckpoint(folder.path(), written->name, "id");
  ASSERT_TRUE(read.ok()) << read.status();
  EXPECT_EQ(read->epoch, 4);
  EXPECT_EQ(read->samples, 51);
  EXPECT_EQ(read->step, 17);
  EXPECT_EQ(read->correct, 5);
  EXPECT_EQ(read->loss_sum, 0.1 + 0.2);
  EXPECT_EQ(read->metrics["train_loss"], 1.0 / 3);
  EXPECT_EQ(read->metrics["validation_loss"], std::numeric_limits<double>::infinity());
  EXPECT_TRUE(std::isnan(read->metrics["test_loss"]));
  EXPECT_EQ(read->numbers, state.numbers);
  EXPECT_EQ(read->compute_seconds, 2.5);
  EXPECT_EQ(read->training_seconds, 1.5);
  EXPECT_EQ(read->training_cpu_seconds, 1.25);
  ASSERT_EQ(read->tensors.size(), 1u);
  EXPECT_EQ(std::memcmp(read->tensors[0].data, state.tensors[0].data, 400), 0);
  EXPECT_EQ(read->events, "");
  EXPECT_FALSE(read->statistics);
}

TEST(Checkpoint, GivesBackWhatAnAttemptKeepsWithIt) {
  TemporaryFolder folder;
  TrainingState state = SmallState(17);
  state.events = std::string("\0\xff bytes", 8);
  state.statistics = {"uri\nstate", {0.1f, 3e38f}, {1.0f / 3, std::nanf("")}};
  ASSERT_TRUE(WriteCheckpoint(folder.path(), "id", state).ok());
  Result<TrainingState> read = ReadCheckpoint(folder.path(), "000000000017", "id");
  ASSERT_TRUE(read.ok()) << read.status();
  EXPECT_EQ(read->events, state.events);
  EXPECT_EQ(read->tensors.size(), 1u);
  ASSERT_TRUE(read->statistics);
  EXPECT_EQ(read->statistics->of, "uri\nstate");
  EXPECT_EQ(read->statistics->mean, state.statistics->mean);
  EXPECT_EQ(read->statistics->deviation[0], 1.0f / 3);
  EXPECT_TRUE(std::isnan(read->statistics->deviation[1]));
}

TEST(Checkpoint, TellsTheStatisticsOfTheNewestThatIsWhole) {
  TemporaryFolder folder;
  EXPECT_FALSE(ReadStatistics(folder / "none"));
  for (int64_t step : {1, 2}) {
    TrainingState state = SmallState(step);
    state.statistics = {"data " + std::to_string(step), {1}, {1}};
    ASSERT_TRUE(WriteCheckpoint(folder.path(), "id", state).ok());
  }
  EXPECT_EQ(ReadStatistics(folder.path())->of, "data 2");
  Flip(folder / "000000000002/state.safetensors", 1000);
  EXPECT_EQ(ReadStatistics(folder.path())->of, "data 1");
}

TEST(Checkpoint, NoFlippedBitOfTheTensorsIsOverlooked) {
  TemporaryFolder folder;
  ASSERT_TRUE(WriteCheckpoint(folder.path(), "id", SmallState(1)).ok());
  const std::string path = folder / "000000000001/state.safetensors";
  const size_t size = static_cast<size_t>(std::filesystem::file_size(path));
  for (size_t at = 0; at < size; at += 7) {
    Flip(path, at);
    EXPECT_EQ(ReadCheckpoint(folder.path(), "000000000001", "id").status().code(), Code::kDataLoss)
        << at;
    Flip(path, at);
  }
  EXPECT_TRUE(ReadCheckpoint(folder.path(), "000000000001", "id").ok());
}

TEST(Checkpoint, TheOneBeforeIsUsedWhenTheNewestIsDamagedOrForeign) {
  const auto damages = std::vector<std::pair<std::string, std::function<void(std::string)>>>{
      {"is damaged", [](const std::string& path) { Flip(path + "/state.safetensors", 300); }},
      {"is damaged",
       [](const std::string& path) {
         std::filesystem::resize_file(path + "/state.safetensors", 100);
       }},
      {"cannot open",
       [](const std::string& path) { std::filesystem::remove(path + "/state.safetensors"); }},
      {"not complete",
       [](const std::string& path) { std::filesystem::remove(path + "/manifest.json"); }},
      {"manifest",
       [](const std::string& path) {
         ASSERT_TRUE(WriteFileAtomically(path + "/manifest.json", "{}").ok());
       }},
      {"manifest.json",
       [](const std::string& path) { std::filesystem::resize_file(path + "/manifest.json", 40); }},
      {"another training",
       [](const std::string& path) {
         std::filesystem::remove_all(path);
         ASSERT_TRUE(WriteCheckpoint(std::filesystem::path(path).parent_path().string(), "other",
                                     SmallState(20))
                         .ok());
       }},
      {"another format version",
       [](const std::string& path) {
         std::string text = *ReadFile(path + "/manifest.json");
         text.replace(text.find("\"version\": 2"), 12, "\"version\": 9");
         ASSERT_TRUE(WriteFileAtomically(path + "/manifest.json", text).ok());
       }},
  };
  for (const auto& [says, damage] : damages) {
    SCOPED_TRACE(says);
    TemporaryFolder folder;
    ASSERT_TRUE(WriteCheckpoint(folder.path(), "id", SmallState(10)).ok());
    ASSERT_TRUE(WriteCheckpoint(folder.path(), "id", SmallState(20)).ok());
    damage(folder / "000000000020");
    std::vector<std::string> log;
    auto state = ReadNewestCheckpoint(folder.path(), "id",
                                      [&](const std::string& line) { log.push_back(line); });
    ASSERT_TRUE(state);
    EXPECT_EQ(state->step, 10);
    ASSERT_EQ(log.size(), 1u);
    EXPECT_NE(log[0].find(says), std::string::npos) << log[0];
    // It cannot take the place of those that will be written.
    EXPECT_FALSE(std::filesystem::exists(folder / "000000000020"));
  }
}

TEST(Checkpoint, WithoutAUsableOneThereIsNone) {
  TemporaryFolder folder;
  auto ignore = [](const std::string&) {};
  EXPECT_FALSE(ReadNewestCheckpoint(folder / "absent", "id", ignore));
  ASSERT_TRUE(WriteCheckpoint(folder.path(), "other", SmallState(10)).ok());
  EXPECT_FALSE(ReadNewestCheckpoint(folder.path(), "id", ignore));
}

TEST(Checkpoint, IdentityIsOfModelHyperparametersAndData) {
  std::set<std::string> identities;
  auto add = [&](const Training& t) {
    return identities.insert(IdentityOf(t.job, t.dataset)).second;
  };
  EXPECT_TRUE(add(Make("a", kDense, {})));
  EXPECT_TRUE(add(Make("a", kDense, {{"seed", "8"}})));
  EXPECT_TRUE(add(Make("a", kDense, {{"learning_rate", "0.002"}})));
  EXPECT_TRUE(add(Make("a", kDense, {{"epochs", "4"}})));
  EXPECT_TRUE(add(Make("a", kDense, {{"threads", "2"}})));
  EXPECT_TRUE(add(Make("a", kDenseWithDropout, {})));
  Training changed = Make("a", kDense, {});
  std::get<std::vector<float>>(changed.dataset.train.features)[3] += 1;
  EXPECT_TRUE(add(changed));
  std::get<std::vector<int64_t>>(changed.dataset.train.labels)[3] ^= 1;
  EXPECT_TRUE(add(changed));
  std::get<std::vector<float>>(changed.dataset.test.features)[3] += 1;
  EXPECT_TRUE(add(changed));
  Training images = Make("a", kConvolutional, {});
  EXPECT_TRUE(add(images));
  images.dataset.train.scale.mean = images.dataset.train.scale.deviation = {1, 1, 1};
  EXPECT_TRUE(add(images));
  images.dataset.train.scale.deviation = {2, 1, 1};
  EXPECT_TRUE(add(images));
  EXPECT_TRUE(add(Make("a", kConvolutional, {}, "?flip=true")));
  EXPECT_TRUE(add(Make("a", kConvolutional, {}, "?crop=1")));
  for (const char* augmentation : {"brightness", "contrast", "saturation", "hue", "mixup"}) {
    for (const char* much : {"=0.1", "=0.2"}) {
      const std::string parameter = std::string("?") + augmentation + much;
      EXPECT_TRUE(add(Make("a", kConvolutional, {}, parameter))) << parameter;
    }
  }
  // Neither what it is called nor how often it is saved.
  EXPECT_FALSE(add(Make("b", kDense, {{"checkpoint_seconds", "1"}})));
  EXPECT_FALSE(add(Make("b", kDense, {{"checkpoints_kept", "9"}})));
}

class RowsOfAnotherTime : public data::MemoryRows {
 public:
  using MemoryRows::MemoryRows;
  std::string State() const override { return "of another time"; }
};

TEST(Checkpoint, IdentityOfSamplesInFilesIsOfWhatTellsThatTheyAreTheSame) {
  Training training = Make("in files", kConvolutional, {});
  auto identity = [&] { return IdentityOf(training.job, training.dataset); };
  std::set<std::string> identities{identity()};
  auto is_new = [&] { return identities.insert(identity()).second; };
  EXPECT_FALSE(is_new());
  std::swap(training.dataset.train.rows.front(), training.dataset.train.rows.back());
  EXPECT_TRUE(is_new()) << "other rows";
  training.job.dataset_uri.stream.window = 13;
  EXPECT_TRUE(is_new()) << "they come in another order";
  const auto later = std::make_shared<RowsOfAnotherTime>(std::vector<uint8_t>(70 * 192), 192, 9);
  const auto earlier = std::exchange(training.dataset.train.files, later);
  EXPECT_TRUE(is_new()) << "files were written to";
  // With a manifest the files may be other copies, as those of another node are.
  training.job.dataset_uri.manifest_sha256 = "of the content";
  EXPECT_TRUE(is_new());
  training.dataset.train.files = earlier;
  EXPECT_FALSE(is_new());
  training.job.dataset_uri.manifest_sha256 = "of other content";
  EXPECT_TRUE(is_new());
}

TEST(CheckpointWriter, KeepsTheNewest) {
  TemporaryFolder folder;
  CheckpointWriter writer(
      folder / "checkpoints", [] { return "id"; }, 3);
  for (int64_t step : {1, 2, 3, 4}) writer.Begin(SmallState(step));
  writer.Wait();
  EXPECT_FALSE(writer.busy());
  std::vector<CheckpointWriter::Written> written = writer.Take();
  ASSERT_EQ(written.size(), 4u);
  EXPECT_EQ(written[3].checkpoint->step, 4);
  EXPECT_TRUE(writer.Take().empty());
  EXPECT_EQ(ListCheckpoints(folder / "checkpoints"),
            (std::vector<std::string>{"000000000004", "000000000003", "000000000002"}));
}

TEST(CheckpointWriter, WhatIsHalfWrittenGoesAndCountsForNone) {
  TemporaryFolder folder;
  ASSERT_TRUE(WriteCheckpoint(folder.path(), "id", SmallState(1)).ok());
  ASSERT_TRUE(MakeFolder(folder / "000000000002").ok());
  CheckpointWriter writer(
      folder.path(), [] { return "id"; }, 2);
  writer.Begin(SmallState(3));
  writer.Wait();
  EXPECT_EQ(ListCheckpoints(folder.path()),
            (std::vector<std::string>{"000000000003", "000000000001"}));
}

TEST(CheckpointWriter, SaysWhyItCannotWrite) {
  TemporaryFolder folder;
  ASSERT_TRUE(WriteFileAtomically(folder / "checkpoints", "a file").ok());
  CheckpointWriter writer(
      folder / "checkpoints", [] { return "id"; }, 2);
  writer.Begin(SmallState(1));
  writer.Wait();
  std::vector<CheckpointWriter::Written> written = writer.Take();
  ASSERT_EQ(written.size(), 1u);
  EXPECT_FALSE(written[0].checkpoint.ok());
}

TEST(Sha256, IsTheStandardOne) {
  EXPECT_EQ(Sha256Of(""), "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855");
  EXPECT_EQ(Sha256Of("abc"), "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
  EXPECT_EQ(Sha256Of("abcdbcdecdefdefgefghfghighijhijkijkljklmklmnlmnomnopnopq"),
            "248d6a61d20638b8e5c026930c3e6039a33ce45964ff2167f6ecedd419db06c1");
  std::string million(1'000'000, 'a');
  Sha256 hash;
  for (size_t at = 0, piece = 1; at < million.size(); at += piece, piece = piece % 150 + 1) {
    hash.Update(million.data() + at, std::min(piece, million.size() - at));
  }
  EXPECT_EQ(hash.Finish(), "cdc76e5c9914fb9281a1c7e284d73e67f1809a48a497200e046d39ccc7112cd0");
}

// ---- attempts

StartMessage WideJob(const std::string& folder) {
  StartMessage start;
  start.job.name = "wide";
  start.job.model_definition =
      R"({"layers":[{"type":"dense","units":256,"activation":"relu"},{"type":"dropout","rate":0.2},
                    {"type":"dense","units":256,"activation":"relu"},{"type":"dense","units":10}]})";
  start.job.dataset_uri = "mock://random_data";
  start.job.hyperparameters = {{"epochs", "6"}, {"validation_split", "0.1"}};
  start.folder = folder;
  return start;
}

std::string ResultOf(const std::string& folder) {
  Result<FileHash> weights = HashFile(folder + "/weights.safetensors");
  Result<FileHash> model = HashFile(folder + "/model.json");
  if (!weights.ok() || !model.ok()) return "no result in " + folder;
  return weights->sha256 + " " + model->sha256;
}

TEST(Attempt, YieldsWithACheckpointAndGoesOnFromIt) {
  TemporaryFolder folder;
  ASSERT_EQ(RunAttempt(WideJob(folder / "alone"), {}).end, End::kSucceeded);
  StartMessage start = WideJob(folder / "resumed");
  // Without it the only checkpoint is the one of the yield.
  start.job.hyperparameters["checkpoint_seconds"] = "0";
  int asked = 0;
  AttemptHooks hooks;
  hooks.asked = [&] { return ++asked == 50 ? Directive::kYield : Directive::kGoOn; };
  std::vector<Checkpoint> told;
  hooks.checkpoint = [&](const Checkpoint& c, double, double) { told.push_back(c); };
  AttemptResult yielded = RunAttempt(start, hooks);
  ASSERT_EQ(yielded.end, End::kYielded);
  ASSERT_TRUE(yielded.checkpoint);
  EXPECT_TRUE(yielded.checkpoint_trouble.ok());
  ASSERT_EQ(told.size(), 1u);
  EXPECT_EQ(told[0].name, yielded.checkpoint->name);
  EXPECT_FALSE(std::filesystem::exists(start.folder + "/weights.safetensors"));

  start.resume = kCheckpointsFolder;
  AttemptResult resumed = RunAttempt(start, {});
  ASSERT_EQ(resumed.end, End::kSucceeded);
  ASSERT_TRUE(resumed.resumed);
  EXPECT_EQ(resumed.resumed->step, yielded.checkpoint->step);
  EXPECT_EQ(ResultOf(folder / "resumed"), ResultOf(folder / "alone"));
}

// The steps of the records in an attempt's event file.
std::vector<int> StepsInEvents(const AttemptResult& result, const std::string& folder) {
  std::vector<int> steps;
  EXPECT_EQ(result.files.size(), 3u);
  const std::string bytes = *ReadFile(folder + "/" + result.files.back());
  for (size_t place = 0; place < bytes.size();) {
    uint64_t length = 0;
    std::memcpy(&length, bytes.data() + place, sizeof length);
    const std::string data = bytes.substr(place + 12, length);
    place += 12 + length + 4;
    if (data[9] != 0x10) continue;  // the version
    int step = 0;
    for (size_t i = 10, shift = 0;; ++i, shift += 7) {
      step |= (data[i] & 0x7f) << shift;
      if ((data[i] & 0x80) == 0) break;
    }
    steps.push_back(step);
  }
  return steps;
}

TEST(Attempt, ItsEventFileHasEachEpochOnceHoweverOftenItYielded) {
  TemporaryFolder folder;
  AttemptResult alone = RunAttempt(WideJob(folder / "alone"), {});
  ASSERT_EQ(alone.end, End::kSucceeded);
  const std::vector<int> expected = StepsInEvents(alone, folder / "alone");
  ASSERT_EQ(expected.size(), 7u) << "six epochs and the test";

  StartMessage start = WideJob(folder / "resumed");
  start.job.hyperparameters["checkpoint_seconds"] = "0";
  start.resume = kCheckpointsFolder;
  AttemptResult result;
  int lives = 0;
  do {
    ASSERT_LT(++lives, 100);
    int asked = 0;
    AttemptHooks hooks;
    hooks.asked = [&] { return ++asked == 41 ? Directive::kYield : Directive::kGoOn; };
    result = RunAttempt(start, hooks);
  } while (result.end == End::kYielded);
  ASSERT_EQ(result.end, End::kSucceeded) << result.failure.message;
  EXPECT_GT(lives, 3);
  EXPECT_EQ(StepsInEvents(result, start.folder), expected);

  // One that begins anew has nothing of the one before.
  start.resume = "";
  EXPECT_EQ(StepsInEvents(RunAttempt(start, {}), start.folder), expected);
}

TEST(Attempt, StatisticsOfStreamedDataAreMeasuredOnce) {
  TemporaryFolder folder;
  auto npy = [](const std::string& descr, const std::string& shape, const std::string& values) {
    const std::string header =
        "{'descr': '" + descr + "', 'fortran_order': False, 'shape': " + shape + ", }\n";
    return std::string("\x93NUMPY\1\0", 8) + static_cast<char>(header.size()) + '\0' + header +
           values;
  };
  std::string x, y;
  for (int i = 0; i < 400; ++i) {
    x += static_cast<char>(i * 37);
    if (i % 4 == 0) y += static_cast<char>(i % 3);
  }
  ASSERT_TRUE(WriteFileAtomically(folder / "x.npy", npy("|u1", "(100, 4)", x)).ok());
  ASSERT_TRUE(WriteFileAtomically(folder / "y.npy", npy("|u1", "(100,)", y)).ok());
  StartMessage start;
  start.job.model_definition = R"({"layers":[{"type":"dense","units":3}]})";
  start.job.dataset_uri = "file://" + folder.path() + "/x.npy?labels=" + folder.path() +
                          "/y.npy&normalize=true&stream=true&test_split=0.2";
  start.job.hyperparameters = {{"epochs", "4"}, {"batch_size", "8"}, {"checkpoint_seconds", "0"}};
  start.data_roots = {folder.path()};
  start.folder = folder / "alone";
  ASSERT_EQ(RunAttempt(start, {}).end, End::kSucceeded);

  start.folder = folder / "resumed";
  start.resume = kCheckpointsFolder;
  constexpr char kTold[] = "mean and deviation are those of the checkpoint";
  AttemptHooks hooks;
  int asked = 0;
  hooks.asked = [&] { return ++asked == 15 ? Directive::kYield : Directive::kGoOn; };
  testing::internal::CaptureStderr();
  ASSERT_EQ(RunAttempt(start, hooks).end, End::kYielded);
  EXPECT_EQ(testing::internal::GetCapturedStderr().find(kTold), std::string::npos);
  testing::internal::CaptureStderr();
  AttemptResult resumed = RunAttempt(start, {});
  EXPECT_NE(testing::internal::GetCapturedStderr().find(kTold), std::string::npos);
  ASSERT_EQ(resumed.end, End::kSucceeded);
  EXPECT_TRUE(resumed.resumed);
  EXPECT_EQ(ResultOf(folder / "resumed"), ResultOf(folder / "alone"));
}

TEST(Attempt, WithoutResumeOldCheckpointsAreForgotten) {
  TemporaryFolder folder;
  StartMessage start = WideJob(folder / "a");
  const std::string checkpoints = start.folder + "/" + kCheckpointsFolder;
  ASSERT_TRUE(WriteCheckpoint(checkpoints, "other", SmallState(1'000'000)).ok());
  start.job.hyperparameters["checkpoint_seconds"] = "0.00001";
  AttemptResult result = RunAttempt(start, {});
  ASSERT_EQ(result.end, End::kSucceeded);
  EXPECT_FALSE(result.resumed);
  EXPECT_GE(result.checkpoints, 1);
  EXPECT_FALSE(std::filesystem::exists(checkpoints + "/000001000000"));
}

TEST(Attempt, KeepsAsManyCheckpointsAsTheJobSays) {
  for (size_t kept : {1u, 2u}) {
    TemporaryFolder folder;
    StartMessage start = WideJob(folder / "a");
    start.job.hyperparameters["checkpoint_seconds"] = "0";
    start.job.hyperparameters["checkpoints_kept"] = std::to_string(kept);
    start.resume = kCheckpointsFolder;
    for (int i = 0; i < 3; ++i) {
      int asked = 0;
      AttemptHooks hooks;
      hooks.asked = [&] { return ++asked == 10 ? Directive::kYield : Directive::kGoOn; };
      ASSERT_EQ(RunAttempt(start, hooks).end, End::kYielded);
    }
    EXPECT_EQ(ListCheckpoints(start.folder + "/" + kCheckpointsFolder).size(), kept);
  }
}

TEST(Attempt, TrainsOnWhenCheckpointsCannotBeWritten) {
  TemporaryFolder folder;
  StartMessage start = WideJob(folder / "a");
  start.job.hyperparameters["checkpoint_seconds"] = "0.00001";
  AttemptHooks hooks;
  hooks.asked = [&] {  // after the attempt has cleared the place
    (void)MakeFolder(start.folder);
    (void)WriteFileAtomically(start.folder + "/" + kCheckpointsFolder, "a file");
    return Directive::kGoOn;
  };
  AttemptResult result = RunAttempt(start, hooks);
  EXPECT_EQ(result.end, End::kSucceeded);
  EXPECT_EQ(result.checkpoints, 0);
  EXPECT_FALSE(result.checkpoint_trouble.ok());
}

// ---- a real process that dies

struct Exit {
  int status = 0;
  Json line;
};

Exit RunProcess(const std::string& job_file, const std::string& folder, const std::string& fault,
                bool resume) {
  const std::string output = folder + ".out", log = folder + ".log";
  pid_t pid = ::fork();
  if (pid == 0) {
    if (!fault.empty()) ::setenv("CYXWIZ_RUNNER_FAULT", fault.c_str(), 1);
    LeaveCrashesToTheSystem();
    if (std::freopen(output.c_str(), "w", stdout) == nullptr) ::_exit(126);
    if (std::freopen(log.c_str(), "a", stderr) == nullptr) ::_exit(126);
    std::vector<const char*> arguments{CYXWIZ_RUNNER_PATH, "--train",      job_file.c_str(),
                                       "--folder",         folder.c_str(), "--checkpoint-seconds",
                                       "0.000001"};
    if (resume) arguments.push_back("--resume");
    arguments.push_back(nullptr);
    ::execv(CYXWIZ_RUNNER_PATH, const_cast<char**>(arguments.data()));
    ::_exit(127);
  }
  Exit exit;
  ::waitpid(pid, &exit.status, 0);
  Result<std::string> text = ReadFile(output);
  if (text.ok() && !text->empty()) exit.line = Json::parse(*text);
  return exit;
}

bool HasCheckpoint(const std::string& folder) {
  for (const std::string& name : ListCheckpoints(folder)) {
    if (std::filesystem::exists(folder + "/" + name + "/manifest.json")) return true;
  }
  return false;
}

TEST(Process, ThatDiesAtAnyStepEndsWithTheSameBits) {
  TemporaryFolder folder;
  StartMessage start = WideJob("");
  Json file{{"model", Json::parse(start.job.model_definition)},
            {"dataset", start.job.dataset_uri},
            {"hyperparameters", {{"epochs", 6}, {"validation_split", 0.1}}}};
  ASSERT_TRUE(WriteFileAtomically(folder / "job.json", file.dump()).ok());
  ASSERT_EQ(RunProcess(folder / "job.json", folder / "alone", "", false).status, 0);
  const std::string expected = ResultOf(folder / "alone");
  bool resumed_once = false;
  // 29 steps an epoch, 174 in all: the first, one within an epoch, an epoch's last and first, the
  // last.
  for (int step : {1, 20, 58, 59, 150, 174}) {
    SCOPED_TRACE("died after step " + std::to_string(step));
    const std::string result = folder / ("killed-" + std::to_string(step));
    Exit killed =
        RunProcess(folder / "job.json", result, "crash_after_step:" + std::to_string(step), false);
    ASSERT_TRUE(WIFSIGNALED(killed.status)) << killed.status;
    const bool saved = HasCheckpoint(result + "/checkpoints");
    Exit second = RunProcess(folder / "job.json", result, "", true);
    ASSERT_EQ(second.status, 0);
    EXPECT_EQ(ResultOf(result), expected);
    EXPECT_EQ(second.line.contains("resumed"), saved);
    if (saved) {
      EXPECT_LT(second.line["resumed"]["step"], step);
    }
    resumed_once |= saved;
  }
  EXPECT_TRUE(resumed_once);
}

}  // namespace
}  // namespace cyxwiz::runner
