// Which attempts this node has taken: an assignment serves once, however often its message is sent.
#pragma once

#include <algorithm>
#include <cstdint>
#include <map>
#include <set>
#include <string>
#include <utility>

#include "base/ids.h"
#include "base/status.h"

namespace cyxwiz::node {

// Remembers the newest attempt of each job until the token that it came with has expired; beyond
// `most` jobs the tokens that expire first are forgotten, and refused from then on. Pure, times are
// Unix seconds. One thread.
class TakenAttempts {
 public:
  explicit TakenAttempts(size_t most = 20'000) : most_(most) {}

  // FAILED_PRECONDITION when this attempt, or a later one of its job, has been taken, or when it is
  // not known any more whether it has.
  Status Check(const AttemptId& attempt, int64_t token_expires_at) const {
    auto found = jobs_.find(attempt.job);
    if (found != jobs_.end() && attempt.attempt <= found->second.attempt) {
      return FailedPrecondition("this node has taken attempt " +
                                std::to_string(found->second.attempt) + " of job '" +
                                attempt.job.value + "' before: an assignment of attempt " +
                                std::to_string(attempt.attempt) + " is of no use any more");
    }
    if (token_expires_at <= forgotten_) {
      return FailedPrecondition(
          "the job token is so old that this node does not know whether it "
          "has taken attempt " +
          std::to_string(attempt.attempt) + " of job '" + attempt.job.value + "' before");
    }
    return OkStatus();
  }
  void Add(const AttemptId& attempt, int64_t token_expires_at, int64_t now) {
    Taken& taken = jobs_[attempt.job];
    by_expiry_.erase({taken.token_expires_at, attempt.job});
    taken = {attempt.attempt, token_expires_at};
    by_expiry_.insert({token_expires_at, attempt.job});
    while (by_expiry_.size() > most_ || by_expiry_.begin()->first <= now) {
      // A calendar that is set back does not make an expired token good again.
      forgotten_ = std::max(forgotten_, by_expiry_.begin()->first);
      jobs_.erase(by_expiry_.begin()->second);
      by_expiry_.erase(by_expiry_.begin());
      if (by_expiry_.empty()) break;
    }
  }
  size_t size() const { return jobs_.size(); }

 private:
  struct Taken {
    AttemptNumber attempt = 0;
    int64_t token_expires_at = 0;
  };
  size_t most_;
  std::map<JobId, Taken> jobs_;
  std::set<std::pair<int64_t, JobId>> by_expiry_;
  int64_t forgotten_ = 0;  // the latest expiry of what was forgotten
};

}  // namespace cyxwiz::node
