#include "runner/batches.h"

#include <algorithm>
#include <cmath>
#include <cstring>

namespace cyxwiz::runner {
namespace {

constexpr size_t kCacheLine = 64;
constexpr size_t kMostFetched = 4096;  // the processor goes on by itself from there

// Has memory send what is read next: rows are taken in random order, which no processor guesses.
template <typename Value>
void Prefetch(const Value* row, int64_t values) {
  const auto* bytes = reinterpret_cast<const char*>(row);
  const size_t size = std::min(static_cast<size_t>(values) * sizeof(Value), kMostFetched);
  for (size_t i = 0; i < size; i += kCacheLine) __builtin_prefetch(bytes + i);
}

}  // namespace

void ScaleBytes(const uint8_t* bytes, const data::ByteScale& scale, int64_t sample_values,
                float* out) {
  for (int64_t i = 0; i < sample_values; ++i) out[i] = static_cast<float>(bytes[i]) / scale.divisor;
  const size_t groups = scale.mean.size();
  if (groups == 0) return;
  for (int64_t begin = 0; begin < sample_values; begin += scale.inner) {
    const size_t group = static_cast<size_t>(begin / scale.inner) % groups;
    const float mean = scale.mean[group], deviation = scale.deviation[group];
    for (int64_t i = begin; i < begin + scale.inner; ++i) out[i] = (out[i] - mean) / deviation;
  }
}

void GatherFeatures(const data::Split& split, int64_t sample_values, const int64_t* indices,
                    int64_t count, float* out) {
  if (const auto* bytes = std::get_if<std::vector<uint8_t>>(&split.features)) {
    for (int64_t row = 0; row < count; ++row, out += sample_values) {
      if (row + 1 < count)
        Prefetch(bytes->data() + indices[row + 1] * sample_values, sample_values);
      ScaleBytes(bytes->data() + indices[row] * sample_values, split.scale, sample_values, out);
    }
    return;
  }
  const auto& floats = std::get<std::vector<float>>(split.features);
  for (int64_t row = 0; row < count; ++row, out += sample_values) {
    if (row + 1 < count) Prefetch(floats.data() + indices[row + 1] * sample_values, sample_values);
    std::memcpy(out, floats.data() + indices[row] * sample_values,
                static_cast<size_t>(sample_values) * sizeof(float));
  }
}

void GatherClasses(const data::Split& split, int64_t positions, const int64_t* indices,
                   int64_t count, int64_t* out) {
  std::visit(
      [&](const auto& labels) {
        for (int64_t row = 0; row < count; ++row, out += positions) {
          const auto* in = labels.data() + indices[row] * positions;
          std::copy(in, in + positions, out);
        }
      },
      split.labels);
}

void GatherNumbers(const data::Split& split, const int64_t* indices, int64_t count, float* out) {
  std::visit(
      [&](const auto& labels) {
        for (int64_t row = 0; row < count; ++row) {
          out[row] = static_cast<float>(labels[static_cast<size_t>(indices[row])]);
        }
      },
      split.labels);
}

int64_t CountCorrect(const float* scores, const int64_t* labels, int64_t count, int64_t classes) {
  int64_t correct = 0;
  for (int64_t row = 0; row < count; ++row, scores += classes) {
    // Whether another one is greater, or comes before and is as great: unlike a search for the
    // place of the greatest, loops that compilers make vectors of.
    const int64_t label = labels[row];
    const float score = scores[label];
    unsigned beaten = std::isnan(score);
    for (int64_t i = 0; i < label; ++i) beaten |= scores[i] >= score;
    for (int64_t i = label + 1; i < classes; ++i) beaten |= scores[i] > score;
    correct += beaten == 0;
  }
  return correct;
}

int64_t CountCorrectSigns(const float* scores, const float* labels, int64_t count) {
  int64_t correct = 0;
  for (int64_t row = 0; row < count; ++row) correct += (scores[row] > 0) == (labels[row] > 0.5f);
  return correct;
}

}  // namespace cyxwiz::runner
