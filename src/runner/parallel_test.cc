// Training by several ranks, each a process of its own: against one process, and what happens when
// one of them ends.
#include <arpa/inet.h>
#include <fcntl.h>
#include <gtest/gtest.h>
#include <signal.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <chrono>
#include <cmath>
#include <filesystem>
#include <fstream>
#include <functional>

#include "base/file.h"
#include "base/json.h"
#include "base/safetensors.h"
#include "base/testing.h"
#include "data/testing.h"
#include "runner/attempt.h"
#include "runner/checkpoint.h"
#include "runner/engine.h"
#include "runner/local_ranks.h"
#include "runner/process_group.h"
#include "runner/sharded_optimizer.h"
#include "runner/torch_headers.h"
#include "spec/count.h"

namespace cyxwiz::runner {
namespace {

using End = TrainingResult::End;

int FreePort() {
  UniqueFd fd(::socket(AF_INET, SOCK_STREAM, 0));
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  socklen_t size = sizeof address;
  if (::bind(fd.get(), reinterpret_cast<sockaddr*>(&address), size) != 0 ||
      ::getsockname(fd.get(), reinterpret_cast<sockaddr*>(&address), &size) != 0) {
    throw std::runtime_error("no free port");
  }
  return ntohs(address.sin_port);
}

bool Never() { return false; }

// Runs `work` as each of so many ranks, in processes of their own: random generators, threads and
// sudden deaths belong to a process. What each returned; nothing of one that was killed.
std::vector<std::string> RunRanks(int size, const std::function<std::string(ProcessGroup*)>& work) {
  const int port = FreePort();
  std::vector<UniqueFd> pipes;
  std::vector<pid_t> children;
  for (int rank = 0; rank < size; ++rank) {
    int ends[2];
    if (::pipe2(ends, O_CLOEXEC) != 0) throw std::runtime_error("pipe");
    pipes.emplace_back(ends[0]);
    UniqueFd write(ends[1]);
    pid_t child = ::fork();
    if (child == 0) {
      at::set_num_threads(1);  // those that this process may have had are not in its child
      std::string told;
      try {
        if (size == 1) {
          told = work(nullptr);
        } else {
          auto group =
              ProcessGroup::Connect({rank, size, "127.0.0.1", port, "secret"}, Never, Never);
          told = group.ok() ? work(group->get()) : group.status().ToString();
        }
      } catch (const std::exception& error) {
        told = error.what();
      }
      for (size_t done = 0; done < told.size();) {
        ssize_t n = ::write(write.get(), told.data() + done, told.size() - done);
        if (n <= 0) break;
        done += static_cast<size_t>(n);
      }
      ::_exit(0);
    }
    children.push_back(child);
  }
  std::vector<std::string> told(pipes.size());
  for (size_t i = 0; i < pipes.size(); ++i) {
    char buffer[1 << 16];
    for (ssize_t n; (n = ::read(pipes[i].get(), buffer, sizeof buffer)) > 0;) {
      told[i].append(buffer, static_cast<size_t>(n));
    }
  }
  for (pid_t child : children) ::waitpid(child, nullptr, 0);
  return told;
}

TEST(ProcessGroup, SumsAndCopiesOverAllRanks) {
  for (int size : {2, 4}) {
    auto told = RunRanks(size, [](ProcessGroup* group) {
      at::Tensor large = at::full({100'003}, group->rank() + 1, at::kFloat),
                 small = at::full({2}, 10 * group->rank(), at::kDouble),
                 of_rank_0 = at::full({5}, group->rank() + 7, at::kLong);
      group->BeginSum(small);
      group->BeginSum(large);
      group->Wait();
      group->Broadcast(of_rank_0);
      at::Tensor of_rank_1 = at::full({3}, group->rank(), at::kLong);
      group->BeginBroadcast(of_rank_1, 1);
      group->Wait();
      int64_t gathered = 0;
      for (const at::Tensor& one : group->Gather(at::full({2}, group->rank() + 1, at::kLong)))
        gathered = 10 * gathered + one[1].item<int64_t>();
      return Json{large.min().item<float>(),       large.max().item<float>(),
                  small[1].item<double>(),         of_rank_0.sum().item<int64_t>(),
                  of_rank_1.sum().item<int64_t>(), gathered}
          .dump();
    });
    const double ranks = size * (size + 1) / 2, tens = 10 * size * (size - 1) / 2;
    const int gathered = size == 2 ? 12 : 1234;
    for (const std::string& one : told) {
      EXPECT_EQ(one, Json({ranks, ranks, tens, 35, 3, &one == told.data() ? gathered : 0}).dump());
    }
  }
}

TEST(ProcessGroup, APortThatIsTakenIsTold) {
  UniqueFd fd(::socket(AF_INET, SOCK_STREAM, 0));
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  socklen_t size = sizeof address;
  ASSERT_EQ(::bind(fd.get(), reinterpret_cast<sockaddr*>(&address), size), 0);
  ASSERT_EQ(::listen(fd.get(), 1), 0);
  ASSERT_EQ(::getsockname(fd.get(), reinterpret_cast<sockaddr*>(&address), &size), 0);
  auto told = RunRanks(1, [&](ProcessGroup*) {
    const int port = ntohs(address.sin_port);
    return ProcessGroup::Connect({0, 2, "127.0.0.1", port, "secret"}, Never, Never)
        .status()
        .ToString();
  });
  EXPECT_NE(told[0].find("ALREADY_EXISTS: cannot listen on 127.0.0.1:"), std::string::npos)
      << told[0];
}

TEST(ProcessGroup, ARankThatWaitsForOthersEndsWhenAsked) {
  auto told = RunRanks(1, [&](ProcessGroup*) {
    auto group = ProcessGroup::Connect(
        {0, 2, "127.0.0.1", FreePort(), "secret"}, [] { return true; }, Never);
    return std::string(CodeName(group.status().code()));
  });
  EXPECT_EQ(told[0], "CANCELLED");
}

TEST(ProcessGroup, WhoDoesNotKnowTheSecretIsNotMet) {
  const int port = FreePort();
  auto told = RunRanks(1, [&](ProcessGroup*) {
    const pid_t stranger = ::fork();
    const bool knows = stranger != 0;
    // Long enough for two that do know it.
    int asked = 0;
    auto group = ProcessGroup::Connect(
        {knows ? 0 : 1, 2, "127.0.0.1", port, knows ? "secret" : "another"},
        [&] { return ++asked == 10; }, Never);
    if (!knows) ::_exit(0);
    ::waitpid(stranger, nullptr, 0);
    return group.ok() ? "met" : std::string(CodeName(group.status().code()));
  });
  EXPECT_EQ(told[0], "CANCELLED");
}

TEST(ProcessGroup, OneThatIsKilledIsMissedAtOnce) {
  auto begin = std::chrono::steady_clock::now();
  auto told = RunRanks(4, [](ProcessGroup* group) -> std::string {
    at::Tensor values = at::ones({1000});
    group->Sum(values);
    if (group->rank() == 2) ::raise(SIGKILL);
    try {
      group->Sum(values);
    } catch (const PeerLostError&) {
      return "lost";
    }
    return "done";
  });
  EXPECT_EQ(told, (std::vector<std::string>{"lost", "lost", "", "lost"}));
  EXPECT_LT(std::chrono::steady_clock::now() - begin, std::chrono::seconds(10));
}

// ---- training

struct Job {
  spec::JobSpec spec;
  data::Dataset dataset;
};

using Options = std::map<std::string, std::string>;

// On 200 samples of numbers from 0 to 1. The label: which of the two halves of a sample is the
// greater one.
Job MakeJob(const std::string& shape, const std::string& layers, Options options,
            const std::string& parameters = "") {
  Job job;
  spec::JobDescription description;
  description.name = "test";
  description.model_definition =
      R"({"layers":[{"type":"input","shape":)" + shape + "}," + layers + "]}";
  description.dataset_uri = "file:///nowhere/data?labels=/nowhere/labels" + parameters;
  options.insert({"seed", "1"});
  options.insert({"epochs", "3"});
  options.insert({"optimizer", "sgd"});
  options.insert({"learning_rate", "0.2"});
  description.hyperparameters = std::move(options);
  spec::Problems problems;
  auto spec = spec::CheckJob(description, nullptr, &problems);
  if (!spec) throw std::runtime_error(problems.ToString());
  job.spec = *spec;
  const auto values = static_cast<size_t>(spec::ElementCount(spec->model.input_shape));
  uint64_t state = 1;
  for (data::Split* split : {&job.dataset.train, &job.dataset.test}) {
    split->samples = 200;
    std::vector<float> features;
    std::vector<int64_t> labels;
    for (int64_t i = 0; i < split->samples; ++i) {
      float halves[2] = {0, 0};
      for (size_t k = 0; k < values; ++k) {
        state = state * 6364136223846793005u + 1442695040888963407u;
        features.push_back(static_cast<float>(state >> 40) / static_cast<float>(1 << 24));
        halves[k < values / 2] += features.back();
      }
      labels.push_back(halves[0] > halves[1]);
    }
    split->features = features;
    split->labels = labels;
  }
  return job;
}

constexpr const char* kDense = R"({"type":"dense","units":16,"activation":"relu"},
                                  {"type":"dense","units":2})";
constexpr const char* kConvolution =
    R"({"type":"conv2d","filters":4,"kernel_size":3,"activation":"relu"},{"type":"max_pooling2d"},
       {"type":"flatten"},{"type":"dense","units":2})";

struct Outcome {
  End end = End::kFailed;
  std::string cause, weights;
  Metrics metrics;
  int64_t steps = 0;

