// Evaluation and inference: jobs that take a model which a training has left, and run it on data.
//
// Submitted, such a job names its model (model_from) and says nothing of it. The Central Server
// looks the model up once and writes into the description what the job needs of it (TakeModel):
// from then on the job stands on its own, but for the weights, which are fetched by their hash.
#pragma once

#include <string>
#include <string_view>

#include "spec/job_spec.h"

namespace cyxwiz::spec {

inline constexpr char kModelFromPath[] = "$.model_from";

// Of a model.json, and of what is kept of it beside the model itself.
inline constexpr size_t kMaxModelFileBytes = 16 << 20;
inline constexpr size_t kMaxModelDataBytes = 512 << 10;

bool UsesModel(JobType type);

// Whether the description holds its model: not of a job that UsesModel before TakeModel.
bool HasModel(const JobDescription& job);

// What is wrong with the parts of a description that jobs which use a model have, or have not;
// of other types: that it has such parts.
void CheckModelUse(const JobDescription& job, Problems* problems);

// Refuses and takes out the hyperparameters that such a job may not set, since they are those of
// the training. Before TakeModel, which sets some of them.
void TakeOutMisplaced(JobDescription* job, Problems* problems);

// Reads a model.json into the description: the model, its loss, target and class weights, and what
// it relies on of its data. What the description says itself (metrics, batch_size) stays. The
// hashes and the weights' size are the caller's. What is wrong has the path kModelFromPath.
void TakeModel(std::string_view model_json, JobDescription* job, Problems* problems);

// "npy", "csv", "jsonl"; nullopt: none of these.
std::optional<PredictionFormat> FindPredictionFormat(std::string_view name);
std::string_view PredictionFormatName(PredictionFormat format);

}  // namespace cyxwiz::spec
