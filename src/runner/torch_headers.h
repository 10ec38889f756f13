// What the runner includes of libtorch, precompiled: ATen alone, for autograd works through its
// dispatcher and torch/torch.h would more than double the time to compile a unit.
#pragma once

#include <ATen/ATen.h>
#include <ATen/Parallel.h>
#include <ATen/core/grad_mode.h>
#include <torch/version.h>