  std::string Text() const {
    std::string text = Json{
        {"end", static_cast<int>(end)},
        {"cause", cause},
        {"metrics", metrics},
        {"steps", steps}}.dump();
    return text + "\n" + weights;
  }
  static Outcome From(const std::string& text) {
    Outcome outcome;
    const size_t end = text.find('\n');
    Result<Json> json = ParseJson(text.substr(0, end), "outcome");
    if (!json.ok()) {
      ADD_FAILURE() << text;
      return outcome;
    }
    outcome.end = static_cast<End>((*json)["end"].get<int>());
    outcome.cause = (*json)["cause"].get<std::string>();
    outcome.metrics = (*json)["metrics"].get<Metrics>();
    outcome.steps = (*json)["steps"].get<int64_t>();
    outcome.weights = text.substr(end + 1);
    return outcome;
  }
  at::Tensor Weights() const {
    return at::from_blob(const_cast<char*>(weights.data()),
                         {static_cast<int64_t>(weights.size() / 4)}, at::kFloat);
  }
};

// What a rank's observer does, and from where it goes on.
struct Doing {
  int rank = -1;  // which one
  int64_t after_step = 0;
  Directive asks = Directive::kGoOn;
  bool dies = false;
  bool saves = false;  // once
  std::string folder;  // checkpoints
};

class RankObserver : public TrainingObserver {
 public:
  RankObserver(const Doing& doing, bool acts) : doing_(doing), acts_(acts) {}
  Directive Asked() override {
    return acts_ && steps >= doing_.after_step ? doing_.asks : Directive::kGoOn;
  }
  void OnStep(int64_t step) override {
    steps = step;
    if (acts_ && doing_.dies && step == doing_.after_step) ::raise(SIGKILL);
  }
  bool StateWanted() override {
    return acts_ && doing_.saves && steps >= doing_.after_step && !std::exchange(saved_, true);
  }
  void OnState(TrainingState state) override {
    if (!WriteCheckpoint(doing_.folder, "test", state).ok()) ::_exit(1);
  }

