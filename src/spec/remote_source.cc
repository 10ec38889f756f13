#include "spec/remote_source.h"

#include <algorithm>
#include <cctype>

#include "base/text.h"
#include "spec/dataset.h"
#include "spec/dataset_manifest.h"
#include "spec/object_reader.h"
#include "spec/percent.h"
#include "spec/shard_pattern.h"

namespace cyxwiz::spec {
namespace {

constexpr char kPath[] = "$.dataset";
constexpr size_t kMaxHostBytes = 253;

bool IsAlphanumeric(char c) { return std::isalnum(static_cast<unsigned char>(c)) != 0; }

// Of names as of numbers: what a number means is for who connects to say.
bool IsHost(std::string_view host) {
  if (host.size() > kMaxHostBytes) return false;
  if (host.starts_with('[')) {
    return host.size() > 2 && host.ends_with(']') &&
           host.substr(1, host.size() - 2).find_first_not_of("0123456789abcdefABCDEF:.") ==
               host.npos;
  }
  return !host.empty() && IsAlphanumeric(host[0]) &&
         std::all_of(host.begin(), host.end(),
                     [](char c) { return IsAlphanumeric(c) || c == '.' || c == '-' || c == '_'; });
}

bool IsAuthority(std::string_view text) {
  const size_t colon = text.rfind(':');
  if (colon == text.npos || text.find(']', colon) != text.npos) return IsHost(text);
  const std::string_view digits = text.substr(colon + 1);
  auto port = ParseInt(digits);
  return IsHost(text.substr(0, colon)) && port && *port >= 1 && *port <= 65535 &&
         digits.find_first_not_of("0123456789") == digits.npos;
}

bool IsBucket(std::string_view text) {
  return text.size() >= 3 && text.size() <= 63 && IsAlphanumeric(text[0]) &&
         text.find("..") == text.npos && std::all_of(text.begin(), text.end(), [](char c) {
           return IsAlphanumeric(c) || c == '.' || c == '-' || c == '_';
         });
}

// Whether every character may stand in a URL, or is one of `others`.
bool IsWritten(std::string_view text, std::string_view others = "") {
  return std::all_of(text.begin(), text.end(), [others](char c) {
    return others.find(c) != others.npos ||
           (c > ' ' && c < 127 &&
            std::string_view("\"<>\\^`{|}").find(c) == std::string_view::npos);
  });
}

// Of a data set that consists of these files.
void ApplySha256(const std::map<std::string, std::string>& hashes, RemoteSource* remote,
                 Problems* problems) {
  std::vector<RemoteFile>& files = remote->files;
  for (const auto& [name, hash] : hashes) {
    // clang 14 captures no structured bindings.
    auto file = std::find_if(files.begin(), files.end(),
                             [&name = name](const RemoteFile& one) { return one.name == name; });
    if (name.empty() && files.size() == 1) file = files.begin();
    if (file != files.end()) {
      file->sha256 = hash;
      continue;
    }
    std::vector<std::string> names;
    std::string list;
    for (const RemoteFile& one : files) {
      names.push_back(one.name);
      list += (list.empty() ? "" : ", ") + one.name;
    }
    problems->Add({kPath,
                   name.empty() ? "sha256 names no file, and there are several"
                                : "sha256 names a file that is not fetched",
                   "NAME:HASH with one of " + list,
                   name.empty() ? Shown(std::string_view(hash)) : Shown(std::string_view(name)),
                   DidYouMean(name, names)});
  }
}

// Where the labels are. text: a URL, or the name of a file beside the features.
std::optional<RemoteUrl> FindLabels(const RemoteUrl& features, const std::string& text,
                                    Problems* problems) {
  if (IsRemote(text)) {
    auto url = ParseRemoteUrl(text, problems);
    if (!url || (url->s3() == features.s3() && !url->folder())) return url;
  } else if (IsDatasetPath(text)) {
    return features.Beside(text);
  }
  problems->Add({kPath, "labels is no file that goes with the features",
                 "a URL of the same kind, or the name of a file beside the features",
                 Shown(std::string_view(text)), ""});
  return std::nullopt;
}

}  // namespace

bool IsRemote(std::string_view uri) {
  return uri.starts_with(kHttpsScheme) || uri.starts_with(kHttpScheme) ||
         uri.starts_with(kS3Scheme);
}

std::string RemoteSource::Identity() const {
  std::string text = url;
  for (const RemoteFile& file : files) text += "\n" + file.url + " " + file.sha256;
  for (const auto& [name, hash] : sha256) text += "\n" + name + " " + hash;
  return text;
}

std::string RemoteUrl::FileName() const {
  auto name = DecodePercent(std::string_view(path).substr(path.rfind('/') + 1));
  return name && name->find('/') == name->npos && IsDatasetPath(*name) ? *name : "";
}

RemoteUrl RemoteUrl::Beside(std::string_view name) const {
  return {origin, path.substr(0, path.rfind('/') + 1) + EncodePercent(name, "/"), query};
}

std::optional<RemoteUrl> ParseRemoteUrl(std::string_view text, Problems* problems) {
  auto refuse = [&](const char* what, const char* expected, const char* hint) {
    problems->Add({kPath, what, expected, Shown(std::string_view(WithoutQuery(text))), hint});
    return std::nullopt;
  };
  const bool s3 = text.starts_with(kS3Scheme);
  const size_t scheme = text.find("://") + 3;
  const std::string_view rest = text.substr(scheme);
  const std::string_view authority = rest.substr(0, rest.find_first_of("/?"));
  if (authority.find('@') != authority.npos) {
    problems->Add({kPath, "the URL has a user or a password", "https://HOST/PATH", "",
                   "a job is no place for secrets: take a URL that needs none"});
    return std::nullopt;
  }
  if (s3 ? !IsBucket(authority) : !IsAuthority(authority)) {
    return s3 ? refuse("the URL names no bucket", "s3://BUCKET/KEY", "")
              : refuse("the URL names no host", "https://HOST/PATH or https://HOST:PORT/PATH", "");
  }
  std::string_view path = rest.substr(authority.size());
  RemoteUrl url;
  url.origin = std::string(text.substr(0, scheme + authority.size()));
  if (!s3) {
    const size_t query = std::min(path.find('?'), path.size());
    url.query = std::string(path.substr(query));
    path = path.substr(0, query);
  }
  auto decoded = DecodePercent(path);
  if (path.size() < (s3 ? 1 : 2) || !decoded || (!s3 && !IsWritten(path, "{}")) ||
      !IsWritten(url.query)) {
    return refuse("the path of the URL is not usable",
                  s3 ? "s3://BUCKET/KEY" : "https://HOST/PATH, of ASCII characters",
                  "write blanks and other characters as percent codes");
  }
  // A key is text; what of it is encoded, and how, is laid down for requests that are signed.
  url.path = s3 ? EncodePercent(*decoded, "/") : std::string(path);
  return url;
}

void ChooseRemoteFiles(const RemoteUrl& url, const std::map<std::string, std::string>& hashes,
                       DatasetUri* uri, Problems* problems) {
  using Kind = DatasetUri::Kind;
  RemoteSource& remote = uri->remote;
  const std::string shown = Shown(std::string_view(WithoutQuery(remote.url)));
  if (uri->kind == Kind::kImageFolder) {
    if (!url.s3() || !url.folder()) {
      problems->Add({kPath,
                     "images are not fetched from there: only s3:// can tell what a folder holds",
                     "s3://BUCKET/FOLDER/, with '/' at its end", shown,
                     "'cyxwiz dataset put FOLDER' stores them on the server"});
    }
    uri->path.clear();
    remote.sha256 = hashes;
    return;
  }
  if (uri->kind == Kind::kIdxFolder) {
    if (!url.folder()) {
      problems->Add({kPath, "the end of the path does not tell what the file is",
                     ".csv, .tsv, .txt, .npy, .npz, .safetensors or .tar, also before .gz, or the "
                     "parameter format; '/' at the end of a folder of IDX files",
                     shown, "archives are not unpacked"});
    }
    uri->path.clear();
    for (const std::string part : {"train-images-idx3-ubyte", "train-labels-idx1-ubyte",
                                   "t10k-images-idx3-ubyte", "t10k-labels-idx1-ubyte"}) {
      const std::string name = part + (hashes.contains(part) ? "" : ".gz");
      const bool named = hashes.contains(name);
      remote.files.push_back({.url = url.Beside(name).text(),
                              .name = name,
                              .or_unpacked = !named,
                              .optional = part.starts_with("t10k") && !named});
    }
    return ApplySha256(hashes, &remote, problems);
  }
  if (url.folder()) {
    problems->Add({kPath, "the URL is that of a folder", "the URL of a file", shown, ""});
    return;
  }
  if (uri->kind == Kind::kPrepared) {
    uri->path = "dataset.json";
    remote.files.push_back({.url = url.text(), .name = uri->path});
    for (const std::string part : {"train.safetensors", "test.safetensors"}) {
      remote.files.push_back({.url = url.Beside(part).text(),
                              .name = part,
                              .optional = part.starts_with("test") && !hashes.contains(part)});
    }
    return ApplySha256(hashes, &remote, problems);
  }
  const std::string name = url.FileName();
  if (uri->kind == Kind::kWebDataset && IsShardPattern(name)) {
    uri->path = name;
    for (const std::string& shard : ExpandShards(name).value_or(std::vector<std::string>()))
      remote.files.push_back({.url = url.Beside(shard).text(), .name = shard});
    return ApplySha256(hashes, &remote, problems);
  }
  if (!url.s3() && IsShardPattern(url.path)) {
    problems->Add({kPath, "the path of the URL has a brace", "%7B and %7D for braces",
                   Shown(std::string_view(WithoutQuery(remote.url))),
                   "a pattern of files is for archives of a WebDataset, in the name of the file"});
    return;
  }
  uri->path = name.empty() ? "data" : name;
  remote.files.push_back({.url = url.text(), .name = uri->path});
  if (uri->kind == Kind::kNpy || uri->kind == Kind::kIdxPair) {
    auto labels = FindLabels(url, uri->labels_path, problems);
    if (!labels) return;
    const std::string file_name = labels->FileName();
    uri->labels_path = file_name.empty() ? "labels" : file_name;
    if (uri->labels_path == uri->path) uri->labels_path = "labels/" + uri->path;
    remote.files.push_back({.url = labels->text(), .name = uri->labels_path});
  }
  ApplySha256(hashes, &remote, problems);
}

std::optional<std::map<std::string, std::string>> ParseSha256List(std::string_view text,
                                                                  Problems* problems) {
  std::map<std::string, std::string> hashes;
  for (std::string_view rest = text;;) {
    const std::string_view part = rest.substr(0, rest.find(','));
    const size_t colon = part.rfind(':');
    const std::string name(colon == part.npos ? "" : part.substr(0, colon));
    std::string hash(colon == part.npos ? part : part.substr(colon + 1));
    for (char& c : hash) c = static_cast<char>(std::tolower(static_cast<unsigned char>(c)));
    if (!IsSha256(hash) || (colon != part.npos && !IsDatasetPath(name)) ||
        !hashes.emplace(name, std::move(hash)).second) {
      problems->Add({kPath, "sha256 is no hash",
                     "64 hexadecimal digits, or NAME:DIGITS for each of several files, separated "
                     "by commas",
                     Shown(part), "'sha256sum FILE' prints it"});
      return std::nullopt;
    }
    if (part.size() == rest.size()) return hashes;
    rest.remove_prefix(part.size() + 1);
  }
}

std::string WithSha256(const std::string& uri, const std::string& list, Problems* problems) {
  if (!IsRemote(uri)) {
    problems->Add({"$.dataset.sha256", "is for what is fetched", "an https:// or s3:// URI",
                   Shown(std::string_view(uri)), "leave it out"});
    return uri;
  }
  const char mark = uri.starts_with(kS3Scheme) ? '?' : '#';
  const size_t at = uri.find(mark);
  const bool last = at == uri.npos || at + 1 == uri.size();
  return uri +
         (at == uri.npos ? std::string(1, mark)
          : last         ? ""
                         : "&") +
         "sha256=" + EncodePercent(list, ":,/");
}

std::string WithoutQuery(std::string_view url) {
  const size_t query = url.find('?');
  return std::string(url.substr(0, query)) + (query == url.npos ? "" : "?...");
}

}  // namespace cyxwiz::spec
