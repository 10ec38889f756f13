#include "fetch/s3.h"

#include <sys/stat.h>

#include <algorithm>
#include <cctype>
#include <cerrno>
#include <charconv>
#include <utility>

#include "base/file.h"
#include "base/text.h"
#include "spec/percent.h"
#include "spec/remote_source.h"

namespace cyxwiz::fetch {
namespace {

constexpr size_t kMaxKeysFileBytes = 64 << 10;
constexpr char kMaxKeys[] = "1000";  // on a page

std::string_view Trimmed(std::string_view text) {
  auto is_blank = [](char c) { return c == ' ' || c == '\t' || c == '\r'; };
  while (!text.empty() && is_blank(text.front())) text.remove_prefix(1);
  while (!text.empty() && is_blank(text.back())) text.remove_suffix(1);
  return text;
}

// The text between <name> and </name>, as it stands; nullopt when there is none. Moves *xml behind
// it.
std::optional<std::string_view> TakeElement(std::string_view* xml, std::string_view name) {
  const std::string open = "<" + std::string(name) + ">", close = "</" + std::string(name) + ">";
  const size_t begin = xml->find(open);
  if (begin == xml->npos) return std::nullopt;
  const size_t end = xml->find(close, begin + open.size());
  if (end == xml->npos) return std::nullopt;
  std::string_view inside = xml->substr(begin + open.size(), end - begin - open.size());
  xml->remove_prefix(end + close.size());
  return inside;
}

std::optional<std::string_view> FindElement(std::string_view xml, std::string_view name) {
  return TakeElement(&xml, name);
}

void AppendUtf8(uint32_t code, std::string* text) {
  auto add = [text](uint32_t byte) { text->push_back(static_cast<char>(byte)); };
  if (code < 0x80) {
    add(code);
  } else if (code < 0x800) {
    add(0xc0 | code >> 6);
    add(0x80 | (code & 63));
  } else if (code < 0x10000) {
    add(0xe0 | code >> 12);
    add(0x80 | (code >> 6 & 63));
    add(0x80 | (code & 63));
  } else {
    add(0xf0 | code >> 18);
    add(0x80 | (code >> 12 & 63));
    add(0x80 | (code >> 6 & 63));
    add(0x80 | (code & 63));
  }
}

// With its character references replaced; nullopt when one is none.
std::optional<std::string> Unescaped(std::string_view text) {
  static constexpr std::pair<std::string_view, char> kNamed[] = {
      {"amp", '&'}, {"lt", '<'}, {"gt", '>'}, {"quot", '"'}, {"apos", '\''}};
  std::string plain;
  while (!text.empty()) {
    const size_t ampersand = std::min(text.find('&'), text.size());
    plain += text.substr(0, ampersand);
    text.remove_prefix(ampersand);
    if (text.empty()) break;
    const size_t end = text.find(';');
    if (end == text.npos || end > 10) return std::nullopt;
    const std::string_view name = text.substr(1, end - 1);
    text.remove_prefix(end + 1);
    if (name.starts_with('#')) {
      const bool hexadecimal = name.starts_with("#x") || name.starts_with("#X");
      uint32_t code = 0;
      const std::string_view digits = name.substr(hexadecimal ? 2 : 1);
      auto [stop, error] = std::from_chars(digits.data(), digits.data() + digits.size(), code,
                                           hexadecimal ? 16 : 10);
      if (error != std::errc() || stop != digits.data() + digits.size() || code == 0 ||
          code > 0x10ffff)
        return std::nullopt;
      AppendUtf8(code, &plain);
      continue;
    }
    auto named = std::find_if(std::begin(kNamed), std::end(kNamed),
                              [&](const auto& one) { return one.first == name; });
    if (named == std::end(kNamed)) return std::nullopt;
    plain += named->second;
  }
  return plain;
}

// A request of what stands behind the endpoint: path and query, as they are signed.
Result<HttpRequest> S3Request(const Options& options, const std::string& path) {
  const S3Options& s3 = options.s3;
  HttpRequest request;
  request.trusted = !s3.endpoint.empty();
  request.url =
      (request.trusted ? s3.endpoint : "https://s3." + s3.region + ".amazonaws.com") + path;
  request.region = s3.region;
  request.keys = s3.keys;
  if (!s3.keys_file.empty()) {
    Result<S3Keys> keys = ReadS3Keys(s3.keys_file);
    if (!keys.ok()) {
      return FailedPrecondition("the node's keys for S3 cannot be used: " + keys.status().message(),
                                keys.status().hint());
    }
    request.keys = *std::move(keys);
  }
  if (request.keys && !request.keys->session_token.empty())
    request.headers.push_back("X-Amz-Security-Token: " + request.keys->session_token);
  return request;
}

}  // namespace

Result<S3Keys> ReadS3Keys(const std::string& path) {
  struct stat info {};
  if (::stat(path.c_str(), &info) != 0) return ErrnoStatus("cannot inspect '" + path + "'", errno);
  if ((info.st_mode & 077) != 0) {
    return PermissionDenied("others may read '" + path + "'", "chmod 600 " + path);
  }
  ASSIGN_OR_RETURN(const std::string text, ReadFile(path, kMaxKeysFileBytes));
  S3Keys keys;
  bool wanted = true;  // of [default], or before any section
  std::string_view rest = text;
  while (!rest.empty()) {
    const std::string_view whole = rest.substr(0, rest.find('\n'));
    rest.remove_prefix(std::min(rest.size(), whole.size() + 1));
    const std::string_view line = Trimmed(whole);
    if (line.starts_with('[')) wanted = line == "[default]";
    const size_t equals = line.find('=');
    if (!wanted || equals == line.npos || line[0] == '#' || line[0] == ';') continue;
    const std::string_view name = Trimmed(line.substr(0, equals));
    const std::string value(Trimmed(line.substr(equals + 1)));
    if (name == "aws_access_key_id") keys.access_key = value;
    if (name == "aws_secret_access_key") keys.secret_key = value;
    if (name == "aws_session_token") keys.session_token = value;
  }
  if (keys.access_key.empty() || keys.secret_key.empty()) {
    return InvalidArgument("'" + path + "' holds no keys",
                           "write aws_access_key_id = ... and aws_secret_access_key = ... below "
                           "[default]");
  }
  return keys;
}

Result<HttpRequest> S3ObjectRequest(const Options& options, const std::string& url) {
  return S3Request(options, "/" + url.substr(spec::kS3Scheme.size()));
}

Result<HttpRequest> S3ListRequest(const Options& options, const std::string& url,
                                  const std::string& token) {
  const std::string rest = url.substr(spec::kS3Scheme.size());
  const size_t slash = std::min(rest.find('/'), rest.size());
  const std::string prefix =
      spec::DecodePercent(rest.substr(std::min(slash + 1, rest.size()))).value_or("");
  // In the order of the names, and with these percent codes, as it is signed.
  return S3Request(
      options, "/" + rest.substr(0, slash) + "?" +
                   (token.empty() ? "" : "continuation-token=" + spec::EncodePercent(token) + "&") +
                   "list-type=2&max-keys=" + kMaxKeys + "&prefix=" + spec::EncodePercent(prefix));
}

Result<S3Page> ParseS3Page(std::string_view xml) {
  auto refuse = [](const std::string& what) {
    return DataLoss("the listing of the bucket cannot be understood: " + what);
  };
  if (xml.find("<ListBucketResult") == xml.npos) return refuse("it is no ListBucketResult");
  S3Page page;
  const auto truncated = FindElement(xml, "IsTruncated");
  if (!truncated) return refuse("it does not say whether it goes on");
  if (*truncated == "true") {
    auto token = FindElement(xml, "NextContinuationToken");
    auto plain = token ? Unescaped(*token) : std::nullopt;
    if (!plain || plain->empty()) return refuse("it does not say where it goes on");
    page.next_token = *plain;
  }
  std::string_view rest = xml;
  while (auto contents = TakeElement(&rest, "Contents")) {
    auto key = FindElement(*contents, "Key"), size = FindElement(*contents, "Size"),
         etag = FindElement(*contents, "ETag");
    auto plain_key = key ? Unescaped(*key) : std::nullopt;
    auto plain_etag = Unescaped(etag.value_or(""));
    auto bytes = size ? ParseInt(*size) : std::nullopt;
    if (!plain_key || !plain_etag || !bytes || *bytes < 0)
      return refuse("an object of it has no Key or Size");
    page.objects.push_back({*std::move(plain_key), *std::move(plain_etag), *bytes});
  }
  return page;
}

std::string S3ErrorCode(std::string_view xml) {
  const auto code = xml.find("<Error") == xml.npos ? std::nullopt : FindElement(xml, "Code");
  const bool plain =
      code && code->size() <= 64 && std::all_of(code->begin(), code->end(), [](char c) {
        return std::isalnum(static_cast<unsigned char>(c)) != 0;
      });
  return plain ? std::string(*code) : "";
}

bool IsAboutKeys(std::string_view error_code) {
  static constexpr std::string_view kCodes[] = {"InvalidAccessKeyId",   "SignatureDoesNotMatch",
                                                "ExpiredToken",         "InvalidToken",
                                                "TokenRefreshRequired", "RequestTimeTooSkewed"};
  return std::find(std::begin(kCodes), std::end(kCodes), error_code) != std::end(kCodes);
}

}  // namespace cyxwiz::fetch
