#include "central/http_message.h"

#include <gtest/gtest.h>

#include "central/http_router.h"
#include "central/http_server.h"

namespace cyxwiz::central {
namespace {

TEST(HttpMessage, TargetsAreSplitAndQueriesDecoded) {
  HttpRequest request;
  ASSERT_TRUE(ParseTarget("/a/b%2Fc?x=1&name=a+b%26c&empty=&flag", &request).ok());
  EXPECT_EQ(request.path, "/a/b%2Fc");
  EXPECT_EQ(request.query, (std::map<std::string, std::string>{
                               {"x", "1"}, {"name", "a b&c"}, {"empty", ""}, {"flag", ""}}));
}

TEST(HttpMessage, BrokenTargetsAreRefused) {
  for (const char* target : {"", "*", "http://host/", "/?a=%4", "/?a=%zz", "/?a=1&a=2"}) {
    HttpRequest request;
    EXPECT_EQ(ParseTarget(target, &request).code(), Code::kInvalidArgument) << target;
  }
}

TEST(HttpMessage, JsonTypes) {
  EXPECT_TRUE(IsJsonType("application/json"));
  EXPECT_TRUE(IsJsonType("Application/JSON ; charset=utf-8"));
  EXPECT_TRUE(IsJsonType("application/problem+json"));
  EXPECT_FALSE(IsJsonType("text/plain"));
  EXPECT_FALSE(IsJsonType(""));
  EXPECT_FALSE(IsJsonType("application/jsonx"));
}

TEST(HttpMessage, AProblemHasAllMembersOfRfc9457AndOurs) {
  HttpResponse response = ProblemResponse(NotFound("no job 'x'", "look"), "/api/v1/jobs/x");
  EXPECT_EQ(response.status, 404);
  EXPECT_EQ(response.content_type, "application/problem+json");
  EXPECT_EQ(Json::parse(response.body), Json({{"type", "urn:cyxwiz:error:NOT_FOUND"},
                                              {"title", "Not Found"},
                                              {"status", 404},
                                              {"detail", "no job 'x'"},
                                              {"instance", "/api/v1/jobs/x"},
                                              {"code", "NOT_FOUND"},
                                              {"hint", "look"}}));
}

TEST(HttpMessage, AProblemMayQuoteBytesThatAreNotUtf8) {
  EXPECT_NE(ProblemResponse(NotFound("no job '\xff'"), "/\xff").body.find("no job"),
            std::string::npos);
}

constexpr HttpRoute kRoutes[] = {
    {"GET", "/jobs"}, {"POST", "/jobs"}, {"GET", "/jobs/{id}"}, {"POST", "/jobs/{id}/cancel"}};

TEST(HttpRouter, FindsByMethodAndPattern) {
  HttpRouter router(kRoutes);
  EXPECT_EQ(router.Find("GET", "/jobs").route, 0);
  EXPECT_EQ(router.Find("HEAD", "/jobs").route, 0);
  EXPECT_EQ(router.Find("POST", "/jobs").route, 1);
  HttpRouter::Match match = router.Find("GET", "/jobs/a%2Fb");
  EXPECT_EQ(match.route, 2);
  EXPECT_EQ(match.values["id"], "a/b");
  EXPECT_EQ(router.Find("POST", "/jobs/j/cancel").route, 3);
}

TEST(HttpRouter, AWrongMethodIsToldWhatIsAllowed) {
  HttpRouter router(kRoutes);
  EXPECT_EQ(router.Find("DELETE", "/jobs").route, -1);
  EXPECT_EQ(router.Find("DELETE", "/jobs").allow, "GET, HEAD, POST");
  EXPECT_EQ(router.Find("GET", "/jobs/j/cancel").allow, "POST");
}

TEST(HttpRouter, UnknownPathsMatchNothing) {
  HttpRouter router(kRoutes);
  for (const char* path :
       {"", "/", "/job", "/jobs/", "/jobs//cancel", "/jobs/j/cancel/", "/jobs/%zz"}) {
    EXPECT_EQ(router.Find("GET", path).route, -1) << path;
    EXPECT_EQ(router.Find("GET", path).allow, "") << path;
  }
}

TEST(HttpServer, LoopbackHosts) {
  for (const char* host :
       {"localhost", "LocalHost:8080", "127.0.0.1", "127.0.0.1:1", "[::1]", "[::1]:8080"}) {
    EXPECT_TRUE(IsLoopbackHost(host)) << host;
  }
  for (const char* host :
       {"", "evil.example", "localhost.evil.example", "127.0.0.1.nip.io:8080",
        "localhost:", "localhost:x", "::1", "[::1", "user@localhost", "localhost:80:80"}) {
    EXPECT_FALSE(IsLoopbackHost(host)) << host;
  }
}

TEST(HttpServer, AnOriginMustBeTheHostItself) {
  EXPECT_TRUE(IsSameOrigin("http://localhost:8080", "localhost:8080"));
  EXPECT_FALSE(IsSameOrigin("http://localhost:5173", "localhost:8080"));
  EXPECT_FALSE(IsSameOrigin("http://evil.example", "localhost:8080"));
  EXPECT_FALSE(IsSameOrigin("null", "localhost:8080"));
}

}  // namespace
}  // namespace cyxwiz::central
