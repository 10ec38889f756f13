#include "control/bodies.h"

namespace cyxwiz::control {

BodyEntry& Bodies::Use(const std::shared_ptr<const JobBody>& body) {
  auto [number, fresh] = by_sha256_.try_emplace(body->sha256, next_);
  if (fresh) bodies_[next_++] = {number->second, body, 0, false, {}};
  BodyEntry& entry = bodies_.at(number->second);
  entry.jobs++;
  return entry;
}

BodyEntry& Bodies::UseStored(int64_t number, const std::shared_ptr<const JobBody>& body) {
  BodyEntry& entry = bodies_[number];
  if (entry.body == nullptr) {
    entry = {number, body, 0, true, {}};
    by_sha256_.try_emplace(body->sha256, number);
  }
  entry.jobs++;
  return entry;
}

bool Bodies::Drop(int64_t number) {
  auto found = bodies_.find(number);
  if (--found->second.jobs > 0) return false;
  auto by_sha256 = by_sha256_.find(found->second.body->sha256);
  if (by_sha256 != by_sha256_.end() && by_sha256->second == number) by_sha256_.erase(by_sha256);
  bodies_.erase(found);
  return true;
}

}  // namespace cyxwiz::control
