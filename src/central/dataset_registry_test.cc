#include "central/dataset_registry.h"

#include <gtest/gtest.h>
#include <utime.h>

#include <filesystem>
#include <fstream>

#include "base/file.h"
#include "base/testing.h"

namespace cyxwiz::central {
namespace {

namespace fs = std::filesystem;

constexpr UnixTime kNow{1'700'000'000'000};

class DatasetRegistryTest : public testing::Test {
 protected:
  DatasetRegistryTest() { Open(); }

  void Open() {
    registry_.reset();
    auto opened = DatasetRegistry::Open(folder_ / "datasets", 1 << 20);
    ASSERT_TRUE(opened.ok()) << opened.status();
    registry_ = std::move(*opened);
  }
  // Sends a file's content.
  spec::DatasetFile Store(const std::string& path, const std::string& content) {
    auto upload = registry_->store()->Begin();
    EXPECT_TRUE(upload.ok() && (*upload)->Append(content).ok());
    return {path, *(*upload)->Finish(""), static_cast<int64_t>(content.size())};
  }
  std::string Put(const std::string& name, const std::string& version,
                  const std::vector<spec::DatasetFile>& files) {
    auto put = registry_->Put(name, version, files, kNow);
    if (!put.ok()) return put.status().message();
    return put->version ? put->version->version + (put->existed ? " existed" : "") : "missing";
  }
  std::string Find(const std::string& name, const std::string& version) {
    auto found = registry_->Find(name, version);
    return found.ok() ? (*found)->version : found.status().ToString();
  }
  Status Remove(const std::string& name, const std::string& version) {
    bool shared = false;
    auto begun = registry_->BeginRemoval(name, version, &shared);
    return begun.ok() ? registry_->FinishRemoval(*begun) : begun.status();
  }
  size_t stored() { return registry_->store()->List()->size(); }

