// The nodes as the scheduler sees them, kept up to date by the control core one change at a time,
// so that a pass looks at what has changed and not at everything.
#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <set>
#include <string>
#include <tuple>
#include <unordered_map>
#include <vector>

#include "base/clock.h"
#include "base/content_key.h"
#include "base/ids.h"
#include "base/labels.h"
#include "base/resources.h"
#include "scheduler/request.h"

namespace cyxwiz::scheduler {

struct NodeState {
  NodeId id;
  bool online = false;
  bool held = false;         // online, but given nothing for a moment: it refused or did not answer
  bool cordoned = false;     // an operator wants it to get nothing
  bool quarantined = false;  // unlike jobs failed on it: it gets nothing
  bool probe = false;        // but this once
  Resources capacity;
  Resources free;
  std::vector<int32_t> devices;          // wire DeviceType of each kind it has
  std::shared_ptr<const Labels> labels;  // null: none
  int32_t claims = 0;                    // that have a place there
  bool kept = false;                     // it is a place of a hold
  bool gangs = false;                    // it takes ranks of gangs
};

// Nodes are kept for a job of a line that others have passed by for too long, as many as it needs.
// Until one of the line starts, jobs that do not go before it get there only what cannot delay it.
struct Hold {
  LineKey line;  // jobs of a higher priority go before it
  // When it starts at the latest, because enough of what runs there must have ended by its limit;
  // Never() when that is not known.
  MonotonicTime start = MonotonicTime::Never();
  MonotonicTime expected;  // when it was thought to start, for as long as that is ahead
  struct Place {
    NodeId node;
    Resources spare;           // what will be left beside it then
    std::set<int64_t> guests;  // jobs that were let in beside it; not waited for
  };
  std::vector<Place> places;

  // nullptr: the node is not kept.
  const Place* On(const NodeId& node) const;
};

// Attempts end so that a job of a line of a higher priority finds room, on as many nodes as it
// needs (preemption.h). Until it has started, lines that do not go before it get nothing of that.
struct Claim {
  int64_t job = 0;  // its sequence; it, or another one of its line
  LineKey line;
  struct Place {
    NodeId node;
    std::map<int64_t, Resources> victims;  // jobs whose attempts have not ended, and what they hold
  };
  std::vector<Place> places;

  // nullptr: it has none on the node.
  const Place* On(const NodeId& node) const;
};

// Leaves of each GPU no more than there.
void LimitGpus(const Resources& to, Resources* room);

class Fleet {
 public:
  Fleet() = default;
  // All of them count as changed.
  explicit Fleet(std::vector<NodeState> nodes);

  // Adds a node, or replaces the one of this id.
  void Put(NodeState node);
  // The node, which must be there, is no longer; holds and claims that have a place there go too.
  void Remove(const NodeId& id);
  // nullptr when there is none.
  const NodeState* Find(const NodeId& id) const;
  // Changes what is not an amount; f takes a NodeState&. The node must be there.
  template <typename F>
  void Change(const NodeId& id, F f) {
    size_t index = by_id_.at(id);
    f(nodes_[index]);
    Loosen(index);
  }
  void Take(const NodeId& id, const Resources& amount) { nodes_[by_id_.at(id)].free -= amount; }
  void GiveBack(const NodeId& id, const Resources& amount) {
    size_t index = by_id_.at(id);
    nodes_[index].free += amount;
    Loosen(index);
  }

  // The node, which must be there, keeps these data sets and weights and no others.
  void SetData(const NodeId& id, std::vector<ContentKey> data);
  // The places in nodes() of those that keep this one.
  const std::vector<size_t>& WithData(ContentKey key) const;

  const std::vector<NodeState>& nodes() const { return nodes_; }

  // No node is a place of two of them; in order of arrival.
  const std::vector<Hold>& holds() const { return holds_; }
  // Of those of its line. nullptr: there are fewer.
  const Hold* HoldOf(const LineKey& line, int64_t number = 0) const;
  // The one that has a place on this node; nullptr: none has.
  const Hold* HoldOn(const NodeState& node) const;
  void AddHold(Hold hold);
  // Puts another one in its place.
  void SetHold(size_t index, Hold hold);
  void DropHold(const Hold& hold);  // one of holds()
  // The one that has done its service when a job of this line gets its place there; nullptr: none.
  const Hold* HoldFor(const NodeState& node, const LineKey& line) const;
  // The job has got its place on a kept node, beside the one that waits.
  void AddGuest(const NodeState& node, int64_t job, const Resources& amount);

  const std::vector<Claim>& claims() const { return claims_; }
  void AddClaim(Claim claim);
  void AddPlace(size_t claim, const NodeId& node);  // where there is room without anybody's end
  void DropClaim(const Claim& claim);               // one of claims()
  // The one that has done its service when a job of the line gets its place there; nullptr: none.
  const Claim* ClaimFor(const NodeState& node, const LineKey& line) const;
  // Whether an attempt that makes room on one of its nodes has not ended.
  bool IsBeingMade(const Claim& claim) const;
  // The attempt of this job has ended there.
  void EndVictim(int64_t job, const NodeId& node);
  // Whether the line may have its request of what is free on the node, with what is claimed there.
  bool IsLeftFor(const NodeState& node, const LineKey& line) const;
  // What is free of the node, of its GPUs only what the line may have with what is claimed there.
  Resources GpusLeftFor(const NodeState& node, const LineKey& line) const;

  // For Schedule: the places in nodes() of those that may hold more than at the last pass.
  const std::vector<size_t>& loosened() const { return loosened_; }
  void PassDone();
  NodeState& at(size_t index) { return nodes_[index]; }
  // The place of each in the order of the ids, so that equals are told apart quickly.
  const std::vector<uint32_t>& ranks();

  // What the rest follows from, by Rebuild: false when it does not fit together.
  auto Fields() { return std::tie(nodes_, holds_, claims_, loosened_, data_); }
  bool Rebuild();

 private:
  void Loosen(size_t index) {
    if (is_loosened_[index]) return;
    is_loosened_[index] = true;
    loosened_.push_back(index);
  }

  std::vector<NodeState> nodes_;  // in order of arrival, until one is removed
  std::vector<Hold> holds_;       // few
  std::vector<Claim> claims_;     // few; in order of arrival
  std::unordered_map<NodeId, size_t> by_id_;
  std::vector<std::vector<ContentKey>> data_;  // as long as nodes_
  std::unordered_map<ContentKey, std::vector<size_t>> with_data_;
  std::vector<size_t> loosened_;
  std::vector<bool> is_loosened_;
  std::vector<uint32_t> ranks_;  // as long as nodes_, or to be made anew
};

}  // namespace cyxwiz::scheduler
