#include <chrono>
#include <limits>
#include <random>

#include "spec/count.h"
#include "spec/estimate.h"
#include "spec/job_spec.h"
#include "spec/test_support.h"

namespace cyxwiz::spec {
namespace {

constexpr int64_t kMiB = 1 << 20;

JobDescription Mlp() {
  return ImageJob(R"({"type": "flatten"}, {"type": "dense", "units": 128, "activation": "relu"},
                     {"type": "dense", "units": 10})");
}

DatasetInfo Regression(int64_t features) {
  DatasetInfo info;
  info.sample_shape = {features};
  info.train_samples = 100;
  info.classes = 0;
  return info;
}

JobDescription WithOutput(const std::string& units, const std::string& loss) {
  JobDescription job = Job(R"({"layers": [{"type": "dense", "units": )" + units + "}]}");
  job.hyperparameters["loss"] = loss;
  return job;
}

TEST(CheckJob, AcceptsTheSmallestJobOfAnOldClient) {
  JobDescription job = Job(R"({"layers":[{"type":"dense","units":10}]})");
  job.type = JobType::kUnknown;
  job.hyperparameters = {{"learning_rate", "0.001"}, {"epochs", "2"}, {"batch_size", "16"}};
  auto [spec, problems] = Check(job, std::nullopt);
  ASSERT_TRUE(spec) << problems.ToString();
  EXPECT_EQ(spec->type, JobType::kTraining);
  EXPECT_EQ(spec->model.parameters, 110);
  ASSERT_TRUE(spec->dataset);
  EXPECT_EQ(spec->dataset->classes, 10);
}

TEST(CheckJob, AModelIsReadAgainWhenItOrItsDataIsAnother) {
  JobDescription job = Job(R"({"layers":[{"type":"dense","units":10}]})");
  for (int time = 0; time < 2; ++time) EXPECT_EQ(Check(job).spec->model.parameters, 110);
  job.dataset_uri = "mock://random_data?features=20";
  EXPECT_EQ(Check(job).spec->model.parameters, 210);
  job.model_definition = R"({"layers":[{"type":"dense","units":11}]})";
  EXPECT_EQ(Check(job).spec->model.parameters, 231);
  job.model_definition = R"({"layers":[{"type":"dense","units":-1}]})";
  for (int time = 0; time < 2; ++time) EXPECT_FALSE(Check(job).problems.empty());
}

TEST(CheckJob, AWrongHyperparameterDoesNotHideAWrongOutput) {
  JobDescription job = WithOutput("3", "cross_entropy");
  job.hyperparameters["learning_rate"] = "-1";
  Problems problems = Check(job).problems;
  EXPECT_EQ(problems.count(), 2u) << problems.ToString();
  EXPECT_TRUE(Says(problems, "$.hyperparameters.learning_rate", "found -1"));
  EXPECT_TRUE(Says(problems, "$.model.layers[0].units", "at least [10]"));
  // What the output should be follows from the loss, so a wrong loss stands alone.
  job.hyperparameters = {{"loss", "hinge"}};
  EXPECT_EQ(Check(job).problems.count(), 1u);
}

TEST(CheckJob, NumbersOfTheWireThatNameNothingAreShownAsTheyAre) {
  JobDescription job = WithOutput("10", "cross_entropy");
  job.type = static_cast<JobType>(-7);
  job.required_device = static_cast<Device>(99);
  Problems problems = Check(job).problems;
  EXPECT_TRUE(Says(problems, "$.type", "found -7"));
  EXPECT_TRUE(Says(problems, "$.device", "found 99"));
}

TEST(CheckJob, ReportsEverythingAtOnce) {
  JobDescription job = Job(R"({"layers": [{"type": "dence"}]})", "file://x");
  job.hyperparameters = {{"learning_rate", "abc"}, {"epoch", "1"}};
  job.requested.cpu_millis = -1;
  job.required_device = Device::kMetal;
  job.name = "two\nlines";
  job.type = static_cast<JobType>(7);
  Problems problems = Check(job).problems;
  EXPECT_EQ(problems.count(), 8u) << problems.ToString();
  EXPECT_TRUE(Says(problems, "$.name", "control characters"));
  EXPECT_TRUE(Says(problems, "$.type",
                   "expected training, evaluation, inference or preprocessing, found 7"));
  EXPECT_TRUE(Says(problems, "$.device", "expected any, cpu or cuda, found metal"));
  EXPECT_TRUE(Says(problems, "$.resources.cpus", "found -1"));
  EXPECT_TRUE(Says(problems, "$.hyperparameters.learning_rate", "abc"));
  EXPECT_TRUE(Says(problems, "$.hyperparameters.epoch", "did you mean 'epochs'?"));
  EXPECT_TRUE(Says(problems, "$.dataset", "three slashes"));
  EXPECT_TRUE(Says(problems, "$.model.layers[0].type", "did you mean 'dense'?"));
}

TEST(CheckJob, APreprocessingHasDataAndAName) {
  JobDescription job;
  job.type = JobType::kPreprocessing;
  job.dataset_uri = "mock://random_data?samples=1000";
  job.output_dataset = "ready@1";
  auto checked = Check(job);
  ASSERT_TRUE(checked.spec) << checked.problems.ToString();
  EXPECT_EQ(checked.spec->type, JobType::kPreprocessing);
  EXPECT_EQ(checked.spec->output_dataset, "ready@1");
  EXPECT_GT(checked.spec->resources.memory_bytes, int64_t{144} << 20);
  EXPECT_EQ(checked.spec->estimate.artifact_bytes, 1200 * 48 + 512);

  job.model_definition = "{}";
  job.hyperparameters = {{"learning_rate", "0.1"}};
  job.epochs = 2;
  job.output_dataset = "a/b";
  job.dataset_uri = "file:///x?flip=true";
  Problems problems = Check(job).problems;
  EXPECT_TRUE(Says(problems, "$.model", "nothing is trained"));
  EXPECT_TRUE(Says(problems, "$.hyperparameters.learning_rate", "nothing is trained"));
  EXPECT_TRUE(Says(problems, "$.epochs", "nothing is trained"));
  EXPECT_TRUE(Says(problems, "$.output_dataset", "is no name of a data set"));
  EXPECT_TRUE(Says(problems, "$.dataset", "what differs in each epoch cannot be prepared"));

  JobDescription training = Job(R"({"layers": [{"type": "dense", "units": 10}]})");
  training.output_dataset = "x";
  EXPECT_TRUE(SaysOnly(Check(training).problems, "$.output_dataset",
                       "only preprocessings make a data set"));
}

TEST(CheckJob, MixupGoesWithoutClassWeights) {
  JobDescription job =
      Job(R"({"layers": [{"type": "input", "shape": [4]}, {"type": "dense", "units": 3}]})");
  job.dataset_uri = "file:///x.csv?mixup=0.2";
  EXPECT_TRUE(Check(job, std::nullopt).spec);
  for (const char* weights : {"balanced", "1,2,3"}) {
    job.hyperparameters["class_weights"] = weights;
    EXPECT_TRUE(SaysOnly(Check(job, std::nullopt).problems, "$.hyperparameters.class_weights",
                         "does not go with mixup"));
  }
}

TEST(CheckJob, MixupGoesWithoutEmbeddings) {
  JobDescription job =
      Job(R"({"layers": [{"type": "input", "shape": [4]}, {"type": "embedding", "input_dim": 9,
          "output_dim": 2}, {"type": "flatten"}, {"type": "dense", "units": 3}]})");
  job.dataset_uri = "file:///x.npz";
  EXPECT_TRUE(Check(job, std::nullopt).spec);
  job.dataset_uri += "?mixup=0.2";
  EXPECT_TRUE(SaysOnly(Check(job, std::nullopt).problems, "$.dataset",
                       "found mixup before 'embedding_1' (embedding)"));
}

