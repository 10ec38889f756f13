// A data set as a preprocessing leaves it: read, split, filled in and scaled, so that a training
// need only load it. A folder:
//
//   dataset.json        {"format": "cyxwiz-prepared", "version": 1,
//                        "source": URI, "source_sha256": of its files, when that is known,
//                        "sample_shape": [...], "label_shape": [...], "classes": 10,
//                        "features": {"type": "uint8", "divisor": 255, "mean": [...],
//                                     "deviation": [...], "inner": 784} or {"type": "float32"},
//                        "labels": "int64", "float32" or "uint8",
//                        "parts": {"train": {"file": "train.safetensors", "samples": 48000,
//                                            "class_counts": [...]}, "test": {...}},
//                        "statistics": {"mean": [...], "deviation": [...]},
//                        "details": {...}, "description": "..."}
//   train.safetensors   tensors "features" and "labels", a row a sample
//   test.safetensors    likewise; absent when there is no test part
//
// Features that are bytes stay bytes: the model sees (byte / divisor - mean) / deviation, value i
// of a sample taking mean and deviation i / inner modulo their number. Others are as the model sees
// them. statistics are those of the training part before it was scaled; details is "data" of
// model.json. Equal data sets give equal bytes.
#pragma once

#include <string>
#include <vector>

#include "base/status.h"
#include "data/dataset.h"
#include "data/fault.h"
#include "data/raw.h"

namespace cyxwiz::data {

inline constexpr char kPreparedFile[] = "dataset.json";

// Writes a data set into a folder that is there; *files: names of what was written. source_sha256
// may be empty.
Status WritePrepared(const Dataset& dataset, const std::string& source,
                     const std::string& source_sha256, const std::string& folder,
                     std::vector<std::string>* files);

// Internal to src/data. path: of dataset.json, the parts lie beside it; the features stay in them.
// stream_bytes: of samples that are read ahead.
Fault ReadPrepared(const std::string& path, int64_t stream_bytes, Raw* raw);

}  // namespace cyxwiz::data
