#include "data/zip.h"

#include <zlib.h>

#include <algorithm>
#include <cstring>
#include <string_view>
#include <utility>
#include <vector>

#include "base/resources.h"
#include "data/file_range.h"

namespace cyxwiz::data {
namespace {

constexpr size_t kEndBytes = 22, kEntryBytes = 46, kLocalBytes = 30;
constexpr size_t kEnd64Bytes = 56, kLocatorBytes = 20;
constexpr size_t kMaxCommentBytes = 65535;
constexpr int64_t kMaxMembers = 1024;
constexpr int64_t kMaxDirectoryBytes = 1 << 20;
constexpr int64_t kBestDeflateRatio = 1032;
constexpr int64_t kElsewhere = 0xffffffff;  // a number has 64 bits, in another place

// Of at most 4 bytes.
int64_t Number(const char* at, size_t bytes) {
  int64_t number = 0;
  for (size_t i = 0; i < bytes; ++i)
    number |= int64_t{static_cast<unsigned char>(at[i])} << (8 * i);
  return number;
}

// Of 8 bytes; INT64_MAX for what is larger, which no file is.
int64_t LargeNumber(const char* at) {
  const int64_t high = Number(at + 4, 4);
  return high > INT32_MAX ? INT64_MAX : high << 32 | Number(at, 4);
}

struct Entry {
  int64_t flags = 0, method = 0, crc = 0, packed = 0, unpacked = 0, local = 0;
};

Fault Damaged(const std::string& path, const std::string& what, std::string expected,
              std::string found) {
  return Wrong("zip archive '" + path + "' " + what, std::move(expected), std::move(found),
               "copy or write the file again");
}

// The bytes of a member.
class MemberReader : public ByteReader {
 public:
  MemberReader(std::string path, FileRange range, const Entry& member)
      : path_(std::move(path)), packed_(std::move(range)), member_(member) {}
  ~MemberReader() override {
    if (stream_open_) ::inflateEnd(&stream_);
  }

  Fault Start() {
    if (member_.method == 0) return {};
    // Without a zlib header.
    if (::inflateInit2(&stream_, -15) != Z_OK) {
      return TooLarge("cannot unpack '" + path_ + "'", "memory for zlib", "none left");
    }
    stream_open_ = true;
    input_.resize(64 << 10);
    return {};
  }

  Fault Read(void* buffer, size_t size, size_t* got) override {
    *got = 0;
    const size_t left = static_cast<size_t>(member_.unpacked) - given_;
    const size_t want = std::min(size, left);
    RETURN_IF_FAULT(member_.method == 0 ? packed_.Read(buffer, want, got)
                                        : Inflate(static_cast<unsigned char*>(buffer), want, got));
    given_ += *got;
    if (*got < want) {
      return Damaged(path_, "is cut off",
                     Count(member_.unpacked, "byte") + " as its directory declares",
                     Count(static_cast<int64_t>(given_), "byte"));
    }
    crc_ = ::crc32_z(crc_, static_cast<const unsigned char*>(buffer), *got);
    if (given_ < static_cast<size_t>(member_.unpacked) || checked_) return {};
    checked_ = true;
    if (crc_ == static_cast<uLong>(member_.crc)) return {};
    return Damaged(path_, "is damaged", "the checksum that its directory declares", "another");
  }

  bool CanHold(int64_t bytes) const override { return member_.unpacked >= bytes; }

 private:
  Fault Inflate(unsigned char* out, size_t size, size_t* got) {
    while (*got < size) {
      if (stream_.avail_in == 0) {
        size_t more = 0;
        RETURN_IF_FAULT(packed_.Read(input_.data(), input_.size(), &more));
        if (more == 0) return {};
        stream_.next_in = input_.data();
        stream_.avail_in = static_cast<unsigned>(more);
      }
      const size_t room = std::min<size_t>(size - *got, 1 << 30);
      stream_.next_out = out + *got;
      stream_.avail_out = static_cast<unsigned>(room);
      const int result = ::inflate(&stream_, Z_NO_FLUSH);
      *got += room - stream_.avail_out;
      if (result == Z_STREAM_END) return {};
      if (result == Z_MEM_ERROR) {
        return TooLarge("cannot unpack '" + path_ + "'", "memory for zlib", "none left");
      }
      if (result != Z_OK && result != Z_BUF_ERROR) {
        return Damaged(path_, "is damaged", "valid compressed data",
                       stream_.msg ? stream_.msg : "invalid data");
      }
    }
    return {};
  }