TEST(CheckJob, SamplesStayInFilesWhenTheyDoNotFitIntoTheMemory) {
  DatasetInfo info = FashionMnist();
  info.can_stream = true;
  info.bytes_in_memory = int64_t{1} << 30;
  info.bytes_streamed = 64 << 20;
  JobDescription job =
      Job(R"({"layers": [{"type": "flatten"}, {"type": "dense", "units": 10}]})", "file:///x.tar");
  auto memory_of = [&](bool streams) {
    auto checked = Check(job, info);
    EXPECT_TRUE(checked.spec) << checked.problems.ToString();
    if (!checked.spec) return int64_t{0};
    EXPECT_EQ(checked.spec->dataset->streams, streams);
    return checked.spec->estimate.memory_bytes;
  };
  const int64_t whole = memory_of(false);
  EXPECT_GT(whole, int64_t{1} << 30);
  // The window counts, and not the data.
  job.requested.memory_bytes = 512 << 20;
  EXPECT_EQ(whole - memory_of(true), (int64_t{1} << 30) - (64 << 20));
  job.requested.memory_bytes = whole;
  memory_of(false);
  job.requested.memory_bytes = whole - 1;
  memory_of(true);
  job.dataset_uri = "file:///x.tar?stream=false";
  memory_of(false);
  job.dataset_uri = "file:///x.tar?stream=true";
  job.requested.memory_bytes = 0;
  memory_of(true);

  job.dataset_uri = "file:///x.tar";
  info.bytes_in_memory = int64_t{5} << 30;
  memory_of(true);
  job.requested.memory_bytes = int64_t{100} << 30;
  memory_of(true);
  job.dataset_uri = "file:///x.tar?stream=false";
  EXPECT_TRUE(SaysOnly(Check(job, info).problems, "$.dataset", "too large to be kept in memory"));
  job.requested.memory_bytes = int64_t{6} << 30;
  info.can_stream = false;
  job.dataset_uri = "file:///x.npy.gz?labels=/y.npy";
  memory_of(false);
  job.dataset_uri += "&stream=true";
  EXPECT_TRUE(SaysOnly(Check(job, info).problems, "$.dataset", "cannot be streamed"));
}

