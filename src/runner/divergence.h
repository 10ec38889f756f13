// Where a training left the finite numbers.
#pragma once

#include <functional>
#include <string>

#include "runner/feed.h"
#include "runner/loss.h"
#include "runner/module.h"

namespace cyxwiz::runner {

// Whether none of the values is infinite or no number. Reads them once, unless they are very large.
bool IsFinite(const at::Tensor& values);

// Of which layer the model has values that are no finite numbers: "the weights of layer 'dense_1'".
// Empty when it has none.
std::string PartNotFinite(const Model& model);

// Runs a batch whose loss was no finite number once more, and says what was the first thing that is
// none: "the output of layer 'dense_1'". Empty when all is finite this time, as it may be where
// dropout draws anew. forward: gives the model's output of the batch. Changes the model's
// gradients, unless autograd is off.
std::string FirstNotFinite(Model* model, const LossFunction& loss, const Feed& batch,
                           const std::function<at::Tensor()>& forward);

}  // namespace cyxwiz::runner
