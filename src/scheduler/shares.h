// Fair share: what each account holds of the fleet and has held before, so that of jobs with the
// same priority those of the account that has had the least go first.
#pragma once

#include <map>
#include <string>
#include <tuple>

#include "base/clock.h"
#include "base/resources.h"

namespace cyxwiz::scheduler {

// The share of an account is the largest part that it holds of any resource of the fleet (its
// dominant share: Ghodsi et al., "Dominant Resource Fairness", NSDI 2011), plus the average of that
// over the past, in which half of the weight lies on the last `half_life`; both divided by the
// account's weight. No I/O, no clock.
class Shares {
 public:
  explicit Shares(Duration half_life = std::chrono::hours(24),
                  std::map<std::string, double> weights = {});

  // Capacity of the whole fleet.
  void SetTotal(const Resources& total) { total_ = total; }
  const Resources& total() const { return total_; }

  void Take(const std::string& account, const Resources& amount, MonotonicTime now);
  void GiveBack(const std::string& account, const Resources& amount, MonotonicTime now);
  // At start: the account held `amount` from so long ago until so long ago.
  void Remember(const std::string& account, const Resources& amount, Duration from, Duration until,
                MonotonicTime now);

  // The smaller, the sooner its jobs are served.
  double Of(const std::string& account, MonotonicTime now) const;

  // How many accounts hold something or have a past that still counts.
  size_t size() const { return accounts_.size(); }
  auto Fields() { return std::tie(half_life_, weights_, total_, accounts_); }

 private:
  struct Account {
    Resources held;
    double past = 0;  // at `since`
    MonotonicTime since;
    auto Fields() { return std::tie(held, past, since); }
  };
  double Part(const Resources& amount) const;
  double PastAt(const Account& account, MonotonicTime now) const;
  double WeightOf(const std::string& account) const;
  void Prune(MonotonicTime now);
  Account& Advance(const std::string& account, MonotonicTime now);

  Duration half_life_;
  std::map<std::string, double> weights_;  // 1 for those that are not there
  Resources total_;
  std::map<std::string, Account> accounts_;
};

}  // namespace cyxwiz::scheduler
