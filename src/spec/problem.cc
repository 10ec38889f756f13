#include "spec/problem.h"

namespace cyxwiz::spec {

std::string Problem::ToString() const {
  std::string text = path + ": " + message;
  if (!expected.empty()) text += ": expected " + expected;
  if (!found.empty()) text += (expected.empty() ? ": found " : ", found ") + found;
  if (!hint.empty()) text += " (" + hint + ")";
  return text;
}

std::string Problems::ToString() const {
  std::string text;
  for (const Problem& problem : list_) text += problem.ToString() + "\n";
  if (count_ > list_.size()) text += "and " + std::to_string(count_ - list_.size()) + " more\n";
  return text;
}

}  // namespace cyxwiz::spec