TEST(CheckJob, StreamingMustSaveMemory) {
  // Rows so short that what is known of each takes more.
  DatasetInfo info = FashionMnist();
  info.can_stream = true;
  info.bytes_in_memory = 50 << 20;
  info.bytes_streamed = 200 << 20;
  JobDescription job =
      Job(R"({"layers": [{"type": "flatten"}, {"type": "dense", "units": 10}]})", "file:///x.tar");
  job.requested.memory_bytes = 60 << 20;
  EXPECT_FALSE(Check(job, info).spec->dataset->streams);
  info.bytes_in_memory = int64_t{5} << 30;
  info.bytes_streamed = int64_t{6} << 30;
  job.requested.memory_bytes = int64_t{7} << 30;
  EXPECT_TRUE(Check(job, info).spec->dataset->streams) << "nothing else is possible";
}

TEST(CheckJob, DataThatDoesNotFitIntoTheMemoryIsRefused) {
  DatasetInfo info = FashionMnist();
  info.bytes_in_memory = int64_t{3} << 30;
  info.bytes_streamed = 300 << 20;
  JobDescription job =
      Job(R"({"layers": [{"type": "flatten"}, {"type": "dense", "units": 10}]})", "file:///x.csv");
  job.requested.memory_bytes = (int64_t{3} << 30) - 1;
  Problems problems = Check(job, info).problems;
  EXPECT_TRUE(SaysOnly(problems, "$.resources.memory",
                       "does not fit into the memory of the job, where all of it is kept: expected "
                       "more than the 3.0 GiB of the data, found 3.0 GiB"));
  EXPECT_TRUE(Says(problems, "$.resources.memory", "take data that is streamed"));
  job.requested.memory_bytes = int64_t{3} << 30;
  EXPECT_TRUE(Check(job, info).spec) << "the user's choice, though it will be tight";
  job.requested.memory_bytes = 0;
  job.estimated_memory = 100 << 20;
  EXPECT_TRUE(SaysOnly(Check(job, info).problems, "$.estimated_memory", "found 100 MiB"));
  job.estimated_memory = 0;
  EXPECT_TRUE(Check(job, info).spec);

  info.can_stream = true;
  job.requested.memory_bytes = 400 << 20;
  job.dataset_uri = "file:///x.tar";
  EXPECT_TRUE(Check(job, info).spec);
  job.dataset_uri = "file:///x.tar?stream=false";
  EXPECT_TRUE(SaysOnly(Check(job, info).problems, "$.resources.memory", "leave stream=false out"));
  job.dataset_uri = "file:///x.tar";
  job.requested.memory_bytes = 299 << 20;
  EXPECT_TRUE(SaysOnly(Check(job, info).problems, "$.resources.memory", "a smaller stream_memory"));

  JobDescription preprocessing;
  preprocessing.type = JobType::kPreprocessing;
  preprocessing.dataset_uri = "file:///x.tar";
  preprocessing.output_dataset = "ready";
  preprocessing.requested.memory_bytes = 400 << 20;
  EXPECT_TRUE(SaysOnly(Check(preprocessing, info).problems, "$.resources.memory",
                       "a preprocessing keeps its data in memory"));
  info.bytes_in_memory = int64_t{5} << 30;
  preprocessing.requested.memory_bytes = int64_t{64} << 30;
  EXPECT_TRUE(SaysOnly(Check(preprocessing, info).problems, "$.dataset",
                       "too large to be kept in memory: expected at most 4.0 GiB, found 5.0 GiB"));
}

