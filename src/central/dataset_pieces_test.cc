#include "central/dataset_pieces.h"

#include <gtest/gtest.h>

#include "base/testing.h"

namespace cyxwiz::central {
namespace {

// Of "0123456789".
constexpr char kHash[] = "84d89877f0d4041efb6bf91a16f0248f2fd573e6af05c19f96bedb9f882f7882";

class DatasetPiecesTest : public testing::Test {
 protected:
  DatasetPiecesTest() {
    auto store = artifacts::OpenLocalStore(folder_ / "store", 1 << 20);
    EXPECT_TRUE(store.ok()) << store.status();
    store_ = std::move(*store);
    pieces_ = std::make_unique<DatasetPieces>(store_.get());
  }
  // "5", "10 complete", or the error.
  std::string Store(int64_t offset, const std::string& data, int64_t size = 10) {
    auto stored = pieces_->Store({kHash, offset, size, data}, now_);
    if (!stored.ok()) return stored.status().ToString();
    return std::to_string(stored->received) + (stored->complete ? " complete" : "");
  }
  TemporaryFolder folder_;
  std::unique_ptr<artifacts::ArtifactStore> store_;
  std::unique_ptr<DatasetPieces> pieces_;
  MonotonicTime now_{1};
};

TEST_F(DatasetPiecesTest, AFileIsThereOnceItsLastPieceIs) {
  EXPECT_EQ(Store(0, "01234"), "5");
  EXPECT_FALSE(store_->SizeOf(kHash).ok());
  EXPECT_EQ(Store(5, "567"), "8");
  EXPECT_EQ(Store(8, "89"), "10 complete");
  EXPECT_EQ(store_->SizeOf(kHash).value(), 10);
  EXPECT_EQ(Store(0, "01234"), "10 complete");  // nothing more is needed
}

TEST_F(DatasetPiecesTest, APieceThatDoesNotFollowIsToldWhereToGoOn) {
  EXPECT_NE(Store(5, "56789").find("expected offset 0"), std::string::npos);
  EXPECT_EQ(Store(0, "01234"), "5");
  EXPECT_NE(Store(6, "6789").find("expected offset 5"), std::string::npos);
  EXPECT_NE(Store(0, "0123456789X").find("beyond the file"), std::string::npos);
  EXPECT_EQ(Store(0, "0123"), "4");  // anew
  EXPECT_EQ(Store(4, "456789"), "10 complete");
}

TEST_F(DatasetPiecesTest, AnotherContentIsNotStored) {
  EXPECT_NE(Store(0, "012345678X").find("arrived altered"), std::string::npos);
  EXPECT_FALSE(store_->SizeOf(kHash).ok());
  EXPECT_EQ(Store(0, "0123456789"), "10 complete");
}

TEST_F(DatasetPiecesTest, WhatNobodyGoesOnWithIsGivenUp) {
  EXPECT_EQ(Store(0, "01234"), "5");
  now_ = now_ + DatasetPieces::kIdle + Duration(1);
  EXPECT_NE(Store(5, "56789").find("expected offset 0"), std::string::npos);
}

}  // namespace
}  // namespace cyxwiz::central
