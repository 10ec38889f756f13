#include "fetch/http.h"

#include <curl/curl.h>
#include <strings.h>
#include <sys/socket.h>

#include <algorithm>
#include <chrono>
#include <mutex>
#include <utility>

#include "base/text.h"

namespace cyxwiz::fetch {
namespace {

constexpr size_t kMostHeaderBytes = 64 << 10, kMaxEtagBytes = 512;
constexpr long kConnectSeconds = 15;
constexpr long kStallBytesPerSecond = 1024;
constexpr long kBufferBytes = 256 << 10;
constexpr int64_t kMostWaitMs = 1000;

void InitialiseOnce() {
  static std::once_flag once;
  std::call_once(once, [] { curl_global_init(CURL_GLOBAL_DEFAULT); });
}

template <typename Handle, void (*free)(Handle*)>
struct Freed {
  void operator()(Handle* handle) const { free(handle); }
};
using UrlHandle = std::unique_ptr<CURLU, Freed<CURLU, curl_url_cleanup>>;
using HeaderList = std::unique_ptr<curl_slist, Freed<curl_slist, curl_slist_free_all>>;

bool IsNamed(std::string_view header, std::string_view name) {
  return header.size() == name.size() &&
         ::strncasecmp(header.data(), name.data(), name.size()) == 0;
}

bool IsPlain(std::string_view text) {
  return text.size() <= kMaxEtagBytes &&
         std::all_of(text.begin(), text.end(), [](char c) { return c >= ' ' && c < 127; });
}

// A part of a URL, "" when it has none.
std::string PartOf(CURLU* url, CURLUPart part) {
  char* text = nullptr;
  if (curl_url_get(url, part, &text, 0) != CURLUE_OK) return "";
  std::string found(text);
  curl_free(text);
  return found;
}

}  // namespace

struct HttpClient::Handles {
  CURL* easy = nullptr;
  CURLM* multi = nullptr;
  ~Handles() {
    curl_easy_cleanup(easy);
    curl_multi_cleanup(multi);
  }
};

// A request under way; libcurl calls back within Get.
struct HttpClient::Transfer {
  const Rules& rules;
  const Body& body;
  std::string host;
  bool trusted = false;
  HttpAnswer answer;
  size_t header_bytes = 0;
  const char* refused = nullptr;  // what the address was that was not connected to
  Status body_status;

  static curl_socket_t OpenSocket(void* self, curlsocktype, curl_sockaddr* address) {
    auto& transfer = *static_cast<Transfer*>(self);
    if (!transfer.Allows(IpAddress::From(address->addr))) return CURL_SOCKET_BAD;
    return ::socket(address->family, address->socktype | SOCK_CLOEXEC, address->protocol);
  }

  // Whether there is nothing against the address; notes it otherwise.
  bool Allows(const std::optional<IpAddress>& address) {
    if (trusted) return true;
    const char* why = address ? rules.WhyNot(host, *address) : "no address of the internet";
    if (why != nullptr) refused = why;
    return why == nullptr;
  }

  // A connection that is used again was made for another request.
  static int BeforeRequest(void* self, char* address, char*, int, int) {
    auto& transfer = *static_cast<Transfer*>(self);
    return transfer.Allows(IpAddress::Parse(address)) ? CURL_PREREQFUNC_OK : CURL_PREREQFUNC_ABORT;
  }

  static size_t OnHeader(char* data, size_t, size_t bytes, void* self) {
    auto& transfer = *static_cast<Transfer*>(self);
    transfer.header_bytes += bytes;
    if (transfer.header_bytes > kMostHeaderBytes) {
      transfer.body_status = Unavailable("its header is larger than 64 KiB");
      return 0;
    }
    std::string_view line(data, bytes);
    while (line.ends_with('\n') || line.ends_with('\r')) line.remove_suffix(1);
    if (line.starts_with("HTTP/")) {
      transfer.answer = {};
      const size_t blank = line.find(' ');
      const std::string_view code =
          blank == line.npos ? "" : line.substr(blank + 1, std::min<size_t>(3, line.size()));
      transfer.answer.status = static_cast<int>(ParseInt(code).value_or(0));
      return bytes;
    }
    const size_t colon = line.find(':');
    if (colon == line.npos) return bytes;
    const std::string_view name = line.substr(0, colon);
    std::string_view value = line.substr(colon + 1);
    while (value.starts_with(' ') || value.starts_with('\t')) value.remove_prefix(1);
    while (value.ends_with(' ') || value.ends_with('\t')) value.remove_suffix(1);
    transfer.Note(name, value);
    return bytes;
  }

