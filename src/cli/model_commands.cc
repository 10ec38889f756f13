// cyxwiz evaluate, predict, preprocess.
#include "cli/commands.h"
#include "cli/job_follower.h"
#include "spec/job_file.h"
#include "wire/job_config.h"

namespace cyxwiz::cli {
namespace {

spec::JobFile FileOf(const ModelOptions& options, spec::JobType type) {
  spec::JobFile file;
  file.description.type = type;
  file.description.name = options.name;
  file.description.model_from.job_id = options.model;
  file.description.dataset_uri = options.data;
  return file;
}

}  // namespace

int RunEvaluate(const Session& session, const EvaluateOptions& options) {
  spec::JobFile file = FileOf(options, spec::JobType::kEvaluation);
  if (!options.metrics.empty()) file.description.hyperparameters["metrics"] = options.metrics;
  return Submit(session, ConfigFromJobFile(file), options.wait);
}

int RunPredict(const Session& session, const PredictOptions& options) {
  spec::JobFile file = FileOf(options, spec::JobType::kInference);
  file.description.output = options.output;
  const protocol::JobConfig config = ConfigFromJobFile(file);
  if (options.folder.empty()) return Submit(session, config, options.wait);

  Console& console = session.console;
  auto client = Client::Connect(session.server);
  if (!client.ok()) return console.Fail(client.status());
  protocol::SubmitJobResponse response;
  if (int code = Accept(session, client->get(), config, &response); code != kExitOk) return code;
  if (int code = FollowToEnd(session, client->get(), response.job_id()); code != kExitOk) {
    return code;
  }
  return RunDownload(session, {response.job_id(), options.folder});
}

int RunPreprocess(const Session& session, const PreprocessOptions& options) {
  spec::JobFile file;
  file.description.type = spec::JobType::kPreprocessing;
  file.description.name = options.name;
  file.description.dataset_uri = options.data;
  file.description.output_dataset = options.to;
  return Submit(session, ConfigFromJobFile(file), options.wait);
}

}  // namespace cyxwiz::cli
