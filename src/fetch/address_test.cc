#include "fetch/address.h"

#include <gtest/gtest.h>
#include <netinet/in.h>

namespace cyxwiz::fetch {
namespace {

const char* KindOf(const std::string& text) {
  auto address = IpAddress::Parse(text);
  EXPECT_TRUE(address) << text;
  const char* kind = address ? PrivateKind(*address) : "no address";
  return kind == nullptr ? "public" : kind;
}

TEST(PrivateKind, KnowsEveryClass) {
  for (const auto& [text, kind] : std::initializer_list<std::pair<const char*, const char*>>{
           {"127.0.0.1", "a loopback address"},
           {"127.255.255.254", "a loopback address"},
           {"::1", "a loopback address"},
           {"0.0.0.0", "an address of this machine"},
           {"0.1.2.3", "an address of this machine"},
           {"::", "an address of this machine"},
           {"10.0.0.1", "a private address"},
           {"10.255.255.255", "a private address"},
           {"172.16.0.1", "a private address"},
           {"172.31.255.255", "a private address"},
           {"192.168.1.1", "a private address"},
           {"169.254.1.1", "a link-local address"},
           {"fe80::1", "a link-local address"},
           {"febf::1", "a link-local address"},
           {"169.254.169.254", "the metadata address of a cloud"},
           {"168.63.129.16", "the metadata address of a cloud"},
           {"100.100.100.200", "the metadata address of a cloud"},
           {"fd00:ec2::254", "the metadata address of a cloud"},
           {"100.64.0.1", "a shared address"},
           {"100.127.255.255", "a shared address"},
           {"fc00::1", "a unique local address"},
           {"fdff:ffff::1", "a unique local address"},
           {"fec0::1", "a site-local address"},
           {"224.0.0.1", "a multicast address"},
           {"ff02::1", "a multicast address"},
           {"240.0.0.1", "a reserved address"},
           {"255.255.255.255", "a reserved address"},
           {"192.0.2.1", "a reserved address"},
           {"198.18.0.1", "a reserved address"},
           {"2001:db8::1", "a reserved address"},
           {"2001::1", "a reserved address"},       // Teredo
           {"2001:20::1", "a reserved address"},    // ORCHID
           {"100::1", "a reserved address"},        // discarded
           {"64:ff9b:1::1", "a reserved address"},  // NAT64 of somebody's own
           {"4000::1", "a reserved address"},
           {"::7f00:1", "a reserved address"},  // what once was 127.0.0.1
       }) {
    EXPECT_STREQ(KindOf(text), kind) << text;
  }
}

TEST(PrivateKind, SeesIpv4WithinIpv6) {
  EXPECT_STREQ(KindOf("::ffff:127.0.0.1"), "a loopback address");
  EXPECT_STREQ(KindOf("::ffff:a9fe:a9fe"), "the metadata address of a cloud");
  EXPECT_STREQ(KindOf("64:ff9b::10.1.2.3"), "a private address");
  EXPECT_STREQ(KindOf("2002:7f00:1::"), "a loopback address");
  EXPECT_STREQ(KindOf("2002:c0a8:101::1"), "a private address");
  EXPECT_STREQ(KindOf("64:ff9b::8.8.8.8"), "public");
  EXPECT_STREQ(KindOf("2002:808:808::1"), "public");
}

TEST(PrivateKind, LeavesThePublicInternet) {
  for (const char* text :
       {"8.8.8.8", "1.1.1.1", "11.0.0.1", "172.15.0.1", "172.32.0.1", "100.63.0.1", "100.128.0.1",
        "169.253.0.1", "192.167.0.1", "223.255.255.1", "2606:4700::1111", "2a00:1450::1",
        "2001:4860:4860::8888"}) {
    EXPECT_STREQ(KindOf(text), "public") << text;
  }
}

TEST(IpAddress, IsTheSameFromTextAndFromASocketsAddress) {
  sockaddr_in v4{};
  v4.sin_family = AF_INET;
  v4.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  EXPECT_EQ(IpAddress::From(reinterpret_cast<sockaddr&>(v4)), IpAddress::Parse("127.0.0.1"));
  sockaddr_in6 v6{};
  v6.sin6_family = AF_INET6;
  v6.sin6_addr = in6addr_loopback;
  EXPECT_EQ(IpAddress::From(reinterpret_cast<sockaddr&>(v6)), IpAddress::Parse("::1"));
  sockaddr other{};
  other.sa_family = AF_UNIX;
  EXPECT_FALSE(IpAddress::From(other));
  for (const char* text : {"", "localhost", "127.1", "1.2.3.4.5", "0x7f.0.0.1", "fe80::1%eth0"})
    EXPECT_FALSE(IpAddress::Parse(text)) << text;
}

TEST(AddressRange, HoldsWhatBeginsAlike) {
  auto range = AddressRange::Parse("10.4.0.0/14");
  ASSERT_TRUE(range);
  EXPECT_TRUE(range->Holds(*IpAddress::Parse("10.7.255.255")));
  EXPECT_TRUE(range->Holds(*IpAddress::Parse("::ffff:10.5.0.1")));
  EXPECT_FALSE(range->Holds(*IpAddress::Parse("10.8.0.0")));
  auto one = AddressRange::Parse("fd00::5");
  ASSERT_TRUE(one);
  EXPECT_TRUE(one->Holds(*IpAddress::Parse("fd00::5")));
  EXPECT_FALSE(one->Holds(*IpAddress::Parse("fd00::4")));
  EXPECT_TRUE(AddressRange::Parse("0.0.0.0/0")->Holds(*IpAddress::Parse("8.8.8.8")));
  for (const char* text : {"10.0.0.0/33", "10.0.0.0/-1", "10.0.0.0/", "10.0.0/8", "::/129", "x/8"})
    EXPECT_FALSE(AddressRange::Parse(text)) << text;
}

}  // namespace
}  // namespace cyxwiz::fetch
