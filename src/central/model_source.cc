#include "central/model_source.h"

#include <utility>

#include "base/file.h"
#include "central/convert.h"
#include "security/job_token.h"
#include "spec/model_use.h"
#include "wire/job_config.h"

namespace cyxwiz::central {
namespace {

constexpr char kModelFile[] = "model.json", kWeightsFile[] = "weights.safetensors";

void Refuse(const std::string& message, const std::string& expected, const std::string& found,
            const std::string& hint, spec::Problems* problems) {
  problems->Add({spec::kModelFromPath, message, expected, found, hint});
}

// The hashes of the files that the job has left.
void TakeFiles(const control::Job& job, protocol::ModelFrom* from, spec::Problems* problems) {
  const std::string name = "job '" + job.id.value + "'";
  const std::string state = control::JobStateName(job.state);
  if (job.array != nullptr) {
    return Refuse(name + " is an array: each of its members has a model", "the id of a member",
                  job.id.value, "such as " + job.id.value + ".0", problems);
  }
  if (!control::IsFinal(job.state)) {
    return Refuse(name + " has not ended, so there is no model yet", "a job that has succeeded",
                  state, "submit this one when it has: 'cyxwiz watch " + job.id.value + "'",
                  problems);
  }
  if (job.state != control::JobState::kSucceeded) {
    return Refuse(name + " has left no model", "a job that has succeeded", state,
                  "'cyxwiz retry " + job.id.value + "' runs it again", problems);
  }
  std::string names;
  for (const control::Artifact& artifact : *job.artifacts) {
    names += (names.empty() ? "" : ", ") + artifact.name;
    if (artifact.name == kModelFile) from->set_model_sha256(artifact.sha256);
    if (artifact.name == kWeightsFile) from->set_weights_sha256(artifact.sha256);
  }
  if (!from->model_sha256().empty() && !from->weights_sha256().empty()) return;
  Refuse(name + " has left no model", std::string(kModelFile) + " and " + kWeightsFile,
         names.empty() ? "no files" : names, "name a job that trains", problems);
}

// What was found out of the model before something was wrong.
void Forget(protocol::ModelFrom* from) {
  if (from->job_id().empty()) return;
  from->clear_model_sha256();
  from->clear_weights_sha256();
}

void SetHyperparameters(const spec::JobDescription& job, protocol::JobConfig* config) {
  config->mutable_hyperparameters()->clear();
  config->mutable_hyperparameters()->insert(job.hyperparameters.begin(), job.hyperparameters.end());
}

}  // namespace

void ModelSource::LookUp(protocol::JobConfig config, Found found) const {
  // What only a server fills in.
  config.mutable_model_from()->clear_weights_size();
  config.mutable_model_from()->clear_data();
  spec::Problems problems;
  if (!config.model_definition().empty()) {
    problems.Add({"$.model", "has no place here: the model is that of model_from", "nothing",
                  "a model", "leave it out"});
    config.clear_model_definition();
  }
  spec::JobDescription job = DescriptionFromConfig(config);
  spec::Problems form;
  spec::CheckModelUse(job, &form);
  for (const spec::Problem& problem : form.list()) {
    // Whoever checks the job tells it.
    if (problem.path.starts_with(spec::kModelFromPath)) {
      return found(std::move(config), std::move(problems));
    }
  }
  spec::TakeOutMisplaced(&job, &problems);
  SetHyperparameters(job, &config);
  auto take = [this](protocol::JobConfig taken, spec::Problems so_far, Found then) {
    pool_->Post(
        [this, taken = std::move(taken), so_far = std::move(so_far),
         then = std::move(then)]() mutable { Take(std::move(taken), std::move(so_far), then); });
  };
  if (config.model_from().job_id().empty()) {
    return take(std::move(config), std::move(problems), std::move(found));
  }
  control::GetJob get{.job = {config.model_from().job_id()}};
  core_->Post(std::move(get), [this, take, config = std::move(config),
                               problems = std::move(problems),
                               found = std::move(found)](control::Reply reply) mutable {
    const size_t before = problems.count();
    if (reply.status.code() == Code::kNotFound) {
      Refuse("job '" + config.model_from().job_id() + "' is not known", "a job that has succeeded",
             "none of that id", "'cyxwiz ps' lists the jobs", &problems);
    } else if (!reply.status.ok()) {
      Refuse("the job cannot be looked up now: " + reply.status.message(), "", "",
             reply.status.hint(), &problems);
    } else {
      TakeFiles(std::get<control::JobReply>(reply.content).view.job, config.mutable_model_from(),
                &problems);
    }
    if (problems.count() == before) {
      return take(std::move(config), std::move(problems), std::move(found));
    }
    Forget(config.mutable_model_from());
    // The check that follows takes a while: not on the core's thread.
    pool_->Post(
        [config = std::move(config), problems = std::move(problems),
         found = std::move(found)]() mutable { found(std::move(config), std::move(problems)); });
  });
}

void ModelSource::Take(protocol::JobConfig config, spec::Problems problems,
                       const Found& found) const {
  protocol::ModelFrom* from = config.mutable_model_from();
  const size_t before = problems.count();
  auto missing = [&](const char* name, const std::string& sha256, const Status& why) {
    Refuse(std::string("its ") + name + " is not in the artifact store", "SHA-256 " + sha256,
           why.code() == Code::kNotFound ? "no such file" : why.message(),
           "name another job, or train it again", &problems);
  };
  auto weights = artifacts_->SizeOf(from->weights_sha256());
  if (!weights.ok()) missing(kWeightsFile, from->weights_sha256(), weights.status());
  auto path = artifacts_->PathOf(from->model_sha256());
  Result<std::string> text =
      path.ok() ? ReadFile(*path, spec::kMaxModelFileBytes) : Result<std::string>(path.status());
  if (!text.ok()) {
    missing(kModelFile, from->model_sha256(), text.status());
  } else if (std::string found_hash = security::HexEncode(security::Sha256(*text));
             found_hash != from->model_sha256()) {
    Refuse(std::string("its ") + kModelFile + " is damaged in the artifact store",
           "SHA-256 " + from->model_sha256(), found_hash, "train the model again", &problems);
  } else if (problems.count() == before) {
    spec::JobDescription job = DescriptionFromConfig(config);
    spec::TakeModel(*text, &job, &problems);
    if (problems.count() == before) {
      job.model_from.weights_bytes = *weights;
      config.set_model_definition(job.model_definition);
      SetHyperparameters(job, &config);
      WriteModelUse(job, &config);
    }
  }
  if (problems.count() > before) Forget(from);
  found(std::move(config), std::move(problems));
}

}  // namespace cyxwiz::central
