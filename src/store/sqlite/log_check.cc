#include "store/sqlite/log_check.h"

#include <algorithm>
#include <array>
#include <cstdint>
#include <map>
#include <string>

namespace cyxwiz::store {
namespace {

constexpr int kHeaderBytes = 32, kFrameHeaderBytes = 24, kPageBytes = 4096;
constexpr int kReservedAt = 20;          // in the header of a database file
constexpr uint32_t kMagic = 0x377f0682;  // the last bit: checksums of big-endian words

uint32_t BigEndian(const unsigned char* bytes) {
  return uint32_t{bytes[0]} << 24 | uint32_t{bytes[1]} << 16 | uint32_t{bytes[2]} << 8 | bytes[3];
}
uint32_t LittleEndian(const unsigned char* bytes) {
  return uint32_t{bytes[3]} << 24 | uint32_t{bytes[2]} << 16 | uint32_t{bytes[1]} << 8 | bytes[0];
}

using Pair = std::array<uint32_t, 2>;

Pair PairAt(const unsigned char* bytes) { return {BigEndian(bytes), BigEndian(bytes + 4)}; }

void AddTo(Pair* sum, bool big_endian, const unsigned char* bytes, int count) {
  for (int i = 0; i < count; i += 8) {
    auto word = big_endian ? BigEndian : LittleEndian;
    (*sum)[0] += word(bytes + i) + (*sum)[1];
    (*sum)[1] += word(bytes + i + 4) + (*sum)[0];
  }
}

using Frame = std::array<unsigned char, kFrameHeaderBytes + kPageBytes>;
using Page = std::array<unsigned char, kPageBytes>;

// Whether the database file has what the commits in the log's frames with these salts have last
// written. False, too, when something cannot be read.
bool IsInFile(sqlite3_file* log, sqlite3_int64 log_size, const Pair& salts, sqlite3_file* file) {
  std::map<uint32_t, sqlite3_int64> written, committed;  // where a page lies in the log
  uint32_t pages = 0;                                    // of the database after the last commit
  Frame frame;
  for (sqlite3_int64 at = kHeaderBytes; at + std::ssize(frame) <= log_size;
       at += std::ssize(frame)) {
    if (log->pMethods->xRead(log, frame.data(), kFrameHeaderBytes, at) != SQLITE_OK) return false;
    if (PairAt(frame.data() + 8) != salts) break;
    written[BigEndian(frame.data())] = at;
    if (uint32_t size = BigEndian(frame.data() + 4); size != 0) {
      pages = size;
      for (const auto& [page, place] : written) committed[page] = place;
      written.clear();
    }
  }
  Page in_file;
  if (file->pMethods->xRead(file, in_file.data(), kPageBytes, 0) != SQLITE_OK) return false;
  const int content = kPageBytes - in_file[kReservedAt];
  for (const auto& [page, place] : committed) {
    if (page > pages) continue;
    const sqlite3_int64 at = (sqlite3_int64{page} - 1) * kPageBytes;
    if (log->pMethods->xRead(log, frame.data(), static_cast<int>(frame.size()), place) !=
            SQLITE_OK ||
        file->pMethods->xRead(file, in_file.data(), kPageBytes, at) != SQLITE_OK ||
        !std::equal(in_file.begin(), in_file.begin() + content, frame.begin() + kFrameHeaderBytes))
      return false;
  }
  return true;
}

}  // namespace

Result<bool> CheckLog(sqlite3_file* log, sqlite3_file* file, bool power_stayed) {
  auto failed = [](int result) {
    return Internal(std::string("the log cannot be read: ") + sqlite3_errstr(result));
  };
  sqlite3_int64 size = 0;
  if (int result = log->pMethods->xFileSize(log, &size); result != SQLITE_OK) return failed(result);
  if (size < kHeaderBytes + kFrameHeaderBytes) return false;
  std::array<unsigned char, kHeaderBytes> header;
  if (int result = log->pMethods->xRead(log, header.data(), kHeaderBytes, 0); result != SQLITE_OK)
    return failed(result);

  const uint32_t magic = BigEndian(header.data());
  const bool big_endian = (magic & 1) != 0;
  Pair sum = {0, 0};
  AddTo(&sum, big_endian, header.data(), 24);
  const bool header_right = (magic & ~1u) == kMagic && sum == PairAt(header.data() + 24) &&
                            BigEndian(header.data() + 8) == kPageBytes;
  Pair salts = PairAt(header.data() + 16);

  bool right = header_right;
  int64_t number = 0, wrong = 0, ends = 0, last_end = 0;  // of commits that SQLite does not see
  Frame frame;
  for (sqlite3_int64 at = kHeaderBytes; at + std::ssize(frame) <= size; at += std::ssize(frame)) {
    ++number;
    int result = log->pMethods->xRead(log, frame.data(), static_cast<int>(frame.size()), at);
    if (result != SQLITE_OK) return failed(result);
    if (number == 1 && !header_right) salts = PairAt(frame.data() + 8);
    const bool same_log = PairAt(frame.data() + 8) == salts;
    if (right) {
      AddTo(&sum, big_endian, frame.data(), 8);
      AddTo(&sum, big_endian, frame.data() + kFrameHeaderBytes, kPageBytes);
      right = same_log && sum == PairAt(frame.data() + 16);
      if (right) continue;
      wrong = number;
    }
    if (!same_log || BigEndian(frame.data() + 4) == 0) continue;
    ++ends;
    last_end = number;
  }
  if (!header_right && ends > 0 && IsInFile(log, size, salts, file)) return true;
  const std::string where =
      header_right ? "in frame " + std::to_string(wrong) : std::string("in its header");
  if (ends > 1)
    return DataLoss("its log is damaged " + where + ", and acknowledged commits follow");
  if (ends == 1 && power_stayed && last_end > wrong) {
    return DataLoss("its log is damaged " + where +
                    ", in its last commit, and the machine has not been off since");
  }
  return ends == 1;
}

}  // namespace cyxwiz::store
