// The gradients of a model in buckets, the sums of which over the ranks of a gang begin while the
// backward pass still computes those of others.
//
// As PyTorch's DistributedDataParallel fills them: from the last parameter to the first, since
// backward passes come to them in about that order; the first bucket is small, so that something
// soon travels. Each is a range of the model's flat gradients, and the first has its notes too. A
// sum begins once all gradients of its bucket are there and those of the buckets before it have
// begun: so all ranks begin them in one order, whatever order their gradients came in.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <vector>

#include "runner/module.h"

namespace cyxwiz::runner {

// One thread, that of the backward pass, which on the CPU is the one that calls it.
class GradientBuckets {
 public:
  // A bucket is full when it has so many bytes; its last parameter may have brought more.
  struct Limits {
    int64_t first_bytes = int64_t{1} << 20, bytes = int64_t{25} << 20;
  };
  using BeginSum = std::function<void(const at::Tensor& bucket)>;

  // Watches the parameters of the model, which must outlive it.
  GradientBuckets(const Model& model, BeginSum begin_sum, const Limits& limits);
  GradientBuckets(const GradientBuckets&) = delete;
  ~GradientBuckets();

  // From now on until BeginRest a gradient that is there counts, and the sum of a bucket that has
  // all begins. The model's notes must be set. May throw what begin_sum throws, as must be expected
  // of the backward pass then.
  void Expect();
  // The gradients of the parameter whose gradients begin there in Model::gradients() are whole.
  // autograd is heard of it by itself.
  void Ready(int64_t offset);
  // Begins the sums of buckets that miss something: parameters that the loss did not depend on, or
  // all of them on a rank without samples.
  void BeginRest();

  // Where each begins in the flat gradients, in the order of their sums.
  std::vector<int64_t> begins() const;

 private:
  struct Bucket {
    int64_t begin = 0;
    at::Tensor values;
    int64_t parameters = 0, missing = 0;
  };
  struct Hooks;

  const BeginSum begin_sum_;
  std::vector<Bucket> buckets_;
  size_t next_ = 0;  // whose sum begins next; behind the last: none is expected
  std::unique_ptr<Hooks> hooks_;
};

}  // namespace cyxwiz::runner
