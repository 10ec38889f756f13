// Counts how often runs come through the places that a simulator exists for. A run over many seeds
// that misses one of them proves less than it seems to.
#pragma once

#include <atomic>
#include <cstdint>

namespace cyxwiz::sim {

enum class Place {
  kCommitRefused,  // for want of space
  kDiskLow,        // the reserve was given up
  kDiskFull,       // even that was not enough: the server stands still
  kDiskFineAgain,
  kBeatOnFullDisk,
  kReadRefused,
  kOutcomeOpen,  // a client is told that nobody knows
  kKilledInCommit,
  kBatchSurvived,  // ... and the batch was there afterwards
  kStoreFailed,    // an I/O error ended the server
  kWritesLost,     // by a power failure
  kWriteTorn,
  kStartFailed,     // the server could not open its store at once
  kAdopted,         // an attempt that a node named when it registered
  kNodeLost,        // its lease ended on the server's side
  kLeaseLost,       // ... and on the node's, with runners
  kLateAssignment,  // refused by its session
  kAssignmentInDoubt,
  kStaleReport,
  kStaleRegistration,
  kNodeWokeUp,    // with runners, after its lease
  kKilledRunner,  // that did not obey
  kRetried,
  kCancelledWhileRunning,
  kPausedWhileRunning,
  kDrained,
  kIdUsedAgain,
  kRanTooLong,
  kWaitedTooLong,
  kDependencyFailed,
  kKillsNodes,
  kQuarantined,
  kReleased,
  kPreempted,
  kPreemptedOverRestart,
  kPreemptedForGang,
  kRecalled,
  kWindowEnded,
  kMemberStarted,
  kArrayEnded,
  kQuotaExceeded,
  kQuotaBorrowing,
  kGangSucceeded,
  kGangShrunk,  // an elastic one runs on fewer nodes than it did
  kGangBrokenOff,
  kGangEndOverRestart,
  kReplayed,
  kGpuShared,
  kNoSingleGpu,
  kMassLoss,
  kCancelledInParts,
  kCancellationOverRestart,
  kNodeForgotten,
  kCount,
};
inline constexpr const char* kPlaceNames[] = {
    "commit refused for want of space",
    "disk low",
    "disk full: the server stands still",
    "disk fine again",
    "a heartbeat answered while the disk is full",
    "a read refused because it rests on what is not stored",
    "outcome told to be open",
    "killed within a commit",
    "a batch survived its commit's end",
    "an I/O error ended the server",
    "writes lost with the power",
    "a write torn",
    "the server failed to start",
    "an attempt adopted from its node",
    "a node lost",
    "a lease lost with runners",
    "a late assignment refused",
    "an assignment in doubt",
    "a stale report",
    "a stale registration",
    "a node woke up after its lease",
    "a runner killed that did not obey",
    "an attempt retried",
    "a running job cancelled",
    "a running job paused",
    "an attempt ended because its node is drained",
    "the id of a removed job used again",
    "a job ended because it ran too long",
    "a job ended because it waited too long",
    "a job cancelled because one before it did not succeed",
    "a job stopped that takes nodes down",
    "a node put into quarantine",
    "a node released from quarantine",
    "an attempt made room for a job of a higher class",
    "an attempt was to make room when the server started",
    "room made for a gang",
    "an ended job read from the store",
    "a planned cordon ended by itself",
    "a member of an array started",
    "an array ended",
    "a job held back by a quota",
    "a job that waits beyond a quota",
    "a gang succeeded",
    "a gang went on with fewer nodes",
    "ranks of a gang stopped because of another one",
    "ranks of a gang were to end when the server started",
    "a segment of history replayed",
    "a GPU shared by several attempts",
    "a job that waits because no single GPU has room for it",
    "most nodes lost at once",
    "jobs cancelled in several batches",
    "jobs were left to be cancelled when the server started",
    "a node forgotten",
};
static_assert(std::size(kPlaceNames) == static_cast<size_t>(Place::kCount));

// Shared by the processes that work through the seeds; null: not counted.
inline std::atomic<uint64_t>* reached = nullptr;
inline void Reach(Place place) {
  if (reached != nullptr) ++reached[static_cast<int>(place)];
}

}  // namespace cyxwiz::sim
