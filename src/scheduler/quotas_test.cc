#include "scheduler/quotas.h"

#include <gtest/gtest.h>

#include "scheduler/scheduler.h"

namespace cyxwiz::scheduler {
namespace {

Quota Cores(int64_t cores, bool borrow = true) {
  return {.cpu_millis = cores * 1000, .borrow = borrow};
}
LineKey Of(const std::string& user, int64_t cores, const std::string& project = "",
           int32_t priority = 1) {
  return {priority, {{cores * 1000, 0, 0}, 0, {}, {}}, user, project};
}

TEST(Quotas, WithoutAnyAllAreWithin) {
  Quotas none;
  EXPECT_EQ(none.Of(Of("ann", 1000)), Standing::kWithin);
  EXPECT_FALSE(none.IsBorrowing("ann", ""));
}

TEST(Quotas, WhoHasNoneBorrows) {
  Quotas quotas({{"user:ann", Cores(4)}});
  EXPECT_EQ(quotas.Of(Of("ann", 4)), Standing::kWithin);
  EXPECT_EQ(quotas.Of(Of("ann", 5)), Standing::kBorrows);
  EXPECT_EQ(quotas.Of(Of("bob", 1)), Standing::kBorrows);
  quotas.Take(Of("ann", 3), {3000, 0, 0});
  EXPECT_EQ(quotas.Of(Of("ann", 2)), Standing::kBorrows);
  EXPECT_FALSE(quotas.IsBorrowing("ann", ""));
  quotas.Take(Of("ann", 3), {3000, 0, 0});
  EXPECT_TRUE(quotas.IsBorrowing("ann", ""));
  quotas.GiveBack("ann", "", {3000, 0, 0});
  EXPECT_EQ(quotas.Of(Of("ann", 1)), Standing::kWithin);
}

TEST(Quotas, UserAndProjectBothCount) {
  Quotas quotas({{"user:ann", Cores(4)}, {"project:vision", Cores(2, false)}});
  EXPECT_EQ(quotas.Of(Of("ann", 2, "vision")), Standing::kWithin);
  EXPECT_EQ(quotas.Of(Of("bob", 2, "vision")), Standing::kWithin) << "by the project's";
  quotas.Take(Of("bob", 1, "vision"), {1000, 0, 0});
  EXPECT_EQ(quotas.Of(Of("ann", 2, "vision")), Standing::kBlocked);
  EXPECT_EQ(quotas.Explain(Of("ann", 2, "vision")),
            "project 'vision' holds 1 core of a quota of 2 cores, and this needs 2 cores");
}

TEST(Quotas, OnlyWhatIsAskedForCounts) {
  Quotas quotas({{"user:ann", {.cpu_millis = 8000, .gpu_millis = 1000}}});
  quotas.Take(Of("ann", 1), {1000, 0, 2});
  EXPECT_EQ(quotas.Of(Of("ann", 1)), Standing::kWithin) << "it needs no GPU";
}

TEST(Quotas, WhatExceedsAHardOneAloneCanNeverRun) {
  Quotas quotas({{"user:ann", {.cpu_millis = 2000, .gpu_millis = 1000, .borrow = false}},
                 {"user:bob", Cores(1)}});
  EXPECT_TRUE(quotas.CouldEverRun(Of("ann", 2)).ok());
  EXPECT_EQ(quotas.CouldEverRun(Of("ann", 3)).message(),
            "the job needs 3 cores, 0 GPUs, and the quota of user 'ann' is 2 cores, 1 GPU");
  EXPECT_TRUE(quotas.CouldEverRun(Of("bob", 3)).ok()) << "it may borrow";
}

// ---- Within a pass of the scheduler

struct Pass {
  Fleet fleet;
  Quotas quotas;
  Shares shares;

  Pass(int64_t cores, std::map<std::string, Quota> limits) : quotas(std::move(limits)) {
    NodeState node{.id = {"a"}, .online = true, .capacity = {cores * 1000, 0, 0}};
    node.free = node.capacity;
    fleet.Put(std::move(node));
  }
  std::vector<int64_t> Run(const std::vector<Line>& lines) {
    std::vector<int64_t> jobs;
    for (const Placement& one : Schedule(&fleet, lines, &shares, {}, &quotas))
      jobs.push_back(one.job);
    return jobs;
  }
};

using Jobs = std::vector<int64_t>;

TEST(QuotasInAPass, WhoIsWithinGoesBeforeWhoBorrowsWhateverTheirClass) {
  Pass pass(3, {{"user:ann", Cores(2)}});
  EXPECT_EQ(pass.Run({{Of("bob", 1, "", 3), {{1, 3}, {2, 3}, {3, 3}}},
                      {Of("ann", 1, "", 0), {{4, 0}, {5, 0}, {6, 0}}}}),
            (Jobs{4, 5, 1}))
      << "two are ann's by right; then the class counts";
}

TEST(QuotasInAPass, IdleRoomIsLent) {
  Pass pass(4, {{"user:ann", Cores(2)}, {"user:bob", Cores(2)}});
  EXPECT_EQ(pass.Run({{Of("bob", 1), {{1, 1}, {2, 1}, {3, 1}, {4, 1}}}}), (Jobs{1, 2, 3, 4}));
  pass.fleet.GiveBack({"a"}, {1000, 0, 0});
  pass.quotas.GiveBack("bob", "", {1000, 0, 0});
  EXPECT_EQ(pass.Run({{Of("bob", 1), {{5, 1}}}, {Of("ann", 1), {{6, 1}}}}), Jobs{6})
      << "the lender gets back what becomes free";
}

TEST(QuotasInAPass, AHardOneLeavesRoomIdle) {
  Pass pass(4, {{"user:bob", Cores(2, false)}});
  EXPECT_EQ(pass.Run({{Of("bob", 1), {{1, 1}, {2, 1}, {3, 1}}}, {Of("ann", 1), {{4, 1}}}}),
            (Jobs{1, 2, 4}));
}

}  // namespace
}  // namespace cyxwiz::scheduler
