// Fair share: what each project and each user holds of the fleet and has held before, so that of
// jobs with the same priority those go first whose project, and within it whose user, has had the
// least.
#pragma once

#include <compare>
#include <map>
#include <string>
#include <tuple>

#include "base/clock.h"
#include "base/resources.h"

namespace cyxwiz::scheduler {

// How much a user's jobs of one project have had; the smaller, the sooner the next one is served.
struct Share {
  double of_project = 0;  // all users' jobs of it; where they name none, only the user's
  double of_user = 0;     // the user's jobs of this project; counts among users of one project

  auto operator<=>(const Share&) const = default;
  // Whether it is more than so many times the other.
  bool Exceeds(const Share& other, double times) const {
    return of_project != other.of_project ? of_project > times * other.of_project
                                          : of_user > times * other.of_user;
  }
};

// Each account's share is the largest part that it holds of any resource of the fleet (its dominant
// share: Ghodsi et al., "Dominant Resource Fairness", NSDI 2011), plus the average of that over the
// past, in which half of the weight lies on the last `half_life`; both divided by the account's
// weight. Jobs that name no project (an empty one) count to their user alone, who stands beside the
// projects. No I/O, no clock.
class Shares {
 public:
  // weights: of users by name, of projects as "project:NAME"; 1 for those that are not there.
  explicit Shares(Duration half_life = std::chrono::hours(24),
                  const std::map<std::string, double>& weights = {});

  // Capacity of the whole fleet.
  void SetTotal(const Resources& total) { total_ = total; }
  const Resources& total() const { return total_; }

  void Take(const std::string& user, const std::string& project, const Resources& amount,
            MonotonicTime now);
  void GiveBack(const std::string& user, const std::string& project, const Resources& amount,
                MonotonicTime now);
  // At start: the user held `amount` for the project from so long ago until so long ago.
  void Remember(const std::string& user, const std::string& project, const Resources& amount,
                Duration from, Duration until, MonotonicTime now);

  Share Of(const std::string& user, const std::string& project, MonotonicTime now) const;

  // How many accounts of users hold something or have a past that still counts.
  size_t size() const { return size_; }
  auto Fields() {
    return std::tie(half_life_, user_weights_, project_weights_, total_, projects_, size_);
  }

 private:
  struct Account {
    Resources held;
    double past = 0;  // at `since`
    MonotonicTime since;
    auto Fields() { return std::tie(held, past, since); }
  };
  struct Project {
    Account all;  // of the project without a name: not used
    std::map<std::string, Account> users;
    auto Fields() { return std::tie(all, users); }
  };
  using Weights = std::map<std::string, double>;

  double Part(const Resources& amount) const;
  double PastAt(const Account& account, MonotonicTime now) const;
  double ShareOf(const Account& account, const Weights& weights, const std::string& name,
                 MonotonicTime now) const;
  // Brings the accounts that count for it up to now, and calls f with each.
  template <typename F>
  void Change(const std::string& user, const std::string& project, MonotonicTime now, F f);
  void Prune(MonotonicTime now);

  Duration half_life_;
  Weights user_weights_, project_weights_;
  Resources total_;
  std::map<std::string, Project> projects_;  // by name; empty: the jobs that name none
  size_t size_ = 0;                          // users in all of them
};

}  // namespace cyxwiz::scheduler
