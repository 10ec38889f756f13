// The runner without libtorch's headers: formats, protocol, and whole trainings through the engine.
#include <gtest/gtest.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cmath>
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <functional>

#include "base/file.h"
#include "base/safetensors.h"
#include "base/testing.h"
#include "runner/attempt.h"
#include "runner/batches.h"
#include "runner/engine.h"
#include "runner/permutation.h"
#include "runner/processor.h"
#include "runner/protocol.h"
#include "runner/sha256.h"
#include "spec/job_file.h"

namespace cyxwiz::runner {
namespace {

using End = TrainingResult::End;
constexpr const char* kFashionMnist = "/usr/share/datasets/fashion-mnist";

spec::JobDescription MockJob() {
  spec::JobDescription job;
  job.name = "test";
  job.model_definition =
      R"({"layers":[{"type":"dense","units":16,"activation":"relu","name":"hidden"},
                    {"type":"dropout","rate":0.1},{"type":"dense","units":10,"name":"out"}]})";
  job.dataset_uri = "mock://random_data";
  job.hyperparameters = {{"epochs", "3"}, {"seed", "7"}, {"learning_rate", "0.01"}};
  return job;
}

struct Loaded {
  spec::JobSpec job;
  data::Dataset dataset;
};

Loaded Load(const spec::JobDescription& description) {
  data::Roots roots({kFashionMnist, "/usr/share/common-licenses", CYXWIZ_EXAMPLES "/data"});
  data::FileInspector inspector(roots, true);
  spec::Problems problems;
  std::optional<spec::JobSpec> job = spec::CheckJob(description, &inspector, &problems);
  if (!job) throw std::runtime_error(problems.ToString());
  Result<data::Dataset> dataset = data::Load(job->dataset_uri, roots);
  if (!dataset.ok()) throw std::runtime_error(dataset.status().ToString());
  return {*job, std::move(*dataset)};
}

// Keeps what it is told; `stop_after` steps (0: never) it asks to stop.
struct Recorder : TrainingObserver {
  int64_t stop_after = 0;
  std::vector<Started> started;
  std::vector<Progress> progress;
  int64_t steps = 0;

  void OnStarted(const Started& s) override { started.push_back(s); }
  void OnProgress(const Progress& p) override { progress.push_back(p); }
  void OnStep(int64_t step) override { steps = step; }
  Directive Asked() override {
    return stop_after > 0 && steps >= stop_after ? Directive::kStop : Directive::kGoOn;
  }
};

std::string WeightBytes(const TrainingResult& result) {
  std::string bytes;
  for (const TensorView& t : result.weights) {
    bytes.append(static_cast<const char*>(t.data), static_cast<size_t>(t.bytes()));
  }
  return bytes;
}

// ---- permutation

// The values come from a second implementation of the documented algorithm, in Python.
TEST(Processor, TellsWhetherItComputesBfloat16) {
  EXPECT_TRUE(
      ComputesBfloat16("model name\t: AMD EPYC\nflags\t\t: fpu avx512f avx512_bf16 clzero\n"));
  EXPECT_TRUE(ComputesBfloat16("flags\t\t: fpu avx512f amx_bf16\n"));
  EXPECT_TRUE(ComputesBfloat16("Features\t: fp asimd i8mm bf16\n"));
  EXPECT_FALSE(ComputesBfloat16("flags\t\t: fpu avx2 avx512f avx512_vnni\n"));
  EXPECT_FALSE(ComputesBfloat16(""));
}

TEST(Permutation, IsTheDocumentedOne) {
  using P = std::vector<int64_t>;
  EXPECT_EQ(Permutation(10, 0, 1), (P{4, 8, 1, 3, 7, 0, 2, 6, 5, 9}));
  EXPECT_EQ(Permutation(10, 0, 2), (P{8, 6, 1, 4, 9, 7, 5, 2, 3, 0}));
  EXPECT_EQ(Permutation(10, 42, 1), (P{4, 2, 7, 6, 1, 9, 5, 8, 3, 0}));
  EXPECT_TRUE(Permutation(0, 1, 1).empty());
}

