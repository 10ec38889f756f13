// Data sets on other machines, and which files of them a node fetches:
//
//   https://HOST/PATH[?QUERY][#PARAMETERS]   QUERY is for the machine that is asked
//   s3://BUCKET/KEY[?PARAMETERS]
//
// A path or key that ends in '/' stands for a folder: of IDX files, whose names are known, or, in
// s3://, of images, which are listed.
#pragma once

#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "spec/problem.h"

namespace cyxwiz::spec {

struct DatasetUri;

inline constexpr std::string_view kHttpsScheme = "https://";
// Refused by nodes unless their operators have allowed it.
inline constexpr std::string_view kHttpScheme = "http://";
inline constexpr std::string_view kS3Scheme = "s3://";

// Whether a URI has one of these schemes.
bool IsRemote(std::string_view uri);

struct RemoteFile {
  std::string url;           // with percent codes, as it is asked for; s3: "s3://bucket/key"
  std::string name;          // within the data set, see IsDatasetPath
  std::string sha256;        // in hex; empty: any content
  bool or_unpacked = false;  // when it is not there, the one without the ".gz" at its end is meant
  bool optional = false;     // the data set can do without it

  bool operator==(const RemoteFile&) const = default;
};

struct RemoteSource {
  std::string url;                // as given, without parameters; empty: there is none
  std::vector<RemoteFile> files;  // empty: all objects below url
  // Of listed files, by name, where they were given.
  std::map<std::string, std::string> sha256;

  bool lists() const { return files.empty(); }
  // Equal for sources of which the same is fetched; no parameter of reading is in it.
  std::string Identity() const;
};

// A URL in parts that together are it.
struct RemoteUrl {
  std::string origin;  // "https://host:8443", "s3://bucket"
  std::string path;    // with percent codes, from the first '/'
  std::string query;   // with the '?'; empty: none

  std::string text() const { return origin + path + query; }
  bool s3() const { return origin.starts_with(kS3Scheme); }
  bool folder() const { return path.ends_with('/'); }
  // The last part of the path, decoded; "" of a folder, and of what cannot be a file's name.
  std::string FileName() const;
  // The URL of a file in the same folder. name: not encoded.
  RemoteUrl Beside(std::string_view name) const;
};

// Checks the form of a URL of one of the three schemes. Problems have path "$.dataset".
std::optional<RemoteUrl> ParseRemoteUrl(std::string_view text, Problems* problems);

// Completes a URI of which the kind, and what it says of the labels, have been read: which files
// are fetched, and where its paths lead among them. hashes: as ParseSha256List gives them.
void ChooseRemoteFiles(const RemoteUrl& url, const std::map<std::string, std::string>& hashes,
                       DatasetUri* uri, Problems* problems);

// Of "HASH", for a data set of one file, under the name "", or "NAME:HASH,NAME:HASH".
std::optional<std::map<std::string, std::string>> ParseSha256List(std::string_view text,
                                                                  Problems* problems);

// The URI of a data set with a further parameter "sha256"; a problem when it takes none.
std::string WithSha256(const std::string& uri, const std::string& list, Problems* problems);

// For logs and messages: a query may hold a secret.
std::string WithoutQuery(std::string_view url);

}  // namespace cyxwiz::spec
