// What an operator allows, and how far it goes.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "base/clock.h"

namespace cyxwiz::fetch {

// What requests to S3 are signed with. Never shown.
struct S3Keys {
  std::string access_key, secret_key, session_token;  // the last one may be empty
};

struct S3Options {
  std::string endpoint;  // "https://minio.lan:9000"; empty: Amazon's of the region
  std::string region = "us-east-1";
  std::string keys_file;       // read at each use, since keys are exchanged; empty: none
  std::optional<S3Keys> keys;  // when there is no file; nullopt: requests are not signed
};

struct Options {
  int64_t max_bytes = int64_t{20} << 30;           // of one data set; 0: nothing is fetched
  Duration max_time = std::chrono::hours(1);       // likewise
  Duration stall_time = std::chrono::seconds(30);  // with less than 1 KiB/s, until it is given up
  int64_t parallel = 4;                            // files at a time, of all data sets
  std::vector<std::string> hosts;    // "data.example.org", "*.example.org"; empty: all
  std::vector<std::string> allowed;  // hosts and ranges of addresses that may be private
  bool allow_http = false;
  std::string ca_file;  // certificates to trust besides the system's; empty: none
  S3Options s3;
};

}  // namespace cyxwiz::fetch