TEST(Permutation, HoldsEachNumberOnce) {
  std::vector<int64_t> order = Permutation(1000, 3, 5);
  std::sort(order.begin(), order.end());
  for (int64_t i = 0; i < 1000; ++i) ASSERT_EQ(order[static_cast<size_t>(i)], i);
}

// ---- batches

TEST(WindowPermutation, HoldsEachNumberOnceNearItsFile) {
  const std::vector<int64_t> groups{0, 100, 250, 251, 600};
  for (int64_t window : {1, 7, 100, 5000}) {
    SCOPED_TRACE(window);
    const auto order = WindowPermutation(groups, 1000, window, 3, 1);
    EXPECT_EQ(order, WindowPermutation(groups, 1000, window, 3, 1));
    EXPECT_NE(order, WindowPermutation(groups, 1000, window, 3, 2));
    EXPECT_NE(order, WindowPermutation(groups, 1000, window, 4, 1));
    auto sorted = order;
    std::sort(sorted.begin(), sorted.end());
    for (int64_t i = 0; i < 1000; ++i) ASSERT_EQ(sorted[static_cast<size_t>(i)], i);
  }
  // With a window of one only the files are shuffled.
  const auto files = WindowPermutation(groups, 1000, 1, 3, 1);
  int jumps = 0;
  for (size_t i = 1; i < files.size(); ++i) jumps += files[i] != files[i - 1] + 1;
  EXPECT_LE(jumps, 4);
  EXPECT_GE(jumps, 1);
  // A number comes out no earlier than the window allows: with one file, at i - window or later.
  const auto one = WindowPermutation({0}, 1000, 50, 3, 1);
  double moved = 0;
  for (int64_t i = 0; i < 1000; ++i) {
    EXPECT_LE(one[static_cast<size_t>(i)], i + 50);
    moved += std::abs(static_cast<double>(one[static_cast<size_t>(i)] - i));
  }
  EXPECT_GT(moved / 1000, 20);
}

TEST(Batches, BytesBecomeThe255thPart) {
  data::Split split;
  split.samples = 2;
  split.features = std::vector<uint8_t>{0, 255, 51, 7};
  int64_t order[] = {1, 0};
  float out[4];
  GatherFeatures(split, 2, order, 2, out);
  EXPECT_EQ(out[0], 51.0f / 255.0f);
  EXPECT_EQ(out[1], 7.0f / 255.0f);
  EXPECT_EQ(out[2], 0.0f);
  EXPECT_EQ(out[3], 1.0f);
}

TEST(Batches, BytesAreScaledByGroup) {
  data::Split split;
  split.samples = 1;
  split.features = std::vector<uint8_t>{0, 10, 20, 30};
  split.scale = {10, {1, 2}, {0.5f, 4}, 2};
  int64_t order[] = {0};
  float out[4];
  GatherFeatures(split, 4, order, 1, out);
  EXPECT_EQ(std::vector<float>(out, out + 4), (std::vector<float>{-2, 0, 0, 0.25f}));
}

TEST(Batches, ClassesOfEachPositionComeAlong) {
  data::Split split;
  split.samples = 2;
  split.labels = std::vector<uint8_t>{1, 2, 3, 200, 5, 6};
  int64_t order[] = {1, 0};
  int64_t out[6];
  GatherClasses(split, 3, order, 2, out);
  EXPECT_EQ(std::vector<int64_t>(out, out + 6), (std::vector<int64_t>{200, 5, 6, 1, 2, 3}));
}

TEST(Batches, OfEqualScoresTheFirstCounts) {
  float scores[] = {1, 1, 0, 0, 2, 2};
  int64_t labels[] = {0, 2};
  EXPECT_EQ(CountCorrect(scores, labels, 2, 3), 1);
}

// ---- protocol

struct Pair {
  Pair() {
    int fds[2];
    if (::socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fds) != 0) std::abort();
    ours.Reset(fds[0]);
    theirs.Reset(fds[1]);
  }
  UniqueFd ours, theirs;
};

