#include "fetch/file.h"

#include <fcntl.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <random>
#include <utility>

#include "base/file.h"
#include "base/resources.h"
#include "base/text.h"
#include "fetch/s3.h"
#include "fetch/sha256.h"
#include "spec/remote_source.h"

namespace cyxwiz::fetch {
namespace {

using std::chrono::milliseconds;

constexpr int kMostTries = 6;  // that bring nothing new
constexpr int kMostRedirects = 5;
constexpr Duration kFirstWait = milliseconds(100), kMostWait = std::chrono::seconds(10),
                   kMostAskedWait = std::chrono::seconds(60);
constexpr int64_t kDiskCheckBytes = 16 << 20;
constexpr size_t kKeptErrorBytes = 4096, kMostErrorBytes = 1 << 20;

bool IsRedirect(int status) {
  return status == 301 || status == 302 || status == 303 || status == 307 || status == 308;
}

// That of a content, byte for byte.
bool IsStrong(const std::string& etag) { return etag.starts_with('"') && etag.size() > 2; }

// "bytes 100-199/200": whether it begins at `from` and ends with the file; of a file of *total
// bytes when that is known.
bool ContinuesAt(const std::string& range, int64_t from, int64_t* total) {
  std::string_view text = range;
  if (!text.starts_with("bytes ")) return false;
  text.remove_prefix(6);
  const size_t dash = text.find('-'), slash = text.find('/');
  if (dash == text.npos || slash == text.npos || dash > slash) return false;
  auto first = ParseInt(text.substr(0, dash)),
       last = ParseInt(text.substr(dash + 1, slash - dash - 1)),
       all = ParseInt(text.substr(slash + 1));
  if (!first || !last || !all || *first != from || *last + 1 != *all) return false;
  if (*total >= 0 && *total != *all) return false;
  *total = *all;
  return true;
}

// Between half and all of it, so that nodes do not come back in step.
Duration Jittered(Duration wait) {
  static thread_local std::mt19937_64 random{std::random_device{}()};
  return wait / 2 + Duration(std::uniform_int_distribution<int64_t>(0, wait.count() / 2)(random));
}

class Fetch {
 public:
  Fetch(HttpClient* client, const FetchContext& context, const FileRequest& request)
      : client_(*client),
        context_(context),
        request_(request),
        s3_(request.url.starts_with(spec::kS3Scheme)) {}
  ~Fetch() {
    if (complete_) return;
    context_.received->fetch_sub(written_);
    Expect(0);
    if (fd_) ::unlink(request_.path.c_str());
  }

  Result<FetchedFile> Run();

 private:
  // How a try ended.
  enum class End { kComplete, kUnchanged, kLost, kFailed };

  End Try();
  End Judge(const HttpAnswer& answer);
  Result<HttpRequest> RequestOf(const std::string& url) const;
  Status OnHead(const HttpAnswer& head);
  Status OnPiece(const HttpAnswer& head, std::string_view piece);
  Status StartAnew();
  Status TooLarge(int64_t bytes) const;
  void Expect(int64_t bytes) {
    context_.expected->fetch_add(bytes - expected_);
    expected_ = bytes;
  }
  End Fail(Status status) {
    status_ = std::move(status);
    return End::kFailed;
  }
  End Lose(const std::string& why) {
    status_ = Unavailable(why);
    return End::kLost;
  }

