// The metrics of a training over time, as TensorBoard reads them:
// https://www.tensorflow.org/tutorials/load_data/tfrecord#tfrecords_format_details
//
//   file    := record*               the first holds Event{wall_time, file_version "brain.Event:2"}
//   record  := length of data as uint64, crc of length, data, crc of data; all little-endian
//   crc     := CRC-32C, rotated right by 15 bits, plus 0xa282ead8, as uint32
//   data    := Event := wall_time 1 (double, Unix seconds), step 2, file_version 3 | summary 5
//   Summary := value 1*; Value := tag 1, simple_value 2 (float)
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

#include "runner/engine.h"

namespace cyxwiz::runner {

// Builds one file in memory.
class EventFile {
 public:
  // Of longer trainings epochs are left out, the same number between any two.
  static constexpr int64_t kMostEpochs = 10'000;

  explicit EventFile(double unix_seconds);
  // Goes on with one of which these are the bytes(). nullopt: they are none of it.
  static std::optional<EventFile> From(std::string bytes);

  // The metrics at the end of an epoch, at the step of the optimizer that has been reached; of the
  // last epoch always.
  void AddEpoch(double unix_seconds, const Progress& progress);
  void Add(double unix_seconds, int64_t step, const Metrics& metrics);

  const std::string& bytes() const { return bytes_; }
  // "events.out.tfevents.<unix_seconds>.cyxwiz": TensorBoard knows the files by such a name.
  std::string name() const;

 private:
  void AddRecord(std::string_view data);

  int64_t begin_;
  std::string bytes_;
};

// CRC-32C (Castagnoli), as in RFC 3720.
uint32_t Crc32c(std::string_view data);

}  // namespace cyxwiz::runner
