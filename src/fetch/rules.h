// Where jobs may fetch from: public addresses, and what the operator has allowed.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "base/status.h"
#include "fetch/address.h"
#include "fetch/options.h"

namespace cyxwiz::fetch {

// Any number of threads.
class Rules {
 public:
  // INVALID_ARGUMENT, naming the setting, for an entry that is neither a host nor a range.
  static Result<Rules> Make(const Options& options);

  // Before a host is looked up. PERMISSION_DENIED with what is not allowed. scheme: "https".
  Status CheckUrl(std::string_view scheme, const std::string& host) const;
  // Of an address that the host was found to have: why nothing is fetched from there, such as "a
  // loopback address"; nullptr when it may be.
  const char* WhyNot(const std::string& host, const IpAddress& address) const;

 private:
  std::vector<std::string> hosts_, allowed_hosts_;
  std::vector<AddressRange> allowed_;
  bool allow_http_ = false;
};

}  // namespace cyxwiz::fetch
