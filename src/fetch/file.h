// Fetches one file: redirects, tries again, goes on where a connection broke, hashes what comes.
//
//   try ──► redirects ──► 200 from the start, or 206 from where it broke ──► complete ──► SHA-256
//    ▲                        │ lost, 5xx, 429
//    └──── wait, doubled ─────┘
//
// It goes on in the middle only when the file has a strong ETag and the rest comes with the same
// one: two contents are never joined.
#pragma once

#include <atomic>
#include <cstdint>
#include <functional>
#include <string>

#include "base/clock.h"
#include "base/status.h"
#include "fetch/cancellation.h"
#include "fetch/http.h"
#include "fetch/options.h"

namespace cyxwiz::fetch {

// What the files of one data set share. Everything outlives the fetching; the functions are called
// on any thread.
struct FetchContext {
  const Options* options = nullptr;
  Cancellation* cancellation = nullptr;
  MonotonicTime deadline = MonotonicTime::Never();
  // Bytes of all files: on disk, and as told when a file begins.
  std::atomic<int64_t>* received = nullptr;
  std::atomic<int64_t>* expected = nullptr;
  std::function<Status()> check_disk;                   // before each 16 MiB
  std::function<void(const std::string& line)> notice;  // what a person should know of
};

struct FileRequest {
  std::string url;     // https, http or s3 (see fetch/s3.h)
  std::string path;    // of the file that is written; its folder exists
  std::string sha256;  // what it must have; empty: any
  std::string etag;    // of a copy that is here; empty: there is none
};

struct FetchedFile {
  bool unchanged = false;  // the copy with request.etag is what is there; nothing was written
  std::string sha256, etag;
  int64_t bytes = 0;
};

// After an error no file is left. NOT_FOUND: it is not there (404, 410). INVALID_ARGUMENT,
// PERMISSION_DENIED, OUT_OF_RANGE: trying again would not help (forbidden, another hash, refused by
// a rule, too large). RESOURCE_EXHAUSTED as check_disk gives it. UNAVAILABLE, FAILED_PRECONDITION,
// DEADLINE_EXCEEDED: not to be had now, or by this node. CANCELLED. Messages name the URL.
Result<FetchedFile> FetchFile(HttpClient* client, const FetchContext& context,
                              const FileRequest& request);

}  // namespace cyxwiz::fetch
