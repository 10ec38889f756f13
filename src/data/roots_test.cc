#include "data/roots.h"

#include <unistd.h>

#include "data/testing.h"

namespace cyxwiz::data {
namespace {

namespace fs = std::filesystem;

// allowed/ is a root with table.csv; secret/ beside it is not.
class RootsTest : public DataTest {
 protected:
  void SetUp() override {
    DataTest::SetUp();
    Write("allowed/sub/table.csv", "1,2\n");
    Write("secret/table.csv", "1,2\n");
    Write("allowed-not/table.csv", "1,2\n");
    allowed_ = folder_ + "/allowed";
  }
  void ExpectDenied(const std::string& path) {
    auto real = Roots({allowed_}).Resolve(path);
    ASSERT_FALSE(real.ok()) << *real;
    EXPECT_EQ(real.status().code(), Code::kPermissionDenied) << real.status();
    EXPECT_NE(real.status().message().find("'" + allowed_ + "'"), std::string::npos)
        << real.status();
    EXPECT_NE(real.status().hint().find("data_roots"), std::string::npos) << real.status();
    EXPECT_NE(real.status().hint().find("--data-root DIR"), std::string::npos) << real.status();
  }
  std::string allowed_;
};

TEST_F(RootsTest, WhatLiesBelowARootIsAllowed) {
  Roots roots({folder_ + "/absent", allowed_ + "/"});
  EXPECT_EQ(roots.Resolve(allowed_ + "/sub/table.csv").value(), allowed_ + "/sub/table.csv");
  EXPECT_EQ(roots.Resolve(allowed_ + "//sub/./../sub/table.csv").value(),
            allowed_ + "/sub/table.csv");
  EXPECT_EQ(roots.Resolve(allowed_).value(), allowed_);
  EXPECT_EQ(roots.Resolve(folder_ + "/secret/../allowed/sub").value(), allowed_ + "/sub");
  EXPECT_TRUE(Roots({"/"}).Resolve(folder_ + "/secret/table.csv").ok());
}

TEST_F(RootsTest, WhatLiesOutsideIsDeniedWhetherOrNotItExists) {
  ExpectDenied(folder_ + "/secret/table.csv");
  ExpectDenied(folder_ + "/secret/absent");
  ExpectDenied("/etc/passwd");
  ExpectDenied("/etc/absent");
  ExpectDenied("/");
  ExpectDenied(folder_ + "/allowed-not/table.csv");
}

TEST_F(RootsTest, DotsDoNotLeadOut) {
  ExpectDenied(allowed_ + "/../secret/table.csv");
  ExpectDenied(allowed_ + "/sub/../../secret/table.csv");
  ExpectDenied(allowed_ + "/absent/../../secret/table.csv");
  ExpectDenied(allowed_ + "/../../../../../../../../etc/passwd");
}

TEST_F(RootsTest, LinksDoNotLeadOut) {
  fs::create_symlink("/etc/passwd", allowed_ + "/file");
  fs::create_symlink("../secret", allowed_ + "/folder");
  fs::create_symlink("file", allowed_ + "/link-to-link");
  ExpectDenied(allowed_ + "/file");
  ExpectDenied(allowed_ + "/folder/table.csv");
  ExpectDenied(allowed_ + "/link-to-link");
  // A ".." behind a link goes up from where the link leads.
  fs::create_symlink(folder_ + "/secret", allowed_ + "/sub/away");
  ExpectDenied(allowed_ + "/sub/away/../secret/table.csv");
  auto real = Roots({allowed_}).Resolve(allowed_ + "/folder/table.csv");
  EXPECT_NE(real.status().message().find("a link that leads to '" + folder_ + "/secret/table.csv'"),
            std::string::npos)
      << real.status();
  // Where links outside the roots lead is not told.
  fs::create_symlink("/etc/passwd", folder_ + "/outside");
  EXPECT_EQ(Roots({allowed_}).Resolve(folder_ + "/outside").status().message().find("passwd"),
            std::string::npos);
}

TEST_F(RootsTest, LinksWithinAndBetweenRootsAreFollowed) {
  fs::create_symlink("sub/table.csv", allowed_ + "/link");
  EXPECT_EQ(Roots({allowed_}).Resolve(allowed_ + "/link").value(), allowed_ + "/sub/table.csv");
  fs::create_symlink("../secret/table.csv", allowed_ + "/other");
  EXPECT_EQ(Roots({allowed_, folder_ + "/secret"}).Resolve(allowed_ + "/other").value(),
            folder_ + "/secret/table.csv");
}

TEST_F(RootsTest, ARootMayBeALink) {
  fs::create_symlink("allowed", folder_ + "/alias");
  Roots roots({folder_ + "/alias"});
  EXPECT_EQ(roots.Resolve(folder_ + "/alias/sub/table.csv").value(), allowed_ + "/sub/table.csv");
  EXPECT_EQ(roots.Resolve(allowed_ + "/sub/table.csv").value(), allowed_ + "/sub/table.csv");
}

TEST_F(RootsTest, AbsentPathsBelowARootAreNotFound) {
  for (const char* path : {"/absent", "/sub/absent/deep", "/sub/table.csv/below"}) {
    auto real = Roots({allowed_}).Resolve(allowed_ + path);
    EXPECT_EQ(real.status().code(), Code::kNotFound) << real.status();
    EXPECT_NE(real.status().message().find(allowed_ + path), std::string::npos) << real.status();
  }
  fs::create_symlink("loop", allowed_ + "/loop");
  EXPECT_FALSE(Roots({allowed_}).Resolve(allowed_ + "/loop").ok());
  EXPECT_FALSE(Roots({allowed_}).Resolve(allowed_ + "/" + std::string(10'000, 'x')).ok());
}

TEST_F(RootsTest, ARootThatAppearsLaterAllowsFromThenOn) {
  Roots roots({folder_ + "/later"});
  EXPECT_FALSE(roots.empty());
  EXPECT_EQ(roots.Resolve(folder_ + "/later/x").status().code(), Code::kPermissionDenied);
  Write("later/x", "");
  EXPECT_TRUE(roots.Resolve(folder_ + "/later/x").ok());
}

TEST_F(RootsTest, WithoutRootsNothingIsAllowed) {
  for (const Roots& roots : {Roots({}), Roots({""})}) {
    EXPECT_TRUE(roots.empty());
    auto real = roots.Resolve(allowed_ + "/sub/table.csv");
    EXPECT_EQ(real.status().code(), Code::kPermissionDenied);
    EXPECT_NE(real.status().hint().find("data_roots"), std::string::npos);
  }
}

TEST_F(RootsTest, OnlyAbsolutePathsAreUsable) {
  for (const std::string& path : {std::string(), std::string("table.csv"), std::string("../x"),
                                  allowed_ + std::string("/sub\0/table.csv", 15)}) {
    EXPECT_EQ(Roots({allowed_}).Resolve(path).status().code(), Code::kInvalidArgument) << path;
  }
}

}  // namespace
}  // namespace cyxwiz::data
