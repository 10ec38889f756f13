// The optimizers of PyTorch, with its semantics and defaults, over one flat tensor of parameters.
#pragma once

#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "runner/torch_headers.h"
#include "spec/job_spec.h"

namespace cyxwiz::runner {

// Whether this libtorch has fused optimizers for the CPU too: one pass over the parameters instead
// of a dozen.
#if TORCH_VERSION_MAJOR > 2 || (TORCH_VERSION_MAJOR == 2 && TORCH_VERSION_MINOR >= 4)
#define CYXWIZ_FUSED_OPTIMIZERS 1
inline constexpr bool kFusedOptimizers = true;
#else
#define CYXWIZ_FUSED_OPTIMIZERS 0
inline constexpr bool kFusedOptimizers = false;
#endif

class Optimizer {
 public:
  virtual ~Optimizer() = default;
  // Changes the parameters by their gradients. Throws c10::Error.
  virtual void Step() = 0;
  // What the next step depends on besides parameters, gradients and the number of steps: tensors of
  // the parameters' size, by name, sharing memory with the optimizer. The same names whether fused
  // or not.
  virtual std::vector<std::pair<std::string, at::Tensor>> state() const = 0;
  // Goes on as after `steps` steps; what state() names has been set already.
  virtual void Resume(int64_t steps) = 0;
};

// The optimizer that `training` asks for. parameters and gradients share memory with the model,
// float32, of one size. fused must be false where kFusedOptimizers is.
std::unique_ptr<Optimizer> MakeOptimizer(const spec::TrainingSpec& training,
                                         const at::Tensor& parameters, const at::Tensor& gradients,
                                         bool fused = kFusedOptimizers);

}  // namespace cyxwiz::runner
