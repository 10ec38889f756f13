#include "data/mock.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <numbers>
#include <utility>

#include "base/resources.h"

namespace cyxwiz::data {
namespace {

// Deviates of N(0, noise), nearly: wrong by less than slack(), and three times as fast as those of
// libm's sine and cosine, whose branches an angle at random makes the processor mispredict.
class FastDeviates {
 public:
  static constexpr size_t kBlock = 512;  // values

  FastDeviates(uint64_t seed, uint64_t stream, double noise)
      : random_(seed, stream), noise_(noise) {}

  // The next kBlock values.
  const double* NextBlock() {
    for (NormalGenerator::Pair& pair : pairs_) pair = random_.NextPair();
    for (size_t i = 0; i < pairs_.size(); ++i) {
      // By a quarter turn at a time to [-pi/4, pi/4]; there, the polynomials of fdlibm (Sun
      // Microsystems, 1993).
      constexpr double kHalfPiHigh = 0x1.921fb544p+0, kHalfPiLow = 0x1.0b4611a626331p-34;
      int quarter = static_cast<int>(pairs_[i].angle * (2 / std::numbers::pi) + 0.5);
      double r = (pairs_[i].angle - quarter * kHalfPiHigh) - quarter * kHalfPiLow;
      double z = r * r;
      double sine =
          r +
          r * z *
              (-1.66666666666666324348e-01 +
               z * (8.33333333332248946124e-03 +
                    z * (-1.98412698298579493134e-04 +
                         z * (2.75573137070700676789e-06 + z * (-2.50507602534068634195e-08 +
                                                                z * 1.58969099521155010221e-10)))));
      double cosine = 1 - 0.5 * z +
                      z * z *
                          (4.16666666666666019037e-02 +
                           z * (-1.38888888888741095749e-03 +
                                z * (2.48015872894767294178e-05 +
                                     z * (-2.75573143513906633035e-07 +
                                          z * (2.08757232129817482790e-09 +
                                               z * -1.13596475577881948265e-11)))));
      // Arithmetic in place of branches: an odd quarter swaps the two, half a turn changes signs.
      double odd = quarter & 1, even = 1 - odd;
      double spread = noise_ * pairs_[i].radius;
      values_[2 * i] = spread * (1 - ((quarter + 1) & 2)) * (even * cosine + odd * sine);
      values_[2 * i + 1] = spread * (1 - (quarter & 2)) * (even * sine + odd * cosine);
    }
    return values_.data();
  }

  // Value i of the block, as NormalGenerator::Next computes it.
  double Exact(size_t i) const {
    const NormalGenerator::Pair& pair = pairs_[i / 2];
    return noise_ * (i % 2 == 0 ? pair.First() : pair.Second());
  }

  // A radius is at most 8.6, a sine wrong by less than 5e-16.
  double slack() const { return noise_ * 1e-14; }

 private:
  NormalGenerator random_;
  double noise_;
  std::array<NormalGenerator::Pair, kBlock / 2> pairs_;
  std::array<double, kBlock> values_;
};

// No value may depend on how it was computed. Rounding to 32 bits nearly always hides how far a sum
// may be off: then both are the same.
std::pair<float, float> Bounds(double centre, double deviate, double slack) {
  double sum = centre + deviate, error = std::abs(centre) * 1e-15 + slack;
  return {static_cast<float>(sum - error), static_cast<float>(sum + error)};
}

Split MakeSplit(const spec::DatasetUri& uri, const std::vector<double>& centres, uint64_t stream,
                int64_t samples) {
  size_t width = static_cast<size_t>(uri.features);
  std::vector<float> features(static_cast<size_t>(samples) * width);
  std::vector<int64_t> labels(static_cast<size_t>(samples));
  FastDeviates deviates(uri.seed, stream, uri.noise);
  const double slack = deviates.slack();
  const double* block = nullptr;
  size_t place = FastDeviates::kBlock;  // in the block
  float* out = features.data();
  for (int64_t i = 0; i < samples; ++i) {
    int64_t label = i % uri.classes;
    labels[static_cast<size_t>(i)] = label;
    const double* centre = centres.data() + static_cast<size_t>(label) * width;
    for (size_t left = width; left > 0;) {
      if (place == FastDeviates::kBlock) {
        block = deviates.NextBlock();
        place = 0;
      }
      size_t count = std::min(left, FastDeviates::kBlock - place);
      bool doubtful = false;
      for (size_t k = 0; k < count; ++k) {
        auto [low, high] = Bounds(centre[k], block[place + k], slack);
        out[k] = low;
        doubtful |= low != high;
      }
      for (size_t k = 0; doubtful && k < count; ++k) {
        auto [low, high] = Bounds(centre[k], block[place + k], slack);
        if (low != high) out[k] = static_cast<float>(centre[k] + deviates.Exact(place + k));
      }
      out += count;
      centre += count;
      place += count;
      left -= count;
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

double NormalGenerator::Pair::First() const { return radius * std::cos(angle); }
double NormalGenerator::Pair::Second() const { return radius * std::sin(angle); }

double NormalGenerator::Next() {
  has_spare_ = !has_spare_;
  if (!has_spare_) return spare_;
  Pair pair = NextPair();
  spare_ = pair.Second();
  return pair.First();
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
