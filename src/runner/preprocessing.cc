#include "data/prepared.h"
#include "runner/attempt_parts.h"

namespace cyxwiz::runner {

using End = TrainingResult::End;

void RunPreprocessing(const StartMessage& start, const AttemptHooks& hooks,
                      const spec::JobSpec& job, const data::Dataset& dataset,
                      std::unique_ptr<Interruption> interruption,
                      std::chrono::steady_clock::time_point begin, AttemptResult* result) {
  interruption.reset();  // for the line to the node
  LogLine("read " + dataset.info.description);
  if (hooks.started) {
    Started started;
    started.device = "cpu";
    started.threads = 1;
    hooks.started(started, result->load_seconds * 1e3, SecondsSince(begin) * 1e3);
  }
  interruption = Interruptible(hooks);
  const auto write_begin = std::chrono::steady_clock::now();
  Status written = MakeFolder(start.folder);
  if (written.ok()) {
    written = data::WritePrepared(dataset, job.dataset_uri.text, job.dataset_uri.manifest_sha256,
                                  start.folder, &result->files);
  }
  if (!written.ok()) {
    result->failure = NotKept(written);
    return;
  }
  result->metrics["train_samples"] = static_cast<double>(dataset.info.train_samples);
  result->metrics["test_samples"] = static_cast<double>(dataset.info.test_samples);
  if (dataset.info.classes > 0)
    result->metrics["classes"] = static_cast<double>(dataset.info.classes);
  result->write_seconds = SecondsSince(write_begin);
  result->compute_seconds = result->write_seconds;
  result->end = End::kSucceeded;
}

}  // namespace cyxwiz::runner
