// Samples in files, read in their order. Internal to src/data.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>

#include "data/dataset.h"
#include "data/fault.h"

namespace cyxwiz::data {

// Calls use(bytes) for each sample of a split in files, in order.
Fault ForEachRow(const Split& split, int64_t row_bytes,
                 const std::function<void(const uint8_t*)>& use);

// The features of so many samples stay in files, those of sample i in row i; floats, or bytes.
void LeaveInFiles(std::shared_ptr<const RowReader> rows, int64_t samples, bool floats,
                  Split* split);

// Brings the samples of both parts into memory.
Fault ReadIntoMemory(Dataset* dataset);

}  // namespace cyxwiz::data