TEST(Channel, PutsALineTogetherThatComesInPieces) {
  Pair pair;
  Channel channel(std::move(pair.ours));
  ASSERT_TRUE(WriteAll(pair.theirs.get(), R"({"type":)").ok());
  Result<std::optional<Json>> line = channel.Poll();
  ASSERT_TRUE(line.ok());
  EXPECT_FALSE(line->has_value());
  ASSERT_TRUE(WriteAll(pair.theirs.get(), "\"stop\"}\n{\"type\":\"next\"}\n").ok());
  line = channel.Poll();
  ASSERT_TRUE(line.ok() && line->has_value());
  EXPECT_EQ((**line)["type"], "stop");
  EXPECT_EQ((*channel.Receive())["type"], "next");
}

TEST(Channel, SaysThatTheNodeIsGone) {
  Pair pair;
  Channel channel(std::move(pair.ours));
  pair.theirs.Reset();
  EXPECT_EQ(channel.Poll().status().code(), Code::kUnavailable);
  EXPECT_EQ(channel.Send({{"type", "x"}}).code(), Code::kUnavailable);
}

TEST(Channel, DropsReportsThatTheNodeDoesNotReadButNeverHalfALine) {
  Pair pair;
  Channel channel(std::move(pair.ours));
  int sent = 20000;  // more than a socket holds
  for (int i = 0; i < sent; ++i) {
    ASSERT_TRUE(channel.SendOrDrop({{"type", "progress"}, {"i", i}}).ok());
  }
  Channel node(std::move(pair.theirs));
  int received = 0;
  for (Result<std::optional<Json>> line = node.Poll(); line.ok() && *line; line = node.Poll()) {
    EXPECT_EQ((**line)["i"], received++);
  }
  EXPECT_GT(received, 0);
  EXPECT_LT(received, sent);
}

TEST(StartMessage, RefusesAnotherProtocol) {
  Json line{{"type", "start"}, {"protocol", 2}};
  Status status = ParseStart(line).status();
  EXPECT_EQ(status.code(), Code::kInvalidArgument);
  EXPECT_NE(status.message().find("protocol 2"), std::string::npos);
}

TEST(StartMessage, NamesTheKeyThatIsMissing) {
  Json line{{"type", "start"}, {"protocol", 1}, {"job_id", "j"}};
  EXPECT_NE(ParseStart(line).status().message().find("'folder'"), std::string::npos);
}

TEST(StartMessage, ResumesOnlyWithinTheAttemptsFolder) {
  Json line{{"type", "start"},        {"protocol", 1}, {"job_id", "j"},
            {"folder", "/f"},         {"attempt", 1},  {"job", spec::JobDescription().ToJson()},
            {"resume", "checkpoints"}};
  Result<StartMessage> start = ParseStart(line);
  ASSERT_TRUE(start.ok()) << start.status();
  EXPECT_EQ(start->resume, "checkpoints");
  for (const char* path : {"../elsewhere", "/etc", ".."}) {
    line["resume"] = path;
    EXPECT_NE(ParseStart(line).status().message().find("'resume'"), std::string::npos) << path;
  }
}

// ---- engine

TEST(ChooseThreads, SmallModelsRunOnOne) {
  EXPECT_EQ(ChooseThreads(1'000'000, 0, 8), 1);
  EXPECT_EQ(ChooseThreads(1'000'000, 4, 8), 4);
  EXPECT_EQ(ChooseThreads(1'000'000, 4, 2), 2);
  EXPECT_EQ(ChooseThreads(int64_t{1} << 40, 0, 2), 2);
  EXPECT_EQ(ChooseThreads(int64_t{1} << 40, 0, 0), 1);
}

