// bfloat16 on the CPU.
#pragma once

#include "runner/torch_headers.h"

// Whether this libtorch can be told the device by argument.
#if TORCH_VERSION_MAJOR > 2 || (TORCH_VERSION_MAJOR == 2 && TORCH_VERSION_MINOR >= 4)
#define CYXWIZ_AUTOCAST 1
#else
#define CYXWIZ_AUTOCAST 0
#endif
#if CYXWIZ_AUTOCAST
#include <ATen/autocast_mode.h>
#endif

namespace cyxwiz::runner {

// Autocast for as long as it lives: libtorch then computes products in bfloat16 and keeps sums,
// norms and losses in float32.
class Autocast {
 public:
  explicit Autocast(bool on) : on_(on) {
#if CYXWIZ_AUTOCAST
    if (!on_) return;
    at::autocast::set_autocast_enabled(at::kCPU, true);
    at::autocast::set_autocast_dtype(at::kCPU, at::kBFloat16);
    at::autocast::increment_nesting();
#endif
  }
  ~Autocast() {
#if CYXWIZ_AUTOCAST
    if (!on_) return;
    at::autocast::decrement_nesting();
    at::autocast::clear_cache();
    at::autocast::set_autocast_enabled(at::kCPU, false);
#endif
  }
  Autocast(const Autocast&) = delete;
  Autocast& operator=(const Autocast&) = delete;

 private:
  const bool on_;
};

}  // namespace cyxwiz::runner
