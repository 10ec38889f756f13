// Fetches the files of data sets from other machines, several at a time, on threads of its own.
#pragma once

#include <atomic>
#include <condition_variable>
#include <cstdint>
#include <deque>
#include <functional>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <thread>
#include <vector>

#include "base/status.h"
#include "fetch/cancellation.h"
#include "fetch/file.h"
#include "fetch/http.h"
#include "fetch/options.h"
#include "fetch/rules.h"
#include "spec/remote_source.h"

namespace cyxwiz::fetch {

// A file that was fetched before.
struct Copy {
  std::string path, sha256;
  std::string etag;      // of what it was a copy of; empty: not known
  bool checked = false;  // its content was found right
  bool current = false;  // it is known to be what is there now
};

// A file that is wanted.
struct Wanted {
  spec::RemoteFile file;
  std::string path;  // where it is written when it must be fetched
  std::optional<Copy> copy;
};

// How a wanted file was had.
struct Had {
  bool absent = false;   // it is optional, and not there
  bool copied = false;   // the copy is right; nothing was written
  bool damaged = false;  // the copy has not the content that it had
  std::string name;      // within the data set
  std::string sha256, etag;
  int64_t bytes = 0;  // of what was written
};

// An object that a listing names.
struct Listed {
  spec::RemoteFile file;
  std::string etag;
};

// Files of one data set that are fetched together.
struct FetchJob {
  std::vector<Wanted> wanted;
  std::function<Status()> check_disk;                   // as in FetchContext
  std::function<void(const std::string& line)> notice;  // likewise
  // Once, on a thread of the fetcher. After an error, as of FetchFile, no file is there.
  std::function<void(Result<std::vector<Had>>)> done;
};

// What goes on for one caller.
class Fetching {
 public:
  // Any thread. done is called all the same, soon.
  void Cancel() { cancellation_.Cancel(); }
  int64_t received() const { return received_.load(); }
  // Of the files that have begun, as far as their sizes were told.
  int64_t expected() const { return expected_.load(); }

 private:
  friend class Fetcher;
  Cancellation cancellation_;
  std::atomic<int64_t> received_{0}, expected_{0};
};

// Any thread.
class Fetcher {
 public:
  // INVALID_ARGUMENT for options that mean nothing.
  static Result<std::unique_ptr<Fetcher>> Make(Options options);
  // Cancels everything.
  ~Fetcher();

  const Options& options() const { return options_; }

  std::shared_ptr<Fetching> Fetch(FetchJob job);
  // The objects below a URL of S3 that ends in '/', with names that IsDatasetPath holds for; hidden
  // ones are left out. done: as that of a FetchJob.
  std::shared_ptr<Fetching> List(const std::string& url,
                                 std::function<void(Result<std::vector<Listed>>)> done);

 private:
  // Work of one caller: pieces that any of the threads may take, one after the other.
  struct Work {
    std::shared_ptr<Fetching> fetching = std::make_shared<Fetching>();
    size_t pieces = 0, taken = 0, left = 0;
    std::function<void(HttpClient* client, size_t piece)> run;
    std::function<void()> end;  // after the last one
  };

  Fetcher(Options options, Rules rules) : options_(std::move(options)), rules_(std::move(rules)) {}
  void Start(std::shared_ptr<Work> work);
  void RunThread();
  MonotonicTime Deadline() const { return ReadClocks().monotonic + options_.max_time; }

  const Options options_;
  const Rules rules_;
  std::mutex mutex_;  // of what follows, and of the counts of work
  std::condition_variable changed_;
  std::deque<std::shared_ptr<Work>> queue_;  // each takes its turn with one piece
  std::vector<std::shared_ptr<Work>> all_;   // not ended
  bool stopping_ = false;
  std::vector<std::thread> threads_;
};

}  // namespace cyxwiz::fetch
