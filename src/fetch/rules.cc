#include "fetch/rules.h"

#include <algorithm>
#include <cctype>
#include <utility>

namespace cyxwiz::fetch {
namespace {

// Names of hosts are compared without regard to case, and to the dot that says they are complete.
std::string Plain(std::string_view host) {
  if (host.ends_with('.')) host.remove_suffix(1);
  if (host.starts_with('[') && host.ends_with(']')) host = host.substr(1, host.size() - 2);
  std::string plain(host);
  for (char& c : plain) c = static_cast<char>(std::tolower(static_cast<unsigned char>(c)));
  return plain;
}

// "data.example.org", "*.example.org"
bool IsPattern(std::string_view text) {
  if (text.starts_with("*.")) text.remove_prefix(2);
  return !text.empty() && std::all_of(text.begin(), text.end(), [](char c) {
    return std::isalnum(static_cast<unsigned char>(c)) || c == '.' || c == '-' || c == '_' ||
           c == ':';
  });
}

bool MatchesOne(const std::vector<std::string>& patterns, std::string_view host) {
  return std::any_of(patterns.begin(), patterns.end(), [&](const std::string& pattern) {
    return pattern.starts_with("*.") ? host.ends_with(std::string_view(pattern).substr(1))
                                     : host == pattern;
  });
}

}  // namespace

Result<Rules> Rules::Make(const Options& options) {
  Rules rules;
  rules.allow_http_ = options.allow_http;
  for (const std::string& text : options.hosts) {
    if (!IsPattern(text)) {
      return InvalidArgument(
          "fetch.hosts: expected hosts such as data.example.org or *.example.org, found '" + text +
          "'");
    }
    rules.hosts_.push_back(Plain(text));
  }
  for (const std::string& text : options.allowed) {
    if (auto range = AddressRange::Parse(text)) {
      rules.allowed_.push_back(*range);
    } else if (IsPattern(text)) {
      rules.allowed_hosts_.push_back(Plain(text));
    } else {
      return InvalidArgument(
          "fetch.allow: expected hosts such as data.lan or *.lan, or ranges of addresses such as "
          "10.0.0.0/8, found '" +
          text + "'");
    }
  }
  return rules;
}

Status Rules::CheckUrl(std::string_view scheme, const std::string& host) const {
  if (scheme != "https" && !(scheme == "http" && allow_http_)) {
    return PermissionDenied("nothing is fetched by " + std::string(scheme) + ": expected https",
                            "the operator of the node can allow http with fetch.allow_http");
  }
  if (!hosts_.empty() && !MatchesOne(hosts_, Plain(host))) {
    return PermissionDenied("nothing is fetched from host '" + host + "' by this node",
                            "its operator has named the hosts that may be in fetch.hosts");
  }
  return OkStatus();
}

const char* Rules::WhyNot(const std::string& host, const IpAddress& address) const {
  const char* kind = PrivateKind(address);
  if (kind == nullptr || MatchesOne(allowed_hosts_, Plain(host))) return nullptr;
  const bool allowed = std::any_of(allowed_.begin(), allowed_.end(),
                                   [&](const AddressRange& range) { return range.Holds(address); });
  return allowed ? nullptr : kind;
}

}  // namespace cyxwiz::fetch
