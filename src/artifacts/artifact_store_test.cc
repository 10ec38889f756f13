#include "artifacts/artifact_store.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include <csignal>
#include <filesystem>
#include <thread>
#include <vector>

#include "base/file.h"

namespace cyxwiz::artifacts {
namespace {

// FIPS 180-4's vector for "abc".
constexpr char kAbcHash[] = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";
constexpr int64_t kLimit = 1 << 20;

class ArtifactStoreTest : public testing::Test {
 protected:
  void SetUp() override {
    std::string pattern = testing::TempDir() + "/cyxwiz_artifacts_XXXXXX";
    ASSERT_NE(::mkdtemp(pattern.data()), nullptr);
    folder_ = pattern;
    Open();
  }
  void TearDown() override { std::filesystem::remove_all(folder_); }

  void Open() {
    store_.reset();
    auto store = OpenLocalStore(folder_, kLimit);
    ASSERT_TRUE(store.ok()) << store.status();
    store_ = std::move(store).value();
  }
  Result<std::string> Store(std::string_view content, const std::string& expected = "") {
    ASSIGN_OR_RETURN(std::unique_ptr<Upload> upload, store_->Begin());
    RETURN_IF_ERROR(upload->Append(content));
    return upload->Finish(expected);
  }
  size_t IncomingFiles() const {
    return static_cast<size_t>(
        std::distance(std::filesystem::directory_iterator(folder_ + "/incoming"), {}));
  }
  size_t StoredFiles() const {
    size_t count = 0;
    for (const auto& entry : std::filesystem::recursive_directory_iterator(folder_ + "/sha256")) {
      count += entry.is_regular_file();
    }
    return count;
  }

