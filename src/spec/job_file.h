// The form in which people write jobs: files of `cyxwiz submit`, bodies of POST /api/v1/jobs.
// docs/reference/job-files.md describes every key.
//
//   {"name": "mlp", "priority": "high", "dataset": "mock://random_data",
//    "model": {"layers": [{"type": "dense", "units": 10}]},
//    "hyperparameters": {"learning_rate": 0.01, "epochs": 5},
//    "resources": {"cpus": 1.5, "memory": "2GiB"}}
//
// The names of the wire's JobConfig (model_definition, dataset_uri, job_type, ...) are accepted for
// the same things.
#pragma once

#include <optional>
#include <string>
#include <string_view>

#include "spec/job_array.h"
#include "spec/job_spec.h"
#include "spec/job_terms.h"
#include "spec/problem.h"

namespace cyxwiz::spec {

inline constexpr size_t kMaxJobFileBytes = 2 * kMaxModelBytes;
inline constexpr int64_t kMaxRetries = 100;

struct JobFile {
  JobDescription description;
  std::string job_id;  // empty: the server chooses one
  std::string user;
  int priority = 1;  // number of the wire's JobPriority: 0 low, 1 normal, 2 high, 3 critical
  std::optional<int> max_retries;  // unset: the server's default
  JobTerms terms;
  JobArray array;
};

// Reads the form; whether the job itself is right is CheckJob's business. The file is there only
// when no problem was added; otherwise the problems that CheckJob finds without looking into data
// files are added too, so that everything is told at once. Numbers among the hyperparameters become
// text exactly as written: 0.10 is "0.10".
std::optional<JobFile> ParseJobFile(std::string_view json, Problems* problems);

// Bytes from "2GiB", "1.5 GB", "1073741824": a number and one of B, KiB, MiB, GiB, TiB (powers of
// 1024), KB, MB, GB, TB (powers of 1000), in any case. nullopt for anything else, and beyond
// kMaxMemoryBytes.
std::optional<int64_t> ParseMemory(std::string_view text);

}  // namespace cyxwiz::spec
