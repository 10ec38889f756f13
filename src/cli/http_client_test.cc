#include "cli/http_client.h"

#include <gtest/gtest.h>

namespace cyxwiz::cli {
namespace {

std::string Normal(const std::string& text) {
  auto url = ParseHttpUrl(text);
  return url.ok() ? url->ToString() : url.status().message();
}

TEST(HttpUrl, HasAPortAndNoSlashAtItsEnd) {
  EXPECT_EQ(Normal("http://127.0.0.1:5000/"), "http://127.0.0.1:5000");
  EXPECT_EQ(Normal("http://mlflow"), "http://mlflow:80");
  EXPECT_EQ(Normal("https://mlflow.example.org/some/path//"),
            "https://mlflow.example.org:443/some/path");
  EXPECT_EQ(Normal("https://[::1]:8443/x"), "https://[::1]:8443/x");
  EXPECT_EQ(ParseHttpUrl("http://[::1]")->host, "::1");
}

TEST(HttpUrl, RefusesWhatIsNone) {
  for (const char* text :
       {"", "mlruns", "file:///tmp", "http://", "http://:80", "http://a:0", "http://a:65536",
        "http://a:b", "http://::1", "http://a b", "http://a/?x=1", "http://a#b", "http://a\r\nb"}) {
    Status status = ParseHttpUrl(text).status();
    EXPECT_EQ(status.code(), Code::kInvalidArgument) << text;
    EXPECT_EQ(status.message().find('\n'), std::string::npos) << text;
  }
  EXPECT_NE(Normal("http://ada:secret@a").find("password"), std::string::npos);
}

}  // namespace
}  // namespace cyxwiz::cli
