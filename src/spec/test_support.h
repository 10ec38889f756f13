// What the tests of this folder share.
#pragma once

#include <gtest/gtest.h>

#include <optional>
#include <string>

#include "spec/job_spec.h"

namespace cyxwiz::spec {

// Sees one data set, whatever it is asked for.
class FixedInspector : public DatasetInspector {
 public:
  explicit FixedInspector(DatasetInfo info) : info_(std::move(info)) {}
  std::optional<DatasetInfo> Inspect(const DatasetUri&, Problems*) override { return info_; }

 private:
  DatasetInfo info_;
};

// Fashion-MNIST as the inspector of files would describe it.
inline DatasetInfo FashionMnist() {
  DatasetInfo info;
  info.sample_shape = {1, 28, 28};
  info.train_samples = 60000;
  info.test_samples = 10000;
  info.classes = 10;
  info.bytes_in_memory = 70000 * (784 + 8);
  return info;
}

inline JobDescription Job(std::string model, std::string dataset = "mock://random_data") {
  JobDescription job;
  job.name = "test";
  job.model_definition = std::move(model);
  job.dataset_uri = std::move(dataset);
  return job;
}

// A model on images of Fashion-MNIST's kind; layers: the JSON of its layers.
inline JobDescription ImageJob(const std::string& layers) {
  return Job("{\"layers\": [" + layers + "]}", "file:///images");
}

struct Checked {
  std::optional<JobSpec> spec;
  Problems problems;
};

inline Checked Check(const JobDescription& job, std::optional<DatasetInfo> seen = FashionMnist()) {
  Checked checked;
  FixedInspector inspector(seen.value_or(DatasetInfo()));
  checked.spec = CheckJob(job, seen ? &inspector : nullptr, &checked.problems);
  EXPECT_EQ(checked.spec.has_value(), checked.problems.empty()) << checked.problems.ToString();
  return checked;
}

// Whether exactly one problem has that path and holds `part` in its text.
inline testing::AssertionResult Says(const Problems& problems, const std::string& path,
                                     const std::string& part) {
  int found = 0;
  for (const Problem& problem : problems.list()) {
    found += problem.path == path && problem.ToString().find(part) != std::string::npos;
  }
  if (found == 1) return testing::AssertionSuccess();
  return testing::AssertionFailure()
         << found << " problems at " << path << " say \"" << part << "\"; there are:\n"
         << problems.ToString();
}

// Whether that is the only problem.
inline testing::AssertionResult SaysOnly(const Problems& problems, const std::string& path,
                                         const std::string& part) {
  if (problems.count() == 1) return Says(problems, path, part);
  return testing::AssertionFailure() << problems.count() << " problems:\n" << problems.ToString();
}

}  // namespace cyxwiz::spec
