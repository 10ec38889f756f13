// Where a training left the finite numbers.
#pragma once

#include <functional>
#include <string>

#include "runner/feed.h"
#include "runner/loss.h"
#include "runner/module.h"

namespace cyxwiz::runner {

// Runs a batch whose loss was no finite number once more, and says what was the first thing that is
// none: "the output of layer 'dense_1'". Empty when all is finite this time, as it may be where
// dropout draws anew. forward: gives the model's output of the batch. Changes the model's
// gradients.
std::string FirstNotFinite(Model* model, const LossFunction& loss, const Feed& batch,
                           const std::function<at::Tensor()>& forward);

}  // namespace cyxwiz::runner