TEST(CheckJob, ProblemsReadAsSentences) {
  EXPECT_EQ(Check(WithOutput("-5", "mse")).problems.ToString(),
            "$.model.layers[0].units: units is out of range: expected a whole number from 1 to "
            "1048576, found -5\n");
}

TEST(CheckJob, CrossEntropyNeedsAnOutputForEachClass) {
  EXPECT_TRUE(Check(WithOutput("10", "cross_entropy")).spec);
  EXPECT_TRUE(Check(WithOutput("12", "cross_entropy")).spec);
  EXPECT_TRUE(SaysOnly(Check(WithOutput("9", "cross_entropy")).problems, "$.model.layers[0].units",
                       "at least [10], for labels 0 to 9, found [9]"));
  EXPECT_TRUE(SaysOnly(Check(WithOutput("1", "cross_entropy")).problems, "$.model.layers[0].units",
                       "two classes take 2 units"));
  JobDescription real = WithOutput("10", "cross_entropy");
  real.dataset_uri = "file:///prices.csv";
  EXPECT_TRUE(SaysOnly(Check(real, Regression(4)).problems, "$.hyperparameters.loss",
                       "set \"loss\" to \"mse\""));
}

TEST(CheckJob, MseComparesOneValueOrOneHotRows) {
  JobDescription job = WithOutput("1", "mse");
  EXPECT_TRUE(Check(job).spec);  // the class number as it is
  job.dataset_uri = "file:///prices.csv";
  EXPECT_TRUE(Check(job, Regression(4)).spec);
  EXPECT_TRUE(Check(WithOutput("10", "mse")).spec);
  EXPECT_TRUE(SaysOnly(Check(WithOutput("11", "mse")).problems, "$.model.layers[0].units",
                       "[1], or [10] for one-hot labels"));
  job = WithOutput("2", "mse");
  job.dataset_uri = "file:///prices.csv";
  EXPECT_TRUE(SaysOnly(Check(job, Regression(4)).problems, "$.model.layers[0].units",
                       "expected [1], found [2]"));
}

TEST(CheckJob, OneSampleCannotBeSplit) {
  JobDescription job =
      Job(R"({"layers": [{"type": "dense", "units": 10}]})", "mock://random_data?samples=1");
  EXPECT_TRUE(Check(job).spec);
  job.hyperparameters["validation_split"] = "0.5";
  EXPECT_TRUE(SaysOnly(Check(job).problems, "$.hyperparameters.validation_split", "at least 2"));
}

TEST(CheckJob, ATrailingSoftmaxIsKept) {
  auto layer = Check(Job(R"({"layers": [{"type": "dense", "units": 10}, {"type": "softmax"}]})"));
  ASSERT_TRUE(layer.spec) << layer.problems.ToString();
  EXPECT_EQ(layer.spec->model.layers.back().type, "softmax");
  auto activation =
      Check(Job(R"({"layers": [{"type": "dense", "units": 10, "activation": "softmax"}]})"));
  ASSERT_TRUE(activation.spec) << activation.problems.ToString();
  EXPECT_EQ(activation.spec->model.layers.back().activation, Activation::kSoftmax);
}

TEST(CheckJob, OutputThatIsNotFlatIsRefusedWithTheRemedy) {
  EXPECT_TRUE(SaysOnly(Check(ImageJob(R"({"type": "dense", "units": 10})")).problems,
                       "$.model.layers[0]", "add {\"type\": \"flatten\"} before"));
  EXPECT_TRUE(
      SaysOnly(Check(ImageJob(R"({"type": "conv2d", "filters": 10, "kernel_size": 28})")).problems,
               "$.model.layers[0]", "end with {\"type\": \"flatten\"}"));
}

TEST(CheckJob, ProblemsOfTheDataAreNotFollowedByOthersOfTheModel) {
  EXPECT_TRUE(
      SaysOnly(Check(Job(R"({"layers": [{"type": "dense", "units": 10}]})", "nonsense")).problems,
               "$.dataset", "no known kind"));
}

