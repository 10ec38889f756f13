// Job tokens: the server's signed word that a node may run an attempt. Opaque to clients and nodes
// alike, except that a node checks the signature with the server's public key.
//
//   token  = "cyx1." base64url(claims) "." base64url(signature)
//   claims = JSON {"job", "attempt", "node", "exp": Unix seconds, "request": SHA-256 in hex}
//            "request" stands only in a token that comes with an AssignJob, and is the hash of that
//            call (wire/deterministic.h): the token permits this one call and no other.
//   signature = Ed25519 over "cyx1." base64url(claims)
#pragma once

#include <memory>
#include <string>

#include "base/clock.h"
#include "base/ids.h"
#include "base/status.h"

namespace cyxwiz::security {

struct JobClaims {
  AttemptId attempt;
  NodeId node;
  int64_t expires_at = 0;           // Unix seconds
  std::string request_sha256 = {};  // in hex; empty: it permits no AssignJob
};

// Signs tokens. Safe for any number of threads.
class TokenSigner {
 public:
  // Reads the private key from `path` (PEM, mode 0600), or makes one there; programs that start at
  // once agree on one key. PERMISSION_DENIED when others may read it, FAILED_PRECONDITION when it
  // is no Ed25519 key.
  static Result<std::unique_ptr<TokenSigner>> Open(const std::string& path);
  virtual ~TokenSigner() = default;
  virtual std::string Sign(const JobClaims& claims) const = 0;
  virtual std::string public_key() const = 0;  // 32 raw bytes
};

// UNAUTHENTICATED, saying which, when the token is absent, malformed, signed by another key, or
// expired.
Result<JobClaims> VerifyToken(const std::string& token, const std::string& public_key,
                              UnixTime now);

std::string Sha256(std::string_view data);     // 32 raw bytes
std::string HexEncode(std::string_view data);  // lower case
// `bytes` random bytes of the operating system, in hex.
std::string RandomHex(int bytes);

}  // namespace cyxwiz::security
