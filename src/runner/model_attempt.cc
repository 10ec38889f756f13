// The attempt of an evaluation or an inference.
#include <memory>
#include <utility>

#include "base/failpoint.h"
#include "base/file.h"
#include "base/safetensors.h"
#include "runner/attempt_parts.h"
#include "runner/predictions.h"
#include "runner/sha256.h"
#include "spec/model_use.h"

namespace cyxwiz::runner {
namespace {

using End = TrainingResult::End;

constexpr char kEvaluationFile[] = "evaluation.json";

class Observer : public TrainingObserver {
 public:
  Observer(const AttemptHooks& hooks, std::chrono::steady_clock::time_point begin,
           double load_seconds)
      : hooks_(hooks),
        begin_(begin),
        load_seconds_(load_seconds),
        fault_(InjectedFault::FromEnvironment()) {}

  void OnStarted(const Started& started) override {
    if (hooks_.started) hooks_.started(started, load_seconds_ * 1e3, SecondsSince(begin_) * 1e3);
  }
  void OnProgress(const Progress& progress) override {
    if (hooks_.progress) hooks_.progress(progress);
  }
  Directive Asked() override {
    if (!hooks_.asked || fault_.hang_on_stop) return Directive::kGoOn;
    return hooks_.asked();
  }
  void OnStep(int64_t batch) override { fault_.Strike(batch); }
  void Log(const std::string& line) override { LogLine(line); }

 private:
  const AttemptHooks& hooks_;
  const std::chrono::steady_clock::time_point begin_;
  const double load_seconds_;
  const InjectedFault fault_;
};

// The weights, when the file is what the job says.
Result<SafetensorsFile> ReadWeights(const std::string& path, const spec::ModelFrom& from) {
  ASSIGN_OR_RETURN(FileHash hash, HashFile(path));
  if (hash.sha256 != from.weights_sha256) {
    return DataLoss("the model's weights are damaged: expected SHA-256 " + from.weights_sha256 +
                    ", found " + hash.sha256 + " in " + std::to_string(hash.size) + " bytes");
  }
  return ReadSafetensors(path);
}

PredictionShape ShapeOf(const spec::JobSpec& job, const data::Dataset& dataset) {
  PredictionShape shape;
  shape.samples = dataset.test.samples > 0 ? dataset.test.samples : dataset.train.samples;
  shape.output = job.model.output_shape;
  shape.task = spec::TaskOf(job.training, job.model);
  shape.probabilities = job.training.loss == spec::Loss::kCrossEntropy ||
                        job.training.loss == spec::Loss::kBinaryCrossEntropy ||
                        job.training.loss == spec::Loss::kKl;
  return shape;
}

Status WriteEvaluation(const spec::JobSpec& job, const ModelResult& evaluated,
                       const std::string& folder) {
  Metrics metrics = evaluated.metrics;
  metrics.erase("samples_per_second");
  Json json{{"format", "cyxwiz-evaluation"},
            {"version", 1},
            {"model_from",
             {{"job", job.model_from.job_id},
              {"model", job.model_from.model_sha256},
              {"weights", job.model_from.weights_sha256}}},
            {"dataset", job.dataset_uri.text},
            {"part", evaluated.whole ? "all" : "test"},
            {"samples", evaluated.samples},
            {"metrics", metrics},
            {"libtorch", LibtorchVersion()}};
  if (!job.dataset_uri.manifest_sha256.empty())
    json["dataset_sha256"] = job.dataset_uri.manifest_sha256;
  if (evaluated.confusion_matrix) json["confusion_matrix"] = ToJson(*evaluated.confusion_matrix);
  return WriteFileAtomically(folder + "/" + kEvaluationFile,
                             json.dump(2, ' ', false, Json::error_handler_t::replace) + "\n");
}

}  // namespace

void RunModelAttempt(const StartMessage& start, const AttemptHooks& hooks, const spec::JobSpec& job,
                     const data::Dataset& dataset, const std::vector<std::string>& class_names,
                     std::unique_ptr<Interruption> interruption,
                     std::chrono::steady_clock::time_point begin, AttemptResult* result) {
  auto fail = [result](Failure failure) {
    result->end = End::kFailed;
    result->failure = std::move(failure);
  };
  Result<SafetensorsFile> weights = ReadWeights(start.folder + "/" + start.weights, job.model_from);
  if (!weights.ok()) return fail(FailureOf(weights.status(), spec::kModelFromPath));
  result->load_seconds = SecondsSince(begin);

  Observer observer(hooks, begin, result->load_seconds);
  interruption.reset();
  if (observer.Asked() == Directive::kStop) {
    result->end = End::kStopped;
    return;
  }
  if (Status made = MakeFolder(start.folder); !made.ok()) return fail(NotKept(made));
  std::unique_ptr<PredictionWriter> writer;
  if (job.type == spec::JobType::kInference) {
    PredictionShape shape = ShapeOf(job, dataset);
    shape.class_names = class_names;
    auto created = PredictionWriter::Create(start.folder, job.output, std::move(shape));
    if (!created.ok()) return fail(NotKept(created.status()));
    writer = std::move(*created);
  }
  ModelResult done =
      RunModel(job, dataset, *weights, ThreadsAllowed(start), &observer, writer.get());
  result->end = done.end;
  result->failure = done.failure;
  result->metrics = done.metrics;
  result->compute_seconds = done.compute_seconds;
  if (done.end != End::kSucceeded) return;

  auto write_begin = std::chrono::steady_clock::now();
  CYXWIZ_FAILPOINT("runner.result.before");
  Status written = writer != nullptr ? writer->Finish() : WriteEvaluation(job, done, start.folder);
  CYXWIZ_FAILPOINT("runner.result.after");
  if (!written.ok()) return fail(NotKept(written));
  result->files = {writer != nullptr ? writer->name() : kEvaluationFile};
  result->write_seconds = SecondsSince(write_begin);
}

}  // namespace cyxwiz::runner