TEST(CheckJob, MemoryIsEstimatedFromDataWeightsAndActivations) {
  JobDescription job = Mlp();
  job.batch_size = 64;
  auto [spec, problems] = Check(job);
  ASSERT_TRUE(spec) << problems.ToString();
  // Input, its flat form, hidden layer, output, logarithms of its probabilities: floats of one
  // sample. Of an evaluation's batch, which is larger than that of the training.
  const int64_t activations = 4 * (784 + 128 + 10 + 10), base = 144 * kMiB;
  EXPECT_EQ(spec->estimate.memory_bytes,
            base + FashionMnist().bytes_in_memory + 7 * 4 * 101'770 + activations * 1024);
  EXPECT_EQ(spec->resources.cpu_millis, 1000);
  EXPECT_FALSE(spec->resources.AsksForGpu());
  EXPECT_EQ(spec->estimate.flops, spec->model.flops * (3 * 60000 + 10000));
  EXPECT_EQ(spec->estimate.artifact_bytes, 4 * 101'770 + 3 * 512);
  job.hyperparameters["optimizer"] = "sgd";
  EXPECT_EQ(spec->estimate.memory_bytes - Check(job).spec->estimate.memory_bytes, 4 * 4 * 101'770);
}

TEST(CheckJob, MemoryThatIsNotNamedIsMoreThanTheEstimate) {
  auto asked = [](int64_t estimated) {
    Estimate estimate;
    estimate.memory_bytes = estimated;
    return MemoryToAskFor(estimate);
  };
  EXPECT_EQ(asked(160 * kMiB), (160 + 20 + 32) * kMiB);
  EXPECT_EQ(asked(160 * kMiB + 1), (160 + 20 + 32 + 1) * kMiB) << "whole MiB";
  EXPECT_EQ(asked(0), 32 * kMiB);
  EXPECT_EQ(asked(kMaxMemoryBytes), kMaxMemoryBytes);
  EXPECT_EQ(asked(std::numeric_limits<int64_t>::max()), kMaxMemoryBytes);

  auto [spec, problems] = Check(Mlp());
  ASSERT_TRUE(spec) << problems.ToString();
  EXPECT_EQ(spec->resources.memory_bytes, asked(spec->estimate.memory_bytes));
}

TEST(CheckJob, RequestedPartsReplaceTheEstimate) {
  JobDescription job = Mlp();
  job.requested.memory_bytes = 64 * kMiB;  // less than estimated: the user's choice
  EXPECT_EQ(Check(job).spec->resources, (Resources{1000, 64 * kMiB, 0}));
  job.hyperparameters["threads"] = "4";
  EXPECT_EQ(Check(job).spec->resources.cpu_millis, 4000);
  job.requested.cpu_millis = 500;
  EXPECT_EQ(Check(job).spec->resources.cpu_millis, 500);
  job.requested.memory_bytes = 0;
  job.estimated_memory = 128 * kMiB;
  EXPECT_EQ(Check(job).spec->resources.memory_bytes, 128 * kMiB);
  job.required_device = Device::kCuda;
  EXPECT_EQ(Check(job).spec->resources.gpu_millis, 1000);
  job.required_device = Device::kAny;
  job.requested.gpu_millis = 250;
  EXPECT_EQ(Check(job).spec->device, Device::kCuda);
  EXPECT_EQ(Check(job).spec->resources.gpu_millis, 250) << "and not a whole one";
  job.requested.gpu_millis = 0;
  job.requested.gpu_memory_bytes = 3 * kMiB;
  EXPECT_EQ(Check(job).spec->device, Device::kCuda);
  EXPECT_EQ(Check(job).spec->resources.gpu_millis, 0) << "its memory alone";
  EXPECT_EQ(Check(job).spec->resources.gpu_memory_bytes, 3 * kMiB);
}

TEST(CheckJob, ImpossibleAmountsAreRefused) {
  JobDescription job = Mlp();
  job.requested = {-1, -1, -kWholeGpu};
  job.estimated_memory = -1;
  Problems problems = Check(job).problems;
  EXPECT_EQ(problems.count(), 4u);
  for (const char* path :
       {"$.resources.cpus", "$.resources.memory", "$.resources.gpus", "$.estimated_memory"}) {
    EXPECT_TRUE(Says(problems, path, "found -1"));
  }
  job = Mlp();
  job.requested.gpu_millis = 2 * kWholeGpu;
  EXPECT_TRUE(SaysOnly(Check(job).problems, "$.resources.gpus", "to 1, found 2"));
  for (int64_t millis : {-1, 1001, 1500}) {  // more than one, or whole ones and a share
    job.requested.gpu_millis = millis;
    EXPECT_TRUE(SaysOnly(Check(job).problems, "$.resources.gpu_share", "a share of one")) << millis;
  }
  job.requested.gpu_millis = 500;
  job.requested.gpu_memory_bytes = -1;
  EXPECT_TRUE(SaysOnly(Check(job).problems, "$.resources.gpu_memory", "found -1"));
  job.requested.gpu_memory_bytes = 0;
  job.required_device = Device::kCpu;
  EXPECT_TRUE(SaysOnly(Check(job).problems, "$.resources.gpu_share", "found 0.5"));
  job.requested.gpu_millis = kWholeGpu;
  EXPECT_TRUE(SaysOnly(Check(job).problems, "$.resources.gpus", "set \"device\" to \"cuda\""));
  const char* kMany = "mock://random_data?samples=2000000&features=10";
  job = Job(R"({"layers": [{"type": "dense", "units": 1000000}, {"type": "dense", "units": 1000},
                           {"type": "dense", "units": 1000000}, {"type": "dense", "units": 10}]})",
            kMany);
  job.batch_size = kMaxBatchSize;
  EXPECT_TRUE(Check(job).spec);  // 17 TiB: for the scheduler to say that no node has them
  std::string layers;
  for (int i = 0; i < 100; ++i) layers += R"({"type": "dropout"}, {"type": "relu"},)";
  job = Job(R"({"layers": [{"type": "dense", "units": 1000000},)" + layers +
                R"({"type": "dense", "units": 10}]})",
            kMany);
  job.batch_size = kMaxBatchSize;
  EXPECT_TRUE(SaysOnly(Check(job).problems, "$.model", "more memory than any machine"));
}

