// Addresses on networks: which of them are nobody's business from outside.
#pragma once

#include <array>
#include <cstdint>
#include <optional>
#include <string>

struct sockaddr;

namespace cyxwiz::fetch {

// IPv4 and IPv6 in one form: IPv4 addresses are their mapped ones (::ffff:a.b.c.d), so that each
// has only one.
struct IpAddress {
  std::array<uint8_t, 16> bytes{};

  // Of "192.0.2.1" or "2001:db8::1"; nullopt for anything else.
  static std::optional<IpAddress> Parse(const std::string& text);
  // Of what a name was resolved to; nullopt when it is of another family.
  static std::optional<IpAddress> From(const sockaddr& address);

  bool operator==(const IpAddress&) const = default;
};

struct AddressRange {
  IpAddress base;
  int bits = 128;  // of the mapped form

  // Of "10.0.0.0/8", "fd00::/8" or one address.
  static std::optional<AddressRange> Parse(const std::string& text);
  bool Holds(const IpAddress& address) const;
};

// What an address is that does not belong to the public internet: "a loopback address". nullptr for
// one that does. An IPv4 address within an IPv6 one (mapped, NAT64, 6to4) counts as what it is.
const char* PrivateKind(const IpAddress& address);

}  // namespace cyxwiz::fetch
