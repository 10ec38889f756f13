// The bodies of the jobs in memory, each kept once.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <tuple>
#include <unordered_map>

#include "control/entries.h"
#include "control/records.h"

namespace cyxwiz::control {

class Bodies {
 public:
  // At start: the number that the next new body gets.
  void SetNext(int64_t number) { next_ = number; }

  // One more job has it: the entry of an equal one, or a new one.
  BodyEntry& Use(const std::shared_ptr<const JobBody>& body);
  // Likewise of a job that is stored with the body of this number.
  BodyEntry& UseStored(int64_t number, const std::shared_ptr<const JobBody>& body);
  // The job in memory that had it is gone. True: it was the last one, and so is the entry.
  bool Drop(int64_t number);
  BodyEntry& at(int64_t number) { return bodies_.at(number); }
  const BodyEntry& at(int64_t number) const { return bodies_.at(number); }
  bool Has(int64_t number) const { return bodies_.count(number) > 0; }
  auto Fields() { return std::tie(bodies_, by_sha256_, next_); }

 private:
  std::unordered_map<int64_t, BodyEntry> bodies_;
  std::unordered_map<std::string, int64_t> by_sha256_;
  int64_t next_ = 1;
};

}  // namespace cyxwiz::control
