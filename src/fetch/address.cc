#include "fetch/address.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <sys/socket.h>

#include <algorithm>
#include <cstring>
#include <vector>

#include "base/text.h"

namespace cyxwiz::fetch {
namespace {

constexpr int kMappedBits = 96;
constexpr std::array<uint8_t, 12> kMappedPrefix = {0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff};

IpAddress Mapped(const uint8_t* four_bytes) {
  IpAddress address;
  std::copy(kMappedPrefix.begin(), kMappedPrefix.end(), address.bytes.begin());
  std::copy_n(four_bytes, 4, address.bytes.begin() + kMappedPrefix.size());
  return address;
}

struct Kind {
  AddressRange range;
  const char* name;
};

std::vector<Kind> Ranges(std::initializer_list<std::pair<const char*, const char*>> list) {
  std::vector<Kind> kinds;
  for (const auto& [range, name] : list) kinds.push_back({*AddressRange::Parse(range), name});
  return kinds;
}

// Sources: the IANA registries of special-purpose addresses for IPv4 and IPv6, and where clouds
// tell machines about themselves.
const std::vector<Kind>& PrivateRanges() {
  static const std::vector<Kind> kRanges = Ranges({
      {"0.0.0.0/8", "an address of this machine"},
      {"127.0.0.0/8", "a loopback address"},
      {"169.254.169.254", "the metadata address of a cloud"},
      {"168.63.129.16", "the metadata address of a cloud"},
      {"100.100.100.200", "the metadata address of a cloud"},
      {"fd00:ec2::254", "the metadata address of a cloud"},
      {"169.254.0.0/16", "a link-local address"},
      {"10.0.0.0/8", "a private address"},
      {"172.16.0.0/12", "a private address"},
      {"192.168.0.0/16", "a private address"},
      {"100.64.0.0/10", "a shared address"},
      {"192.0.0.0/24", "a reserved address"},
      {"192.0.2.0/24", "a reserved address"},
      {"192.88.99.0/24", "a reserved address"},
      {"198.18.0.0/15", "a reserved address"},
      {"198.51.100.0/24", "a reserved address"},
      {"203.0.113.0/24", "a reserved address"},
      {"224.0.0.0/4", "a multicast address"},
      {"240.0.0.0/4", "a reserved address"},
      {"::", "an address of this machine"},
      {"::1", "a loopback address"},
      {"fe80::/10", "a link-local address"},
      {"fc00::/7", "a unique local address"},
      {"fec0::/10", "a site-local address"},
      {"ff00::/8", "a multicast address"},
      {"2001::/23", "a reserved address"},
      {"2001:db8::/32", "a reserved address"},
      {"3fff::/20", "a reserved address"},
  });
  return kRanges;
}

}  // namespace

std::optional<IpAddress> IpAddress::Parse(const std::string& text) {
  uint8_t bytes[16];
  if (::inet_pton(AF_INET, text.c_str(), bytes) == 1) return Mapped(bytes);
  if (::inet_pton(AF_INET6, text.c_str(), bytes) != 1) return std::nullopt;
  IpAddress address;
  std::copy_n(bytes, 16, address.bytes.begin());
  return address;
}

std::optional<IpAddress> IpAddress::From(const sockaddr& address) {
  if (address.sa_family == AF_INET) {
    sockaddr_in v4{};
    std::memcpy(&v4, &address, sizeof v4);
    uint8_t bytes[4];
    std::memcpy(bytes, &v4.sin_addr, sizeof bytes);
    return Mapped(bytes);
  }
  if (address.sa_family != AF_INET6) return std::nullopt;
  sockaddr_in6 v6{};
  std::memcpy(&v6, &address, sizeof v6);
  IpAddress found;
  std::memcpy(found.bytes.data(), &v6.sin6_addr, found.bytes.size());
  return found;
}

std::optional<AddressRange> AddressRange::Parse(const std::string& text) {
  const size_t slash = text.find('/');
  auto base = IpAddress::Parse(text.substr(0, slash));
  if (!base) return std::nullopt;
  AddressRange range{*base, 128};
  if (slash == text.npos) return range;
  const int before = text.find(':') == text.npos ? kMappedBits : 0;
  const std::string digits = text.substr(slash + 1);
  auto bits = ParseInt(digits);
  if (!bits || digits[0] < '0' || *bits < 0 || before + *bits > 128) return std::nullopt;
  range.bits = before + static_cast<int>(*bits);
  return range;
}

bool AddressRange::Holds(const IpAddress& address) const {
  for (int bit = 0; bit < bits; bit += 8) {
    const int used = std::min(8, bits - bit);
    const auto mask = static_cast<uint8_t>(0xff << (8 - used));
    const auto i = static_cast<size_t>(bit / 8);
    if (((address.bytes[i] ^ base.bytes[i]) & mask) != 0) return false;
  }
  return true;
}

const char* PrivateKind(const IpAddress& address) {
  static const AddressRange kMapped = *AddressRange::Parse("::ffff:0:0/96"),
                            kNat64 = *AddressRange::Parse("64:ff9b::/96"),
                            k6To4 = *AddressRange::Parse("2002::/16"),
                            kGlobal = *AddressRange::Parse("2000::/3");
  if (kNat64.Holds(address)) return PrivateKind(Mapped(address.bytes.data() + 12));
  if (k6To4.Holds(address)) return PrivateKind(Mapped(address.bytes.data() + 2));
  for (const Kind& kind : PrivateRanges()) {
    if (kind.range.Holds(address)) return kind.name;
  }
  // Of IPv6 only this part has been given out.
  return kMapped.Holds(address) || kGlobal.Holds(address) ? nullptr : "a reserved address";
}

}  // namespace cyxwiz::fetch
