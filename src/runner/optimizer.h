// The optimizers, with PyTorch's semantics and defaults, over one flat tensor of parameters.
#pragma once

#include <functional>
#include <map>
#include <memory>
#include <optional>
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
  // Sets the gradients to those of the batch at the present parameters and returns the loss;
  // nullopt: the training is to end.
  using Evaluate = std::function<std::optional<double>()>;

  virtual ~Optimizer() = default;
  // Changes the parameters by their gradients, which may be changed too. Throws c10::Error.
  virtual void Step(double learning_rate);
  // Whether it looks at the loss of a batch at several places: then Search stands for Step. Returns
  // whether it has made the step; when it is to end before, parameters and state are as they were.
  virtual bool searches() const { return false; }
  virtual bool Search(double learning_rate, const Evaluate& evaluate);
  // What the next step depends on besides parameters, gradients and the number of steps: tensors of
  // the parameters' size, by name, sharing memory with the optimizer, and single numbers. The same
  // names whether fused or not.
  virtual std::vector<std::pair<std::string, at::Tensor>> state() const = 0;
  virtual std::map<std::string, double> numbers() const { return {}; }
  // Goes on as after `steps` steps with these numbers; state() then has the tensors that it had
  // then, for the caller to fill. With 0 steps as at the beginning.
  virtual void Resume(int64_t steps, const std::map<std::string, double>& numbers) = 0;
  // Where the ranks of a gang share the state (ShardedOptimizer), state() is a copy of it, for as
  // long as nothing is done but these: on rank 0 a whole one after GatherState, which all ranks
  // call at once, else zero but for the part of this rank. Settle takes over what stands in the
  // copy, and frees it.
  virtual void GatherState() {}
  virtual void Settle() {}
};

// The parts of a flat tensor that is laid out as the parameters: Model::PartsOf.
using PartsOf =
    std::function<std::vector<std::pair<std::string, at::Tensor>>(const at::Tensor& flat)>;

// The optimizer that `training` asks for. parameters and gradients share memory with the model,
// float32, of one size. parts_of: muon must know the shapes. fused must be false where
// kFusedOptimizers is.
std::unique_ptr<Optimizer> MakeOptimizer(const spec::TrainingSpec& training,
                                         const at::Tensor& parameters, const at::Tensor& gradients,
                                         const PartsOf& parts_of, bool fused = kFusedOptimizers);

}  // namespace cyxwiz::runner
