#include "spec/job_file.h"

#include <filesystem>

#include "base/file.h"
#include "spec/test_support.h"

namespace cyxwiz::spec {
namespace {

const char kModel[] = R"("model": {"layers": [{"type": "dense", "units": 10}]})";

JobFile Parse(const std::string& text) {
  Problems problems;
  auto file = ParseJobFile(text, &problems);
  EXPECT_TRUE(file) << problems.ToString();
  return file.value_or(JobFile());
}

// A right file but for `rest`.
Problems ProblemsOf(const std::string& rest) {
  Problems problems;
  auto file = ParseJobFile(
      std::string("{") + kModel + R"(, "dataset": "mock://random_data", )" + rest + "}", &problems);
  EXPECT_EQ(file.has_value(), problems.empty());
  return problems;
}

TEST(JobFile, HoldsEachKey) {
  JobFile file = Parse(std::string("{") + kModel + R"(,
      "name": "n", "type": "training", "priority": "high", "job_id": "job-7", "user": "ada",
      "dataset": {"uri": "mock://random_data?samples=5"},
      "hyperparameters": {"learning_rate": 0.0010, "seed": 7, "nesterov": true, "optimizer": "sgd"},
      "resources": {"cpus": 1.5, "memory": "2GiB", "gpus": 1}, "device": "cuda", "retries": 0,
      "batch_size": 64, "epochs": 3})");
  EXPECT_EQ(file.description.name, "n");
  EXPECT_EQ(file.description.type, JobType::kTraining);
  EXPECT_EQ(file.priority, 2);
  EXPECT_EQ(file.job_id, "job-7");
  EXPECT_EQ(file.user, "ada");
  EXPECT_EQ(file.max_retries, 0);
  EXPECT_EQ(file.description.dataset_uri, "mock://random_data?samples=5");
  EXPECT_EQ(file.description.requested, (Resources{1500, int64_t{2} << 30, 1000}));
  EXPECT_EQ(file.description.required_device, Device::kCuda);
  EXPECT_EQ(file.description.batch_size, 64);
  EXPECT_EQ(file.description.epochs, 3);
  EXPECT_EQ(file.description.model_definition, R"({"layers":[{"type":"dense","units":10}]})");
  std::map<std::string, std::string> expected = {
      {"learning_rate", "0.0010"}, {"seed", "7"}, {"nesterov", "true"}, {"optimizer", "sgd"}};
  EXPECT_EQ(file.description.hyperparameters, expected);
}

TEST(JobFile, AShareOfAGpuIsKeptInThousandths) {
  auto asked = [](const std::string& resources) {
    return Parse(std::string("{") + kModel + R"(, "dataset": "mock://random_data", "resources": )" +
                 resources + "}")
        .description.requested;
  };
  EXPECT_EQ(asked(R"({"gpu_share": 0.25})").gpu_millis, 250);
  EXPECT_EQ(asked(R"({"gpu_share": 0.001})").gpu_millis, 1);
  EXPECT_EQ(asked(R"({"gpu_share": 1})"), asked(R"({"gpus": 1})")) << "all of it";
  const Resources memory = asked(R"({"gpu_memory": "20GiB"})");
  EXPECT_EQ(memory.gpu_millis, 0);
  EXPECT_EQ(memory.gpu_memory_bytes, int64_t{20} << 30);
}

TEST(JobFile, AWrongFormDoesNotHideWhatIsWrongWithTheJob) {
  Problems problems;
  EXPECT_FALSE(ParseJobFile(R"({"model": {"layers": [{"type": "dence", "units": 10}]}, "epochs": 0,
                                "hyperparameters": {"learning_rate": -1}, "colour": 1})",
                            &problems));
  EXPECT_TRUE(Says(problems, "$.dataset", "is missing"));
  EXPECT_TRUE(Says(problems, "$.colour", "there is no"));
  EXPECT_TRUE(Says(problems, "$.epochs", "found 0"));
  EXPECT_TRUE(Says(problems, "$.model.layers[0].type", "did you mean 'dense'?"));
  EXPECT_TRUE(Says(problems, "$.hyperparameters.learning_rate", "found -1"));
  EXPECT_EQ(problems.count(), 5u) << problems.ToString();
}

