#include "security/job_token.h"

#include <gtest/gtest.h>
#include <openssl/evp.h>
#include <openssl/pem.h>
#include <sys/stat.h>

#include <filesystem>
#include <fstream>
#include <random>
#include <set>
#include <thread>

#include "base/file.h"

namespace cyxwiz::security {
namespace {

constexpr UnixTime kNow{1'700'000'000'000};

class JobTokenTest : public testing::Test {
 protected:
  void SetUp() override {
    std::string pattern = testing::TempDir() + "/cyxwiz_token_XXXXXX";
    ASSERT_NE(::mkdtemp(pattern.data()), nullptr);
    folder_ = pattern;
  }
  void TearDown() override { std::filesystem::remove_all(folder_); }

  std::unique_ptr<TokenSigner> NewSigner(const std::string& name = "key") {
    auto signer = TokenSigner::Open(folder_ + "/" + name);
    EXPECT_TRUE(signer.ok()) << signer.status();
    return signer.ok() ? std::move(signer).value() : nullptr;
  }
  static JobClaims Claims() { return {{JobId{"job-1"}, 3}, NodeId{"node-a"}, kNow.seconds() + 60}; }
  // Expects UNAUTHENTICATED with `part` in the message.
  static void ExpectRefused(const std::string& token, const std::string& key,
                            const std::string& part, UnixTime now = kNow) {
    auto claims = VerifyToken(token, key, now);
    ASSERT_FALSE(claims.ok()) << token;
    EXPECT_EQ(claims.status().code(), Code::kUnauthenticated);
    EXPECT_NE(claims.status().message().find(part), std::string::npos) << claims.status();
  }