TEST(Train, LearnsTheMockData) {
  Loaded loaded = Load(MockJob());
  Recorder recorder;
  TrainingResult result = Train(loaded.job, loaded.dataset, 1, &recorder);
  ASSERT_EQ(result.end, End::kSucceeded) << result.failure.message;
  EXPECT_GT(result.metrics.at("test_accuracy"), 0.9);
  EXPECT_EQ(recorder.started.size(), 1u);
  EXPECT_EQ(recorder.started[0].parameters, 16 * 10 + 16 + 10 * 16 + 10);
  ASSERT_GE(recorder.progress.size(), 3u);
  EXPECT_EQ(recorder.progress.back().part, 1.0);
  EXPECT_EQ(recorder.progress.back().epoch, 3);
  EXPECT_EQ(recorder.progress.back().step, recorder.steps);
  EXPECT_EQ(recorder.steps, 3 * 32);  // 1000 samples in batches of 32
}

TEST(Train, SameSeedGivesTheSameBits) {
  Recorder ignored;
  for (const char* uri : {"mock://random_data", "mock://random_data?samples=70"}) {
    spec::JobDescription description = MockJob();
    description.dataset_uri = uri;
    description.hyperparameters["validation_split"] = "0.2";
    Loaded loaded = Load(description);
    std::string first = WeightBytes(Train(loaded.job, loaded.dataset, 1, &ignored));
    std::string second = WeightBytes(Train(loaded.job, loaded.dataset, 1, &ignored));
    EXPECT_FALSE(first.empty());
    EXPECT_EQ(first, second);
    loaded.job.training.seed = 8;
    EXPECT_NE(first, WeightBytes(Train(loaded.job, loaded.dataset, 1, &ignored)));
  }
}

// Images of 3 x 12 x 12 in four classes.
data::Dataset SmallImages() {
  data::Dataset dataset;
  dataset.train.samples = 100;
  std::vector<uint8_t> pixels(100 * 3 * 12 * 12);
  for (size_t i = 0; i < pixels.size(); ++i) pixels[i] = static_cast<uint8_t>(i * i % 251);
  dataset.train.features = pixels;
  std::vector<int64_t> labels(100);
  for (size_t i = 0; i < labels.size(); ++i) labels[i] = static_cast<int64_t>(i % 4);
  dataset.train.labels = labels;
  return dataset;
}

TEST(Train, SameSeedGivesTheSameBitsToConvolutionsOnTwoThreads) {
  spec::JobDescription description = MockJob();
  description.model_definition =
      R"({"layers":[{"type":"input","shape":[3,12,12]},
                    {"type":"conv2d","filters":16,"kernel_size":3,"activation":"relu"},
                    {"type":"max_pooling2d"},{"type":"dropout","rate":0.1},
                    {"type":"conv2d","filters":8,"kernel_size":3,"activation":"relu"},
                    {"type":"flatten"},{"type":"dense","units":4}]})";
  description.dataset_uri = "file:///nowhere/images.csv";
  description.hyperparameters["threads"] = "2";
  spec::Problems problems;
  std::optional<spec::JobSpec> job = spec::CheckJob(description, nullptr, &problems);
  ASSERT_TRUE(job) << problems.ToString();
  data::Dataset dataset = SmallImages();
  Recorder ignored;
  std::string first = WeightBytes(Train(*job, dataset, 2, &ignored));
  EXPECT_FALSE(first.empty());
  EXPECT_EQ(first, WeightBytes(Train(*job, dataset, 2, &ignored)));
  job->training.seed = 8;
  EXPECT_NE(first, WeightBytes(Train(*job, dataset, 2, &ignored)));
}

