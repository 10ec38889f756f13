// What a job asks for besides its work: limits, jobs that come first, labels of nodes. Read from
// job files, and checked alike when it comes over the wire.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/labels.h"
#include "base/resources.h"
#include "spec/object_reader.h"
#include "spec/problem.h"

namespace cyxwiz::spec {

inline constexpr int64_t kMaxLimitSeconds = 10 * 366 * 24 * 3600;
inline constexpr int64_t kMaxLimitBytes = int64_t{1} << 40;
inline constexpr size_t kMaxDependencies = 1000;
inline constexpr size_t kMaxNamedResources = 16;
inline constexpr int64_t kMaxNamedAmount = 1'000'000'000'000;
inline constexpr int64_t kMaxNodes = 64;

// 0: no limit.
struct JobLimits {
  int64_t run_seconds = 0;       // of one attempt
  int64_t queue_seconds = 0;     // from acceptance to the first start
  int64_t deadline = 0;          // Unix seconds
  int64_t log_bytes = 0;         // of one attempt's log; 0: as much as the node allows
  int64_t checkpoint_bytes = 0;  // of one checkpoint, all files together; a larger one is not kept
};

struct JobDependency {
  std::string job_id;
  bool any_end = false;  // false: it must have succeeded
};

struct JobTerms {
  JobLimits limits;
  std::vector<JobDependency> after;
  Labels node_labels;         // "pool" says the same as the label of that name
  std::string anti_affinity;  // group of the user's jobs that never share a node; empty: none
  std::string project;        // empty: none
  int64_t nodes = 1;          // "resources.nodes": at once, with a rank of the job on each
  int64_t min_nodes = 0;      // "resources.elastic.min_nodes": it makes do with; 0: no fewer
  int64_t processes = 1;      // "resources.processes": ranks on each of its nodes

  int64_t ranks() const { return nodes * processes; }  // at most
  int64_t least_nodes() const { return min_nodes > 0 ? min_nodes : nodes; }
  // What all processes on a node need, when this is what each does.
  Resources OnNode(Resources each) const {
    each.cpu_millis *= processes;
    each.memory_bytes *= processes;
    return each;
  }
};

// The members "limits", "after", "node_labels", "pool", "anti_affinity" and "project" of a job
// file.
JobTerms ReadJobTerms(ObjectReader& reader, Problems* problems);

// Ranges, names, nothing twice.
void CheckJobTerms(const JobTerms& terms, Problems* problems);
// Names and amounts of resources of the operator's own.
void CheckNamedResources(const Resources& resources, Problems* problems);

// Seconds from "90s", "1h30m", "2d", "45" (seconds): whole numbers, each with one of s, m, h, d, w,
// the larger first. nullopt for anything else, for 0 and beyond kMaxLimitSeconds.
std::optional<int64_t> ParseSeconds(std::string_view text);

// Unix seconds from "2026-12-24T18:00:00Z" or "2026-12-24T18:00:00+01:00" (RFC 3339, whole
// seconds).
std::optional<int64_t> ParseMoment(std::string_view text);

}  // namespace cyxwiz::spec