  int64_t steps = 0;

 private:
  const Doing doing_;
  const bool acts_;
  bool saved_ = false;
};

std::vector<Outcome> Trained(const Job& job, int size, const Doing& doing = {}) {
  std::vector<Outcome> outcomes;
  auto told = RunRanks(size, [&](ProcessGroup* group) {
    RankObserver observer(doing, group != nullptr && group->rank() == doing.rank);
    std::optional<TrainingState> resume;
    if (!doing.folder.empty()) {
      resume = ReadNewestCheckpoint(doing.folder, "test", [](const std::string&) {});
    }
    TrainingResult result = Train(job.spec, job.dataset, 1, &observer, std::move(resume), group);
    Outcome outcome{result.end, result.failure.cause, "", result.metrics, observer.steps};
    for (const TensorView& t : result.weights) {
      if (t.type != DataType::kFloat32) continue;
      outcome.weights.append(static_cast<const char*>(t.data), static_cast<size_t>(t.bytes()));
    }
    return outcome.Text();
  });
  for (const std::string& one : told) {
    outcomes.push_back(one.empty() ? Outcome() : Outcome::From(one));
  }
  return outcomes;
}

// Whether rank 0 of 2 and of 4 has the weights and metrics that one process has.
void ExpectAsOne(const Job& job, bool weights_everywhere = true) {
  const Outcome one = Trained(job, 1)[0];
  ASSERT_EQ(one.end, End::kSucceeded) << one.cause;
  for (int size : {2, 4}) {
    SCOPED_TRACE(size);
    std::vector<Outcome> ranks = Trained(job, size);
    ASSERT_EQ(ranks[0].end, End::kSucceeded) << ranks[0].cause;
    ASSERT_EQ(ranks[0].weights.size(), one.weights.size());
    EXPECT_TRUE(at::allclose(ranks[0].Weights(), one.Weights(), 1e-3, 1e-4))
        << (ranks[0].Weights() - one.Weights()).abs().max();
    for (const auto& [name, value] : one.metrics) {
      if (name == "samples_per_second") continue;
      EXPECT_NEAR(ranks[0].metrics[name], value, 1e-3 * std::max(1.0, std::abs(value))) << name;
    }
    for (const Outcome& rank : ranks) {
      EXPECT_EQ(rank.end, End::kSucceeded);
      EXPECT_EQ(rank.steps, one.steps);
      EXPECT_TRUE(!weights_everywhere || rank.weights == ranks[0].weights);
    }
  }
}

TEST(Parallel, ADenseModelIsTrainedAsByOneProcess) {
  // A last batch of 20 samples.
  ExpectAsOne(MakeJob("[6]", kDense, {{"batch_size", "60"}, {"epochs", "10"}}));
  ExpectAsOne(MakeJob("[6]", kDense,
                      {{"batch_size", "32"}, {"optimizer", "adam"}, {"learning_rate", "0.01"}}));
}

TEST(Parallel, AConvolutionalModelIsTrainedAsByOneProcess) {
  ExpectAsOne(MakeJob("[1,8,8]", kConvolution, {{"batch_size", "30"}}));
}

// Its last two layers fill a bucket of gradients.
constexpr const char* kTwoBuckets = R"({"type":"dense","units":600,"activation":"relu"},
    {"type":"dense","units":600,"activation":"relu"},{"type":"dense","units":2})";

TEST(Parallel, AModelOfSeveralBucketsIsTrainedAsByOneProcess) {
  ExpectAsOne(MakeJob("[6]", kTwoBuckets, {{"batch_size", "50"}, {"epochs", "1"}}));
  // By autograd, on some ranks of which there are no samples at times.
  ExpectAsOne(MakeJob("[6]", kTwoBuckets,
                      {{"batch_size", "3"},
                       {"epochs", "1"},
                       {"learning_rate", "0.01"},
                       {"gradient_accumulation_steps", "2"}}));
}

TEST(Parallel, PartsOfABatchMayDifferInSizeOrBeEmpty) {
  // The last batches have 4 samples, 2 and 2.
  ExpectAsOne(MakeJob("[6]", kDense, {{"batch_size", "7"}}));
  ExpectAsOne(MakeJob("[6]", kDense, {{"batch_size", "3"}, {"epochs", "2"}}));
  ExpectAsOne(MakeJob("[1,8,8]", kConvolution, {{"batch_size", "3"}, {"epochs", "1"}}));
}

TEST(Parallel, SamplesAreAugmentedAndMixedAsByOneProcess) {
  // Parts of a batch begin with a sample that is mixed with one of another rank.
  ExpectAsOne(MakeJob("[1,8,8]", kConvolution, {{"batch_size", "30"}},
                      "&flip=true&brightness=0.4&contrast=0.2&mixup=0.4"));
  ExpectAsOne(MakeJob("[6]", kDense, {{"batch_size", "7"}, {"loss", "mse"}}, "&mixup=1"));
}

// Each rank reads the samples of its own parts, and with mixup the one before each.
TEST(Parallel, SamplesInFilesAreReadByOneRankEach) {
  for (const char* parameters : {"", "&mixup=0.4"}) {
    Job job = MakeJob("[1,8,8]", kConvolution, {{"batch_size", "32"}, {"validation_split", "0.2"}},
                      parameters);
    for (data::Split* split : {&job.dataset.train, &job.dataset.test}) {
      std::vector<uint8_t> bytes;
      for (float value : std::get<std::vector<float>>(split->features))
        bytes.push_back(static_cast<uint8_t>(value * 255));
      split->features = bytes;
      data::PutIntoFiles(30, split);
    }
    job.spec.dataset_uri.stream.window = 40;
    ExpectAsOne(job);
  }
  Job job = MakeJob("[1,8,8]", kConvolution, {{"batch_size", "40"}, {"epochs", "2"}});
  job.dataset.train.features = std::vector<uint8_t>(200 * 64, uint8_t{9});
  job.dataset.test = {};
  const auto rows = data::PutIntoFiles(30, &job.dataset.train);
  const auto reads = RunRanks(4, [&](ProcessGroup* group) {
    TrainingObserver observer;
    Train(job.spec, job.dataset, 1, &observer, {}, group);
    return std::to_string(rows->reads());
  });
  for (const std::string& count : reads) EXPECT_EQ(count, "100") << "a quarter, twice";
}

TEST(Parallel, AccumulationAndClippingActOnTheWholeStep) {
  ExpectAsOne(
      MakeJob("[6]", kDense,
              {{"batch_size", "30"}, {"gradient_accumulation_steps", "3"}, {"clip_norm", "0.1"}}));
  ExpectAsOne(MakeJob("[6]", kDense, {{"batch_size", "30"}, {"clip_value", "0.01"}}));
}

TEST(Parallel, ClassWeightsCountOverTheWholeBatch) {
  ExpectAsOne(MakeJob("[6]", kDense, {{"batch_size", "10"}, {"class_weights", "1,7"}}));
  ExpectAsOne(MakeJob("[6]", kDense,
                      {{"batch_size", "4"},
                       {"class_weights", "1,0"},
                       {"gradient_accumulation_steps", "2"},
                       {"label_smoothing", "0.1"}}));
}

TEST(Parallel, AnOptimizerThatSearchesSeesTheWholeBatch) {
  ExpectAsOne(MakeJob("[6]", kDense,
                      {{"batch_size", "100"},
                       {"optimizer", "lbfgs"},
                       {"learning_rate", "0.1"},
                       {"max_iter", "4"},
                       {"epochs", "2"}}));
}

TEST(Parallel, AllRanksSettleOnOnePrecision) {
  const Job job = MakeJob("[1,8,8]", kConvolution, {{"batch_size", "30"}, {"precision", "auto"}});
  const auto settled = RunRanks(3, [&](ProcessGroup* group) {
    TrainingObserver observer;
    TrainingResult result = Train(job.spec, job.dataset, 1, &observer, {}, group);
    EXPECT_EQ(result.end, End::kSucceeded) << result.failure.message;
    return result.precision == spec::Precision::kBfloat16 ? "bfloat16" : "float32";
  });
  EXPECT_FALSE(settled[0].empty());
  for (const std::string& one : settled) EXPECT_EQ(one, settled[0]);
}

TEST(Parallel, EveryRankFollowsWhatRank0Measures) {
  Job job = MakeJob("[6]", kDense,
                    {{"batch_size", "20"},
                     {"epochs", "30"},
                     {"learning_rate", "4"},
                     {"validation_split", "0.2"},
                     {"early_stopping_patience", "2"},
                     {"keep", "best"}});
  ExpectAsOne(job, /*weights_everywhere=*/false);
}

TEST(Parallel, BatchStatisticsAreThoseOfARanksPart) {
  Job job = MakeJob("[6]",
                    R"({"type":"dense","units":16},{"type":"batch_normalization"},
                       {"type":"activation","activation":"relu"},{"type":"dense","units":2})",
                    {{"batch_size", "33"}, {"epochs", "20"}});
  std::vector<Outcome> ranks = Trained(job, 4);
  ASSERT_EQ(ranks[0].end, End::kSucceeded) << ranks[0].cause;
  EXPECT_GT(ranks[0].metrics["test_accuracy"], 0.8);
}