TEST(Train, SameSeedGivesTheSameBitsToGraphsAttentionAndRecurrentLayers) {
  const data::Dataset dataset = SmallImages();
  Recorder ignored;
  for (const char* layers : {
           R"({"type":"conv2d","filters":16,"kernel_size":3,"padding":1,"use_bias":false},
              {"type":"batch_normalization","activation":"relu"},
              {"type":"block","repeat":2,"residual":true,"activation":"relu","layers":[
                {"type":"conv2d","filters":16,"kernel_size":3,"padding":1},
                {"type":"separable_conv2d","filters":16,"kernel_size":3,"padding":"same"}]},
              {"type":"conv2d_transpose","filters":4,"kernel_size":3,"strides":2,"padding":"same"},
              {"type":"group_normalization","groups":2},{"type":"upsampling2d"},
              {"type":"global_average_pooling2d"})",
           R"({"type":"conv2d","filters":32,"kernel_size":3,"strides":3},
              {"type":"reshape","target_shape":[32,16]},{"type":"permute","dims":[2,1]},
              {"type":"positional_embedding"},
              {"type":"transformer_encoder","num_heads":4,"feed_forward":64},
              {"type":"multi_head_attention","num_heads":2,"dropout":0.1,"causal":true},
              {"type":"layer_normalization"},{"type":"rms_normalization"},
              {"type":"permute","dims":[2,1]},{"type":"global_max_pooling1d"})",
           R"({"type":"reshape","target_shape":[36,12]},
              {"type":"lstm","units":32,"num_layers":2,"bidirectional":true,"dropout":0.1,
               "return_sequences":true},{"type":"gru","units":24})",
       }) {
    SCOPED_TRACE(layers);
    spec::JobDescription description = MockJob();
    description.model_definition = R"({"input_shape":[3,12,12],"layers":[)" + std::string(layers) +
                                   R"(,{"type":"dense","units":4}]})";
    description.dataset_uri = "file:///nowhere/images.csv";
    spec::Problems problems;
    std::optional<spec::JobSpec> job = spec::CheckJob(description, nullptr, &problems);
    ASSERT_TRUE(job) << problems.ToString();
    for (int threads : {1, 2}) {
      job->training.threads = threads;
      job->training.seed = 7;
      std::string first = WeightBytes(Train(*job, dataset, threads, &ignored));
      EXPECT_FALSE(first.empty());
      EXPECT_EQ(first, WeightBytes(Train(*job, dataset, threads, &ignored)));
      job->training.seed = 8;
      EXPECT_NE(first, WeightBytes(Train(*job, dataset, threads, &ignored)));
    }
  }
}

TEST(Train, NamesTheSampleThatAnEmbeddingCannotTake) {
  spec::JobDescription description = MockJob();
  description.model_definition = R"({"input_shape":[3],"layers":[
      {"type":"embedding","input_dim":5,"output_dim":4,"name":"words"},{"type":"flatten"},
      {"type":"dense","units":2}]})";
  description.dataset_uri = "file:///nowhere/words.csv";
  description.hyperparameters = {{"batch_size", "2"}, {"seed", "7"}};
  spec::Problems problems;
  std::optional<spec::JobSpec> job = spec::CheckJob(description, nullptr, &problems);
  ASSERT_TRUE(job) << problems.ToString();
  Recorder ignored;
  for (auto [value, shown] : {std::pair(5.0f, "holds 5 in place 1"),
                              {-1.0f, "holds -1 in place 1"},
                              {1.5f, "holds 1.5 in place 1"},
                              {NAN, "nan in place 1"}}) {
    for (bool in_test : {false, true}) {
      data::Dataset dataset;
      for (data::Split* split : {&dataset.train, &dataset.test}) {
        split->samples = 5;
        split->features = std::vector<float>{0, 1, 2, 3, 4, 0, 1, 2, 3, 4, 0, 1, 2, 3, 4};
        split->labels = std::vector<int64_t>{0, 1, 0, 1, 0};
      }
      data::Split& wrong = in_test ? dataset.test : dataset.train;
      std::get<std::vector<float>>(wrong.features)[3 * 3 + 1] = value;
      TrainingResult result = Train(*job, dataset, 1, &ignored);
      EXPECT_EQ(result.end, End::kFailed);
      EXPECT_EQ(result.failure.cause, "user_error");
      EXPECT_NE(result.failure.message.find(std::string("sample 3 of the ") +
                                            (in_test ? "test" : "training") + " data "),
                std::string::npos)
          << result.failure.message;
      EXPECT_NE(result.failure.message.find(shown), std::string::npos) << result.failure.message;
      EXPECT_NE(result.failure.message.find("'words' takes whole numbers from 0 to 4"),
                std::string::npos);
    }
  }
}

