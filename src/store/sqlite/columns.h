// Lists and maps of a record as the text of one column, readable with the
// sqlite3 shell.
//
//   metrics     {"train_loss":0.25,"test_loss":"nan"}     numbers round trip
//   exactly; "nan", "inf", "-inf" as text artifacts
//   [["weights.safetensors","<sha256>",4096]] devices     [1,2]
//   terms, extra   objects; what is left out has its default, and an empty text is all defaults
//   array       [size, max_parallel, started, succeeded, failed, cancelled, base_attempt]
//   gang        {"ranks":[["node-a",0],["node-b",1]],"end":{"kind":2,"cause":5,...}}     1: it has
//   ended; a third is its gpus, if it got some; "" for none
//   gpus        [[1,250,21474836480]]     index, thousandths, bytes of memory; "" for none
//   cancellations.jobs  "17-250,252,300-1200": their sequences in order
//   checkpoint  ["000000001234",3,1234,[["manifest.json","<sha256>",400]]]     "" for none
//
// The Read functions return DATA_LOSS for text they did not write.
#pragma once

#include <map>
#include <string>
#include <string_view>
#include <vector>

#include "base/status.h"
#include "control/records.h"

namespace cyxwiz::store {

using Metrics = std::map<std::string, double>;

std::string WriteMetrics(const Metrics& metrics);
Result<Metrics> ReadMetrics(std::string_view text);

std::string WriteArtifacts(const std::vector<control::Artifact>& artifacts);
Result<std::vector<control::Artifact>> ReadArtifacts(std::string_view text);

// name, epoch, step, files.
std::string WriteCheckpoint(const control::Checkpoint& checkpoint);
Result<control::Checkpoint> ReadCheckpoint(std::string_view text);

std::string WriteArray(const control::Job& job);
Status ReadArray(std::string_view text, control::Job* job);

std::string WriteGang(const control::Job& job);
Status ReadGang(std::string_view text, control::Job* job);

std::string WriteGpus(const std::vector<GpuPart>& gpus);
Result<std::vector<GpuPart>> ReadGpus(std::string_view text);

// Ascending.
std::string WriteSequences(const std::vector<int64_t>& sequences);
Result<std::vector<int64_t>> ReadSequences(std::string_view text);

std::string WriteDevices(const std::vector<int32_t>& devices);
Result<std::vector<int32_t>> ReadDevices(std::string_view text);

// terms and what is rare of resources.
std::string WriteTerms(const control::Job& job);
Status ReadTerms(std::string_view text, control::Job* job);

// Labels, quarantine and what is rare of the capacity.
std::string WriteExtra(const control::Node& node);
Status ReadExtra(std::string_view text, control::Node* node);

}  // namespace cyxwiz::store
