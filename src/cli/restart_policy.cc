#include "cli/restart_policy.h"

namespace cyxwiz::cli {

std::optional<Duration> RestartPolicy::OnEnd(MonotonicTime now) {
  while (!ends_.empty() && now - ends_.front() >= kWindow) ends_.pop_front();
  ends_.push_back(now);
  if (ends_.size() > kMostEnds) return std::nullopt;
  return first_pause_ * (1 << (ends_.size() - 1));
}

}  // namespace cyxwiz::cli