// Which of 256 weights two ranks have trained, of samples of ones, two a batch; a weight stays as
// it was where its input was dropped on both ranks in every batch.
at::Tensor TrainedBehindDropout(int64_t samples, Options options) {
  options.insert(
      {{"loss", "mse"}, {"batch_size", "2"}, {"epochs", "1"}, {"learning_rate", "0.01"}});
  Job job = MakeJob("[256]",
                    R"({"type":"dropout","rate":0.5},{"type":"dense","units":1,"use_bias":false})",
                    options);
  job.dataset.train.samples = samples;
  job.dataset.train.features = std::vector<float>(static_cast<size_t>(samples) * 256, 1);
  job.dataset.train.labels = std::vector<float>(static_cast<size_t>(samples), 7);
  job.dataset.test = {};
  const std::vector<Outcome> ranks = Trained(job, 2);
  EXPECT_EQ(ranks[0].end, End::kSucceeded) << ranks[0].cause;
  job.spec.training.learning_rate = 1e-30;
  const std::vector<Outcome> before = Trained(job, 2);
  return ranks[0].Weights().ne(before[0].Weights());
}

int64_t Untrained(int64_t samples, const Options& options) {
  return 256 - TrainedBehindDropout(samples, options).sum().item<int64_t>();
}

TEST(Parallel, EachRankDropsValuesOfItsOwn) {
  // A quarter of them, and half if both dropped the same.
  const int64_t untrained = Untrained(2, {});
  EXPECT_GT(untrained, 40);
  EXPECT_LT(untrained, 90);
}

