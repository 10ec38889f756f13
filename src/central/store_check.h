// Whether a data folder, or a backup, is sound: what SQLite sees, and what our own records promise.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "base/status.h"

namespace cyxwiz::central {

struct CheckReport {
  // Sentences; the first kMostProblems of them.
  std::vector<std::string> problems;
  int64_t more_problems = 0;
  int64_t jobs = 0, nodes = 0, events = 0, files = 0;
  bool files_looked_at = false;  // a backup has none
};
inline constexpr size_t kMostProblems = 1000;

// `path` is a data folder or a backup. Changes nothing. Looks for
//   - damage of the file and its indexes (SQLite's integrity_check); no more is looked at then
//   - jobs whose specification is missing or is not the one that was submitted, that are held by a
//     node nobody knows, or whose state is none
//   - counts of ended jobs that are not those of the rows
//   - events out of order, that tell of an impossible transition, or do not lead to the job's state
//   - artifacts and checkpoints that jobs name and that are missing or of another size; with `deep`
//     also of another content; likewise the files of data sets that the server keeps
// Fails as store::FindDamage.
Result<CheckReport> CheckData(const std::string& path, bool deep);

}  // namespace cyxwiz::central