TEST(CheckJob, UnknownTypesAndDevicesAreRefused) {
  JobDescription job = Mlp();
  job.type = static_cast<JobType>(77);
  EXPECT_TRUE(SaysOnly(Check(job).problems, "$.type", "found 77"));
  job = Mlp();
  job.required_device = static_cast<Device>(-3);
  EXPECT_EQ(Check(job).problems.count(), 1u);
}

TEST(CheckJob, NeverShowsTextThatIsNotUtf8) {
  JobDescription job = Job("\xff\xfe", "file:///\xff");
  job.name = "\xff";
  job.hyperparameters = {{"\xff", "\xff"}, {"learning_rate", std::string(59, 'a') + "\xc3\xbc"}};
  Problems problems = Check(job).problems;
  EXPECT_EQ(problems.count(), 5u) << problems.ToString();
  EXPECT_NO_THROW((void)Json(problems.ToString()).dump());
}

TEST(CheckJob, ThousandsOfProblemsAreCountedAndDoNotHoldUpTheServer) {
  std::string layer = R"({"type": "dense", "units": 10)";
  for (int i = 0; i < 50'000; ++i) layer += ",\"unitt" + std::to_string(i) + "\": 1";
  auto start = std::chrono::steady_clock::now();
  Problems problems = Check(Job(R"({"layers": [)" + layer + "}]}")).problems;
  EXPECT_EQ(problems.count(), 50'000u);
  EXPECT_EQ(problems.list().size(), Problems::kMost);
  EXPECT_NE(problems.ToString().find("and 49950 more"), std::string::npos);
  // Minutes, when the nearest name is sought for each.
  EXPECT_LT(std::chrono::steady_clock::now() - start, std::chrono::seconds(20));
}

TEST(JobDescription, TravelsAsJsonWithoutLoss) {
  JobDescription job = Mlp();
  job.hyperparameters = {{"learning_rate", "0.10"}, {"note\n", "ü\"\\"}};
  job.batch_size = 7;
  job.epochs = 9;
  job.required_device = Device::kCuda;
  job.estimated_memory = std::numeric_limits<int64_t>::max();
  job.requested = {1500, int64_t{1} << 40, 1};
  Result<Json> text = ParseJson(job.ToJson().dump(), "job");
  ASSERT_TRUE(text.ok());
  Result<JobDescription> again = JobDescription::FromJson(*text);
  ASSERT_TRUE(again.ok()) << again.status();
  EXPECT_EQ(again->ToJson(), job.ToJson());
  EXPECT_EQ(again->hyperparameters, job.hyperparameters);
  EXPECT_EQ(again->requested, job.requested);
  EXPECT_EQ(again->estimated_memory, job.estimated_memory);
}

TEST(JobDescription, WrongTypesInItsJsonAreErrors) {
  for (const char* text : {"[]", R"({"name": 1})", R"({"epochs": "1"})",
                           R"({"hyperparameters": []})", R"({"hyperparameters": {"a": 1}})",
                           R"({"requested": 1})", R"({"requested": {"gpu_millis": 0.5}})"}) {
    EXPECT_FALSE(JobDescription::FromJson(Json::parse(text)).ok()) << text;
  }
}

// ---- Random jobs
// -----------------------------------------------------------------------------------------

// Makes JSON that is nearly a model: right and wrong keys with right and wrong values.
class RandomModel {
 public:
  explicit RandomModel(uint32_t seed) : random_(seed) {}

  std::string Make() {
    wild_ = Below(2) == 0;
    Json layers = Json::array();
    for (int i = Below(6); i >= 0; --i) layers.push_back(Often(20) ? Value() : Layer());
    layers.push_back({{"type", "flatten"}});
    layers.push_back({{"type", "dense"}, {"units", 10}});
    Json model = {{"layers", Often(20) ? Value() : layers}};
    if (Often(4)) model["input_shape"] = Value();
    if (Often(10)) model[Pick(kKeys)] = Value();
    std::string text = model.dump();
    if (Often(10)) text[Below(static_cast<int>(text.size()))] = static_cast<char>(Below(256));
    if (Often(20)) text.resize(Below(static_cast<int>(text.size())));
    return text;
  }
  std::string Hyperparameter() { return Below(3) == 0 ? Value().dump() : Pick(kTexts); }
  std::string HyperparameterName() { return Pick(kNames); }
  std::string Uri() { return Pick(kUris); }
  int Below(int n) { return static_cast<int>(random_() % static_cast<uint32_t>(n)); }

 private:
  template <size_t n>
  std::string Pick(const char* const (&list)[n]) {
    return list[Below(n)];
  }
  // Once in n times, in wild models; rarely in tame ones, which shall often be right.
  bool Often(int n) { return Below(wild_ ? n : 20 * n) == 0; }
  Json Layer() {
    Json layer = Json::parse(Pick(kLayers));
    if (Often(4)) layer["type"] = Pick(kTypes);
    for (int i = wild_ ? Below(4) : 0; i > 0; --i) layer[Pick(kKeys)] = Value();
    if (Often(10)) layer["activation"] = Pick(kTexts);
    return layer;
  }
  Json Value() {
    switch (Below(14)) {
      case 0:
        return -1;
      case 1:
        return 0;
      case 2:
        return std::numeric_limits<int64_t>::max();
      case 3:
        return std::numeric_limits<uint64_t>::max();
      case 4:
        return std::numeric_limits<int64_t>::min();
      case 5:
        return 0.5;
      case 6:
        return 1e300;
      case 7:
        return nullptr;
      case 8:
        return Below(2) == 0;
      case 9:
        return {1, 28, 28};
      case 10:
        return Json::array({Value(), Value()});
      case 11:
        return {{Pick(kKeys), 3}};
      case 12:
        return Pick(kTexts);
      default:
        return 1 + Below(70000);
    }
  }

  static constexpr const char* kLayers[] = {
      R"({"type": "dense", "units": 12, "activation": "gelu"})",
      R"({"type": "Linear", "out_features": 3, "bias": false})",
      R"({"type": "conv2d", "filters": 4, "kernel_size": 3, "padding": "same"})",
      R"({"type": "Conv2d", "out_channels": 6, "kernel_size": [3, 1], "stride": 2})",
      R"({"type": "max_pooling2d"})",
      R"({"type": "AvgPool2d", "kernel_size": 3, "padding": 1})",
      R"({"type": "max_pooling2d", "padding": "same", "strides": [1, 3]})",
      R"({"type": "dropout", "rate": 0.1})",
      R"({"type": "batch_normalization"})",
      R"({"type": "activation", "activation": "tanh"})",
      R"({"type": "softmax"})",
      R"({"type": "sigmoid", "name": "s"})",
      R"({"type": "flatten"})"};
  static constexpr const char* kTypes[] = {
      "dense",   "conv2d",  "max_pooling2d", "AvgPool2d",
      "flatten", "dropout", "BatchNorm1d",   "batch_normalization",
      "relu",    "softmax", "input",         "activation",
      "dence",   ""};
  static constexpr const char* kKeys[] = {
      "units",       "filters",     "kernel_size", "strides",
      "padding",     "dilation",    "groups",      "use_bias",
      "pool_size",   "rate",        "momentum",    "epsilon",
      "activation",  "name",        "input_shape", "output_shape",
      "parameters",  "in_features", "in_channels", "num_features",
      "data_format", "start_dim",   "dim",         "shape",
      "unist",       "\n"};
  static constexpr const char* kTexts[] = {"relu", "same", "valid", "softmax", "",
                                           "nan",  "1e3",  "0.1",   "1e400",   "-0",
                                           "true", "sgd",  "mse",   "a b"};
  static constexpr const char* kNames[] = {
      "learning_rate", "lr",   "momentum", "epochs", "loss",
      "optimizer",     "seed", "threads",  "x",      "nesterov"};
  static constexpr const char* kUris[] = {"mock://random_data",
                                          "mock://random_data?features=784&classes=2",
                                          "mock://random_data?%",
                                          "file:///x",
                                          "file:///x.csv?label=%41&",
                                          "?",
                                          ""};
  std::mt19937 random_;
  bool wild_ = false;
};

TEST(CheckJobBeforeData, LeavesToTheDataWhatOnlyDataTells) {
  JobDescription job = Mlp();
  Problems problems;
  EXPECT_FALSE(CheckJobBeforeData(job, &problems)) << "its shapes are not known";
  EXPECT_TRUE(problems.empty()) << problems.ToString();
  job.model_definition.insert(1, R"("input_shape": [1, 28, 28], )");
  std::optional<JobSpec> spec = CheckJobBeforeData(job, &problems);
  ASSERT_TRUE(spec) << problems.ToString();
  EXPECT_EQ(spec->model.parameters, 784 * 128 + 128 + 128 * 10 + 10);
}

TEST(CheckJobBeforeData, RefusesAllElse) {
  JobDescription job = ImageJob(R"({"type": "dens", "units": 10}, {"type": "dense", "units": -1})");
  job.requested.memory_bytes = -5;
  job.hyperparameters["epochs"] = "none";
  Problems problems;
  EXPECT_FALSE(CheckJobBeforeData(job, &problems));
  EXPECT_TRUE(Says(problems, "$.model.layers[0].type", "did you mean"));
  EXPECT_TRUE(Says(problems, "$.model.layers[1].units", "found -1"));
  EXPECT_TRUE(Says(problems, "$.resources.memory", "found -5"));
  EXPECT_TRUE(Says(problems, "$.hyperparameters.epochs", "none"));
  EXPECT_EQ(problems.count(), 4u) << problems.ToString();
}

TEST(CheckJob, RandomJobsAreAcceptedOrRefusedAndNeverCrash) {
  int accepted = 0;
  for (uint32_t seed = 1; seed <= 10'000; ++seed) {
    SCOPED_TRACE("seed " + std::to_string(seed));
    RandomModel random(seed);
    JobDescription job = Job(random.Make(), random.Uri());
    for (int i = random.Below(3); i > 0; --i) {
      job.hyperparameters[random.HyperparameterName()] = random.Hyperparameter();
    }
    DatasetInfo seen = random.Below(2) == 0 ? FashionMnist() : Regression(4);
    FixedInspector inspector(seen);
    Problems problems;
    auto spec = CheckJob(job, random.Below(3) == 0 ? nullptr : &inspector, &problems);
    ASSERT_EQ(spec.has_value(), problems.empty());
    for (const Problem& problem : problems.list()) {
      ASSERT_FALSE(problem.message.empty());
      ASSERT_EQ(problem.path.substr(0, 1), "$");
      ASSERT_LT(problem.ToString().size(), 1000u) << problem.ToString();
    }
    ASSERT_NO_THROW((void)Json(problems.ToString()).dump());
    if (!spec) continue;
    ++accepted;
    ASSERT_EQ(spec->model.layers.back().output_shape, spec->model.output_shape);
    ASSERT_GT(spec->estimate.memory_bytes, 0);
    ASSERT_LE(spec->resources.memory_bytes, kMaxMemoryBytes);
    // What was accepted is accepted again in its canonical form, and is the same.
    job.model_definition = ModelToJson(spec->model).dump();
    auto again = CheckJob(job, &inspector, &problems);
    ASSERT_TRUE(again) << problems.ToString() << job.model_definition;
    ASSERT_EQ(ModelToJson(again->model).dump(), job.model_definition);
  }
  EXPECT_GT(accepted, 100);
}

}  // namespace
}  // namespace cyxwiz::spec
