// What a job will need, from its shapes alone. Rough on purpose: the scheduler places jobs by it.
#pragma once

#include "spec/job_spec.h"

namespace cyxwiz::spec {

// Of a training: the peak of memory, the work and the size of the result. dataset: null when the
// data was not seen; it then counts as nothing. gpu: whether the job asks for one.
Estimate EstimateJob(const ModelSpec& model, const TrainingSpec& training,
                     const DatasetInfo* dataset, bool gpu);

// The same of an evaluation or an inference of a trained model.
Estimate EstimateUse(JobType type, PredictionFormat output, const ModelSpec& model,
                     const TrainingSpec& training, const DatasetInfo* dataset, bool gpu);

// The same of a preprocessing.
Estimate EstimatePreprocessing(const DatasetInfo* dataset);

// What a job that names no memory asks for. An estimate is no exact science: it has been 0.97
// to 1.17 of the peak (bench/RESULTS.md), and other processors have other kernels.
int64_t MemoryToAskFor(const Estimate& estimate);

// Samples of a batch when nothing is trained: forward passes alone need little memory, so it is
// larger than that of a training.
int64_t ForwardBatch(const ModelSpec& model, int64_t batch_size);

}  // namespace cyxwiz::spec
