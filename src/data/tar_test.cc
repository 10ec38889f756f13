#include "data/tar.h"

#include "data/testing.h"

namespace cyxwiz::data {
namespace {

const std::string kEnd(1024, '\0');

// A record of pax: its length counts itself.
std::string Record(const std::string& text) {
  size_t length = text.size() + 3;
  while (std::to_string(length).size() + text.size() + 2 != length) ++length;
  return std::to_string(length) + " " + text + "\n";
}

class TarTest : public DataTest {
 protected:
  struct Found {
    std::vector<std::pair<std::string, std::string>> files;
    Fault fault;
  };
  Found Read(const std::string& tar) {
    Found found;
    TarReader reader;
    found.fault = reader.Open(Write("x.tar", tar));
    while (found.fault.ok()) {
      TarMember member;
      bool more = false;
      found.fault = reader.Next(&member, &more);
      if (!found.fault.ok() || !more) break;
      found.files.emplace_back(member.name, tar.substr(static_cast<size_t>(member.offset),
                                                       static_cast<size_t>(member.size)));
    }
    return found;
  }
  void ExpectFault(const std::string& tar, Code code, const std::string& part) {
    const Fault fault = Read(tar).fault;
    EXPECT_EQ(fault.code, code) << fault.ToStatus();
    EXPECT_NE(fault.ToStatus().ToString().find(part), std::string::npos) << fault.ToStatus();
  }
  // The header of a file with that size field, and nothing after it.
  static std::string WithSize(const std::string& field) {
    std::string tar = TarMemberOf("a", "");
    tar.replace(124, 12, field);
    return WithChecksum(tar);
  }
  static std::string WithChecksum(std::string header) {
    header.replace(148, 8, "        ");
    size_t sum = 0;
    for (unsigned char c : header.substr(0, 512)) sum += c;
    char digits[8];
    std::snprintf(digits, sizeof digits, "%06zo", sum);
    header.replace(148, 7, std::string(digits, 7));
    return header;
  }
};

using Files = std::vector<std::pair<std::string, std::string>>;

TEST_F(TarTest, GivesNamesAndContents) {
  const std::string block(512, 'b');
  const Found found =
      Read(TarMemberOf("d/", "", '5') + TarMemberOf("d/a", "text") + TarMemberOf("empty", "") +
           TarMemberOf("block", block, '\0') + kEnd + "whatever comes after the end");
  EXPECT_TRUE(found.fault.ok()) << found.fault.ToStatus();
  EXPECT_EQ(found.files, (Files{{"d/a", "text"}, {"empty", ""}, {"block", block}}));
  EXPECT_EQ(Read(kEnd).files, Files());
  EXPECT_TRUE(Read(TarMemberOf("a", "x") + kEnd.substr(0, 512)).fault.ok())
      << "one block is enough";
}

TEST_F(TarTest, LongNamesComeInThreeForms) {
  const std::string name = std::string(120, 'n') + ".png";
  EXPECT_EQ(Read(TarMemberOf("f.png", "x", '0', "a/prefix") + kEnd).files,
            (Files{{"a/prefix/f.png", "x"}}));
  EXPECT_EQ(Read(TarMemberOf("././@LongLink", name + '\0', 'L') + TarMemberOf("cut", "x") +
                 TarMemberOf("next", "y") + kEnd)
                .files,
            (Files{{name, "x"}, {"next", "y"}}));
  EXPECT_EQ(Read(TarMemberOf("g", Record("comment=of all"), 'g') +
                 TarMemberOf("p", Record("mtime=1.5") + Record("path=" + name), 'x') +
                 TarMemberOf("cut", "x") + TarMemberOf("next", "y") + kEnd)
                .files,
            (Files{{name, "x"}, {"next", "y"}}));
}

TEST_F(TarTest, SizesComeInThreeForms) {
  std::string base256 = TarMemberOf("a", "text");
  base256.replace(124, 12, std::string("\x80\0\0\0\0\0\0\0\0\0\0\4", 12));
  EXPECT_EQ(Read(WithChecksum(base256) + kEnd).files, (Files{{"a", "text"}}));
  std::string zero = TarMemberOf("a", "text");
  zero.replace(124, 12, std::string("00000000000\0", 12));
  EXPECT_EQ(Read(TarMemberOf("p", Record("size=4"), 'x') + WithChecksum(zero) + kEnd).files,
            (Files{{"a", "text"}}));
}

TEST_F(TarTest, ChecksumsMayCountBytesAsSigned) {
  std::string member = TarMemberOf("\xc3\xa4.png", "x");
  int sum = 8 * ' ';
  for (size_t i = 0; i < 512; ++i) {
    if (i < 148 || i >= 156) sum += static_cast<signed char>(member[i]);
  }
  char digits[8];
  std::snprintf(digits, sizeof digits, "%06o", static_cast<unsigned>(sum));
  member.replace(148, 6, digits, 6);
  EXPECT_EQ(Read(member + kEnd).files, (Files{{"\xc3\xa4.png", "x"}}));
}

TEST_F(TarTest, WhatIsNoArchiveIsRefused) {
  ExpectFault("", Code::kInvalidArgument, "is cut off");
  ExpectFault("short", Code::kInvalidArgument, "is cut off");
  ExpectFault(std::string(2048, 'x'), Code::kInvalidArgument, "has no valid header at byte 0");
  ExpectFault(Gzip(Tar({{"a", "b"}})), Code::kInvalidArgument, "unpack it with gunzip");
  ExpectFault(TarMemberOf("a", "text"), Code::kInvalidArgument, "is cut off");
  std::string damaged = Tar({{"a", "text"}});
  damaged[0] = 'b';
  ExpectFault(damaged, Code::kInvalidArgument, "checksum");
}

TEST_F(TarTest, SizesBeyondTheFileAreRefused) {
  ExpectFault(WithSize(std::string("00000002001\0", 12)) + kEnd, Code::kInvalidArgument,
              "expected 1025 bytes of a member at byte 0, found 1024");
  ExpectFault(WithSize("777777777777") + kEnd, Code::kInvalidArgument, "is cut off");
  ExpectFault(WithSize(std::string("\x80\0\0\0\x7f\xff\xff\xff\xff\xff\xff\xff", 12)) + kEnd,
              Code::kInvalidArgument, "without a size");
  ExpectFault(WithSize(std::string("\x80\0\0\0\0\x3f\xff\xff\xff\xff\xff\xff", 12)) + kEnd,
              Code::kInvalidArgument, "is cut off");
  ExpectFault(WithSize(std::string(12, '\xff')) + kEnd, Code::kInvalidArgument, "without a size");
  ExpectFault(WithSize("      9     ") + kEnd, Code::kInvalidArgument, "without a size");
  ExpectFault(
      TarMemberOf("p", Record("size=9223372036854775807"), 'x') + TarMemberOf("a", "") + kEnd,
      Code::kInvalidArgument, "is cut off");
}

TEST_F(TarTest, DamagedRecordsAreRefused) {
  for (const char* record :
       {"x", "0 path=a\n", "-9 path=a\n", "99999999999999999999 path=a\n", "8 path=a\n",
        "9 path=a ", "7 patha\n", "13 size=many\n", "11 size=-1\n"}) {
    ExpectFault(TarMemberOf("p", record, 'x') + TarMemberOf("a", "x") + kEnd,
                Code::kInvalidArgument, "pax record");
  }
  ExpectFault(TarMemberOf("p", std::string((64 << 10) + 1, 'x'), 'x') + kEnd,
              Code::kResourceExhausted, "too long a name or record");
  ExpectFault(TarMemberOf("p", std::string(4097, 'x'), 'L') + kEnd, Code::kResourceExhausted,
              "too long a name or record");
}

TEST_F(TarTest, WhatIsNoFileIsRefused) {
  for (char type : {'1', '2', '3', '4', '6', 'S', 'V'}) {
    ExpectFault(TarMemberOf("a", "", type) + kEnd, Code::kInvalidArgument,
                "a member that is no file: 'a'");
  }
  ExpectFault(TarMemberOf("p", Record("GNU.sparse.major=1"), 'x') + TarMemberOf("a", "x") + kEnd,
              Code::kInvalidArgument, "sparse");
}

}  // namespace
}  // namespace cyxwiz::data
