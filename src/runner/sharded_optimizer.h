// An optimizer whose state the ranks of a gang share: each keeps that of a part of the parameters,
// changes these, and sends them to the others (stage 1 of ZeRO).
//
// The parts are ranges of the flat parameters, one a rank, all of one size but for the last that
// have any. So it is for optimizers that look at each value by itself: all but lbfgs and muon.
#pragma once

#include "runner/optimizer.h"
#include "runner/process_group.h"

namespace cyxwiz::runner {

// One thread; all ranks call Step and GatherState alike. Throws as ProcessGroup does.
class ShardedOptimizer : public Optimizer {
 public:
  ShardedOptimizer(const spec::TrainingSpec& training, const at::Tensor& parameters,
                   const at::Tensor& gradients, ProcessGroup* group);

  void Step(double learning_rate) override;
  std::vector<std::pair<std::string, at::Tensor>> state() const override;
  std::map<std::string, double> numbers() const override { return own_->numbers(); }
  void Resume(int64_t steps, const std::map<std::string, double>& numbers) override;
  void GatherState() override;
  void Settle() override;

 private:
  // The part of a rank of a flat tensor; may have no values.
  at::Tensor PartOf(const at::Tensor& flat, int rank) const;

  const at::Tensor parameters_;
  ProcessGroup* const group_;
  const int64_t part_size_;
  std::unique_ptr<Optimizer> own_;
  mutable std::vector<std::pair<std::string, at::Tensor>> whole_;  // until Settle
};

}  // namespace cyxwiz::runner
