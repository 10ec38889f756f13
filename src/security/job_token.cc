#include "security/job_token.h"

#include <fcntl.h>
#include <openssl/bio.h>
#include <openssl/err.h>
#include <openssl/evp.h>
#include <openssl/pem.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <filesystem>
#include <limits>
#include <new>
#include <optional>

#include "base/file.h"
#include "base/json.h"

namespace cyxwiz::security {
namespace {

constexpr std::string_view kPrefix = "cyx1.";
constexpr size_t kPublicKeyBytes = 32;
constexpr size_t kSignatureBytes = 64;
// A token of the longest ids is below 700 bytes; longer text is refused before anything is decoded.
constexpr size_t kMaxTokenBytes = 2048;
constexpr size_t kMaxKeyFileBytes = 16 << 10;

struct KeyDeleter {
  void operator()(EVP_PKEY* key) const { EVP_PKEY_free(key); }
};
using Key = std::unique_ptr<EVP_PKEY, KeyDeleter>;
struct ContextDeleter {
  void operator()(EVP_MD_CTX* context) const { EVP_MD_CTX_free(context); }
};
using Context = std::unique_ptr<EVP_MD_CTX, ContextDeleter>;
struct BioDeleter {
  void operator()(BIO* bio) const { BIO_free(bio); }
};
using Bio = std::unique_ptr<BIO, BioDeleter>;

const unsigned char* Bytes(std::string_view text) {
  return reinterpret_cast<const unsigned char*>(text.data());
}

// The oldest error of this thread's queue, which is then emptied.
std::string OpenSslError() {
  unsigned long code = ERR_get_error();
  ERR_clear_error();
  if (code == 0) return "unknown error";
  char text[256];
  ERR_error_string_n(code, text, sizeof text);
  return text;
}

constexpr char kBase64Url[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";

// RFC 4648, section 5, without padding.
std::string Base64UrlEncode(std::string_view data) {
  std::string text;
  text.reserve((data.size() * 4 + 2) / 3);
  uint32_t bits = 0;
  int count = 0;
  for (unsigned char c : data) {
    bits = bits << 8 | c;
    count += 8;
    while (count >= 6) text += kBase64Url[bits >> (count -= 6) & 63];
  }
  if (count > 0) text += kBase64Url[bits << (6 - count) & 63];
  return text;
}

// Accepts only what Base64UrlEncode makes, so that a token has exactly one spelling.
std::optional<std::string> Base64UrlDecode(std::string_view text) {
  static constexpr auto kValues = [] {
    std::array<int8_t, 256> values{};
    values.fill(-1);
    for (int i = 0; i < 64; ++i)
      values[static_cast<unsigned char>(kBase64Url[i])] = static_cast<int8_t>(i);
    return values;
  }();
  if (text.size() % 4 == 1) return std::nullopt;
  std::string data;
  data.reserve(text.size() * 3 / 4);
  uint32_t bits = 0;
  int count = 0;
  for (unsigned char c : text) {
    if (kValues[c] < 0) return std::nullopt;
    bits = bits << 6 | static_cast<uint32_t>(kValues[c]);
    count += 6;
    if (count >= 8) data += static_cast<char>(bits >> (count -= 8) & 255);
  }
  if ((bits & ((1u << count) - 1)) != 0) return std::nullopt;
  return data;
}

class Ed25519Signer : public TokenSigner {
 public:
  Ed25519Signer(Key key, std::string public_key)
      : key_(std::move(key)), public_key_(std::move(public_key)) {}

  std::string Sign(const JobClaims& claims) const override {
    Json json = {{"job", claims.attempt.job.value},
                 {"attempt", claims.attempt.attempt},
                 {"node", claims.node.value},
                 {"exp", claims.expires_at}};
    if (!claims.request_sha256.empty()) json["request"] = claims.request_sha256;
    std::string text(kPrefix);
    text += Base64UrlEncode(json.dump(-1, ' ', false, Json::error_handler_t::replace));
    Context context(EVP_MD_CTX_new());
    unsigned char signature[kSignatureBytes];
    size_t size = sizeof signature;
    // Ed25519 needs no randomness, so only want of memory can make this fail.
    if (!context || EVP_DigestSignInit(context.get(), nullptr, nullptr, nullptr, key_.get()) != 1 ||
        EVP_DigestSign(context.get(), signature, &size, Bytes(text), text.size()) != 1) {
      throw std::bad_alloc();
    }
    return text + "." + Base64UrlEncode({reinterpret_cast<char*>(signature), size});
  }

  std::string public_key() const override { return public_key_; }

 private:
  Key key_;
  std::string public_key_;
};

// A key with a passphrase is an error, never a question on the terminal.
int NoPassphrase(char*, int, int, void*) { return -1; }

Result<std::unique_ptr<TokenSigner>> SignerFromPem(const std::string& pem,
                                                   const std::string& path) {
  Bio bio(BIO_new_mem_buf(pem.data(), static_cast<int>(pem.size())));
  ERR_clear_error();
  Key key(bio ? PEM_read_bio_PrivateKey(bio.get(), nullptr, NoPassphrase, nullptr) : nullptr);
  const char* hint =
      "remove the file to have a new key made; tokens signed by the old one are then refused";
  if (!key) {
    return FailedPrecondition(
        "'" + path + "' holds no private key in PEM without a passphrase: " + OpenSslError(), hint);
  }
  std::string public_key(kPublicKeyBytes, '\0');
  size_t size = public_key.size();
  if (EVP_PKEY_id(key.get()) != EVP_PKEY_ED25519 ||
      EVP_PKEY_get_raw_public_key(key.get(), reinterpret_cast<unsigned char*>(public_key.data()),
                                  &size) != 1) {
    ERR_clear_error();
    return FailedPrecondition("the key in '" + path + "' is of another kind: expected Ed25519",
                              hint);
  }
  return std::unique_ptr<TokenSigner>(new Ed25519Signer(std::move(key), std::move(public_key)));
}

// NOT_FOUND when there is no such file.
Result<std::string> ReadKeyFile(const std::string& path) {
  // O_NONBLOCK: opening a pipe by mistake must not hang.
  UniqueFd fd(::open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK));
  if (!fd) return ErrnoStatus("cannot open the token key '" + path + "'", errno);
  struct stat info;
  if (::fstat(fd.get(), &info) != 0) return ErrnoStatus("cannot inspect '" + path + "'", errno);
  if (!S_ISREG(info.st_mode))
    return FailedPrecondition("the token key '" + path + "' is not a regular file");
  if ((info.st_mode & 077) != 0) {
    char mode[8];
    std::snprintf(mode, sizeof mode, "%04o", static_cast<unsigned>(info.st_mode & 07777));
    return PermissionDenied(
        "the token key '" + path + "' is open to other users: expected mode 0600, found " + mode,
        "if nobody else has read it: chmod 600 '" + path +
            "'; otherwise remove it to have a new key made");
  }
  std::string pem;
  char buffer[4096];
  for (;;) {
    ssize_t n = ::read(fd.get(), buffer, sizeof buffer);
    if (n < 0 && errno == EINTR) continue;
    if (n < 0) return ErrnoStatus("cannot read '" + path + "'", errno);
    if (n == 0) return pem;
    pem.append(buffer, static_cast<size_t>(n));
    if (pem.size() > kMaxKeyFileBytes)
      return FailedPrecondition("'" + path + "' is too large to be a key");
  }
}

Result<std::string> NewKeyPem() {
  Key key(EVP_PKEY_Q_keygen(nullptr, nullptr, "ED25519"));
  Bio bio(BIO_new(BIO_s_mem()));
  if (!key || !bio ||
      PEM_write_bio_PKCS8PrivateKey(bio.get(), key.get(), nullptr, nullptr, 0, nullptr, nullptr) !=
          1) {
    return Internal("cannot make an Ed25519 key: " + OpenSslError());
  }
  char* data = nullptr;
  long size = BIO_get_mem_data(bio.get(), &data);
  return std::string(data, static_cast<size_t>(size));
}

// Puts a new key at `path` unless there is one by now. The file appears whole, with mode 0600, or
// not at all: link(2) never replaces, so of several processes that start at once one wins and the
// others read its key.
Status CreateKeyFile(const std::string& path) {
  ASSIGN_OR_RETURN(std::string pem, NewKeyPem());
  std::string temporary = path + ".new." + RandomHex(8);
  Status created = [&]() -> Status {
    UniqueFd fd(::open(temporary.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600));
    if (!fd) return ErrnoStatus("cannot create the token key '" + temporary + "'", errno);
    RETURN_IF_ERROR(WriteAll(fd.get(), pem));
    if (::fsync(fd.get()) != 0) return ErrnoStatus("cannot fsync '" + temporary + "'", errno);
    if (::link(temporary.c_str(), path.c_str()) != 0 && errno != EEXIST) {
      return ErrnoStatus("cannot create the token key '" + path + "'", errno);
    }
    return OkStatus();
  }();
  ::unlink(temporary.c_str());
  RETURN_IF_ERROR(created);
  std::string folder = std::filesystem::path(path).parent_path().string();
  if (folder.empty()) folder = ".";
  UniqueFd dir(::open(folder.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  if (!dir || ::fsync(dir.get()) != 0)
    return ErrnoStatus("cannot fsync folder '" + folder + "'", errno);
  return OkStatus();
}

Status Malformed(const std::string& why) {
  return Unauthenticated("the job token is malformed: " + why);
}

bool SignatureIsRight(std::string_view text, std::string_view signature,
                      const std::string& public_key) {
  Key key(
      EVP_PKEY_new_raw_public_key(EVP_PKEY_ED25519, nullptr, Bytes(public_key), public_key.size()));
  Context context(EVP_MD_CTX_new());
  bool right = key && context &&
               EVP_DigestVerifyInit(context.get(), nullptr, nullptr, nullptr, key.get()) == 1 &&
               EVP_DigestVerify(context.get(), Bytes(signature), signature.size(), Bytes(text),
                                text.size()) == 1;
  ERR_clear_error();
  return right;
}

}  // namespace

Result<std::unique_ptr<TokenSigner>> TokenSigner::Open(const std::string& path) {
  Result<std::string> pem = ReadKeyFile(path);
  if (!pem.ok() && pem.status().code() == Code::kNotFound) {
    RETURN_IF_ERROR(CreateKeyFile(path));
    pem = ReadKeyFile(path);
  }
  if (!pem.ok()) return pem.status();
  Result<std::unique_ptr<TokenSigner>> signer = SignerFromPem(*pem, path);
  OPENSSL_cleanse(pem->data(), pem->size());
  return signer;
}

Result<JobClaims> VerifyToken(const std::string& token, const std::string& public_key,
                              UnixTime now) {
  if (public_key.size() != kPublicKeyBytes) {
    return Unauthenticated("the server's public key is not known: expected 32 bytes, found " +
                               std::to_string(public_key.size()),
                           "the node learns it when it registers with the server");
  }
  if (token.empty()) return Unauthenticated("the job token is absent");
  if (token.size() > kMaxTokenBytes) {
    return Malformed("expected at most " + std::to_string(kMaxTokenBytes) + " bytes, found " +
                     std::to_string(token.size()));
  }
  std::string_view text = token;
  if (!text.starts_with(kPrefix)) return Malformed("it does not begin with 'cyx1.'");
  size_t dot = text.rfind('.');
  if (dot < kPrefix.size()) return Malformed("it has no signature");
  std::string_view signed_text = text.substr(0, dot);
  std::optional<std::string> signature = Base64UrlDecode(text.substr(dot + 1));
  if (!signature || signature->size() != kSignatureBytes) {
    return Malformed("its signature is not 64 bytes in base64url");
  }
  // Nothing of the claims is looked at before the signature is known to be the server's.
  if (!SignatureIsRight(signed_text, *signature, public_key)) {
    return Unauthenticated("the job token was not signed by this node's server, or was altered");
  }
  std::optional<std::string> claims_text = Base64UrlDecode(signed_text.substr(kPrefix.size()));
  if (!claims_text) return Malformed("its claims are not base64url");
  Result<Json> json = ParseJson(*claims_text, "its claims");
  if (!json.ok()) return Malformed(json.status().message());
  auto is_text = [&](const char* key) { return json->contains(key) && (*json)[key].is_string(); };
  auto integer = [&](const char* key) -> std::optional<int64_t> {
    if (!json->contains(key) || !(*json)[key].is_number_integer()) return std::nullopt;
    const Json& value = (*json)[key];
    if (value.is_number_unsigned() && value.get<uint64_t>() > INT64_MAX) return std::nullopt;
    return value.get<int64_t>();
  };
  if (!json->is_object() || !is_text("job") || !is_text("node") || !integer("attempt") ||
      !integer("exp")) {
    return Malformed("its claims lack one of job, attempt, node, exp");
  }
  if (json->contains("request") && !is_text("request")) {
    return Malformed("its claim 'request' is not text");
  }
  int64_t attempt = *integer("attempt");
  if (attempt < 1 || attempt > std::numeric_limits<AttemptNumber>::max()) {
    return Malformed("expected an attempt from 1, found " + std::to_string(attempt));
  }
  JobClaims claims;
  claims.attempt = {JobId{(*json)["job"].get<std::string>()}, static_cast<AttemptNumber>(attempt)};
  claims.node = NodeId{(*json)["node"].get<std::string>()};
  claims.expires_at = *integer("exp");
  if (is_text("request")) claims.request_sha256 = (*json)["request"].get<std::string>();
  if (now.seconds() >= claims.expires_at) {
    return Unauthenticated(
        "the job token expired " + std::to_string(now.seconds() - claims.expires_at) + " s ago",
        "when this happens at once, compare the clocks of server and node");
  }
  return claims;
}

std::string Sha256(std::string_view data) {
  // EVP_sha256() would be looked up among the providers again at each call.
  static const EVP_MD* const sha256 = EVP_MD_fetch(nullptr, "SHA256", nullptr);
  std::string digest(32, '\0');
  if (sha256 == nullptr ||
      EVP_Digest(data.data(), data.size(), reinterpret_cast<unsigned char*>(digest.data()), nullptr,
                 sha256, nullptr) != 1) {
    throw std::bad_alloc();
  }
  return digest;
}

std::string HexEncode(std::string_view data) {
  static constexpr char kDigits[] = "0123456789abcdef";
  std::string text;
  text.reserve(data.size() * 2);
  for (unsigned char c : data) {
    text += kDigits[c >> 4];
    text += kDigits[c & 15];
  }
  return text;
}

std::string RandomHex(int bytes) {
  std::string data(static_cast<size_t>(bytes), '\0');
  size_t got = 0;
  while (got < data.size()) {
    ssize_t n = ::getrandom(data.data() + got, data.size() - got, 0);
    if (n > 0) got += static_cast<size_t>(n);
    // With no flags and a kernel since 3.17 only EINTR can happen; ids without randomness would be
    // worse than no process.
    if (n < 0 && errno != EINTR) std::abort();
  }
  return HexEncode(data);
}

}  // namespace cyxwiz::security
