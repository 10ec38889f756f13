// What users and projects are entitled to of the fleet, and what they hold of it. No I/O, no clock.
#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <tuple>

#include "base/resources.h"
#include "base/status.h"
#include "scheduler/request.h"

namespace cyxwiz::scheduler {

struct Quota {
  // -1: as much as there is.
  int64_t cpu_millis = -1, memory_bytes = -1, gpu_millis = -1;
  // Beyond it, what nobody within a quota needs; false: nothing.
  bool borrow = true;
};

// How a job stands that would start now.
enum class Standing {
  kWithin,   // a quota is meant for it; where there are no quotas, all are within
  kBorrows,  // no quota is meant for it
  kBlocked   // it would go beyond a quota that does not let it
};

class Quotas {
 public:
  Quotas() = default;
  // By owner: "user:ann", "project:vision". Those that are not there have none: they borrow.
  explicit Quotas(std::map<std::string, Quota> quotas);

  bool empty() const { return owners_.empty(); }

  void Take(const LineKey& line, const Resources& amount);
  void GiveBack(const std::string& user, const std::string& project, const Resources& amount);

  // One more of the line. It must be within the quotas of its user and of its project, where these
  // have one.
  Standing Of(const LineKey& line) const;
  // Whether what they hold goes beyond a quota, or has none.
  bool IsBorrowing(const std::string& user, const std::string& project) const;
  // Why the line's standing is not kWithin, with numbers.
  std::string Explain(const LineKey& line) const;
  // The least that would have to change so that the line is not kBlocked; empty: it is not.
  std::string SmallestChange(const LineKey& line) const;
  // Whether the line could start if its owners held nothing. FAILED_PRECONDITION, with the
  // numbers, when not.
  Status CouldEverRun(const LineKey& line) const;

  auto Fields() { return std::tie(owners_); }

 private:
  struct Owner {
    std::string name;  // "user 'ann'"
    Quota quota;
    Resources held;
    bool Holds(const Resources& more) const;  // looks at nothing of which there is no more
    bool IsOver() const;
    auto Fields() { return std::tie(name, quota, held); }
  };
  // Calls f with those of the two that have a quota.
  template <typename Owners, typename F>
  static void ForEach(Owners& owners, const std::string& user, const std::string& project, F f);

  std::map<std::string, Owner> owners_;
};

// "4 cores, 2.5 GPUs"
std::string ToString(const Quota& quota);

}  // namespace cyxwiz::scheduler
