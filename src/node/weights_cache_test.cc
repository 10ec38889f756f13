#include "node/weights_cache.h"

#include <gtest/gtest.h>

#include <filesystem>

#include "base/file.h"
#include "base/testing.h"

namespace cyxwiz::node {
namespace {

class WeightsCacheTest : public testing::Test {
 protected:
  std::unique_ptr<WeightsCache> Open(int64_t max_bytes) {
    auto cache = WeightsCache::Open(folder_ / "cache", max_bytes);
    EXPECT_TRUE(cache.ok()) << cache.status();
    return std::move(*cache);
  }
  // Keeps a file of so many bytes under that name.
  void Keep(WeightsCache* cache, const std::string& name, size_t bytes) {
    const std::string path = folder_ / "fetched";
    ASSERT_TRUE(WriteFileAtomically(path, std::string(bytes, 'x')).ok());
    cache->Keep(name, path);
    std::filesystem::remove(path);
  }
  // Whether the cache gives it.
  bool Has(WeightsCache* cache, const std::string& name) {
    const std::string path = folder_ / "given";
    const bool has = cache->Give(name, path);
    EXPECT_EQ(std::filesystem::exists(path), has);
    std::filesystem::remove(path);
    return has;
  }
  TemporaryFolder folder_;
};

TEST_F(WeightsCacheTest, GivesWhatItKeeps) {
  auto cache = Open(100);
  EXPECT_FALSE(Has(cache.get(), "a"));
  Keep(cache.get(), "a", 40);
  EXPECT_TRUE(Has(cache.get(), "a"));
  EXPECT_EQ(cache->bytes(), 40);
  Keep(cache.get(), "a", 30);  // in its place
  EXPECT_EQ(cache->bytes(), 30);
  cache->Drop("a");
  EXPECT_FALSE(Has(cache.get(), "a"));
  EXPECT_EQ(cache->bytes(), 0);
}

TEST_F(WeightsCacheTest, TheLeastLatelyUsedGoesFirst) {
  auto cache = Open(100);
  Keep(cache.get(), "a", 40);
  Keep(cache.get(), "b", 40);
  EXPECT_TRUE(Has(cache.get(), "a"));
  Keep(cache.get(), "c", 40);
  EXPECT_FALSE(Has(cache.get(), "b"));
  EXPECT_TRUE(Has(cache.get(), "a") && Has(cache.get(), "c"));
  EXPECT_EQ(cache->bytes(), 80);
}

TEST_F(WeightsCacheTest, WhatAnAttemptHasOutlivesTheCachesOwn) {
  auto cache = Open(100);
  Keep(cache.get(), "a", 60);
  ASSERT_TRUE(cache->Give("a", folder_ / "mine"));
  Keep(cache.get(), "b", 60);
  EXPECT_FALSE(Has(cache.get(), "a"));
  EXPECT_EQ(std::filesystem::file_size(folder_ / "mine"), 60u);
}

TEST_F(WeightsCacheTest, WhatIsTooLargeIsNotKeptAndPushesNothingOut) {
  auto cache = Open(100);
  Keep(cache.get(), "a", 40);
  Keep(cache.get(), "large", 101);
  EXPECT_FALSE(Has(cache.get(), "large"));
  EXPECT_TRUE(Has(cache.get(), "a"));
  auto none = Open(0);
  Keep(none.get(), "b", 1);
  EXPECT_FALSE(Has(none.get(), "b"));
}

TEST_F(WeightsCacheTest, ARestartKeepsFilesAndOrder) {
  {
    auto cache = Open(200);
    for (const char* name : {"a", "b", "c"}) Keep(cache.get(), name, 50);
    EXPECT_TRUE(Has(cache.get(), "a"));
  }
  auto cache = Open(100);
  EXPECT_EQ(cache->bytes(), 100);
  EXPECT_FALSE(Has(cache.get(), "b"));
  EXPECT_TRUE(Has(cache.get(), "a") && Has(cache.get(), "c"));
}

TEST_F(WeightsCacheTest, AFileThatIsGoneIsNotGiven) {
  auto cache = Open(100);
  Keep(cache.get(), "a", 40);
  std::filesystem::remove(folder_ / "cache/a");
  EXPECT_FALSE(Has(cache.get(), "a"));
  EXPECT_EQ(cache->bytes(), 0);
}

}  // namespace
}  // namespace cyxwiz::node