TEST(Parallel, OtherValuesAreDroppedInEachBatchAndEpochAndWithEachSeed) {
  // A sixteenth, and a quarter if they were the same as in the batch before.
  EXPECT_LT(Untrained(4, {}), 40);
  EXPECT_LT(Untrained(2, {{"epochs", "2"}}), 40);
  EXPECT_FALSE(at::equal(TrainedBehindDropout(2, {{"seed", "1"}}),
                         TrainedBehindDropout(2, {{"seed", "2"}})));
}

TEST(Parallel, AYieldOfOneRankEndsAllAtOneStepAndTheRestIsTheSameToTheBit) {
  char folder[] = "/tmp/cyxwiz-parallel-XXXXXX";
  ASSERT_NE(::mkdtemp(folder), nullptr);
  Job job = MakeJob("[6]",
                    R"({"type":"dense","units":16,"activation":"relu"},
                       {"type":"dropout","rate":0.5},{"type":"dense","units":2})",
                    {{"batch_size", "20"},
                     {"optimizer", "adam"},
                     {"gradient_accumulation_steps", "2"},
                     {"learning_rate", "0.01"}});
  std::vector<Outcome> whole = Trained(job, 2);
  ASSERT_EQ(whole[0].end, End::kSucceeded) << whole[0].cause;
  EXPECT_EQ(whole[0].weights, whole[1].weights);
  Doing yield{.rank = 1, .after_step = 7, .asks = Directive::kYield, .folder = folder};
  std::vector<Outcome> first = Trained(job, 2, yield);
  for (const Outcome& rank : first) {
    EXPECT_EQ(rank.end, End::kYielded) << rank.cause;
    EXPECT_EQ(rank.steps, first[0].steps);
  }
  EXPECT_GE(first[0].steps, 7);
  EXPECT_LT(first[0].steps, whole[0].steps);
  std::vector<Outcome> rest = Trained(job, 2, {.folder = folder});
  for (const Outcome& rank : rest) {
    EXPECT_EQ(rank.end, End::kSucceeded) << rank.cause;
    EXPECT_EQ(rank.weights, whole[0].weights);
  }
  EXPECT_EQ(rest[0].metrics["train_loss"], whole[0].metrics["train_loss"]);
  std::filesystem::remove_all(folder);
}

TEST(Parallel, AYieldWithinASearchEndsAllBeforeThatStep) {
  TemporaryFolder folder;
  const Job job = MakeJob("[6]",
                          R"({"type":"dense","units":16,"activation":"tanh"},
                             {"type":"dropout","rate":0.5},{"type":"dense","units":2})",
                          {{"batch_size", "100"}, {"optimizer", "lbfgs"}, {"max_iter", "6"}});
  const std::vector<Outcome> whole = Trained(job, 2);
  ASSERT_EQ(whole[0].end, End::kSucceeded) << whole[0].cause;
  ASSERT_EQ(whole[0].steps, 6);
  // Asked in the first evaluation of the third step.
  for (const Outcome& rank :
       Trained(job, 2,
               {.rank = 1, .after_step = 2, .asks = Directive::kYield, .folder = folder.path()})) {
    EXPECT_EQ(rank.end, End::kYielded) << rank.cause;
    EXPECT_EQ(rank.steps, 2);
  }
  for (const Outcome& rank : Trained(job, 2, {.folder = folder.path()})) {
    EXPECT_EQ(rank.end, End::kSucceeded) << rank.cause;
    EXPECT_EQ(rank.weights, whole[0].weights);
  }
}

TEST(Parallel, ATrainingGoesOnWithAnyNumberOfRanks) {
  for (const char* shard : {"false", "true"}) {
    SCOPED_TRACE(shard);
    Job job = MakeJob("[6]", kDense,
                      {{"batch_size", "30"},
                       {"optimizer", "adam"},
                       {"learning_rate", "0.01"},
                       {"validation_split", "0.1"},
                       {"keep", "best"},
                       {"shard_optimizer", shard}});
    const Outcome one = Trained(job, 1)[0];
    TemporaryFolder folder;
    int64_t steps = 0;
    for (int size : {4, 2, 3, 1}) {
      std::vector<Outcome> ranks = Trained(job, size,
                                           {.rank = 0,
                                            .after_step = size == 1 ? 1000 : steps + 3,
                                            .asks = Directive::kYield,
                                            .folder = folder.path()});
      EXPECT_GT(ranks[0].steps, steps) << size;
      steps = ranks[0].steps;
      EXPECT_EQ(ranks[0].end, size == 1 ? End::kSucceeded : End::kYielded) << ranks[0].cause;
      if (size > 1) continue;
      EXPECT_TRUE(at::allclose(ranks[0].Weights(), one.Weights(), 1e-3, 1e-4))
          << (ranks[0].Weights() - one.Weights()).abs().max();
    }
    EXPECT_EQ(steps, one.steps);
  }
}

