#include "runner/feed.h"

#include <gtest/gtest.h>

#include <numeric>
#include <stdexcept>

#include "base/json.h"
#include "base/testing.h"
#include "data/testing.h"
#include "runner/forward_pass.h"
#include "runner/loss.h"

namespace cyxwiz::runner {
namespace {

// What tests/golden/record_augment.py has recorded of torchvision.
const Json& Golden() {
  static const Json golden = ReadGolden(CYXWIZ_GOLDEN "/augment.json")["mixup"];
  return golden;
}

// On samples of 4 numbers of 3 classes.
spec::JobSpec Job(const std::string& loss, const std::string& parameters) {
  spec::JobDescription description;
  description.name = "test";
  description.model_definition =
      R"({"layers":[{"type":"input","shape":[1,2,2]},{"type":"flatten"},{"type":"dense","units":3}]})";
  description.dataset_uri = "file:///nowhere/images" + parameters;
  description.hyperparameters = {{"seed", "1"}, {"loss", loss}};
  spec::Problems problems;
  auto job = spec::CheckJob(description, nullptr, &problems);
  if (!job) throw std::runtime_error(problems.ToString());
  return *job;
}

data::Split Batch() {
  data::Split split;
  split.features = Golden()["batch"].get<std::vector<float>>();
  split.labels = Golden()["labels"].get<std::vector<int64_t>>();
  split.samples = 5;
  return split;
}

const std::vector<int64_t> kOrder{0, 1, 2, 3, 4};

at::Tensor Numbers(const Json& values, at::IntArrayRef shape) {
  return at::tensor(values.get<std::vector<double>>(), at::kDouble).to(at::kFloat).view(shape);
}

// That the batch of kOrder is mixed by.
double Share(const spec::JobSpec& job, int64_t epoch) {
  return data::MixupShare(job.dataset_uri.augmentation.mixup,
                          {job.training.seed, static_cast<uint64_t>(epoch), 0});
}

// torchvision's samples and targets for the share s, from those for `share`: both are s * own +
// (1 - s) * other.
at::Tensor ForShare(const at::Tensor& own, const at::Tensor& mixed, double share, double s) {
  const at::Tensor other = (mixed - own * share) / (1 - share);
  return own * s + other * (1 - s);
}

TEST(Feed, MixesAsTorchvision) {
  const double share = Golden()["share"].get<double>();
  const at::Tensor batch = Numbers(Golden()["batch"], {5, 1, 2, 2});
  const at::Tensor labels = at::tensor(Golden()["labels"].get<std::vector<int64_t>>(), at::kLong);
  const at::Tensor one_hot = at::one_hot(labels, 3).to(at::kFloat);
  for (const char* loss : {"cross_entropy", "mse"}) {
    SCOPED_TRACE(loss);
    const spec::JobSpec job = Job(loss, "?mixup=0.8");
    const data::Split split = Batch();
    Feed feed(job, split, at::kCPU, 5);
    bool own_is_greater = false, other_is_greater = false;
    for (int64_t epoch = 1; epoch < 30; ++epoch) {
      const double s = Share(job, epoch);
      feed.Begin(epoch, {});
      feed.Load({kOrder.data(), 5, 0, 5});
      EXPECT_TRUE(at::allclose(feed.x(),
                               ForShare(batch, Numbers(Golden()["mixed"], {5, 1, 2, 2}), share, s),
                               1e-4, 1e-5));
      EXPECT_TRUE(at::allclose(
          feed.y(), ForShare(one_hot, Numbers(Golden()["targets"], {5, 3}), share, s), 1e-4, 1e-5));
      // The class that hits are counted by is the one with the greater share.
      EXPECT_TRUE(at::equal(feed.classes(), s >= 0.5 ? labels : labels.roll(1, 0)));
      (s >= 0.5 ? own_is_greater : other_is_greater) = true;
    }
    EXPECT_TRUE(own_is_greater && other_is_greater);
  }
}

TEST(Feed, TheLossTakesSharesOfClassesAsPyTorch) {
  const LossFunction loss(Job("cross_entropy", "").training, {});
  const at::Tensor value =
      loss(Numbers(Golden()["logits"], {5, 3}), Numbers(Golden()["targets"], {5, 3}));
  EXPECT_NEAR(value.item<double>(), Golden()["cross_entropy"].get<double>(), 1e-6);
}

TEST(Feed, PartsOfABatchAreMixedAsTheWhole) {
  const spec::JobSpec job = Job("cross_entropy", "?mixup=0.8&brightness=0.3&flip=true&crop=1");
  data::Split split = Batch();
  std::vector<uint8_t> bytes(20);
  std::iota(bytes.begin(), bytes.end(), uint8_t{40});
  split.features = bytes;
  Feed whole(job, split, at::kCPU, 5), part(job, split, at::kCPU, 5);
  const std::vector<int64_t> order{3, 1, 4, 0, 2};
  for (int64_t epoch = 1; epoch < 10; ++epoch) {
    whole.Begin(epoch, {});
    part.Begin(epoch, {});
    whole.Load({order.data(), 5, 0, 5});
    for (auto [begin, count] : {std::pair<int64_t, int64_t>{0, 2}, {2, 2}, {4, 1}}) {
      part.Load({order.data(), 5, begin, count});
      EXPECT_TRUE(at::equal(part.x(), whole.x().narrow(0, begin, count)));
      EXPECT_TRUE(at::equal(part.y(), whole.y().narrow(0, begin, count)));
      EXPECT_TRUE(
          at::equal(part.classes().narrow(0, 0, count), whole.classes().narrow(0, begin, count)));
    }
  }
}

// A GPU selects from a DeviceCopy what the CPU gathers; here the copy is in host memory, too.
void ExpectSelectedAsGathered(const spec::JobSpec& job, const data::Split& split) {
  const int64_t count = 3;
  const std::vector<int64_t> order{4, 0, 2};
  Feed feed(job, split, at::kCPU, count);
  feed.Load({order.data(), count, 0, count});
  const DeviceCopy copy(job, split, TargetKindOf(job, split), at::kCPU);
  const DeviceCopy::Batch batch = copy.Select(order.data(), count);
  EXPECT_TRUE(at::allclose(batch.x, feed.x(), 0, 1e-6));
  EXPECT_EQ(batch.y.scalar_type(), feed.y().scalar_type());
  EXPECT_EQ(batch.y.sizes(), feed.y().sizes());
  EXPECT_TRUE(at::allclose(batch.y, feed.y(), 0, 1e-6));
  ASSERT_EQ(batch.classes.defined(), feed.classes().defined());
  if (feed.classes().defined()) {
    EXPECT_TRUE(at::equal(batch.classes, feed.classes().narrow(0, 0, count)));
  }
}

TEST(DeviceCopy, GivesWhatIsGatheredOnTheCpu) {
  for (const char* loss : {"cross_entropy", "mse"}) {
    SCOPED_TRACE(loss);
    const spec::JobSpec job = Job(loss, "");
    data::Split split = Batch();
    ExpectSelectedAsGathered(job, split);
    std::vector<uint8_t> bytes(20);
    std::iota(bytes.begin(), bytes.end(), uint8_t{40});
    split.features = bytes;
    split.labels = std::vector<uint8_t>{2, 1, 0, 2, 1};
    ExpectSelectedAsGathered(job, split);
    split.scale.mean = {0.3f};
    split.scale.deviation = {0.2f};
    split.scale.inner = 4;
    ExpectSelectedAsGathered(job, split);
  }
}

TEST(DeviceCopy, GivesNumbersAndTheSamplesThemselves) {
  spec::JobSpec job = Job("mse", "");
  data::Split split = Batch();
  job.model.output_shape = {1};
  ExpectSelectedAsGathered(job, split);  // class numbers as numbers
  split.labels = std::vector<float>{0.5f, 1, -2, 3, 4};
  ExpectSelectedAsGathered(job, split);
  job.training.target = spec::Target::kInput;
  job.model.output_shape = {4};
  ExpectSelectedAsGathered(job, split);
}

TEST(DeviceCopy, GivesAClassForEachPosition) {
  spec::JobSpec job = Job("cross_entropy", "");
  job.model.input_shape = {2};
  job.model.output_shape = {2, 3};
  data::Split split;
  split.samples = 5;
  split.features = std::vector<float>{0, 1, 2, 3, 4, 5, 6, 7, 8, 9};
  split.labels = std::vector<uint8_t>{0, 1, 2, 0, 1, 2, 0, 1, 2, 0};
  ExpectSelectedAsGathered(job, split);
  // Scaled by the last dimension.
  split.features = std::vector<uint8_t>{0, 1, 2, 3, 4, 5, 6, 7, 8, 9};
  split.scale.mean = {0.01f, 0.02f};
  split.scale.deviation = {0.5f, 0.25f};
  split.scale.inner = 1;
  ExpectSelectedAsGathered(job, split);
}

TEST(Feed, ASampleThatCannotBeReadIsAFailureOfTheData) {
  class Broken : public data::MemoryRows {
   public:
    using MemoryRows::MemoryRows;
    Status Read(int64_t row, uint8_t* out) const override {
      return row == 3 ? InvalidArgument("row 4 is damaged") : MemoryRows::Read(row, out);
    }
  };
  data::Split split = Batch();
  split.features = std::vector<uint8_t>();
  split.files = std::make_shared<Broken>(std::vector<uint8_t>(20), 4, 5);
  split.rows = kOrder;
  Feed feed(Job("cross_entropy", ""), split, at::kCPU, 5);
  const std::vector<BatchPart> parts{{kOrder.data(), 2, 0, 2}, {kOrder.data() + 2, 3, 0, 3}};
  feed.Begin(1, parts);
  feed.Load(parts[0]);
  try {
    feed.Load(parts[1]);
    FAIL() << "it was read";
  } catch (const FailureError& error) {
    EXPECT_EQ(error.failure.cause, "user_error");
    EXPECT_EQ(error.failure.path, "$.dataset");
    EXPECT_EQ(error.failure.message, "row 4 is damaged");
  }
}

TEST(Feed, OutsideATrainingSamplesStayAsTheyAre) {
  const spec::JobSpec job = Job("cross_entropy", "?mixup=0.8&brightness=0.3&hue=0.1&flip=true");
  const data::Split split = Batch();
  Feed feed(job, split, at::kCPU, 5);
  feed.Load({kOrder.data(), 5, 0, 5});
  EXPECT_TRUE(at::equal(feed.x(), Numbers(Golden()["batch"], {5, 1, 2, 2})));
  EXPECT_TRUE(at::equal(feed.y(), feed.classes()));
  EXPECT_EQ(feed.y().scalar_type(), at::kLong);
}

}  // namespace
}  // namespace cyxwiz::runner
