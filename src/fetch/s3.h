// Objects of S3 and what speaks its protocol: their URLs, signed requests, listings.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/status.h"
#include "fetch/http.h"
#include "fetch/options.h"

namespace cyxwiz::fetch {

// From a file of AWS's form: lines "aws_access_key_id = ...", "aws_secret_access_key = ..." and
// "aws_session_token = ..." of the section [default]. PERMISSION_DENIED when others may read it;
// INVALID_ARGUMENT, without its content, when it is of another form.
Result<S3Keys> ReadS3Keys(const std::string& path);

// Of an object. url: "s3://bucket/key", with the percent codes of spec::EncodePercent. It is signed
// when there are keys; FAILED_PRECONDITION when they cannot be read.
Result<HttpRequest> S3ObjectRequest(const Options& options, const std::string& url);

// Of the objects below a prefix, a page at a time; token: of the page before.
Result<HttpRequest> S3ListRequest(const Options& options, const std::string& url,
                                  const std::string& token);

struct S3Object {
  std::string key, etag;
  int64_t size = 0;
};
struct S3Page {
  std::vector<S3Object> objects;
  std::string next_token;  // empty: there is no further page
};

// Of the answer to a S3ListRequest. DATA_LOSS when it is none.
Result<S3Page> ParseS3Page(std::string_view xml);

// The "Code" of an error, such as NoSuchKey; "" when there is none.
std::string S3ErrorCode(std::string_view xml);

// Whether an error is one of the node's keys or its clock, and no other URL would help.
bool IsAboutKeys(std::string_view error_code);

}  // namespace cyxwiz::fetch
