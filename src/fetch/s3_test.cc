#include "fetch/s3.h"

#include <gtest/gtest.h>
#include <sys/stat.h>

#include <fstream>

#include "base/testing.h"

namespace cyxwiz::fetch {
namespace {

TEST(S3Request, GoesToTheEndpointWithThePathAsItIsSigned) {
  Options options;
  auto amazon = S3ObjectRequest(options, "s3://bucket/a%20b/c.csv");
  ASSERT_TRUE(amazon.ok()) << amazon.status();
  EXPECT_EQ(amazon->url, "https://s3.us-east-1.amazonaws.com/bucket/a%20b/c.csv");
  EXPECT_FALSE(amazon->trusted);
  EXPECT_FALSE(amazon->keys);
  options.s3 = {
      .endpoint = "http://127.0.0.1:9000", .region = "here", .keys = S3Keys{"a", "b", "c"}};
  auto own = S3ObjectRequest(options, "s3://bucket/x");
  ASSERT_TRUE(own.ok()) << own.status();
  EXPECT_EQ(own->url, "http://127.0.0.1:9000/bucket/x");
  EXPECT_TRUE(own->trusted);
  EXPECT_EQ(own->region, "here");
  ASSERT_TRUE(own->keys);
  EXPECT_EQ(own->headers, std::vector<std::string>{"X-Amz-Security-Token: c"});
  auto list = S3ListRequest(options, "s3://bucket/a%20b/", "1/x=");
  ASSERT_TRUE(list.ok()) << list.status();
  EXPECT_EQ(list->url,
            "http://127.0.0.1:9000/bucket?continuation-token=1%2Fx%3D&list-type=2&max-keys=1000&"
            "prefix=a%20b%2F");
}

TEST(S3Keys, AreReadFromAFileThatNobodyElseMayRead) {
  TemporaryFolder folder;
  const std::string path = folder / "keys";
  std::ofstream(path) << "# comment\n[other]\naws_access_key_id = no\n[default]\r\n"
                         "aws_access_key_id = AKIA1\naws_secret_access_key=s3cr=t\n";
  ::chmod(path.c_str(), 0644);
  EXPECT_EQ(ReadS3Keys(path).status().code(), Code::kPermissionDenied);
  ::chmod(path.c_str(), 0600);
  auto keys = ReadS3Keys(path);
  ASSERT_TRUE(keys.ok()) << keys.status();
  EXPECT_EQ(keys->access_key, "AKIA1");
  EXPECT_EQ(keys->secret_key, "s3cr=t");
  EXPECT_EQ(keys->session_token, "");
  std::ofstream(path) << "[default]\naws_access_key_id = AKIA1\nsecret = hidden\n";
  auto none = ReadS3Keys(path);
  EXPECT_EQ(none.status().code(), Code::kInvalidArgument);
  EXPECT_EQ(none.status().ToString().find("hidden"), std::string::npos);
  EXPECT_EQ(none.status().ToString().find("AKIA1"), std::string::npos);
}

TEST(S3Page, IsReadWithItsReferences) {
  auto page = ParseS3Page(
      "<?xml version=\"1.0\"?><ListBucketResult xmlns=\"http://s3.amazonaws.com/doc/2006-03-01/\">"
      "<Name>b</Name><IsTruncated>true</IsTruncated>"
      "<NextContinuationToken>a&amp;b=</NextContinuationToken>"
      "<Contents><Key>x/&lt;1&gt; &#xe9;&#8364;.png</Key><ETag>&quot;abc&quot;</ETag>"
      "<Size>12</Size></Contents>"
      "<Contents><Key>y</Key><Size>0</Size></Contents></ListBucketResult>");
  ASSERT_TRUE(page.ok()) << page.status();
  EXPECT_EQ(page->next_token, "a&b=");
  ASSERT_EQ(page->objects.size(), 2u);
  EXPECT_EQ(page->objects[0].key, "x/<1> \xc3\xa9\xe2\x82\xac.png");
  EXPECT_EQ(page->objects[0].etag, "\"abc\"");
  EXPECT_EQ(page->objects[0].size, 12);
  EXPECT_EQ(page->objects[1].etag, "");
}

TEST(S3Page, WhatIsNoneIsToldAsSuch) {
  const std::string begin = "<ListBucketResult>", end = "</ListBucketResult>",
                    whole = "<IsTruncated>false</IsTruncated>";
  EXPECT_TRUE(ParseS3Page(begin + whole + end).ok());
  for (const std::string& xml :
       {std::string(), std::string("<html></html>"), begin + end,
        begin + "<IsTruncated>true</IsTruncated>" + end,
        begin + whole + "<Contents><Key>a</Key></Contents>" + end,
        begin + whole + "<Contents><Key>a</Key><Size>-1</Size></Contents>" + end,
        begin + whole + "<Contents><Key>a&nbsp;</Key><Size>1</Size></Contents>" + end,
        begin + whole + "<Contents><Key>a&#0;</Key><Size>1</Size></Contents>" + end,
        begin + whole + "<Contents><Key>a&#x110000;</Key><Size>1</Size></Contents>" + end}) {
    EXPECT_EQ(ParseS3Page(xml).status().code(), Code::kDataLoss) << xml;
  }
}

TEST(S3ErrorCode, IsAWordOrNothing) {
  EXPECT_EQ(S3ErrorCode("<?xml?><Error><Code>NoSuchKey</Code><Key>x</Key></Error>"), "NoSuchKey");
  EXPECT_EQ(S3ErrorCode("<Error><Code>a b\n</Code></Error>"), "");
  EXPECT_EQ(S3ErrorCode("<html><Code>x</Code></html>"), "");
  EXPECT_TRUE(IsAboutKeys("SignatureDoesNotMatch"));
  EXPECT_FALSE(IsAboutKeys("NoSuchKey"));
}

}  // namespace
}  // namespace cyxwiz::fetch