// Stops when the first batches are done; what the whole training gives takes minutes.
TEST(Train, EachExampleBegins) {
  int examples = 0;
  for (const auto& entry : std::filesystem::directory_iterator(CYXWIZ_EXAMPLES)) {
    if (entry.path().extension() != ".json") continue;
    SCOPED_TRACE(entry.path());
    spec::Problems problems;
    auto file = spec::ParseJobFile(*ReadFile(entry.path().string()), &problems);
    ASSERT_TRUE(file) << problems.ToString();
    // Where an example's own data is for whoever tries it.
    std::string& uri = file->description.dataset_uri;
    const std::string elsewhere = "/srv/data/";
    if (size_t at = uri.find(elsewhere); at != uri.npos) {
      std::string folder = CYXWIZ_EXAMPLES "/data/";
      for (size_t space; (space = folder.find(' ')) != folder.npos;)
        folder.replace(space, 1, "%20");
      uri.replace(at, elsewhere.size(), folder);
    }
    Loaded loaded = Load(file->description);
    Recorder recorder;
    recorder.stop_after = 3;
    TrainingResult result = Train(loaded.job, loaded.dataset, 2, &recorder);
    EXPECT_EQ(result.end, End::kStopped) << result.failure.message;
    ++examples;
  }
  EXPECT_GE(examples, 6);
}

TEST(Train, ReportsValidationOnSamplesThatAreNotTrainedOn) {
  spec::JobDescription description = MockJob();
  description.hyperparameters["validation_split"] = "0.5";
  Loaded loaded = Load(description);
  Recorder recorder;
  TrainingResult result = Train(loaded.job, loaded.dataset, 1, &recorder);
  ASSERT_EQ(result.end, End::kSucceeded);
  EXPECT_EQ(recorder.steps, 3 * 16);
  EXPECT_GT(result.metrics.at("validation_accuracy"), 0.8);
}

TEST(Train, StopsWithinOneBatch) {
  Loaded loaded = Load(MockJob());
  Recorder recorder;
  recorder.stop_after = 5;
  EXPECT_EQ(Train(loaded.job, loaded.dataset, 1, &recorder).end, End::kStopped);
  EXPECT_EQ(recorder.steps, 5);
}

TEST(Train, SaysWhenTheLossIsNoLongerANumber) {
  spec::JobDescription description = MockJob();
  description.hyperparameters["optimizer"] = "sgd";
  description.hyperparameters["learning_rate"] = "1e30";
  Loaded loaded = Load(description);
  Recorder recorder;
  TrainingResult result = Train(loaded.job, loaded.dataset, 1, &recorder);
  ASSERT_EQ(result.end, End::kFailed);
  EXPECT_EQ(result.failure.cause, "diverged");
  EXPECT_NE(result.failure.message.find("epoch 1, step "), std::string::npos);
}

TEST(Train, LeavesOutALastBatchOfOneSampleBeforeBatchNormalization) {
  spec::JobDescription description = MockJob();
  description.model_definition =
      R"({"layers":[{"type":"dense","units":8},{"type":"batch_normalization","name":"bn"},
                    {"type":"dense","units":10,"activation":"softmax"}]})";
  description.dataset_uri = "mock://random_data?samples=33";
  description.hyperparameters["epochs"] = "2";
  Loaded loaded = Load(description);
  Recorder recorder;
  TrainingResult result = Train(loaded.job, loaded.dataset, 1, &recorder);
  ASSERT_EQ(result.end, End::kSucceeded) << result.failure.message;
  EXPECT_EQ(recorder.steps, 2);
  for (const TensorView& t : result.weights) {
    if (t.name == "bn.num_batches_tracked") {
      EXPECT_EQ(*static_cast<const int64_t*>(t.data), 2);
    }
    if (t.name == "bn.running_var") {
      EXPECT_TRUE(std::isfinite(*static_cast<const float*>(t.data)));
    }
  }
}