  HttpClient& client_;
  const FetchContext& context_;
  const FileRequest& request_;
  const bool s3_;
  UniqueFd fd_;
  Sha256 hash_;
  int64_t written_ = 0, furthest_ = 0, until_disk_check_ = 0;
  int64_t total_ = -1;  // as told
  int64_t expected_ = 0;
  std::string etag_;  // of what is written
  bool complete_ = false;
  // Of the request under way.
  bool head_seen_ = false;
  std::string error_body_;
  size_t error_bytes_ = 0;
  Duration asked_wait_ = Duration::zero();
  Status status_;  // of the try that ended last
};

Status Fetch::TooLarge(int64_t bytes) const {
  return Status(Code::kOutOfRange,
                "the data set is too large for this node: expected at most " +
                    FormatBytes(context_.options->max_bytes) + ", found " +
                    (bytes > 0 ? FormatBytes(bytes) : "more"),
                "the operator of the node decides with fetch.max_size");
}

// What was written is not what is there any more.
Status Fetch::StartAnew() {
  if (::ftruncate(fd_.get(), 0) != 0 || ::lseek(fd_.get(), 0, SEEK_SET) != 0)
    return ErrnoStatus("cannot empty '" + request_.path + "'", errno);
  context_.received->fetch_sub(written_);
  hash_.Reset();
  written_ = 0;
  total_ = -1;
  etag_.clear();
  return OkStatus();
}

Status Fetch::OnHead(const HttpAnswer& head) {
  head_seen_ = true;
  if (head.status == 206) {
    const bool continues =
        written_ > 0 && head.etag == etag_ && ContinuesAt(head.content_range, written_, &total_);
    if (continues) return OkStatus();
    RETURN_IF_ERROR(StartAnew());
    return Unavailable("a part came that does not continue what is here");
  }
  if (written_ > 0) RETURN_IF_ERROR(StartAnew());
  etag_ = head.etag;
  total_ = head.length;
  Expect(std::max<int64_t>(total_, 0));
  if (total_ > context_.options->max_bytes - context_.received->load()) return TooLarge(total_);
  return OkStatus();
}

Status Fetch::OnPiece(const HttpAnswer& head, std::string_view piece) {
  if (head.status != 200 && head.status != 206) {
    if (error_body_.size() < kKeptErrorBytes)
      error_body_ += piece.substr(0, kKeptErrorBytes - error_body_.size());
    error_bytes_ += piece.size();
    return error_bytes_ > kMostErrorBytes ? Unavailable("an error of more than 1 MiB came")
                                          : OkStatus();
  }
  if (!head_seen_) RETURN_IF_ERROR(OnHead(head));
  const auto bytes = static_cast<int64_t>(piece.size());
  if (until_disk_check_ -= bytes; until_disk_check_ < 0) {
    RETURN_IF_ERROR(context_.check_disk());
    until_disk_check_ = kDiskCheckBytes;
  }
  written_ += bytes;
  if (context_.received->fetch_add(bytes) + bytes > context_.options->max_bytes) return TooLarge(0);
  hash_.Update(piece);
  return WriteAll(fd_.get(), piece);
}

Result<HttpRequest> Fetch::RequestOf(const std::string& url) const {
  HttpRequest request;
  request.url = url;
  if (s3_) {
    ASSIGN_OR_RETURN(request, S3ObjectRequest(*context_.options, url));
  }
  request.headers.push_back("Accept-Encoding: identity");
  if (written_ > 0) {
    request.headers.push_back("Range: bytes=" + std::to_string(written_) + "-");
    request.headers.push_back("If-Range: " + etag_);
  } else if (!request_.etag.empty()) {
    request.headers.push_back("If-None-Match: " + request_.etag);
  }
  return request;
}

Fetch::End Fetch::Try() {
  // Only what surely is the same can be continued.
  if (written_ > 0 && !IsStrong(etag_)) {
    if (Status anew = StartAnew(); !anew.ok()) return Fail(std::move(anew));
  }
  std::string url = request_.url;
  for (int redirects = 0;; ++redirects) {
    auto request = RequestOf(url);
    if (!request.ok()) return Fail(request.status());
    head_seen_ = false;
    error_body_.clear();
    error_bytes_ = 0;
    HttpAnswer answer = client_.Get(
        *request,
        [this](const HttpAnswer& head, std::string_view piece) { return OnPiece(head, piece); },
        context_.deadline, context_.cancellation);
    // Keys are for the endpoint alone.
    if (!answer.trouble.ok() || !IsRedirect(answer.status) || s3_) return Judge(answer);
    if (redirects == kMostRedirects) {
      return Fail(InvalidArgument("it leads from host to host: expected at most " +
                                  std::to_string(kMostRedirects) + " redirects, found more"));
    }
    auto next = ResolveRedirect(url, answer.location);
    if (!next.ok()) return Fail(next.status());
    url = *std::move(next);
  }
}

Fetch::End Fetch::Judge(const HttpAnswer& answer) {
  const int status = answer.status;
  if (!answer.trouble.ok()) {
    if (answer.trouble.code() == Code::kUnavailable) return Lose(answer.trouble.message());
    if (answer.trouble.code() != Code::kDeadlineExceeded) return Fail(answer.trouble);
    return Fail(Status(Code::kDeadlineExceeded,
                       "the data set has not come within " +
                           std::to_string(std::chrono::duration_cast<std::chrono::seconds>(
                                              context_.options->max_time)
                                              .count()) +
                           " s",
                       "the operator of the node decides with fetch.max_s"));
  }
  if (status == 200 || status == 206) {
    if (!head_seen_) {  // of an empty body
      if (Status head = OnHead(answer); !head.ok())
        return head.code() == Code::kUnavailable ? Lose(head.message()) : Fail(std::move(head));
    }
    if (total_ >= 0 && written_ != total_) {
      return Lose("expected " + std::to_string(total_) + " bytes, found " +
                  std::to_string(written_));
    }
    return End::kComplete;
  }
  if (status == 304 && !request_.etag.empty()) return End::kUnchanged;
  if (status == 412 || status == 416) {
    if (Status anew = StartAnew(); !anew.ok()) return Fail(std::move(anew));
    return Lose("what is there has changed");
  }
  std::string found = "the answer is " + std::to_string(status);
  const std::string code = s3_ ? S3ErrorCode(error_body_) : "";
  if (!code.empty()) found += " " + code;
  if (status == 408 || status == 425 || status == 429 || status >= 500) {
    auto seconds = ParseInt(answer.retry_after);
    if (seconds && *seconds > 0)
      asked_wait_ = std::min<Duration>(std::chrono::seconds(std::min<int64_t>(*seconds, 3600)),
                                       kMostAskedWait);
    return Lose(found);
  }
  if (status == 404 || status == 410) return Fail(NotFound("it is not there: " + found));
  if (s3_ && IsAboutKeys(code)) {
    return Fail(FailedPrecondition(found, "the node's keys for S3, or its clock, are not right"));
  }
  if (s3_ && !answer.bucket_region.empty() && answer.bucket_region != context_.options->s3.region &&
      (IsRedirect(status) || status == 400)) {
    return Fail(InvalidArgument(
        "the bucket is in region '" + Printable(answer.bucket_region.substr(0, 64)) +
            "', and this node asks in '" + context_.options->s3.region + "'",
        "the operator of the node decides with fetch.s3.region"));
  }
  if (status == 401 || status == 403) {
    return Fail(
        InvalidArgument("it may not be read: " + found,
                        s3_ ? "the operator of the node gives it keys with fetch.s3.keys_file"
                            : "take a URL that needs no password, such as a signed one"));
  }
  return Fail(InvalidArgument("it cannot be fetched: " + found));
}

Result<FetchedFile> Fetch::Run() {
  const std::string shown = spec::WithoutQuery(request_.url);
  auto named = [&](const Status& status) {
    return Status(status.code(), shown + ": " + status.message(), status.hint());
  };
  fd_.Reset(::open(request_.path.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600));
  if (!fd_) return ErrnoStatus("cannot create '" + request_.path + "'", errno);
  Duration wait = kFirstWait;
  for (int failures = 0;;) {
    asked_wait_ = Duration::zero();
    const End end = Try();
    if (end == End::kComplete) break;
    if (end == End::kUnchanged) return FetchedFile{.unchanged = true};
    if (end == End::kFailed) return named(status_);
    if (written_ > furthest_) {
      furthest_ = written_;
      failures = 0;
      wait = kFirstWait;
    }
    if (++failures == kMostTries) {
      return named(Status(status_.code(), status_.message() + ", " + std::to_string(kMostTries) +
                                              " times in a row"));
    }
    const Duration pause = std::max(Jittered(wait), asked_wait_);
    if (pause >= context_.deadline - ReadClocks().monotonic) return named(status_);
    context_.notice(
        shown + ": " + status_.message() + "; trying again" +
        (written_ > 0 && IsStrong(etag_) ? ", from " + FormatBytes(written_) + " on" : ""));
    if (!context_.cancellation->Sleep(pause))
      return named(Status(Code::kCancelled, "nobody waits for it any more"));
    wait = std::min(wait * 2, kMostWait);
  }
  FetchedFile fetched{.sha256 = hash_.Finish(), .etag = etag_, .bytes = written_};
  if (!request_.sha256.empty() && fetched.sha256 != request_.sha256) {
    return named(InvalidArgument("it has another content: expected SHA-256 " + request_.sha256 +
                                     ", found " + fetched.sha256 + " in " +
                                     std::to_string(written_) + " bytes",
                                 "it has changed, or the hash in the job is of another file"));
  }
  complete_ = true;
  return fetched;
}

}  // namespace

Result<FetchedFile> FetchFile(HttpClient* client, const FetchContext& context,
                              const FileRequest& request) {
  return Fetch(client, context, request).Run();
}

}  // namespace cyxwiz::fetch