TEST(ShardedOptimizer, EachRankKeepsThePartThatItChanges) {
  for (int size : {2, 4}) {
    auto told = RunRanks(size, [](ProcessGroup* group) {
      spec::TrainingSpec training;
      at::Tensor parameters = at::zeros({33}), gradients = at::ones({33});
      ShardedOptimizer optimizer(training, parameters, gradients, group);
      optimizer.Step(0.1);
      const int64_t own = optimizer.state()[0].second.ne(0).sum().item<int64_t>();
      optimizer.GatherState();
      const int64_t gathered = optimizer.state()[0].second.ne(0).sum().item<int64_t>();
      optimizer.Settle();
      const int64_t changed = parameters.ne(0).sum().item<int64_t>();
      return Json{own, gathered, changed}.dump();
    });
    const std::vector<int> parts =
        size == 2 ? std::vector<int>{32, 1} : std::vector<int>{16, 16, 1, 0};
    for (size_t rank = 0; rank < told.size(); ++rank) {
      EXPECT_EQ(told[rank], Json({parts[rank], rank == 0 ? 33 : parts[rank], 33}).dump());
    }
  }
}

TEST(ShardedOptimizer, IsTheSameAsAWholeOne) {
  for (Options options :
       {Options{{"optimizer", "adam"}}, Options{{"optimizer", "adamw"}, {"clip_norm", "0.5"}},
        Options{{"optimizer", "sgd"}, {"momentum", "0.9"}, {"gradient_accumulation_steps", "2"}},
        Options{{"optimizer", "adagrad"}, {"initial_accumulator_value", "0.1"}},
        Options{{"optimizer", "rmsprop"}}, Options{{"optimizer", "lion"}}}) {
    SCOPED_TRACE(options["optimizer"]);
    options.insert({{"batch_size", "40"}, {"learning_rate", "0.003"}, {"epochs", "2"}});
    const Job whole = MakeJob("[6]", kDense, options);
    options["shard_optimizer"] = "true";
    const Job sharded = MakeJob("[6]", kDense, options);
    for (int size : {2, 4}) {
      SCOPED_TRACE(size);
      const std::vector<Outcome> ranks = Trained(sharded, size);
      const at::Tensor expected = Trained(whole, size)[0].Weights().clone();
      for (const Outcome& rank : ranks) {
        ASSERT_EQ(rank.end, End::kSucceeded) << rank.cause;
        EXPECT_EQ(rank.weights, ranks[0].weights);
      }
      EXPECT_TRUE(at::allclose(ranks[0].Weights(), expected, 1e-5, 1e-6))
          << (ranks[0].Weights() - expected).abs().max();
    }
  }
}

TEST(ShardedOptimizer, TrainsAsOneProcess) {
  for (const char* optimizer : {"adam", "adamw"}) {
    ExpectAsOne(MakeJob("[6]", kDense,
                        {{"optimizer", optimizer},
                         {"shard_optimizer", "true"},
                         {"batch_size", "32"},
                         {"learning_rate", "0.01"}}));
  }
  ExpectAsOne(MakeJob("[6]", kDense,
                      {{"momentum", "0.9"}, {"shard_optimizer", "true"}, {"batch_size", "40"}}));
}

TEST(ShardedOptimizer, ItsCheckpointIsWholeAndTheRestIsTheSameToTheBit) {
  TemporaryFolder folder;
  Job job = MakeJob("[6]", kDense,
                    {{"batch_size", "20"},
                     {"optimizer", "adam"},
                     {"learning_rate", "0.01"},
                     {"shard_optimizer", "true"}});
  // The one that it has saved on its way is all that it leaves.
  std::vector<Outcome> whole =
      Trained(job, 2, {.rank = 0, .after_step = 7, .saves = true, .folder = folder.path()});
  ASSERT_EQ(whole[0].end, End::kSucceeded) << whole[0].cause;
  ASSERT_EQ(ListCheckpoints(folder.path()).size(), 1u);
  std::vector<Outcome> rest = Trained(job, 2, {.folder = folder.path()});
  ASSERT_EQ(rest[0].end, End::kSucceeded) << rest[0].cause;
  EXPECT_EQ(rest[0].weights, whole[0].weights);
  EXPECT_EQ(rest[1].weights, whole[0].weights);
  std::optional<TrainingState> state =
      ReadNewestCheckpoint(folder.path(), "test", [](const std::string&) {});
  ASSERT_TRUE(state.has_value());
  EXPECT_LT(state->step, rest[0].steps);
  for (const TensorView& tensor : state->tensors) {
    if (tensor.name.rfind("optimizer.square.", 0) != 0) continue;
    at::Tensor values = at::from_blob(const_cast<void*>(tensor.data), tensor.shape, at::kFloat);
    EXPECT_GT(values.sum().item<float>(), 0) << tensor.name;
  }
}

TEST(Parallel, AllRanksSeeThatAStepHasSpoiltTheModel) {
  Options options{{"batch_size", "200"}, {"epochs", "1"}, {"learning_rate", "1e38"}};
  Job job = MakeJob("[6]", kDense, options);
  for (float& value : std::get<std::vector<float>>(job.dataset.train.features)) value *= 1e6f;
  for (const Outcome& rank : Trained(job, 2)) {
    EXPECT_EQ(rank.end, End::kFailed);
    EXPECT_EQ(rank.cause, "diverged");
    EXPECT_TRUE(rank.weights.empty());
  }
}