  const std::string path_;
  FileRange packed_;
  const Entry member_;
  std::vector<unsigned char> input_;
  z_stream stream_{};
  bool stream_open_ = false, checked_ = false;
  size_t given_ = 0;
  uLong crc_ = 0;
};

// Reads exactly `size` bytes at an offset.
Fault ReadAt(const FileRange& file, int64_t offset, size_t size, const std::string& path,
             std::string* text) {
  text->resize(size);
  size_t got = 0;
  RETURN_IF_FAULT(file.ReadAt(offset, text->data(), size, &got));
  if (got == size) return {};
  return Damaged(path, "is cut off",
                 Count(static_cast<int64_t>(size), "byte") + " at offset " + std::to_string(offset),
                 Count(static_cast<int64_t>(got), "byte"));
}

struct Directory {
  int64_t members = 0, size = 0, offset = 0;
};

// Finds the end record: the last one whose comment reaches just to the file's end.
Fault FindEnd(const FileRange& file, const std::string& path, Directory* directory) {
  const int64_t size = file.size();
  const size_t tail_bytes = static_cast<size_t>(
      std::min<int64_t>(size, static_cast<int64_t>(kLocatorBytes + kEndBytes + kMaxCommentBytes)));
  std::string tail, end64;
  RETURN_IF_FAULT(ReadAt(file, size - static_cast<int64_t>(tail_bytes), tail_bytes, path, &tail));
  for (size_t at = tail_bytes + 1 - std::min(kEndBytes, tail_bytes + 1); at-- > 0;) {
    if (tail.compare(at, 4, "PK\5\6") != 0) continue;
    if (at + kEndBytes + static_cast<size_t>(Number(&tail[at + 20], 2)) != tail_bytes) continue;
    *directory = {Number(&tail[at + 10], 2), Number(&tail[at + 12], 4), Number(&tail[at + 16], 4)};
    const size_t locator = at - std::min(kLocatorBytes, at);
    if (tail.compare(locator, 4, "PK\6\7") != 0) return {};
    const int64_t place = LargeNumber(&tail[locator + 8]);
    if (place > size - static_cast<int64_t>(kEnd64Bytes)) {
      return Damaged(path, "has the record of its end beyond its end",
                     "at most " + Count(size, "byte"), "offset " + std::to_string(place));
    }
    RETURN_IF_FAULT(ReadAt(file, place, kEnd64Bytes, path, &end64));
    if (end64.compare(0, 4, "PK\6\6") != 0) {
      return Damaged(path, "has no record where the one before its end says", "a record of 64 bits",
                     "'" + Shown(end64, 4) + "'");
    }
    *directory = {LargeNumber(&end64[32]), LargeNumber(&end64[40]), LargeNumber(&end64[48])};
    return {};
  }
  return Wrong("'" + path + "' is not a zip archive", "the record that ends one", "none",
               "write it with numpy.savez");
}

// Takes the numbers of 64 bits of an entry out of its extra fields. False when one is not there.
bool TakeLargeNumbers(std::string_view extra, Entry* entry) {
  std::vector<int64_t*> wanted;
  for (int64_t* number : {&entry->unpacked, &entry->packed, &entry->local}) {
    if (*number == kElsewhere) wanted.push_back(number);
  }
  while (!wanted.empty() && extra.size() >= 4) {
    const int64_t id = Number(extra.data(), 2);
    const auto size = static_cast<size_t>(Number(extra.data() + 2, 2));
    extra.remove_prefix(4);
    if (size > extra.size()) return false;
    if (id != 1) {
      extra.remove_prefix(size);
      continue;
    }
    if (size < 8 * wanted.size()) return false;
    for (size_t i = 0; i < wanted.size(); ++i) *wanted[i] = LargeNumber(extra.data() + 8 * i);
    return true;
  }
  return wanted.empty();
}

Fault FindMember(const FileRange& file, const std::string& path, const std::string& name,
                 Entry* member) {
  Directory end;
  RETURN_IF_FAULT(FindEnd(file, path, &end));
  const auto [members, size, offset] = end;
  if (members > kMaxMembers || size > kMaxDirectoryBytes) {
    return TooLarge("zip archive '" + path + "' has too many members",
                    "at most " + std::to_string(kMaxMembers) + " in a directory of " +
                        FormatBytes(kMaxDirectoryBytes),
                    std::to_string(members) + " in " + FormatBytes(size));
  }
  if (offset > file.size() - size) {
    return Damaged(path, "has its directory beyond its end",
                   "at most " + Count(file.size(), "byte"),
                   Count(size, "byte") + " at offset " + std::to_string(offset));
  }
  std::string directory, names;
  RETURN_IF_FAULT(ReadAt(file, offset, static_cast<size_t>(size), path, &directory));
  size_t at = 0;
  for (int64_t i = 0; i < members; ++i) {
    if (directory.size() - at < kEntryBytes || directory.compare(at, 4, "PK\1\2") != 0) {
      return Damaged(path, "has a directory that is not read",
                     "an entry at its byte " + std::to_string(at), "something else");
    }
    const char* entry = &directory[at];
    const auto name_bytes = static_cast<size_t>(Number(entry + 28, 2));
    const auto extra_bytes = static_cast<size_t>(Number(entry + 30, 2));
    const size_t bytes =
        kEntryBytes + name_bytes + extra_bytes + static_cast<size_t>(Number(entry + 32, 2));
    if (directory.size() - at < bytes) {
      return Damaged(path, "has a directory that is cut off",
                     Count(static_cast<int64_t>(bytes), "byte"),
                     Count(static_cast<int64_t>(directory.size() - at), "byte"));
    }
    std::string_view found(entry + kEntryBytes, name_bytes);
    if (found == name) {
      *member = {Number(entry + 8, 2),  Number(entry + 10, 2), Number(entry + 16, 4),
                 Number(entry + 20, 4), Number(entry + 24, 4), Number(entry + 42, 4)};
      if (TakeLargeNumbers({entry + kEntryBytes + name_bytes, extra_bytes}, member)) return {};
      return Damaged(path, "has a directory that is not read",
                     "sizes of 64 bits where those of 32 are too small", "none");
    }
    if (names.size() < 200) names += (names.empty() ? "'" : ", '") + Shown(found) + "'";
    at += bytes;
  }
  return Wrong("zip archive '" + path + "' has no member '" + Shown(name, 100) + "'",
               names.empty() ? "a member of that name" : "one of " + names, "none of that name",
               "name the arrays with features= and labels=");
}

}  // namespace

Fault OpenZipMember(const std::string& path, const std::string& name, ZipMember* member) {
  FileRange file;
  RETURN_IF_FAULT(file.Open(path));
  Entry entry;
  RETURN_IF_FAULT(FindMember(file, path, name, &entry));
  const std::string shown = "zip archive '" + path + "', member '" + Shown(name, 100) + "',";
  if ((entry.flags & 1) != 0) return Wrong(shown + " is encrypted", "a plain member", "a secret");
  if (entry.method != 0 && entry.method != 8) {
    return Wrong(shown + " is packed by a method that is not read", "stored (0) or deflated (8)",
                 std::to_string(entry.method));
  }
  if (entry.method == 0 ? entry.unpacked != entry.packed
                        : entry.unpacked / kBestDeflateRatio > entry.packed) {
    return Damaged(path, "declares sizes that cannot be", "a size that its data can unpack to",
                   Count(entry.unpacked, "byte") + " from " + Count(entry.packed, "byte"));
  }
  if (entry.local > file.size() - static_cast<int64_t>(kLocalBytes) || entry.packed > file.size()) {
    return Damaged(
        path, "is cut off",
        Count(entry.packed, "byte") + " from offset " + std::to_string(entry.local) + " on",
        Count(file.size(), "byte"));
  }
  std::string local;
  RETURN_IF_FAULT(ReadAt(file, entry.local, kLocalBytes, path, &local));
  if (local.compare(0, 4, "PK\3\4") != 0) {
    return Damaged(path, "has no member where its directory says", "a local header",
                   "'" + Shown(local, 4) + "'");
  }
  const int64_t begin = entry.local + static_cast<int64_t>(kLocalBytes) + Number(&local[26], 2) +
                        Number(&local[28], 2);
  if (begin > file.size() - entry.packed) {
    return Damaged(path, "is cut off", Count(begin + entry.packed, "byte"),
                   Count(file.size(), "byte"));
  }
  file.Narrow(begin, entry.packed);
  auto opened = std::make_unique<MemberReader>(path, std::move(file), entry);
  RETURN_IF_FAULT(opened->Start());
  *member = {std::move(opened), entry.method == 0, begin, entry.packed};
  return {};
}

}  // namespace cyxwiz::data