  TemporaryFolder folder_;
  std::unique_ptr<DatasetRegistry> registry_;
};

TEST_F(DatasetRegistryTest, CountsVersionsAndTellsWhatIsThere) {
  const spec::DatasetFile a = Store("a", "1"), b = Store("b", "2");
  EXPECT_EQ(Put("x", "", {a}), "1");
  EXPECT_EQ(Put("x", "", {a}), "1 existed");
  EXPECT_EQ(Put("x", "", {a, b}), "2");
  EXPECT_EQ(Put("x", "", {a}), "3");  // the newest one differs
  EXPECT_EQ(Put("x", "spring", {b}), "spring");
  EXPECT_EQ(Put("x", "spring", {b}), "spring existed");
  EXPECT_NE(Put("x", "spring", {a}).find("is there with another content"), std::string::npos);
  EXPECT_EQ(Put("x", "7", {a}), "7");
  EXPECT_EQ(Put("x", "", {b}), "8");
  EXPECT_EQ(Find("x", ""), "8");
  EXPECT_EQ(Find("x", "2"), "2");
  Open();
  EXPECT_EQ(Find("x", ""), "8");
  auto list = registry_->List("x");
  ASSERT_TRUE(list.ok());
  std::string versions;
  for (const DatasetVersion& one : *list) versions += one.version + " ";
  EXPECT_EQ(versions, "8 7 spring 3 2 1 ");
  EXPECT_EQ(list->at(4).bytes, 2);
  EXPECT_EQ(list->at(4).created_at, kNow);
  EXPECT_EQ(list->at(4).main_file, "");
  EXPECT_EQ(list->at(5).main_file, "a");
}

TEST_F(DatasetRegistryTest, ARemovedNumberIsNotGivenAgain) {
  const spec::DatasetFile a = Store("a", "1"), b = Store("b", "2");
  Put("x", "", {a});
  ASSERT_TRUE(Remove("x", "1").ok());
  Open();
  Store("b", "2");
  EXPECT_EQ(Put("x", "", {b}), "2");
}

TEST_F(DatasetRegistryTest, SaysWhichFilesAreMissing) {
  const spec::DatasetFile a = Store("a", "1");
  auto put = registry_->Put(
      "x", "", {{"z", std::string(64, 'f'), 3}, a, {"y", std::string(64, 'e'), 3}}, kNow);
  ASSERT_TRUE(put.ok());
  EXPECT_FALSE(put->version);
  EXPECT_EQ(put->missing, (std::vector<int32_t>{0, 2}));
  EXPECT_NE(Find("x", "").find("no data set 'x'"), std::string::npos);
  EXPECT_NE(Put("x", "", {{"a", a.sha256, 5}}).find("its size is said to be 5"), std::string::npos);
}

TEST_F(DatasetRegistryTest, EqualContentIsStoredOnceAndStaysWhileSomebodyHasIt) {
  const spec::DatasetFile a = Store("a", "1"), b = Store("b", "2");
  Put("x", "", {a, b});
  const size_t once = stored();
  Put("y", "", {a, b});
  EXPECT_EQ(stored(), once);
  Put("z", "", {b});
  ASSERT_TRUE(Remove("x", "1").ok());
  EXPECT_EQ(stored(), once + 1);  // the manifest of z
  ASSERT_TRUE(Remove("y", "1").ok());
  EXPECT_EQ(stored(), 2u);  // b, and the manifest of z
  EXPECT_EQ(Find("z", ""), "1");
  ASSERT_TRUE(Remove("z", "1").ok());
  EXPECT_EQ(stored(), 0u);
}

TEST_F(DatasetRegistryTest, WhatIsHeldOrBeingRemovedCannotBeHad) {
  const spec::DatasetFile a = Store("a", "1"), b = Store("b", "2");
  Put("x", "", {a});
  Put("x", "", {b});
  {
    auto hold = registry_->Find("x", "2");
    ASSERT_TRUE(hold.ok());
    EXPECT_EQ(Remove("x", "2").code(), Code::kFailedPrecondition);
  }
  bool shared = true;
  auto begun = registry_->BeginRemoval("x", "2", &shared);
  ASSERT_TRUE(begun.ok());
  EXPECT_FALSE(shared);
  EXPECT_EQ(Find("x", ""), "1");
  EXPECT_EQ(Remove("x", "2").code(), Code::kNotFound);
  EXPECT_NE(Put("x", "2", {b}).find("being removed"), std::string::npos);
  registry_->AbandonRemoval(*begun);
  EXPECT_EQ(Find("x", ""), "2");
}

TEST_F(DatasetRegistryTest, SaysWhatIsKnownOfWhatIsNot) {
  const spec::DatasetFile a = Store("a", "1");
  Put("flats", "", {a});
  Put("flats", "spring", {a});
  EXPECT_NE(Find("flast", "").find("did you mean 'flats'?"), std::string::npos);
  EXPECT_NE(Find("flats", "3").find("it has spring, 1"), std::string::npos);
  EXPECT_EQ(registry_->List("no").status().code(), Code::kNotFound);
  EXPECT_NE(Put("../x", "", {a}).find("name: expected"), std::string::npos);
  EXPECT_NE(Put("x", "a/b", {a}).find("version: expected"), std::string::npos);
}

TEST_F(DatasetRegistryTest, AFolderHasTheFilesUnderTheirNames) {
  const spec::DatasetFile a = Store("sub/a.csv", "1"), b = Store("b", "2");
  Put("x", "", {a, b});
  const std::string manifest = (*registry_->Find("x", ""))->manifest_sha256;
  for (int i = 0; i < 2; ++i) {
    auto folder = registry_->FolderOf(manifest);
    ASSERT_TRUE(folder.ok()) << folder.status();
    EXPECT_EQ(*ReadFile(*folder + "/sub/a.csv"), "1");
    EXPECT_EQ(*ReadFile(*folder + "/b"), "2");
  }
  ASSERT_TRUE(Remove("x", "1").ok());
  EXPECT_TRUE(fs::is_empty(folder_ / "datasets/trees"));
}

TEST_F(DatasetRegistryTest, WhatBrokenOffUploadsLeftGoesAfterADay) {
  const spec::DatasetFile kept = Store("a", "1");
  Put("x", "", {kept});
  const spec::DatasetFile old = Store("b", "2"), fresh = Store("c", "3");
  const int64_t now = ::time(nullptr);
  for (const std::string& sha256 : {kept.sha256, old.sha256}) {
    utimbuf times{now - 100'000, now - 100'000};
    ASSERT_EQ(::utime(registry_->store()->PathOf(sha256)->c_str(), &times), 0);
  }
  ASSERT_TRUE(registry_->DeleteLeftovers({now * 1000}).ok());
  EXPECT_TRUE(registry_->store()->PathOf(kept.sha256).ok());
  EXPECT_FALSE(registry_->store()->PathOf(old.sha256).ok());
  EXPECT_TRUE(registry_->store()->PathOf(fresh.sha256).ok());
}

TEST_F(DatasetRegistryTest, ADamagedManifestCostsNoContent) {
  const spec::DatasetFile a = Store("a", "1"), b = Store("b", "2");
  Put("x", "", {a});
  Put("y", "", {a, b});
  const std::string path =
      *registry_->store()->PathOf((*registry_->Find("y", ""))->manifest_sha256);
  fs::permissions(path, fs::perms::owner_all);
  std::ofstream(path) << "{}";
  EXPECT_TRUE(Remove("x", "1").ok());
  EXPECT_NE(Find("x", "1").find("no data set"), std::string::npos);
  EXPECT_TRUE(registry_->store()->PathOf(a.sha256).ok());
}

TEST_F(DatasetRegistryTest, ANameThatCannotBeReadStopsTheStart) {
  Put("x", "", {Store("a", "1")});
  registry_.reset();
  std::ofstream(folder_ / "datasets/names/x.json") << "{";
  Status status = DatasetRegistry::Open(folder_ / "datasets", 1 << 20).status();
  EXPECT_EQ(status.code(), Code::kDataLoss);
  EXPECT_NE(status.message().find("names/x.json"), std::string::npos);
}

}  // namespace
}  // namespace cyxwiz::central