  std::string folder_;
};

TEST_F(JobTokenTest, GivesBackTheClaimsItSigned) {
  auto signer = NewSigner();
  std::string token = signer->Sign(Claims());
  EXPECT_TRUE(token.starts_with("cyx1."));
  auto claims = VerifyToken(token, signer->public_key(), kNow);
  ASSERT_TRUE(claims.ok()) << claims.status();
  EXPECT_EQ(claims->attempt, Claims().attempt);
  EXPECT_EQ(claims->node, Claims().node);
  EXPECT_EQ(claims->expires_at, Claims().expires_at);
}

TEST_F(JobTokenTest, SaysWhichRequestItPermits) {
  auto signer = NewSigner();
  JobClaims claims = Claims();
  claims.request_sha256 = HexEncode(Sha256("request"));
  auto verified = VerifyToken(signer->Sign(claims), signer->public_key(), kNow);
  ASSERT_TRUE(verified.ok()) << verified.status();
  EXPECT_EQ(verified->request_sha256, claims.request_sha256);
  verified = VerifyToken(signer->Sign(Claims()), signer->public_key(), kNow);
  ASSERT_TRUE(verified.ok()) << verified.status();
  EXPECT_EQ(verified->request_sha256, "") << "none";
}

TEST_F(JobTokenTest, ATokenOfAnotherKeyIsRefused) {
  auto ours = NewSigner("ours"), theirs = NewSigner("theirs");
  ASSERT_NE(ours->public_key(), theirs->public_key());
  ExpectRefused(theirs->Sign(Claims()), ours->public_key(), "not signed by this node's server");
}

TEST_F(JobTokenTest, IsValidUntilItsSecondOfExpiry) {
  auto signer = NewSigner();
  std::string token = signer->Sign(Claims());
  EXPECT_TRUE(VerifyToken(token, signer->public_key(), {kNow.ms + 59'999}).ok());
  ExpectRefused(token, signer->public_key(), "expired 0 s ago", {kNow.ms + 60'000});
  ExpectRefused(token, signer->public_key(), "expired 40 s ago", {kNow.ms + 100'000});
}

TEST_F(JobTokenTest, AnAbsentTokenIsRefused) {
  ExpectRefused("", NewSigner()->public_key(), "absent");
}

TEST_F(JobTokenTest, WithoutTheServersKeyEveryTokenIsRefused) {
  auto signer = NewSigner();
  ExpectRefused(signer->Sign(Claims()), "", "public key is not known");
  ExpectRefused(signer->Sign(Claims()), "short", "expected 32 bytes, found 5");
}

TEST_F(JobTokenTest, EveryAlteredCharacterIsNoticed) {
  auto signer = NewSigner();
  std::string token = signer->Sign(Claims());
  for (size_t i = 0; i < token.size(); ++i) {
    for (char c : {'A', 'z', '.', '=', '\0'}) {
      if (token[i] == c) continue;
      std::string altered = token;
      altered[i] = c;
      EXPECT_EQ(VerifyToken(altered, signer->public_key(), kNow).status().code(),
                Code::kUnauthenticated)
          << altered;
    }
  }
  for (size_t size = 0; size < token.size(); ++size) {
    EXPECT_FALSE(VerifyToken(token.substr(0, size), signer->public_key(), kNow).ok());
  }
  EXPECT_FALSE(VerifyToken(token + "=", signer->public_key(), kNow).ok());
  EXPECT_FALSE(VerifyToken(token + "A", signer->public_key(), kNow).ok());
}

TEST_F(JobTokenTest, ClaimsAndSignatureOfTwoTokensDoNotMix) {
  auto signer = NewSigner();
  JobClaims other = Claims();
  other.attempt.attempt = 4;
  std::string a = signer->Sign(Claims()), b = signer->Sign(other);
  ExpectRefused(a.substr(0, a.rfind('.')) + b.substr(b.rfind('.')), signer->public_key(),
                "not signed");
}

TEST_F(JobTokenTest, GarbageIsRefusedAndNeverCrashes) {
  auto signer = NewSigner();
  std::string token = signer->Sign(Claims());
  uint32_t seed = 20240607;
  SCOPED_TRACE("seed " + std::to_string(seed));
  std::mt19937 random(seed);
  for (int i = 0; i < 5000; ++i) {
    std::string garbage = i % 3 == 0 ? token : i % 3 == 1 ? "cyx1." : "";
    size_t edits = random() % 64 + 1;
    for (size_t e = 0; e < edits; ++e) {
      size_t at = random() % (garbage.size() + 1);
      if (random() % 2 == 0)
        garbage.insert(at, 1, static_cast<char>(random() % 256));
      else if (!garbage.empty())
        garbage.erase(at % garbage.size(), 1 + random() % 4);
    }
    if (garbage == token) continue;
    EXPECT_EQ(VerifyToken(garbage, signer->public_key(), kNow).status().code(),
              Code::kUnauthenticated);
  }
  ExpectRefused(std::string(1 << 20, 'a'), signer->public_key(), "at most");
}

TEST_F(JobTokenTest, TheKeyIsMadeOnceAndKept) {
  std::string first = NewSigner()->public_key();
  EXPECT_EQ(NewSigner()->public_key(), first);
  struct stat info;
  ASSERT_EQ(::stat((folder_ + "/key").c_str(), &info), 0);
  EXPECT_EQ(info.st_mode & 07777, 0600u);
  // Nothing else is left beside it.
  EXPECT_EQ(std::distance(std::filesystem::directory_iterator(folder_), {}), 1);
}

TEST_F(JobTokenTest, ProcessesThatStartAtOnceAgreeOnOneKey) {
  std::vector<std::string> keys(8);
  std::vector<std::thread> threads;
  for (std::string& key : keys) {
    threads.emplace_back([&, this] { key = NewSigner("shared")->public_key(); });
  }
  for (std::thread& thread : threads) thread.join();
  EXPECT_EQ(std::set<std::string>(keys.begin(), keys.end()).size(), 1u);
  EXPECT_EQ(std::distance(std::filesystem::directory_iterator(folder_), {}), 1);
}

TEST_F(JobTokenTest, AKeyThatOthersMayReadIsRefusedWithTheRemedy) {
  NewSigner();
  for (mode_t mode : {0644, 0640, 0602}) {
    ASSERT_EQ(::chmod((folder_ + "/key").c_str(), mode), 0);
    auto signer = TokenSigner::Open(folder_ + "/key");
    ASSERT_FALSE(signer.ok());
    EXPECT_EQ(signer.status().code(), Code::kPermissionDenied);
    EXPECT_NE(signer.status().hint().find("chmod 600"), std::string::npos);
  }
}

TEST_F(JobTokenTest, AFileThatIsNoEd25519KeyIsRefused) {
  ASSERT_TRUE(WriteFileAtomically(folder_ + "/garbage", "not a key", 0600).ok());
  auto garbage = TokenSigner::Open(folder_ + "/garbage");
  ASSERT_FALSE(garbage.ok());
  EXPECT_EQ(garbage.status().code(), Code::kFailedPrecondition);

  EVP_PKEY* key = EVP_PKEY_Q_keygen(nullptr, nullptr, "EC", "P-256");
  BIO* bio = BIO_new(BIO_s_mem());
  ASSERT_EQ(PEM_write_bio_PKCS8PrivateKey(bio, key, nullptr, nullptr, 0, nullptr, nullptr), 1);
  char* data = nullptr;
  long size = BIO_get_mem_data(bio, &data);
  ASSERT_TRUE(
      WriteFileAtomically(folder_ + "/ec", std::string(data, static_cast<size_t>(size)), 0600)
          .ok());
  // One with a passphrase must not wait for someone to type it.
  BIO_reset(bio);
  ASSERT_EQ(
      PEM_write_bio_PKCS8PrivateKey(bio, key, EVP_aes_256_cbc(), "secret", 6, nullptr, nullptr), 1);
  size = BIO_get_mem_data(bio, &data);
  ASSERT_TRUE(
      WriteFileAtomically(folder_ + "/locked", std::string(data, static_cast<size_t>(size)), 0600)
          .ok());
  BIO_free(bio);
  EVP_PKEY_free(key);

  auto ec = TokenSigner::Open(folder_ + "/ec");
  ASSERT_FALSE(ec.ok());
  EXPECT_NE(ec.status().message().find("expected Ed25519"), std::string::npos) << ec.status();
  EXPECT_FALSE(TokenSigner::Open(folder_ + "/locked").ok());
  EXPECT_FALSE(TokenSigner::Open(folder_).ok());
  EXPECT_EQ(TokenSigner::Open(folder_ + "/no/such/folder/key").status().code(), Code::kNotFound);
}

TEST_F(JobTokenTest, ManyThreadsSignAtOnce) {
  auto signer = NewSigner();
  std::vector<std::thread> threads;
  for (int t = 0; t < 4; ++t) {
    threads.emplace_back([&, t] {
      for (int i = 1; i <= 200; ++i) {
        JobClaims claims = Claims();
        claims.attempt = {JobId{"job-" + std::to_string(t)}, i};
        auto verified = VerifyToken(signer->Sign(claims), signer->public_key(), kNow);
        ASSERT_TRUE(verified.ok()) << verified.status();
        EXPECT_EQ(verified->attempt, claims.attempt);
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
}

TEST(Hashes, MatchThePublishedVectors) {
  // FIPS 180-4, "abc" and the empty message.
  EXPECT_EQ(HexEncode(Sha256("abc")),
            "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
  EXPECT_EQ(HexEncode(Sha256("")),
            "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855");
  EXPECT_EQ(HexEncode(std::string_view("\x00\xff\x1a", 3)), "00ff1a");
}

TEST(RandomHex, IsLongEnoughAndNeverTheSame) {
  EXPECT_EQ(RandomHex(0), "");
  std::set<std::string> seen;
  for (int i = 0; i < 1000; ++i) {
    std::string id = RandomHex(16);
    EXPECT_EQ(id.size(), 32u);
    EXPECT_TRUE(seen.insert(id).second);
  }
}

}  // namespace
}  // namespace cyxwiz::security
