#include "fetch/rules.h"

#include <gtest/gtest.h>

namespace cyxwiz::fetch {
namespace {

Rules MakeRules(const Options& options) {
  auto rules = Rules::Make(options);
  EXPECT_TRUE(rules.ok()) << rules.status();
  return *rules;
}

const char* WhyNot(const Rules& rules, const std::string& host, const std::string& address) {
  const char* why = rules.WhyNot(host, *IpAddress::Parse(address));
  return why == nullptr ? "allowed" : why;
}

TEST(Rules, PrivateAddressesAreRefusedWhateverTheNameIs) {
  const Rules rules = MakeRules({});
  EXPECT_STREQ(WhyNot(rules, "data.example.org", "93.184.215.14"), "allowed");
  EXPECT_STREQ(WhyNot(rules, "data.example.org", "127.0.0.1"), "a loopback address");
  EXPECT_STREQ(WhyNot(rules, "data.example.org", "::ffff:10.0.0.1"), "a private address");
}

TEST(Rules, TheOperatorAllowsHostsAndRanges) {
  const Rules rules = MakeRules({.allowed = {"10.4.0.0/16", "Data.lan", "*.corp.example", "::1"}});
  EXPECT_STREQ(WhyNot(rules, "any.example.org", "10.4.1.1"), "allowed");
  EXPECT_STREQ(WhyNot(rules, "any.example.org", "10.5.1.1"), "a private address");
  EXPECT_STREQ(WhyNot(rules, "data.LAN.", "10.5.1.1"), "allowed");
  EXPECT_STREQ(WhyNot(rules, "notdata.lan", "10.5.1.1"), "a private address");
  EXPECT_STREQ(WhyNot(rules, "a.b.corp.example", "127.0.0.1"), "allowed");
  EXPECT_STREQ(WhyNot(rules, "corp.example", "127.0.0.1"), "a loopback address");
  EXPECT_STREQ(WhyNot(rules, "evilcorp.example", "127.0.0.1"), "a loopback address");
  EXPECT_STREQ(WhyNot(rules, "any.example.org", "::1"), "allowed");
}

TEST(Rules, HttpAndOtherSchemesAreRefused) {
  const Rules strict = MakeRules({}), open = MakeRules({.allow_http = true});
  EXPECT_TRUE(strict.CheckUrl("https", "a.example").ok());
  EXPECT_EQ(strict.CheckUrl("http", "a.example").code(), Code::kPermissionDenied);
  EXPECT_TRUE(open.CheckUrl("http", "a.example").ok());
  for (const char* scheme : {"ftp", "file", "gopher", "dict", "scp", ""})
    EXPECT_EQ(open.CheckUrl(scheme, "a.example").code(), Code::kPermissionDenied) << scheme;
}

TEST(Rules, OnlyNamedHostsWhenThereAreSome) {
  const Rules rules = MakeRules({.hosts = {"data.example.org", "*.mirror.example"}});
  EXPECT_TRUE(rules.CheckUrl("https", "DATA.example.org").ok());
  EXPECT_TRUE(rules.CheckUrl("https", "eu.mirror.example").ok());
  EXPECT_FALSE(rules.CheckUrl("https", "mirror.example").ok());
  EXPECT_FALSE(rules.CheckUrl("https", "data.example.org.evil.example").ok());
}

TEST(Rules, EntriesThatAreNoneAreToldWithTheirSetting) {
  EXPECT_NE(Rules::Make({.hosts = {"https://x"}}).status().message().find("fetch.hosts"),
            std::string::npos);
  EXPECT_NE(Rules::Make({.allowed = {"10.0.0.0/40"}}).status().message().find("fetch.allow"),
            std::string::npos);
}

}  // namespace
}  // namespace cyxwiz::fetch