TEST(JobFile, NeedsOnlyModelAndDataset) {
  JobFile file = Parse(std::string("{") + kModel + R"(, "dataset": "mock://random_data"})");
  EXPECT_EQ(file.priority, 1);
  EXPECT_EQ(file.max_retries, std::nullopt);
  EXPECT_EQ(file.description.requested, Resources());
  EXPECT_TRUE(Check(file.description).spec);
  Problems problems;
  EXPECT_FALSE(ParseJobFile("{}", &problems));
  EXPECT_EQ(problems.count(), 2u);
  EXPECT_TRUE(Says(problems, "$.model", "missing"));
  EXPECT_TRUE(Says(problems, "$.dataset", "missing"));
}

TEST(JobFile, NumbersBecomeTextAsWritten) {
  JobFile file = Parse(std::string("{") + kModel + R"(, "dataset": "mock://random_data",
      "hyperparameters": {"a": 0.001, "b": 1e-3, "c": 1E+2, "d": 100, "e": -5, "f": 0.10000000000000000001,
                          "g": false},
      "resources": {"cpus": 0.5}})");
  const auto& values = file.description.hyperparameters;
  EXPECT_EQ(values.at("a"), "0.001");
  EXPECT_EQ(values.at("b"), "1e-3");
  EXPECT_EQ(values.at("c"), "1E+2");
  EXPECT_EQ(values.at("d"), "100");
  EXPECT_EQ(values.at("e"), "-5");
  EXPECT_EQ(values.at("f"), "0.10000000000000000001");
  EXPECT_EQ(values.at("g"), "false");
}

TEST(JobFile, NamesOfTheWireMeanTheSame) {
  JobFile file =
      Parse(R"({"model_definition": "{\"layers\": []}", "dataset_uri": "mock://random_data",
      "job_type": "JOB_TYPE_TRAINING", "priority": "PRIORITY_CRITICAL", "required_device": "DEVICE_CPU",
      "max_retries": 5, "user_id": "ada", "estimated_memory": 1048576,
      "resources": {"cpu_millis": 250, "memory_bytes": "1048576"}})");
  EXPECT_EQ(file.description.model_definition, R"({"layers": []})");
  EXPECT_EQ(file.priority, 3);
  EXPECT_EQ(file.max_retries, 5);
  EXPECT_EQ(file.user, "ada");
  EXPECT_EQ(file.description.required_device, Device::kCpu);
  EXPECT_EQ(file.description.requested, (Resources{250, 1 << 20, 0}));
  EXPECT_EQ(file.description.estimated_memory, 1 << 20);
}

TEST(JobFile, ListsOfHyperparametersMayBeArrays) {
  Problems problems;
  auto job = ParseJobFile(
      R"({"model": {"layers": [{"type": "dense", "units": 3}]}, "dataset": "mock://random_data?classes=3",
          "hyperparameters": {"class_weights": [1, 2.5, 0], "metrics": ["f1", "recall"]}})",
      &problems);
  ASSERT_TRUE(problems.empty()) << problems.ToString();
  EXPECT_EQ(job->description.hyperparameters.at("class_weights"), "1, 2.5, 0");
  EXPECT_EQ(job->description.hyperparameters.at("metrics"), "f1, recall");
}

