// Batches in host memory, copied straight out of the data set.
#pragma once

#include <cstdint>

#include "data/dataset.h"

namespace cyxwiz::runner {

// Copies samples indices[0 .. count) of `split`, which is in memory, to `out` (count x
// sample_values floats), sample after sample. Bytes are scaled on the way: one pass over a quarter
// of the memory that floats would take, and as fast (measured).
void GatherFeatures(const data::Split& split, int64_t sample_values, const int64_t* indices,
                    int64_t count, float* out);

// Scales the bytes of one sample to what the model sees.
void ScaleBytes(const uint8_t* bytes, const data::ByteScale& scale, int64_t sample_values,
                float* out);

// Copies class numbers, `positions` of each sample; the labels must be classes.
void GatherClasses(const data::Split& split, int64_t positions, const int64_t* indices,
                   int64_t count, int64_t* out);
// Copies labels as numbers, class numbers too.
void GatherNumbers(const data::Split& split, const int64_t* indices, int64_t count, float* out);

// How many of count rows of `classes` scores each have their greatest score at labels[row]; of
// equal scores the first counts, as in argmax.
int64_t CountCorrect(const float* scores, const int64_t* labels, int64_t count, int64_t classes);
// How many of count scores are above 0 just where the label is above one half.
int64_t CountCorrectSigns(const float* scores, const float* labels, int64_t count);

}  // namespace cyxwiz::runner