TEST(Parallel, ALossThatIsNoNumberInTheEvaluationEndsAll) {
  Job job = MakeJob("[6]", kDense,
                    {{"batch_size", "160"},
                     {"epochs", "1"},
                     {"validation_split", "0.2"},
                     {"learning_rate", "3e37"}});
  const std::vector<Outcome> ranks = Trained(job, 2);
  EXPECT_EQ(ranks[0].end, End::kFailed);
  EXPECT_EQ(ranks[0].cause, "diverged");
  EXPECT_EQ(ranks[1].end, End::kFailed);
  EXPECT_EQ(ranks[1].cause, "peer_lost");
}

TEST(Parallel, AStopOfOneRankStopsAll) {
  Job job = MakeJob("[6]", kDense, {{"batch_size", "20"}, {"epochs", "1000"}});
  for (const Outcome& rank :
       Trained(job, 2, {.rank = 0, .after_step = 5, .asks = Directive::kStop})) {
    EXPECT_EQ(rank.end, End::kStopped) << rank.cause;
    EXPECT_LT(rank.steps, 10);
  }
}

TEST(Parallel, ARankThatIsKilledEndsTheOthers) {
  for (const Job& job :
       {MakeJob("[6]", kDense, {{"batch_size", "20"}, {"epochs", "100000"}}),
        // What is thrown comes out of the backward pass.
        MakeJob("[6]", std::string(R"({"type":"dropout","rate":0.1},)") + kTwoBuckets,
                {{"batch_size", "20"}, {"epochs", "100000"}, {"learning_rate", "0.001"}})}) {
    auto begin = std::chrono::steady_clock::now();
    std::vector<Outcome> ranks = Trained(job, 4, {.rank = 1, .after_step = 5, .dies = true});
    EXPECT_LT(std::chrono::steady_clock::now() - begin, std::chrono::seconds(10));
    for (int rank : {0, 2, 3}) {
      EXPECT_EQ(ranks[static_cast<size_t>(rank)].end, End::kFailed);
      EXPECT_EQ(ranks[static_cast<size_t>(rank)].cause, "peer_lost");
    }
  }
}

TEST(Parallel, RanksBeginWithTheWeightsOfRank0) {
  const Job job = MakeJob("[6]", kDense, {{"batch_size", "20"}});
  auto told = RunRanks(2, [&](ProcessGroup* group) {
    struct Yielder : TrainingObserver {
      std::optional<TrainingState> state;
      Directive Asked() override { return Directive::kYield; }
      void OnState(TrainingState s) override { state = std::move(s); }
    } yielder;
    (void)Train(job.spec, job.dataset, 1, &yielder);
    // As on a machine whose arithmetic differs.
    if (!group->leads())
      static_cast<float*>(const_cast<void*>(yielder.state->tensors[0].data))[0] += 1;
    TrainingObserver silent;
    TrainingResult result =
        Train(job.spec, job.dataset, 1, &silent, std::move(yielder.state), group);
    const TensorView& weights = result.weights.at(0);
    return std::string(static_cast<const char*>(weights.data),
                       static_cast<size_t>(weights.bytes()));
  });
  EXPECT_EQ(told[0], told[1]);
}

TEST(Parallel, RanksThatBeginAtDifferentStepsAreToldSo) {
  Job job = MakeJob("[6]", kDense, {{"batch_size", "20"}});
  auto told = RunRanks(2, [&](ProcessGroup* group) {
    TrainingObserver silent;
    struct Keeper : TrainingObserver {
      std::optional<TrainingState> state;
      bool StateWanted() override { return !state; }
      void OnState(TrainingState s) override { state = std::move(s); }
    } keeper;
    (void)Train(job.spec, job.dataset, 1, &keeper);
    std::optional<TrainingState> resume;
    if (group->leads()) resume = std::move(keeper.state);
    TrainingResult result = Train(job.spec, job.dataset, 1, &silent, std::move(resume), group);
    return result.failure.cause + ": " + result.failure.message;
  });
  for (const std::string& one : told) {
    EXPECT_EQ(one, "internal: rank 1 begins after step 0, but rank 0 after step 1");
  }
}

// ---- ranks of one attempt

StartMessage AttemptOf(const std::string& folder, int64_t processes, const std::string& layers,
                       const std::string& dataset, Options options) {
  StartMessage start;
  start.job.name = "test";
  start.job.model_definition = "{\"layers\": [" + layers + "]}";
  start.job.dataset_uri = dataset;
  options.insert({"seed", "1"});
  start.job.hyperparameters = std::move(options);
  start.folder = folder;
  start.data_roots = {folder};
  start.cpu_millis = 1000 * processes;
  start.processes = processes;
  return start;
}

std::vector<float> WeightsIn(const std::string& folder) {
  auto file = ReadSafetensors(folder + "/weights.safetensors", 1 << 20);
  std::vector<float> weights;
  if (!file.ok()) return weights;
  for (const auto& [name, entry] : file->entries) {
    const auto* values = static_cast<const float*>(file->values(entry));
    weights.insert(weights.end(), values, values + spec::ElementCount(entry.shape));
  }
  return weights;
}

// The children of this process.
std::vector<pid_t> Children() {
  std::ifstream file("/proc/self/task/" + std::to_string(::getpid()) + "/children");
  std::vector<pid_t> children;
  for (pid_t pid; file >> pid;) children.push_back(pid);
  return children;
}

constexpr const char* kMockData = "mock://random_data?samples=200&test_samples=20&features=6";
constexpr const char* kTenClasses = R"({"type":"dense","units":16,"activation":"relu"},
                                       {"type":"dense","units":10})";

