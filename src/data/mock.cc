#include "data/mock.h"

#include <cmath>
#include <numbers>

#include "base/resources.h"

namespace cyxwiz::data {
namespace {

uint64_t RotateLeft(uint64_t x, int k) { return x << k | x >> (64 - k); }

Split MakeSplit(const spec::DatasetUri& uri, const std::vector<double>& centres, uint64_t stream,
                int64_t samples) {
  size_t width = static_cast<size_t>(uri.features);
  std::vector<float> features(static_cast<size_t>(samples) * width);
  std::vector<int64_t> labels(static_cast<size_t>(samples));
  NormalGenerator random(uri.seed, stream);
  float* value = features.data();
  for (int64_t i = 0; i < samples; ++i) {
    int64_t label = i % uri.classes;
    labels[static_cast<size_t>(i)] = label;
    const double* centre = centres.data() + static_cast<size_t>(label) * width;
    for (size_t f = 0; f < width; ++f) {
      *value++ = static_cast<float>(centre[f] + uri.noise * random.Next());
    }
  }
  Split split;
  split.samples = samples;
  split.features = std::move(features);
  split.labels = std::move(labels);
  return split;
}

// Numbers of `bytes_each` bytes; the product of counts below 2^63 that may overflow.
bool Exceeds(double count, double bytes_each, int64_t limit) {
  return count * bytes_each > static_cast<double>(limit);
}

}  // namespace

NormalGenerator::NormalGenerator(uint64_t seed, uint64_t stream) {
  uint64_t x = seed + stream * 0xD1B54A32D192ED03u;
  for (uint64_t& word : state_) {
    x += 0x9E3779B97F4A7C15u;
    uint64_t z = x;
    z = (z ^ z >> 30) * 0xBF58476D1CE4E5B9u;
    z = (z ^ z >> 27) * 0x94D049BB133111EBu;
    word = z ^ z >> 31;
  }
}

uint64_t NormalGenerator::NextBits() {
  uint64_t result = RotateLeft(state_[1] * 5, 7) * 9;
  uint64_t t = state_[1] << 17;
  state_[2] ^= state_[0];
  state_[3] ^= state_[1];
  state_[1] ^= state_[2];
  state_[0] ^= state_[3];
  state_[2] ^= t;
  state_[3] = RotateLeft(state_[3], 45);
  return result;
}

double NormalGenerator::Next() {
  if (has_spare_) {
    has_spare_ = false;
    return spare_;
  }
  // Uniform in (0, 1] and [0, 1), with 53 bits.
  double u = static_cast<double>((NextBits() >> 11) + 1) * 0x1p-53;
  double v = static_cast<double>(NextBits() >> 11) * 0x1p-53;
  double radius = std::sqrt(-2 * std::log(u));
  double angle = 2 * std::numbers::pi * v;
  spare_ = radius * std::sin(angle);
  has_spare_ = true;
  return radius * std::cos(angle);
}

Fault InspectMock(const spec::DatasetUri& uri, spec::DatasetInfo* info) {
  auto at_least = [](const char* name, int64_t value, int64_t least) {
    return value >= least ? Fault()
                          : Wrong(std::string(name) + " of mock://random_data is too small",
                                  "at least " + std::to_string(least), std::to_string(value));
  };
  RETURN_IF_FAULT(at_least("samples", uri.samples, 1));
  RETURN_IF_FAULT(at_least("test_samples", uri.test_samples, 0));
  RETURN_IF_FAULT(at_least("features", uri.features, 1));
  RETURN_IF_FAULT(at_least("classes", uri.classes, 2));
  if (!std::isfinite(uri.noise) || uri.noise < 0) {
    return Wrong("noise of mock://random_data is not a standard deviation",
                 "a finite number, at least 0", std::to_string(uri.noise));
  }
  double samples = static_cast<double>(uri.samples) + static_cast<double>(uri.test_samples);
  double sample_bytes = static_cast<double>(uri.features) * 4 + 8;
  if (Exceeds(samples, sample_bytes, kMaxMockBytes) ||
      Exceeds(static_cast<double>(uri.classes), static_cast<double>(uri.features) * 8,
              kMaxMockBytes)) {
    return TooLarge(
        "mock://random_data is too large", "at most " + FormatBytes(kMaxMockBytes),
        Count(uri.samples, "sample") + " and " + Count(uri.test_samples, "test sample") + " of " +
            Count(uri.features, "feature") + " in " + std::to_string(uri.classes) + " classes");
  }
  info->sample_shape = {uri.features};
  info->train_samples = uri.samples;
  info->test_samples = uri.test_samples;
  info->classes = uri.classes;
  info->bytes_in_memory = (uri.samples + uri.test_samples) * (uri.features * 4 + 8);
  info->description = "synthetic, " + Count(uri.features, "feature") + ", " +
                      std::to_string(uri.samples) + " train and " +
                      std::to_string(uri.test_samples) + " test samples, " +
                      std::to_string(uri.classes) + " classes";
  return {};
}

Fault LoadMock(const spec::DatasetUri& uri, Dataset* dataset) {
  RETURN_IF_FAULT(InspectMock(uri, &dataset->info));
  std::vector<double> centres(static_cast<size_t>(uri.classes) * static_cast<size_t>(uri.features));
  NormalGenerator random(uri.seed, 0);
  for (double& coordinate : centres) coordinate = random.Next();
  dataset->train = MakeSplit(uri, centres, 1, uri.samples);
  dataset->test = MakeSplit(uri, centres, 2, uri.test_samples);
  return {};
}

}  // namespace cyxwiz::data
