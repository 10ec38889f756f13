#include "fuzz/fuzz.h"
#include "spec/job_file.h"
#include "spec/job_spec.h"

// A model as JSON, checked for images; what is accepted is accepted again in its canonical form.
extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace cyxwiz;
  spec::JobDescription job;
  job.model_definition = std::string(fuzz::TextOf(data, size));
  job.dataset_uri = "mock://random_data?features=16&classes=2";
  spec::Problems problems;
  auto checked = spec::CheckJob(job, nullptr, &problems);
  fuzz::Require(checked.has_value() == problems.empty(), "a spec, or problems");
  if (!checked) return 0;
  const std::string canonical = spec::ModelToJson(checked->model).dump();
  job.model_definition = canonical;
  spec::Problems again;
  auto second = spec::CheckJob(job, nullptr, &again);
  fuzz::Require(second.has_value(), "the canonical form is a model");
  fuzz::Require(spec::ModelToJson(second->model).dump() == canonical, "and canonical");
  return 0;
}