TEST(LocalRanks, TrainAsOneProcess) {
  std::vector<std::vector<float>> weights;
  for (int64_t processes : {1, 3}) {
    TemporaryFolder folder;
    auto told = RunRanks(1, [&](ProcessGroup*) {
      AttemptResult result = RunAttempt(
          AttemptOf(folder.path(), processes, kTenClasses, kMockData, {{"batch_size", "50"}}), {});
      return Json{static_cast<int>(result.end), result.failure.message, result.files.size(),
                  result.metrics.count("test_loss"), Children().size()}
          .dump();
    });
    EXPECT_EQ(told[0], Json({static_cast<int>(End::kSucceeded), "", 3, 1, 0}).dump());
    weights.push_back(WeightsIn(folder.path()));
    ASSERT_FALSE(weights.back().empty());
    EXPECT_TRUE(at::allclose(at::tensor(weights[0]), at::tensor(weights.back()), 1e-3, 1e-4));
  }
  EXPECT_NE(weights[0], weights[1]) << "sums of another order: it was not one process";
}

TEST(LocalRanks, ShareTheCoresAndTheMemoryOfTheAttempt) {
  TemporaryFolder folder;
  StartMessage start = AttemptOf(folder.path(), 2, kTenClasses, kMockData, {});
  start.memory_bytes = 600;
  auto told = RunRanks(1, [&](ProcessGroup*) {
    const std::string other = folder / "other";
    ::mkfifo(other.c_str(), 0600);  // to open it waits for the other end
    std::string shares;
    RunLocalRanks(start, [&](const StartMessage& rank) {
      const std::string share =
          Json{rank.gang->rank, rank.gang->size, rank.cpu_millis, rank.memory_bytes, rank.processes}
              .dump();
      if (rank.gang->rank == 1) {
        std::ofstream(other) << share;
      } else {
        std::string line;
        std::getline(std::ifstream(other) >> std::ws, line);
        shares = share + line;
      }
      AttemptResult result;
      result.end = End::kSucceeded;
      return result;
    });
    return shares;
  });
  EXPECT_EQ(told[0], "[0,2,1000,300,1][1,2,1000,300,1]");
}

TEST(LocalRanks, OneThatIsKilledEndsTheAttemptLikewise) {
  TemporaryFolder folder;
  auto begin = std::chrono::steady_clock::now();
  auto told = RunRanks(1, [&](ProcessGroup*) {
    AttemptHooks hooks;
    hooks.progress = [](const Progress&) { ::kill(Children().at(1), SIGKILL); };
    RunAttempt(AttemptOf(folder.path(), 3, kTenClasses, kMockData, {{"epochs", "100000"}}), hooks);
    return std::string("it went on");
  });
  EXPECT_EQ(told[0], "") << "the first process did not end by the same signal";
  EXPECT_LT(std::chrono::steady_clock::now() - begin, std::chrono::seconds(10));
}

TEST(LocalRanks, WhatAnotherOneSaysIsTheCause) {
  TemporaryFolder folder;
  // Of the two samples of a batch each rank has one, and one of them is none: by the seed it falls
  // to either rank.
  ASSERT_TRUE(WriteFileAtomically(folder / "t.csv", "a,b,y\n0,1,0\n9,1,1\n").ok());
  for (const char* seed : {"1", "2", "3", "4", "5", "6"}) {
    auto told = RunRanks(1, [&](ProcessGroup*) {
      AttemptResult result = RunAttempt(
          AttemptOf(folder.path(), 2,
                    R"({"type":"embedding","input_dim":3,"output_dim":4},{"type":"flatten"},
                       {"type":"dense","units":2})",
                    "file://" + (folder / "t.csv"), {{"seed", seed}, {"batch_size", "2"}}),
          {});
      return result.failure.cause + " " + result.failure.message;
    });
    EXPECT_TRUE(told[0].starts_with("user_error ")) << told[0];
    EXPECT_NE(told[0].find("sample 1 of the training data"), std::string::npos) << told[0];
  }
}

TEST(LocalRanks, FollowThoseOfEarlierNodes) {
  // Two attempts of two processes each, as on two nodes.
  const int port = FreePort();
  TemporaryFolder folder;
  const auto one = [&] {
    RunRanks(1, [&](ProcessGroup*) {
      RunAttempt(AttemptOf(folder / "one", 1, kTenClasses, kMockData, {{"batch_size", "50"}}), {});
      return std::string();
    });
    return WeightsIn(folder / "one");
  }();
  std::vector<pid_t> attempts;
  for (int node : {0, 1}) {
    pid_t child = ::fork();
    if (child == 0) {
      StartMessage start = AttemptOf(folder / std::to_string(node), 2, kTenClasses, kMockData,
                                     {{"batch_size", "50"}});
      start.gang = GangPlace{node, 2, "127.0.0.1", port, "secret"};
      ::_exit(RunAttempt(start, {}).end == End::kSucceeded ? 0 : 1);
    }
    attempts.push_back(child);
  }
  for (pid_t child : attempts) {
    int status = 1;
    ::waitpid(child, &status, 0);
    EXPECT_EQ(status, 0);
  }
  EXPECT_TRUE(WeightsIn(folder / "1").empty()) << "rank 2 wrote something";
  ASSERT_EQ(WeightsIn(folder / "0").size(), one.size());
  EXPECT_TRUE(at::allclose(at::tensor(WeightsIn(folder / "0")), at::tensor(one), 1e-3, 1e-4));
}

}  // namespace
}  // namespace cyxwiz::runner
