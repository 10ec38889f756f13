#include "base/listen_address.h"

#include <gtest/gtest.h>

namespace cyxwiz {
namespace {

constexpr char kWhat[] = "grpc.listen";

std::string Parsed(const std::string& text) {
  auto address = ParseListenAddress(text, kWhat);
  return address.ok() ? address->host + " " + std::to_string(address->port)
                      : address.status().ToString();
}

TEST(ListenAddress, TakesLoopbackAddressesWithAPort) {
  EXPECT_EQ(Parsed("127.0.0.1:50051"), "127.0.0.1 50051");
  EXPECT_EQ(Parsed("127.255.0.9:1"), "127.255.0.9 1");
  EXPECT_EQ(Parsed("localhost:65535"), "localhost 65535");
  EXPECT_EQ(Parsed("[::1]:0"), "::1 0");
}

TEST(ListenAddress, WritesWhatItReads) {
  for (std::string text : {"127.0.0.1:50051", "localhost:0", "[::1]:8080"}) {
    auto address = ParseListenAddress(text, kWhat);
    ASSERT_TRUE(address.ok()) << address.status();
    EXPECT_EQ(address->ToString(), text);
  }
}

TEST(ListenAddress, RefusesWhatIsNoHostAndPort) {
  for (std::string text :
       {"", ":", "127.0.0.1", "127.0.0.1:", ":50051", "127.0.0.1:65536", "127.0.0.1:-1",
        "127.0.0.1:99999999999999999999", "127.0.0.1:http", "127.0.0.1:80 ", "127.0.0.1: 80", "::1",
        "::1:50051", "[::1]", "[::1]50051", "[]:50051", "[127.0.0.1]:50051", "50051"}) {
    auto address = ParseListenAddress(text, kWhat);
    EXPECT_EQ(address.status().code(), Code::kInvalidArgument) << text;
    EXPECT_NE(address.status().message().find(kWhat), std::string::npos) << address.status();
    EXPECT_NE(address.status().message().find("'" + text + "'"), std::string::npos)
        << address.status();
  }
}

TEST(ListenAddress, RefusesWhatOthersCouldReach) {
  for (std::string text : {"0.0.0.0:50051", "[::]:50051", "192.168.1.2:50051", "128.0.0.1:50051",
                           "[fe80::1]:50051", "[::ffff:10.0.0.1]:50051", "example.org:50051",
                           "127.0.0.1.example.org:50051", "localhost.example.org:50051"}) {
    auto address = ParseListenAddress(text, kWhat);
    EXPECT_EQ(address.status().code(), Code::kFailedPrecondition) << text;
    EXPECT_NE(address.status().message().find("TLS"), std::string::npos) << address.status();
    EXPECT_FALSE(address.status().hint().empty());
  }
}

}  // namespace
}  // namespace cyxwiz