TEST(Train, OneSampleIsTooFewForBatchNormalization) {
  spec::JobDescription description = MockJob();
  description.model_definition = R"({"layers":[{"type":"dense","units":8},
      {"type":"batch_normalization"},{"type":"dense","units":10}]})";
  Loaded loaded = Load(description);
  // As of data that could not be seen when the job was checked.
  loaded.dataset.train.samples = 1;
  TrainingObserver silent;
  TrainingResult result = Train(loaded.job, loaded.dataset, 1, &silent);
  EXPECT_EQ(result.failure.cause, "user_error");
  EXPECT_NE(result.failure.message.find("cannot train on batches of one"), std::string::npos);
}

TEST(Train, RegressionHasNoAccuracy) {
  TemporaryFolder folder;
  std::string csv = "a,b,y\n";
  for (int i = 0; i < 64; ++i) {
    double a = i % 8 / 8.0, b = i / 8 / 8.0;
    csv +=
        std::to_string(a) + "," + std::to_string(b) + "," + std::to_string(2 * a - b + 0.25) + "\n";
  }
  ASSERT_TRUE(WriteFileAtomically(folder / "t.csv", csv).ok());
  StartMessage start;
  start.job = MockJob();
  start.job.model_definition = R"({"layers":[{"type":"dense","units":1}]})";
  start.job.dataset_uri = "file://" + folder.path() + "/t.csv";
  start.job.hyperparameters = {{"loss", "mse"}, {"epochs", "200"}, {"learning_rate", "0.05"}};
  start.data_roots = {folder.path()};
  start.folder = folder / "result";
  AttemptResult result = RunAttempt(start, {});
  ASSERT_EQ(result.end, End::kSucceeded) << result.failure.message;
  EXPECT_LT(result.metrics.at("train_loss"), 1e-3);
  EXPECT_EQ(result.metrics.count("train_accuracy"), 0u);
}

TEST(Train, OneHotMseReachesAccuracyToo) {
  spec::JobDescription description = MockJob();
  description.hyperparameters["loss"] = "mse";
  description.hyperparameters["epochs"] = "10";
  Loaded loaded = Load(description);
  Recorder recorder;
  TrainingResult result = Train(loaded.job, loaded.dataset, 1, &recorder);
  ASSERT_EQ(result.end, End::kSucceeded) << result.failure.message;
  EXPECT_GT(result.metrics.at("test_accuracy"), 0.9);
}

TEST(Train, FashionMnistInOneShortEpoch) {
  if (!std::filesystem::exists(kFashionMnist)) GTEST_SKIP() << "dataset-fashion-mnist is absent";
  spec::JobDescription description;
  description.model_definition =
      R"({"layers":[{"type":"flatten"},{"type":"dense","units":64,"activation":"relu"},
                    {"type":"dense","units":10}]})";
  description.dataset_uri = std::string("file://") + kFashionMnist;
  description.hyperparameters = {{"epochs", "1"}, {"batch_size", "64"}};
  Loaded loaded = Load(description);
  Recorder recorder;
  TrainingResult result = Train(loaded.job, loaded.dataset, 1, &recorder);
  ASSERT_EQ(result.end, End::kSucceeded) << result.failure.message;
  EXPECT_GT(result.metrics.at("test_accuracy"), 0.8);
}

// ---- attempt

