#include "scheduler/fleet.h"

#include <algorithm>
#include <numeric>

namespace cyxwiz::scheduler {

void LimitGpus(const Resources& to, Resources* room) {
  if (room->gpus->empty()) return;
  std::vector<GpuPart> limited;
  room->gpu_millis = 0;
  for (GpuPart part : *room->gpus) {
    auto found = std::find_if(to.gpus->begin(), to.gpus->end(),
                              [&](const GpuPart& one) { return one.index == part.index; });
    if (found == to.gpus->end()) continue;
    part.millis = std::min(part.millis, found->millis);
    part.memory_bytes = std::min(part.memory_bytes, found->memory_bytes);
    room->gpu_millis += part.millis;
    limited.push_back(part);
  }
  room->gpus = std::move(limited);
}

Fleet::Fleet(std::vector<NodeState> nodes) {
  for (NodeState& node : nodes) Put(std::move(node));
}

void Fleet::Put(NodeState node) {
  auto [found, fresh] = by_id_.try_emplace(node.id, nodes_.size());
  if (fresh) {
    nodes_.push_back(std::move(node));
    is_loosened_.push_back(false);
    data_.emplace_back();
  } else {
    node.claims = nodes_[found->second].claims;
    node.kept = nodes_[found->second].kept;
    nodes_[found->second] = std::move(node);
  }
  Loosen(found->second);
}

void Fleet::Remove(const NodeId& id) {
  auto drop = [&id](auto& list, auto drop_one) {
    for (size_t i = list.size(); i-- > 0;) {
      if (list[i].On(id) != nullptr) drop_one(list[i]);
    }
  };
  drop(holds_, [this](const Hold& hold) { DropHold(hold); });
  drop(claims_, [this](const Claim& claim) { DropClaim(claim); });
  // The last one takes its place.
  const size_t index = by_id_.at(id), last = nodes_.size() - 1;
  SetData(id, {});
  std::vector<ContentKey> data = data_[last];
  SetData(nodes_[last].id, {});
  std::erase(loosened_, index);
  std::replace(loosened_.begin(), loosened_.end(), last, index);
  is_loosened_[index] = index != last && is_loosened_[last];
  if (index != last) {
    nodes_[index] = std::move(nodes_[last]);
    by_id_[nodes_[index].id] = index;
  }
  by_id_.erase(id);
  nodes_.pop_back();
  data_.pop_back();
  is_loosened_.pop_back();
  ranks_.clear();
  if (index != last) SetData(nodes_[index].id, std::move(data));
}

void Fleet::SetData(const NodeId& id, std::vector<ContentKey> data) {
  const size_t index = by_id_.at(id);
  for (ContentKey key : data_[index]) {
    auto found = with_data_.find(key);
    std::erase(found->second, index);
    if (found->second.empty()) with_data_.erase(found);
  }
  std::sort(data.begin(), data.end());
  data.erase(std::unique(data.begin(), data.end()), data.end());
  for (ContentKey key : data) with_data_[key].push_back(index);
  data_[index] = std::move(data);
}

const std::vector<size_t>& Fleet::WithData(ContentKey key) const {
  static const std::vector<size_t> kNone;
  if (key == 0) return kNone;
  auto found = with_data_.find(key);
  return found == with_data_.end() ? kNone : found->second;
}

const NodeState* Fleet::Find(const NodeId& id) const {
  auto found = by_id_.find(id);
  return found == by_id_.end() ? nullptr : &nodes_[found->second];
}

const Hold::Place* Hold::On(const NodeId& node) const {
  for (const Place& place : places) {
    if (place.node == node) return &place;
  }
  return nullptr;
}

const Hold* Fleet::HoldOf(const LineKey& line, int64_t number) const {
  for (const Hold& hold : holds_) {
    if (hold.line == line && number-- == 0) return &hold;
  }
  return nullptr;
}

const Hold* Fleet::HoldOn(const NodeState& node) const {
  if (!node.kept) return nullptr;
  for (const Hold& hold : holds_) {
    if (hold.On(node.id) != nullptr) return &hold;
  }
  return nullptr;
}

void Fleet::AddHold(Hold hold) {
  for (const Hold::Place& place : hold.places) nodes_[by_id_.at(place.node)].kept = true;
  holds_.push_back(std::move(hold));
}

void Fleet::SetHold(size_t index, Hold hold) {
  Hold& present = holds_[index];
  for (const Hold::Place& place : present.places) {
    nodes_[by_id_.at(place.node)].kept = false;
    if (hold.On(place.node) == nullptr) Loosen(by_id_.at(place.node));
  }
  for (const Hold::Place& place : hold.places) nodes_[by_id_.at(place.node)].kept = true;
  present = std::move(hold);
}

void Fleet::DropHold(const Hold& hold) {
  for (const Hold::Place& place : hold.places) {
    nodes_[by_id_.at(place.node)].kept = false;
    Loosen(by_id_.at(place.node));
  }
  holds_.erase(holds_.begin() + (&hold - holds_.data()));
}

const Hold* Fleet::HoldFor(const NodeState& node, const LineKey& line) const {
  if (const Hold* on_node = HoldOn(node); on_node != nullptr && on_node->line == line)
    return on_node;
  // The newest: it has gathered the least room.
  auto last = std::find_if(holds_.rbegin(), holds_.rend(),
                           [&line](const Hold& hold) { return hold.line == line; });
  return last == holds_.rend() ? nullptr : &*last;
}

void Fleet::AddGuest(const NodeState& node, int64_t job, const Resources& amount) {
  for (Hold& hold : holds_) {
    for (Hold::Place& place : hold.places) {
      if (place.node != node.id) continue;
      place.guests.insert(job);
      place.spare -= amount;
    }
  }
}

const Claim::Place* Claim::On(const NodeId& node) const {
  for (const Place& place : places) {
    if (place.node == node) return &place;
  }
  return nullptr;
}

void Fleet::AddClaim(Claim claim) {
  for (const Claim::Place& place : claim.places) nodes_[by_id_.at(place.node)].claims++;
  claims_.push_back(std::move(claim));
}

void Fleet::AddPlace(size_t claim, const NodeId& node) {
  nodes_[by_id_.at(node)].claims++;
  claims_[claim].places.push_back({node, {}});
}

void Fleet::DropClaim(const Claim& claim) {
  for (const Claim::Place& place : claim.places) {
    size_t node = by_id_.at(place.node);
    nodes_[node].claims--;
    Loosen(node);
  }
  claims_.erase(claims_.begin() + (&claim - claims_.data()));
}

const Claim* Fleet::ClaimFor(const NodeState& node, const LineKey& line) const {
  if (node.claims == 0) return nullptr;
  for (const Claim& claim : claims_) {
    if (claim.line == line && claim.On(node.id) != nullptr) return &claim;
  }
  return nullptr;
}

bool Fleet::IsBeingMade(const Claim& claim) const {
  auto some_end_on = [this](const Claim::Place& place) {
    return std::any_of(claims_.begin(), claims_.end(), [&](const Claim& one) {
      const Claim::Place* there = one.On(place.node);
      return there != nullptr && !there->victims.empty();
    });
  };
  return std::any_of(claim.places.begin(), claim.places.end(), some_end_on);
}

void Fleet::EndVictim(int64_t job, const NodeId& node) {
  for (Claim& claim : claims_) {
    for (Claim::Place& place : claim.places) {
      if (place.node == node) place.victims.erase(job);
    }
  }
}

bool Fleet::IsLeftFor(const NodeState& node, const LineKey& line) const {
  if (node.claims == 0) return true;
  Resources free = node.free;
  for (const Claim& claim : claims_) {
    if (claim.On(node.id) == nullptr) continue;
    if (claim.line == line) return true;
    if (claim.line.priority < line.priority) continue;
    Resources claimed = claim.line.request.resources;
    claimed.gpu_millis = claimed.gpu_memory_bytes = 0;  // see GpusLeftFor
    free -= claimed;
  }
  return free.Holds(line.request.resources);
}

Resources Fleet::GpusLeftFor(const NodeState& node, const LineKey& line) const {
  if (node.claims == 0) return node.free;
  Resources later = node.free;  // once those that make room have ended
  for (const Claim& claim : claims_) {
    const Claim::Place* place = claim.On(node.id);
    if (place == nullptr) continue;
    if (claim.line == line) return node.free;
    for (const auto& [job, held] : place->victims) later += held;
  }
  for (const Claim& claim : claims_) {
    if (claim.On(node.id) != nullptr && claim.line.priority >= line.priority)
      later -= Placed(later, node.capacity, claim.line.request.resources);
  }
  Resources room = node.free;
  LimitGpus(later, &room);
  return room;
}

void Fleet::PassDone() {
  for (size_t index : loosened_) is_loosened_[index] = false;
  loosened_.clear();
}

bool Fleet::Rebuild() {
  by_id_.clear();
  ranks_.clear();
  is_loosened_.assign(nodes_.size(), false);
  for (size_t i = 0; i < nodes_.size(); ++i) {
    if (!by_id_.emplace(nodes_[i].id, i).second) return false;
  }
  if (data_.size() != nodes_.size()) return false;
  with_data_.clear();
  for (size_t i = 0; i < data_.size(); ++i) {
    for (ContentKey key : data_[i]) with_data_[key].push_back(i);
  }
  for (size_t index : loosened_) {
    if (index >= nodes_.size()) return false;
    is_loosened_[index] = true;
  }
  for (const Hold& hold : holds_) {
    for (const Hold::Place& place : hold.places) {
      if (by_id_.count(place.node) == 0) return false;
    }
  }
  for (const Claim& claim : claims_) {
    for (const Claim::Place& place : claim.places) {
      if (by_id_.count(place.node) == 0) return false;
    }
  }
  return true;
}

const std::vector<uint32_t>& Fleet::ranks() {
  if (ranks_.size() != nodes_.size()) {
    std::vector<size_t> order(nodes_.size());
    std::iota(order.begin(), order.end(), size_t{0});
    std::sort(order.begin(), order.end(),
              [this](size_t a, size_t b) { return nodes_[a].id < nodes_[b].id; });
    ranks_.resize(nodes_.size());
    for (size_t i = 0; i < order.size(); ++i) ranks_[order[i]] = static_cast<uint32_t>(i);
  }
  return ranks_;
}

}  // namespace cyxwiz::scheduler
