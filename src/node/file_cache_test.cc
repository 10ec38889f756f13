#include "node/file_cache.h"

#include <gtest/gtest.h>

#include <filesystem>

#include "base/file.h"
#include "base/testing.h"

namespace cyxwiz::node {
namespace {

class FileCacheTest : public testing::Test {
 protected:
  std::unique_ptr<FileCache> Open(int64_t max_bytes) {
    auto cache = FileCache::Open(folder_ / "cache", "weights", max_bytes);
    EXPECT_TRUE(cache.ok()) << cache.status();
    return std::move(*cache);
  }
  // Keeps a file of so many bytes under that name, with room made for it.
  FileCache::Hold Keep(FileCache* cache, const std::string& name, size_t bytes) {
    const std::string path = folder_ / "fetched";
    EXPECT_TRUE(WriteFileAtomically(path, std::string(bytes, 'x')).ok());
    cache->MakeRoom(static_cast<int64_t>(bytes));
    FileCache::Hold hold = cache->Keep(name, path);
    std::filesystem::remove(path);
    return hold;
  }
  // Whether the cache gives it.
  bool Has(FileCache* cache, const std::string& name) {
    const std::string path = folder_ / "given";
    const bool has = cache->Give(name, path) != nullptr;
    EXPECT_EQ(std::filesystem::exists(path), has);
    std::filesystem::remove(path);
    return has;
  }
  TemporaryFolder folder_;
};

TEST_F(FileCacheTest, GivesWhatItKeeps) {
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

TEST_F(FileCacheTest, TheLeastLatelyUsedGoesFirst) {
  auto cache = Open(100);
  Keep(cache.get(), "a", 40);
  Keep(cache.get(), "b", 40);
  EXPECT_TRUE(Has(cache.get(), "a"));
  Keep(cache.get(), "c", 40);
  EXPECT_FALSE(Has(cache.get(), "b"));
  EXPECT_TRUE(Has(cache.get(), "a") && Has(cache.get(), "c"));
  EXPECT_EQ(cache->bytes(), 80);
  EXPECT_EQ(cache->counts().evictions, 1);
}

TEST_F(FileCacheTest, WhatIsHeldStaysAndTheNextOneGoes) {
  auto cache = Open(100);
  const FileCache::Hold oldest = Keep(cache.get(), "a", 40);
  Keep(cache.get(), "b", 40);
  Keep(cache.get(), "c", 40);
  EXPECT_FALSE(Has(cache.get(), "b"));
  EXPECT_TRUE(Has(cache.get(), "a") && Has(cache.get(), "c"));
}

TEST_F(FileCacheTest, WhatIsHeldMakesNoRoom) {
  auto cache = Open(100);
  FileCache::Hold a = Keep(cache.get(), "a", 60);
  ASSERT_NE(a, nullptr);
  EXPECT_EQ(Keep(cache.get(), "b", 60), nullptr);
  EXPECT_TRUE(Has(cache.get(), "a"));
  EXPECT_EQ(cache->bytes(), 60);
  Keep(cache.get(), "c", 40);
  FileCache::Hold given = cache->Give("c", folder_ / "mine");
  EXPECT_FALSE(cache->MakeRoom(1));
  EXPECT_TRUE(Has(cache.get(), "c"));
  a.reset();
  EXPECT_NE(Keep(cache.get(), "b", 60), nullptr);
  EXPECT_FALSE(Has(cache.get(), "a"));
  EXPECT_TRUE(Has(cache.get(), "c"));
}

TEST_F(FileCacheTest, WhatAnAttemptHasOutlivesADamagedEntry) {
  auto cache = Open(100);
  Keep(cache.get(), "a", 60);
  FileCache::Hold hold = cache->Give("a", folder_ / "mine");
  ASSERT_NE(hold, nullptr);
  cache->Drop("a");
  EXPECT_FALSE(Has(cache.get(), "a"));
  EXPECT_EQ(std::filesystem::file_size(folder_ / "mine"), 60u);
}

TEST_F(FileCacheTest, WhatIsTooLargeIsNotKeptAndPushesNothingOut) {
  auto cache = Open(100);
  Keep(cache.get(), "a", 40);
  Keep(cache.get(), "large", 101);
  EXPECT_FALSE(Has(cache.get(), "large"));
  EXPECT_TRUE(Has(cache.get(), "a"));
  auto none = Open(0);
  Keep(none.get(), "b", 1);
  EXPECT_FALSE(Has(none.get(), "b"));
}

TEST_F(FileCacheTest, ARestartKeepsFilesAndOrderAndTrustsNoContent) {
  {
    auto cache = Open(200);
    for (const char* name : {"a", "b", "c"}) EXPECT_TRUE(Keep(cache.get(), name, 50)->checked);
    EXPECT_TRUE(Has(cache.get(), "a"));
  }
  auto cache = Open(100);
  EXPECT_EQ(cache->bytes(), 100);
  EXPECT_FALSE(Has(cache.get(), "b"));
  EXPECT_TRUE(Has(cache.get(), "a") && Has(cache.get(), "c"));
  EXPECT_FALSE(cache->Find("a")->checked);
}

TEST_F(FileCacheTest, AFileThatIsGoneIsNotGiven) {
  auto cache = Open(100);
  Keep(cache.get(), "a", 40);
  std::filesystem::remove(folder_ / "cache/a");
  EXPECT_FALSE(Has(cache.get(), "a"));
  EXPECT_EQ(cache->bytes(), 0);
}

}  // namespace
}  // namespace cyxwiz::node