TEST(Attempt, WritesWeightsAndModel) {
  TemporaryFolder folder;
  StartMessage start;
  start.job = MockJob();
  start.folder = folder / "a";
  AttemptResult result = RunAttempt(start, {});
  ASSERT_EQ(result.end, End::kSucceeded) << result.failure.message;
  Result<SafetensorsFile> file = ReadSafetensors(start.folder + "/weights.safetensors");
  ASSERT_TRUE(file.ok()) << file.status();
  EXPECT_EQ(file->entries.at("hidden.weight").shape, (std::vector<int64_t>{16, 10}));
  EXPECT_EQ(file->entries.at("out.bias").shape, (std::vector<int64_t>{10}));
  Result<std::string> text = ReadFile(start.folder + "/model.json");
  Result<Json> model = ParseJson(*text, "model.json");
  ASSERT_TRUE(model.ok());
  EXPECT_EQ((*model)["metrics"]["test_accuracy"], result.metrics.at("test_accuracy"));
  EXPECT_EQ((*model)["training"]["optimizer"], "adam");
  std::string values;  // in order of the tensors' names
  for (const auto& [name, entry] : file->entries) {
    const TensorView tensor{name, entry.type, entry.shape, file->values(entry)};
    values.append(static_cast<const char*>(tensor.data), static_cast<size_t>(tensor.bytes()));
  }
  EXPECT_EQ((*model)["weights_sha256"], Sha256Of(values));

  EXPECT_EQ((*model)["input"], (Json{{"type", "float32"}, {"divisor", 1}}));
  ASSERT_EQ(result.files.size(), 3u);

  start.folder = folder / "b";
  ASSERT_EQ(RunAttempt(start, {}).end, End::kSucceeded);
  for (const char* name : {"/weights.safetensors", "/model.json"}) {
    EXPECT_EQ(*ReadFile(folder.path() + "/a" + name), *ReadFile(folder.path() + "/b" + name));
  }
}

// The steps of the records of an event file (event_file.h) that name a metric.
std::vector<int64_t> StepsOf(const std::string& metric, const std::string& events) {
  std::vector<int64_t> steps;
  for (size_t at = 0; at < events.size();) {
    uint64_t bytes = 0;
    std::memcpy(&bytes, events.data() + at, sizeof bytes);
    const std::string record = events.substr(at + 12, bytes);
    at += 12 + bytes + 4;
    if (record.find(metric) == std::string::npos) continue;
    // A tag and the time, a tag and the step, of which each byte has seven bits.
    int64_t step = 0, shift = 0;
    for (size_t i = 10; i < bytes; ++i, shift += 7) {
      step |= int64_t{record[i] & 0x7f} << shift;
      if ((record[i] & 0x80) == 0) break;
    }
    steps.push_back(step);
  }
  return steps;
}

TEST(Attempt, ItsEventsAreThoseOfEachEpochAndOfTheTest) {
  TemporaryFolder folder;
  StartMessage start;
  start.job = MockJob();
  start.job.dataset_uri = "mock://random_data?samples=4000&test_samples=100";
  start.job.hyperparameters["batch_size"] = "40";
  start.folder = folder.path();
  const AttemptResult result = RunAttempt(start, {});
  ASSERT_EQ(result.end, End::kSucceeded) << result.failure.message;
  const auto events = ReadFile(folder / result.files.at(2));
  ASSERT_TRUE(events.ok()) << events.status();
  EXPECT_EQ(StepsOf("train_loss", *events), (std::vector<int64_t>{100, 200, 300}));
  EXPECT_EQ(StepsOf("learning_rate", *events), (std::vector<int64_t>{100, 200, 300}));
  EXPECT_EQ(StepsOf("test_accuracy", *events), std::vector<int64_t>{300});
}

TEST(Attempt, SaysWhetherTheUserOrTheNodeHasToAct) {
  TemporaryFolder folder;
  StartMessage start;
  start.folder = folder / "result";
  start.data_roots = {folder.path()};
  start.job = MockJob();
  start.job.hyperparameters["learning_rate"] = "-1";
  AttemptResult result = RunAttempt(start, {});
  EXPECT_EQ(result.failure.cause, "user_error");
  EXPECT_EQ(result.failure.path, "$.hyperparameters.learning_rate");

  start.job = MockJob();
  start.job.dataset_uri = "file://" + folder.path() + "/absent.csv";
  result = RunAttempt(start, {});
  EXPECT_EQ(result.failure.cause, "data_unavailable");
  EXPECT_EQ(result.failure.path, "$.dataset");
  EXPECT_FALSE(std::filesystem::exists(start.folder));
}

}  // namespace
}  // namespace cyxwiz::runner