  void Note(std::string_view name, std::string_view value) {
    if (IsNamed(name, "content-length")) {
      const int64_t length = ParseInt(value).value_or(-1);
      answer.length = length < 0 ? -1 : length;
      return;
    }
    const std::pair<std::string_view, std::string*> kept[] = {
        {"etag", &answer.etag},
        {"location", &answer.location},
        {"content-range", &answer.content_range},
        {"retry-after", &answer.retry_after},
        {"x-amz-bucket-region", &answer.bucket_region}};
    for (const auto& [wanted, target] : kept) {
      if (IsNamed(name, wanted)) *target = std::string(value);
    }
    // It is sent back one day.
    if (!IsPlain(answer.etag)) answer.etag.clear();
  }

  static size_t OnBody(char* data, size_t, size_t bytes, void* self) {
    auto& transfer = *static_cast<Transfer*>(self);
    transfer.body_status = transfer.body(transfer.answer, {data, bytes});
    return transfer.body_status.ok() ? bytes : 0;
  }

  // What the end of the transfer means.
  Status Judge(CURLcode code, const char* text) const {
    if (!body_status.ok()) return body_status;
    if (code == CURLE_OK) return OkStatus();
    if (refused != nullptr && answer.status == 0) {
      return PermissionDenied(
          "host '" + host + "' has " + refused + ", from which nothing is fetched",
          "the operator of the node can allow hosts and addresses with "
          "fetch.allow");
    }
    const std::string why = Printable(*text != '\0' ? text : curl_easy_strerror(code));
    switch (code) {
      case CURLE_URL_MALFORMAT:
      case CURLE_UNSUPPORTED_PROTOCOL:
        return InvalidArgument(why);
      case CURLE_PEER_FAILED_VERIFICATION:
      case CURLE_SSL_CACERT_BADFILE:
      case CURLE_SSL_ISSUER_ERROR:
      case CURLE_SSL_CERTPROBLEM:
        return Status(Code::kFailedPrecondition, why,
                      "the operator of the node can name further certificates with fetch.ca_file");
      default:
        return Unavailable(why);
    }
  }
};

HttpClient::HttpClient(const Options& options, const Rules& rules)
    : options_(options), rules_(rules), handles_(std::make_unique<Handles>()) {
  InitialiseOnce();
  handles_->easy = curl_easy_init();
  handles_->multi = curl_multi_init();
}

HttpClient::~HttpClient() = default;

HttpAnswer HttpClient::Get(const HttpRequest& request, const Body& body, MonotonicTime deadline,
                           Cancellation* cancellation) {
  Transfer transfer{.rules = rules_, .body = body};
  auto fail = [](Status trouble) {
    HttpAnswer answer;
    answer.trouble = std::move(trouble);
    return answer;
  };
  if (handles_->easy == nullptr || handles_->multi == nullptr)
    return fail(Internal("libcurl cannot be started"));
  UrlHandle url(curl_url());
  if (curl_url_set(url.get(), CURLUPART_URL, request.url.c_str(), CURLU_PATH_AS_IS) != CURLUE_OK)
    return fail(InvalidArgument("it is no URL that can be fetched"));
  transfer.host = PartOf(url.get(), CURLUPART_HOST);
  transfer.trusted = request.trusted;
  if (!request.trusted) {
    Status allowed = rules_.CheckUrl(PartOf(url.get(), CURLUPART_SCHEME), transfer.host);
    if (!allowed.ok()) return fail(std::move(allowed));
  }

  CURL* easy = handles_->easy;
  curl_easy_reset(easy);
  char text[CURL_ERROR_SIZE] = "";
  curl_slist* list = nullptr;
  for (const std::string& header : request.headers) list = curl_slist_append(list, header.c_str());
  HeaderList headers(list);
  curl_easy_setopt(easy, CURLOPT_CURLU, url.get());
  curl_easy_setopt(easy, CURLOPT_PATH_AS_IS, 1L);
  curl_easy_setopt(easy, CURLOPT_HTTPHEADER, headers.get());
  curl_easy_setopt(easy, CURLOPT_USERAGENT, "cyxwiz-server-node/" CYXWIZ_VERSION);
  curl_easy_setopt(easy, CURLOPT_ERRORBUFFER, text);
  curl_easy_setopt(easy, CURLOPT_NOSIGNAL, 1L);
  curl_easy_setopt(easy, CURLOPT_PROTOCOLS_STR, "http,https");
  curl_easy_setopt(easy, CURLOPT_FOLLOWLOCATION, 0L);
  curl_easy_setopt(easy, CURLOPT_PROXY, "");
  curl_easy_setopt(easy, CURLOPT_DISALLOW_USERNAME_IN_URL, 1L);
  curl_easy_setopt(easy, CURLOPT_HTTP_VERSION, static_cast<long>(CURL_HTTP_VERSION_1_1));
  curl_easy_setopt(easy, CURLOPT_SSLVERSION, static_cast<long>(CURL_SSLVERSION_TLSv1_2));
  if (!options_.ca_file.empty()) curl_easy_setopt(easy, CURLOPT_CAINFO, options_.ca_file.c_str());
  curl_easy_setopt(easy, CURLOPT_CONNECTTIMEOUT, kConnectSeconds);
  curl_easy_setopt(easy, CURLOPT_LOW_SPEED_LIMIT, kStallBytesPerSecond);
  curl_easy_setopt(
      easy, CURLOPT_LOW_SPEED_TIME,
      static_cast<long>(
          std::chrono::duration_cast<std::chrono::seconds>(options_.stall_time).count()));
  curl_easy_setopt(easy, CURLOPT_BUFFERSIZE, kBufferBytes);
  curl_easy_setopt(easy, CURLOPT_OPENSOCKETFUNCTION, &Transfer::OpenSocket);
  curl_easy_setopt(easy, CURLOPT_OPENSOCKETDATA, &transfer);
  curl_easy_setopt(easy, CURLOPT_PREREQFUNCTION, &Transfer::BeforeRequest);
  curl_easy_setopt(easy, CURLOPT_PREREQDATA, &transfer);
  curl_easy_setopt(easy, CURLOPT_HEADERFUNCTION, &Transfer::OnHeader);
  curl_easy_setopt(easy, CURLOPT_HEADERDATA, &transfer);
  curl_easy_setopt(easy, CURLOPT_WRITEFUNCTION, &Transfer::OnBody);
  curl_easy_setopt(easy, CURLOPT_WRITEDATA, &transfer);
  if (request.keys) {
    curl_easy_setopt(easy, CURLOPT_AWS_SIGV4, ("aws:amz:" + request.region + ":s3").c_str());
    curl_easy_setopt(easy, CURLOPT_USERNAME, request.keys->access_key.c_str());
    curl_easy_setopt(easy, CURLOPT_PASSWORD, request.keys->secret_key.c_str());
  }

  CURLcode code = CURLE_OK;
  Status stopped;
  {
    Cancellation::Waiter waiter(cancellation, [this] { curl_multi_wakeup(handles_->multi); });
    curl_multi_add_handle(handles_->multi, easy);
    for (int running = 1; running > 0;) {
      const int64_t left_ms =
          std::chrono::duration_cast<std::chrono::milliseconds>(deadline - ReadClocks().monotonic)
              .count();
      if (cancellation->cancelled()) {
        stopped = Status(Code::kCancelled, "nobody waits for it any more");
      } else if (left_ms <= 0) {
        stopped = Status(Code::kDeadlineExceeded, "its time is over");
      } else if (curl_multi_perform(handles_->multi, &running) != CURLM_OK) {
        stopped = Internal("libcurl does not go on");
      }
      if (!stopped.ok()) break;
      if (running > 0) {
        curl_multi_poll(handles_->multi, nullptr, 0,
                        static_cast<int>(std::min(left_ms, kMostWaitMs)), nullptr);
      }
    }
    int left = 0;
    while (CURLMsg* message = curl_multi_info_read(handles_->multi, &left)) {
      if (message->msg == CURLMSG_DONE) code = message->data.result;
    }
    curl_multi_remove_handle(handles_->multi, easy);
  }
  transfer.answer.trouble = stopped.ok() ? transfer.Judge(code, text) : std::move(stopped);
  return std::move(transfer.answer);
}

Result<std::string> ResolveRedirect(const std::string& url, const std::string& location) {
  UrlHandle parsed(curl_url());
  if (location.empty() ||
      curl_url_set(parsed.get(), CURLUPART_URL, url.c_str(), CURLU_PATH_AS_IS) != CURLUE_OK ||
      curl_url_set(parsed.get(), CURLUPART_URL, location.c_str(),
                   CURLU_PATH_AS_IS | CURLU_URLENCODE | CURLU_DISALLOW_USER) != CURLUE_OK) {
    return InvalidArgument("a redirect leads nowhere");
  }
  return PartOf(parsed.get(), CURLUPART_URL);
}

}  // namespace cyxwiz::fetch