  std::string folder_;
  std::unique_ptr<ArtifactStore> store_;
};

TEST_F(ArtifactStoreTest, AFileIsFoundUnderItsHash) {
  auto hash = Store("abc", kAbcHash);
  ASSERT_TRUE(hash.ok()) << hash.status();
  EXPECT_EQ(*hash, kAbcHash);
  auto path = store_->PathOf(kAbcHash);
  ASSERT_TRUE(path.ok()) << path.status();
  EXPECT_EQ(*path, folder_ + "/sha256/ba/" + kAbcHash);
  EXPECT_EQ(ReadFile(*path).value(), "abc");
  EXPECT_EQ(store_->SizeOf(kAbcHash).value(), 3);
  EXPECT_EQ(HashFile(*path).value(), kAbcHash);
  EXPECT_EQ(IncomingFiles(), 0u);
  struct stat info;
  ASSERT_EQ(::stat(path->c_str(), &info), 0);
  EXPECT_EQ(info.st_mode & 0777, 0440u);
}

TEST_F(ArtifactStoreTest, PiecesMakeOneFileAndUpperCaseIsTheSameHash) {
  auto upload = store_->Begin().value();
  for (const char* piece : {"a", "", "b", "c"}) ASSERT_TRUE(upload->Append(piece).ok());
  std::string upper = kAbcHash;
  for (char& c : upper) c = static_cast<char>(std::toupper(c));
  EXPECT_EQ(upload->Finish(upper).value(), kAbcHash);
  EXPECT_TRUE(store_->PathOf(upper).ok());
}

TEST_F(ArtifactStoreTest, AnEmptyFileIsAFile) {
  EXPECT_EQ(store_->SizeOf(Store("").value()).value(), 0);
}

TEST_F(ArtifactStoreTest, AWrongHashIsDataLossAndStoresNothing) {
  auto result = Store("abd", kAbcHash);
  ASSERT_FALSE(result.ok());
  EXPECT_EQ(result.status().code(), Code::kDataLoss);
  EXPECT_NE(result.status().message().find(kAbcHash), std::string::npos);
  EXPECT_EQ(StoredFiles(), 0u);
  EXPECT_EQ(IncomingFiles(), 0u);
}

TEST_F(ArtifactStoreTest, TheSizeLimitIsExactAndAFailedUploadStaysFailed) {
  std::string most(kLimit, 'x');
  EXPECT_TRUE(Store(most).ok());
  auto upload = store_->Begin().value();
  ASSERT_TRUE(upload->Append(most).ok());
  EXPECT_EQ(upload->Append("y").code(), Code::kOutOfRange);
  EXPECT_EQ(upload->Append("").code(), Code::kOutOfRange);
  EXPECT_EQ(upload->Finish("").status().code(), Code::kOutOfRange);
  EXPECT_EQ(IncomingFiles(), 0u);
  EXPECT_EQ(StoredFiles(), 1u);
}

TEST_F(ArtifactStoreTest, AFailingDiskIsAnErrorAndLeavesNothing) {
  // A file-size limit of the process stands in for a full disk: both make write(2) fail or fall
  // short.
  rlimit old;
  ASSERT_EQ(::getrlimit(RLIMIT_FSIZE, &old), 0);
  auto old_handler = std::signal(SIGXFSZ, SIG_IGN);
  rlimit small = {1000, old.rlim_max};
  ASSERT_EQ(::setrlimit(RLIMIT_FSIZE, &small), 0);
  auto result = Store(std::string(5000, 'x'));
  ASSERT_EQ(::setrlimit(RLIMIT_FSIZE, &old), 0);
  std::signal(SIGXFSZ, old_handler);
  ASSERT_FALSE(result.ok());
  EXPECT_NE(result.status().message().find("/incoming/"), std::string::npos) << result.status();
  EXPECT_EQ(IncomingFiles(), 0u);
  EXPECT_EQ(StoredFiles(), 0u);
}

TEST_F(ArtifactStoreTest, AnUploadDroppedHalfwayLeavesNothing) {
  {
    auto upload = store_->Begin().value();
    ASSERT_TRUE(upload->Append("half").ok());
    EXPECT_EQ(IncomingFiles(), 1u);
  }
  EXPECT_EQ(IncomingFiles(), 0u);
  EXPECT_EQ(StoredFiles(), 0u);
}

TEST_F(ArtifactStoreTest, AFinishedUploadTakesNoMore) {
  auto upload = store_->Begin().value();
  ASSERT_TRUE(upload->Append("abc").ok());
  ASSERT_TRUE(upload->Finish("").ok());
  EXPECT_EQ(upload->Append("d").code(), Code::kFailedPrecondition);
  EXPECT_EQ(upload->Finish("").status().code(), Code::kFailedPrecondition);
  EXPECT_EQ(ReadFile(store_->PathOf(kAbcHash).value()).value(), "abc");
}

TEST_F(ArtifactStoreTest, LeftoversOfACrashAreRemovedAndStoredFilesStay) {
  ASSERT_TRUE(Store("abc").ok());
  ASSERT_TRUE(WriteFileAtomically(folder_ + "/incoming/7", "half a file").ok());
  ASSERT_TRUE(MakeFolder(folder_ + "/incoming/folder/deep").ok());
  Open();
  EXPECT_EQ(IncomingFiles(), 0u);
  EXPECT_TRUE(store_->PathOf(kAbcHash).ok());
  EXPECT_TRUE(Store("def").ok());
}

TEST_F(ArtifactStoreTest, OneFolderHasOneOwner) {
  auto second = OpenLocalStore(folder_, kLimit);
  ASSERT_FALSE(second.ok());
  EXPECT_EQ(second.status().code(), Code::kFailedPrecondition);
  store_.reset();
  EXPECT_TRUE(OpenLocalStore(folder_, kLimit).ok());
}

TEST_F(ArtifactStoreTest, TheSameFileUploadedByManyAtOnceIsStoredOnce) {
  std::string content(200'000, '\0');
  for (size_t i = 0; i < content.size(); ++i) content[i] = static_cast<char>(i * 7 >> 3);
  std::vector<std::string> hashes(8);
  std::vector<std::thread> threads;
  for (std::string& hash : hashes) {
    threads.emplace_back([&, this] {
      auto upload = store_->Begin().value();
      for (size_t at = 0; at < content.size(); at += 1000) {
        ASSERT_TRUE(upload->Append(std::string_view(content).substr(at, 1000)).ok());
      }
      auto result = upload->Finish("");
      ASSERT_TRUE(result.ok()) << result.status();
      hash = *result;
    });
  }
  for (std::thread& thread : threads) thread.join();
  for (const std::string& hash : hashes) EXPECT_EQ(hash, hashes[0]);
  EXPECT_EQ(StoredFiles(), 1u);
  EXPECT_EQ(IncomingFiles(), 0u);
  EXPECT_EQ(ReadFile(store_->PathOf(hashes[0]).value()).value(), content);
}

TEST_F(ArtifactStoreTest, ADamagedCopyIsHealedByTheNextUpload) {
  ASSERT_TRUE(Store("abc").ok());
  std::string path = store_->PathOf(kAbcHash).value();
  ASSERT_TRUE(WriteFileAtomically(path, "xyz").ok());
  ASSERT_TRUE(Store("abc").ok());
  EXPECT_EQ(ReadFile(path).value(), "abc");
}

TEST_F(ArtifactStoreTest, OnlyAHashIsLookedUp) {
  for (const std::string& bad :
       {std::string(), std::string("abc"), std::string("../../../../etc/passwd"),
        std::string(kAbcHash) + "0", std::string(63, 'a') + "g", std::string(63, 'a') + "/",
        std::string(62, '.') + "/.", std::string(63, 'a') + '\0', std::string(100'000, 'a')}) {
    EXPECT_EQ(store_->PathOf(bad).status().code(), Code::kInvalidArgument);
    EXPECT_EQ(store_->SizeOf(bad).status().code(), Code::kInvalidArgument);
    if (!bad.empty()) {
      EXPECT_EQ(Store("abc", bad).status().code(), Code::kInvalidArgument);
    }
  }
  EXPECT_EQ(store_->PathOf(std::string(64, 'a')).status().code(), Code::kNotFound);
  EXPECT_EQ(store_->SizeOf(std::string(64, 'a')).status().code(), Code::kNotFound);
  EXPECT_EQ(StoredFiles(), 0u);
}

TEST_F(ArtifactStoreTest, HashFileRefusesWhatIsNoFile) {
  EXPECT_EQ(HashFile(folder_ + "/absent").status().code(), Code::kNotFound);
  EXPECT_EQ(HashFile(folder_).status().code(), Code::kInvalidArgument);
}

TEST_F(ArtifactStoreTest, AFolderThatCannotBeMadeIsAnError) {
  ASSERT_TRUE(WriteFileAtomically(folder_ + "/file", "").ok());
  EXPECT_FALSE(OpenLocalStore(folder_ + "/file/store", kLimit).ok());
  EXPECT_EQ(OpenLocalStore(folder_ + "/x", 0).status().code(), Code::kInvalidArgument);
}

TEST_F(ArtifactStoreTest, ListsAndRemoves) {
  EXPECT_TRUE(store_->List()->empty());
  auto upload = store_->Begin();
  ASSERT_TRUE((*upload)->Append("hello").ok());
  std::string hash = *(*upload)->Finish("");
  EXPECT_EQ(*store_->List(), std::vector<std::string>{hash});
  EXPECT_TRUE(store_->Remove(hash).ok());
  EXPECT_TRUE(store_->Remove(hash).ok()) << "twice is as good";
  EXPECT_EQ(store_->SizeOf(hash).status().code(), Code::kNotFound);
  EXPECT_TRUE(store_->List()->empty());
  EXPECT_EQ(store_->Remove("../jobs.db").code(), Code::kInvalidArgument);
}

}  // namespace
}  // namespace cyxwiz::artifacts
