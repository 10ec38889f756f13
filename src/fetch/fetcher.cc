#include "fetch/fetcher.h"

#include <unistd.h>

#include <algorithm>
#include <optional>
#include <utility>

#include "artifacts/artifact_store.h"
#include "base/resources.h"
#include "base/text.h"
#include "fetch/s3.h"
#include "spec/dataset_manifest.h"
#include "spec/percent.h"

namespace cyxwiz::fetch {
namespace {

constexpr size_t kMaxPageBytes = 8 << 20;
constexpr int kMostPageTries = 4;
constexpr std::string_view kPacked = ".gz";

std::string WithoutPacked(const std::string& text) {
  const size_t end = text.find('?');
  const size_t size = std::min(end, text.size());
  return text.substr(0, size - kPacked.size()) + text.substr(size);
}

// One wanted file, whatever has to be done for it.
Result<Had> Have(HttpClient* client, const FetchContext& context, const Wanted& wanted) {
  Had had{.name = wanted.file.name};
  FileRequest request{.url = wanted.file.url, .path = wanted.path, .sha256 = wanted.file.sha256};
  if (wanted.copy) {
    const Copy& copy = *wanted.copy;
    bool right = copy.checked;
    if (!right) {
      auto hash = artifacts::HashFile(copy.path);
      right = hash.ok() && *hash == copy.sha256;
    }
    had.damaged = !right;
    had.copied = right && (copy.current || copy.sha256 == wanted.file.sha256);
    had.sha256 = copy.sha256;
    had.etag = copy.etag;
    if (had.copied) return had;
    if (right) request.etag = copy.etag;
  }
  auto fetched = FetchFile(client, context, request);
  if (fetched.status().code() == Code::kNotFound && wanted.file.or_unpacked) {
    request.url = WithoutPacked(request.url);
    had.name = WithoutPacked(had.name);
    fetched = FetchFile(client, context, request);
  }
  if (fetched.status().code() == Code::kNotFound && wanted.file.optional) {
    had.absent = true;
    return had;
  }
  if (!fetched.ok()) return fetched.status();
  if (fetched->unchanged) {
    had.copied = true;
    return had;
  }
  had.sha256 = fetched->sha256;
  had.etag = fetched->etag;
  had.bytes = fetched->bytes;
  return had;
}

Result<S3Page> FetchPage(HttpClient* client, const Options& options, const std::string& url,
                         const std::string& token, MonotonicTime deadline,
                         Cancellation* cancellation) {
  for (int tries = 1;; ++tries) {
    ASSIGN_OR_RETURN(const HttpRequest request, S3ListRequest(options, url, token));
    std::string body;
    const HttpAnswer answer = client->Get(
        request,
        [&](const HttpAnswer&, std::string_view piece) {
          body += piece;
          return body.size() <= kMaxPageBytes
                     ? OkStatus()
                     : DataLoss("a page of the listing is larger than 8 MiB");
        },
        deadline, cancellation);
    if (answer.trouble.ok() && answer.status == 200) return ParseS3Page(body);
    const std::string code = S3ErrorCode(body);
    Status status = answer.trouble;
    if (status.ok()) {
      const std::string found =
          "the answer is " + std::to_string(answer.status) + (code.empty() ? "" : " " + code);
      if (answer.status >= 500 || answer.status == 429) {
        status = Unavailable(found);
      } else if (IsAboutKeys(code)) {
        status = FailedPrecondition(found, "the node's keys for S3, or its clock, are not right");
      } else {
        status = InvalidArgument("it cannot be listed: " + found,
                                 "listing a bucket is a right of its own: the operator of the node "
                                 "gives it keys with fetch.s3.keys_file");
      }
    }
    if (status.code() != Code::kUnavailable || tries == kMostPageTries) return status;
    if (!cancellation->Sleep(std::chrono::milliseconds(200) * tries))
      return Status(Code::kCancelled, "nobody waits for it any more");
  }
}

// Of one object; nullopt when it is hidden, or stands for a folder.
Result<std::optional<Listed>> ToListed(const std::string& url, const std::string& prefix,
                                       const S3Object& object) {
  if (!object.key.starts_with(prefix))
    return DataLoss("the listing of the bucket names an object outside of what was asked for");
  const std::string name = object.key.substr(prefix.size());
  if (name.empty() || name.ends_with('/') || name[0] == '.' || name.find("/.") != name.npos)
    return std::optional<Listed>();
  if (!spec::IsDatasetPath(name)) {
    return InvalidArgument("an object has a key that no file of a data set can have: '" +
                           Printable(name.substr(0, 200)) + "'");
  }
  Listed listed;
  listed.file.url = url + spec::EncodePercent(name, "/");
  listed.file.name = name;
  // Some leave out the quotes that the header has.
  const bool bare = !object.etag.empty() && object.etag.find('"') == object.etag.npos;
  listed.etag = bare ? "\"" + object.etag + "\"" : object.etag;
  return std::optional<Listed>(std::move(listed));
}

Result<std::vector<Listed>> ListAll(HttpClient* client, const Options& options,
                                    const std::string& url, MonotonicTime deadline,
                                    Cancellation* cancellation) {
  const std::string rest = url.substr(spec::kS3Scheme.size());
  const std::string prefix =
      spec::DecodePercent(rest.substr(std::min(rest.find('/'), rest.size() - 1) + 1)).value_or("");
  std::vector<Listed> all;
  int64_t bytes = 0;
  std::string token;
  do {
    ASSIGN_OR_RETURN(S3Page page, FetchPage(client, options, url, token, deadline, cancellation));
    for (const S3Object& object : page.objects) {
      ASSIGN_OR_RETURN(std::optional<Listed> listed, ToListed(url, prefix, object));
      if (!listed) continue;
      bytes += std::min(object.size, spec::kMaxDatasetBytes);
      all.push_back(*std::move(listed));
      if (all.size() > spec::kMaxDatasetFiles) {
        return Status(Code::kOutOfRange, "it holds too many objects: expected at most " +
                                             std::to_string(spec::kMaxDatasetFiles));
      }
    }
    if (bytes > options.max_bytes) {
      return Status(Code::kOutOfRange,
                    "the data set is too large for this node: expected at most " +
                        FormatBytes(options.max_bytes) + ", found " + FormatBytes(bytes),
                    "the operator of the node decides with fetch.max_size");
    }
    token = std::move(page.next_token);
  } while (!token.empty());
  if (all.empty()) return NotFound("there are no objects below it");
  return all;
}

}  // namespace

Result<std::unique_ptr<Fetcher>> Fetcher::Make(Options options) {
  ASSIGN_OR_RETURN(Rules rules, Rules::Make(options));
  const std::string& endpoint = options.s3.endpoint;
  if (!endpoint.empty()) {
    spec::Problems problems;
    auto url = spec::ParseRemoteUrl(endpoint + "/bucket", &problems);
    if (!url || url->s3() || url->origin != endpoint) {
      return InvalidArgument(
          "fetch.s3.endpoint: expected https://HOST or https://HOST:PORT, found '" + endpoint +
          "'");
    }
  }
  const std::string& region = options.s3.region;
  if (region.empty() ||
      region.find_first_not_of("abcdefghijklmnopqrstuvwxyz"
                               "ABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-") != region.npos) {
    return InvalidArgument("fetch.s3.region: expected a region such as eu-west-1, found '" +
                           region + "'");
  }
  if (!options.ca_file.empty() && ::access(options.ca_file.c_str(), R_OK) != 0)
    return ErrnoStatus("fetch.ca_file: cannot read '" + options.ca_file + "'", errno);
  if (!options.s3.keys_file.empty()) {
    auto keys = ReadS3Keys(options.s3.keys_file);
    if (!keys.ok())
      return InvalidArgument("fetch.s3.keys_file: " + keys.status().message(),
                             keys.status().hint());
  }
  std::unique_ptr<Fetcher> fetcher(new Fetcher(std::move(options), std::move(rules)));
  for (int64_t i = 0; i < fetcher->options_.parallel; ++i)
    fetcher->threads_.emplace_back([self = fetcher.get()] { self->RunThread(); });
  return fetcher;
}

Fetcher::~Fetcher() {
  {
    std::lock_guard lock(mutex_);
    stopping_ = true;
    for (const auto& work : all_) work->fetching->Cancel();
  }
  changed_.notify_all();
  for (std::thread& thread : threads_) thread.join();
}

void Fetcher::Start(std::shared_ptr<Work> work) {
  work->left = work->pieces;
  {
    std::lock_guard lock(mutex_);
    all_.push_back(work);
    queue_.push_back(std::move(work));
  }
  changed_.notify_all();
}

void Fetcher::RunThread() {
  HttpClient client(options_, rules_);
  std::unique_lock lock(mutex_);
  for (;;) {
    changed_.wait(lock, [this] { return stopping_ || !queue_.empty(); });
    if (queue_.empty()) return;
    const std::shared_ptr<Work> work = std::move(queue_.front());
    queue_.pop_front();
    const size_t piece = work->taken++;
    if (work->taken < work->pieces) queue_.push_back(work);
    lock.unlock();
    work->run(&client, piece);
    lock.lock();
    if (--work->left > 0) continue;
    std::erase(all_, work);
    lock.unlock();
    work->end();
    lock.lock();
  }
}

std::shared_ptr<Fetching> Fetcher::Fetch(FetchJob job) {
  struct State {
    FetchJob job;
    FetchContext context;
    std::vector<Had> had;
    std::mutex mutex;
    Status trouble;  // the first
  };
  auto work = std::make_shared<Work>();
  auto state = std::make_shared<State>();
  state->job = std::move(job);
  state->had.resize(state->job.wanted.size());
  Fetching& fetching = *work->fetching;
  state->context = {.options = &options_,
                    .cancellation = &fetching.cancellation_,
                    .deadline = Deadline(),
                    .received = &fetching.received_,
                    .expected = &fetching.expected_,
                    .check_disk = state->job.check_disk,
                    .notice = state->job.notice};
  work->pieces = state->job.wanted.size();
  work->run = [state, fetching = work->fetching](HttpClient* client, size_t piece) {
    auto had = fetching->cancellation_.cancelled()
                   ? Result<Had>(Status(Code::kCancelled, "nobody waits for it any more"))
                   : Have(client, state->context, state->job.wanted[piece]);
    std::lock_guard lock(state->mutex);
    if (had.ok()) {
      state->had[piece] = *std::move(had);
    } else if (state->trouble.ok()) {
      state->trouble = had.status();
      fetching->Cancel();  // without one of them the others are of no use
    }
  };
  work->end = [state] {
    if (state->trouble.ok()) return state->job.done(std::move(state->had));
    for (const Wanted& wanted : state->job.wanted) ::unlink(wanted.path.c_str());
    state->job.done(state->trouble);
  };
  auto fetching_of_caller = work->fetching;
  Start(std::move(work));
  return fetching_of_caller;
}

std::shared_ptr<Fetching> Fetcher::List(const std::string& url,
                                        std::function<void(Result<std::vector<Listed>>)> done) {
  auto work = std::make_shared<Work>();
  auto found = std::make_shared<Result<std::vector<Listed>>>(std::vector<Listed>());
  work->pieces = 1;
  work->run = [this, url, found, fetching = work->fetching, deadline = Deadline()](
                  HttpClient* client, size_t) {
    *found = ListAll(client, options_, url, deadline, &fetching->cancellation_);
    if (found->ok()) return;
    const Status& status = found->status();
    *found = Status(status.code(), url + ": " + status.message(), status.hint());
  };
  work->end = [found, done = std::move(done)] { done(std::move(*found)); };
  auto fetching = work->fetching;
  Start(std::move(work));
  return fetching;
}

}  // namespace cyxwiz::fetch