TEST(JobFile, WrongKeysAndValuesAreRefused) {
  for (auto [rest, path, says] : std::initializer_list<std::array<const char*, 3>>{
           {R"("modell": 1)", "$.modell", "did you mean 'model'?"},
           {R"("name": 1)", "$.name", "not a text"},
           {R"("type": "trainin")", "$.type", "did you mean 'training'?"},
           {R"("priority": "urgent")", "$.priority", "one of low, normal, high, critical"},
           {R"("job_id": "../x")", "$.job_id", "no valid id"},
           {R"("user": "a\nb")", "$.user", "control characters"},
           {R"("hyperparameters": [])", "$.hyperparameters", "not an object"},
           {R"("hyperparameters": {"lr": [1]})", "$.hyperparameters.lr", "a number, a text"},
           {R"("hyperparameters": {"lr": null})", "$.hyperparameters.lr", "a number, a text"},
           {R"("resources": 3)", "$.resources", "not an object"},
           {R"("resources": {"cpu": 3})", "$.resources.cpu", "did you mean 'cpus'?"},
           {R"("resources": {"cpus": 0})", "$.resources.cpus", "from 0.001 to 1000"},
           {R"("resources": {"cpus": "1"})", "$.resources.cpus", "not a number"},
           {R"("resources": {"cpus": 1, "cpu_millis": 1000})", "$.resources.cpu_millis", "one of"},
           {R"("resources": {"memory": "2 gigs"})", "$.resources.memory", "2GiB"},
           {R"("resources": {"memory": 0})", "$.resources.memory", "out of range"},
           {R"("resources": {"memory": -1})", "$.resources.memory", "out of range"},
           {R"("resources": {"gpus": -1})", "$.resources.gpus", "from 0 to 1"},
           {R"("resources": {"gpus": 0.5})", "$.resources.gpus", "not a whole number"},
           {R"("resources": {"gpu_share": 1.5})", "$.resources.gpu_share", "from 0.001 to 1"},
           {R"("resources": {"gpu_share": 0})", "$.resources.gpu_share", "from 0.001 to 1"},
           {R"("resources": {"gpu_share": -0.5})", "$.resources.gpu_share", "from 0.001 to 1"},
           {R"("resources": {"gpus": 1, "gpu_share": 0.5})", "$.resources.gpu_share", "exclude"},
           {R"("resources": {"gpu_memory": "-1GiB"})", "$.resources.gpu_memory", "2GiB"},
           {R"("device": "tpu")", "$.device", "did you mean 'cpu'?"},
           {R"("retries": -1)", "$.retries", "from 0 to 100"},
           {R"("epochs": 0)", "$.epochs", "from 1 to"},
           {R"("batch_size": 1e3)", "$.batch_size", "write 1000"},
           {R"("dataset_uri": "mock://random_data")", "$.dataset_uri", "two names"},
       }) {
    EXPECT_TRUE(SaysOnly(ProblemsOf(rest), path, says)) << rest;
  }
  for (auto [text, says] : std::initializer_list<std::pair<std::string, const char*>>{
           {"{", "not JSON"},
           {"", "not JSON"},
           {"[]", "not an object"},
           {std::string(1 << 20, '['), "deeper than 64"},
           {std::string(kMaxJobFileBytes + 1, ' '), "too large"}}) {
    Problems problems;
    EXPECT_FALSE(ParseJobFile(text, &problems));
    EXPECT_TRUE(SaysOnly(problems, "$", says));
  }
}

TEST(JobFile, MemoryTakesUnits) {
  EXPECT_EQ(ParseMemory("1024"), 1024);
  EXPECT_EQ(ParseMemory("512MiB"), int64_t{512} << 20);
  EXPECT_EQ(ParseMemory("1.5 GiB"), int64_t{1536} << 20);
  EXPECT_EQ(ParseMemory("2gb"), 2'000'000'000);
  EXPECT_EQ(ParseMemory("1024TiB"), kMaxMemoryBytes);
  for (const char* wrong : {"", "GiB", "2G", "-1GiB", "1e3", "0", "1025TiB", "1 GiB ", "1_GiB",
                            "nan", "1.2.3B", "9999999999999999999999TB"}) {
    EXPECT_EQ(ParseMemory(wrong), std::nullopt) << wrong;
  }
}

// What the data of the examples is like.
DatasetInfo AsSeen(const DatasetUri& uri) {
  DatasetInfo info = FashionMnist();
  if (uri.kind == DatasetUri::Kind::kText) {
    info.sample_shape = info.label_shape = {uri.sequence_length};
    info.classes = 256;
  } else if (uri.kind == DatasetUri::Kind::kTable) {
    info.sample_shape = {8};
    info.classes = 0;
  }
  return info;
}

TEST(JobFile, EveryExampleIsARightJob) {
  int examples = 0;
  for (const auto& entry : std::filesystem::directory_iterator(CYXWIZ_EXAMPLES)) {
    if (entry.path().extension() != ".json") continue;
    SCOPED_TRACE(entry.path());
    auto text = ReadFile(entry.path());
    ASSERT_TRUE(text.ok()) << text.status();
    JobFile file = Parse(*text);
    Problems in_uri;
    auto uri = ParseDatasetUri(file.description.dataset_uri, &in_uri);
    ASSERT_TRUE(uri) << in_uri.ToString();
    auto [spec, problems] = Check(file.description, AsSeen(*uri));
    EXPECT_TRUE(spec) << problems.ToString();
    ++examples;
  }
  EXPECT_GE(examples, 6);
}

// Of the usual ResNet-18 with a 3x3 stem, for one channel and ten classes.
TEST(JobFile, TheResidualExampleIsResNet18) {
  auto text = ReadFile(CYXWIZ_EXAMPLES "/fashion-mnist-resnet18.json");
  ASSERT_TRUE(text.ok()) << text.status();
  auto [spec, problems] = Check(Parse(*text).description);
  ASSERT_TRUE(spec) << problems.ToString();
  EXPECT_EQ(spec->model.parameters, 11'172'810);
}

}  // namespace
}  // namespace cyxwiz::spec
