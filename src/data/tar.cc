#include "data/tar.h"

#include <algorithm>
#include <cstring>
#include <string_view>

#include "base/text.h"

namespace cyxwiz::data {
namespace {

constexpr int64_t kBlockBytes = 512;
constexpr int64_t kMaxNameBytes = 4096, kMaxPaxBytes = 64 << 10;

// A field of a header.
struct Field {
  size_t at, size;
};
constexpr Field kName{0, 100}, kSize{124, 12}, kChecksum{148, 8}, kMagic{257, 6}, kPrefix{345, 155};
constexpr size_t kType = 156;

std::string_view FieldOf(const char* block, Field field) { return {block + field.at, field.size}; }

// Up to the first zero.
std::string TextOf(const char* block, Field field) {
  const std::string_view text = FieldOf(block, field);
  return std::string(text.substr(0, text.find('\0')));
}

// Octal digits between blanks, or base 256 after a byte 0x80, as GNU tar writes large sizes. False
// when it is neither, or no number of 63 bits.
bool NumberOf(std::string_view field, int64_t* number) {
  *number = 0;
  if ((field[0] & 0x80) != 0) {
    if (static_cast<unsigned char>(field[0]) != 0x80) return false;
    for (char c : field.substr(1)) {
      if (*number >> 54 != 0) return false;
      *number = *number << 8 | static_cast<unsigned char>(c);
    }
    return true;
  }
  while (!field.empty() && field[0] == ' ') field.remove_prefix(1);
  size_t digits = 0;
  for (; digits < field.size() && field[digits] >= '0' && field[digits] <= '7'; ++digits)
    *number = *number << 3 | (field[digits] - '0');  // 12 digits are 36 bits
  return std::all_of(field.begin() + static_cast<std::ptrdiff_t>(digits), field.end(),
                     [](char c) { return c == ' ' || c == '\0'; });
}

// The sum of all bytes, those of the checksum as blanks; old programs took bytes as signed.
bool HasItsChecksum(const char* block) {
  int64_t declared = 0, plain = 0, with_sign = 0;
  if (!NumberOf(FieldOf(block, kChecksum), &declared)) return false;
  for (size_t i = 0; i < static_cast<size_t>(kBlockBytes); ++i) {
    const bool own = i >= kChecksum.at && i < kChecksum.at + kChecksum.size;
    plain += own ? ' ' : static_cast<unsigned char>(block[i]);
    with_sign += own ? ' ' : static_cast<signed char>(block[i]);
  }
  return declared == plain || declared == with_sign;
}

}  // namespace

struct TarReader::Header {
  char type = 0;
  std::string name;
  int64_t content = 0;  // where it begins
  int64_t size = 0;
};

Fault TarReader::Damaged(const std::string& what, std::string expected, std::string found) const {
  return Wrong("tar archive '" + path_ + "' " + what, std::move(expected), std::move(found),
               "copy or write the file again");
}

Fault TarReader::Open(const std::string& path) {
  path_ = path;
  at_ = 0;
  RETURN_IF_FAULT(file_.Open(path));
  char magic[2] = {0, 0};
  size_t got = 0;
  RETURN_IF_FAULT(file_.ReadAt(0, magic, sizeof magic, &got));
  if (magic[0] == '\x1f' && magic[1] == '\x8b') {
    return Wrong("'" + path + "' is compressed", "a plain tar archive", "gzip",
                 "unpack it with gunzip: its samples are read from where they lie");
  }
  return {};
}

Fault TarReader::ReadHeader(Header* header, bool* end) {
  char block[kBlockBytes];
  size_t got = 0;
  RETURN_IF_FAULT(file_.ReadAt(at_, block, sizeof block, &got));
  if (got < sizeof block) {
    return Damaged("is cut off", "a header, or a block of zeros at its end",
                   Count(static_cast<int64_t>(got), "byte") + " at byte " + std::to_string(at_));
  }
  *end = std::all_of(block, block + sizeof block, [](char c) { return c == '\0'; });
  if (*end) return {};
  const std::string place = "at byte " + std::to_string(at_);
  if (!HasItsChecksum(block)) {
    return Damaged("has no valid header " + place, "a header with its checksum", "something else");
  }
  header->type = block[kType];
  header->name = TextOf(block, kName);
  // GNU tar, whose magic is another, keeps times where the prefix is.
  if (FieldOf(block, kMagic) == std::string_view("ustar\0", 6)) {
    const std::string prefix = TextOf(block, kPrefix);
    if (!prefix.empty()) header->name = prefix + "/" + header->name;
  }
  header->content = at_ + kBlockBytes;
  const bool extension =
      header->type == 'x' || header->type == 'g' || header->type == 'L' || header->type == 'K';
  if (!extension && next_size_ >= 0) {
    header->size = next_size_;
  } else if (!NumberOf(FieldOf(block, kSize), &header->size)) {
    return Damaged("has a header without a size " + place, "an octal number",
                   "'" + Shown(FieldOf(block, kSize)) + "'");
  }
  if (header->size > file_.size() - header->content) {
    return Damaged("is cut off", Count(header->size, "byte") + " of a member " + place,
                   std::to_string(file_.size() - header->content));
  }
  at_ = header->content + (header->size + kBlockBytes - 1) / kBlockBytes * kBlockBytes;
  return {};
}

Fault TarReader::ReadText(const Header& header, int64_t most, std::string* text) const {
  if (header.size > most) {
    return TooLarge("tar archive '" + path_ + "' has too long a name or record at byte " +
                        std::to_string(header.content),
                    "at most " + Count(most, "byte"), std::to_string(header.size));
  }
  text->resize(static_cast<size_t>(header.size));
  size_t got = 0;
  RETURN_IF_FAULT(file_.ReadAt(header.content, text->data(), text->size(), &got));
  if (got == text->size()) return {};
  return Damaged("is cut off", Count(header.size, "byte"), std::to_string(got));
}

// Keys but path and size say nothing of where the content lies, those of sparse files apart.
Fault TarReader::ReadPax(const Header& header) {
  std::string text;
  RETURN_IF_FAULT(ReadText(header, kMaxPaxBytes, &text));
  std::string_view rest = text;
  while (!rest.empty()) {
    auto broken = [&] {
      return Damaged("has a pax record that is not read at byte " + std::to_string(header.content),
                     "'LENGTH key=value' and a line's end", "'" + Shown(rest, 60) + "'");
    };
    const size_t blank = rest.find(' ');
    const auto length = ParseInt(rest.substr(0, std::min<size_t>(blank, 20)));
    if (blank == rest.npos || !length || *length <= static_cast<int64_t>(blank) + 1 ||
        *length > static_cast<int64_t>(rest.size()))
      return broken();
    std::string_view record = rest.substr(blank + 1, static_cast<size_t>(*length) - blank - 1);
    const size_t equals = record.find('=');
    if (record.back() != '\n' || equals == record.npos) return broken();
    record.remove_suffix(1);
    const std::string_view key = record.substr(0, equals), value = record.substr(equals + 1);
    if (key == "path") next_name_ = std::string(value.substr(0, value.find('\0')));
    if (key == "size") {
      next_size_ = ParseInt(value).value_or(-1);
      if (next_size_ < 0) return broken();
    }
    if (key.starts_with("GNU.sparse.")) {
      return Damaged("has a sparse file at byte " + std::to_string(header.content),
                     "whole files alone", "'" + Shown(key) + "'");
    }
    rest.remove_prefix(static_cast<size_t>(*length));
  }
  return {};
}

Fault TarReader::Next(TarMember* member, bool* found) {
  next_name_.clear();
  next_size_ = -1;
  for (;;) {
    Header header;
    bool end = false;
    RETURN_IF_FAULT(ReadHeader(&header, &end));
    *found = !end;
    if (end) return {};
    switch (header.type) {
      case 'x':
        RETURN_IF_FAULT(ReadPax(header));
        break;
      case 'L':
        RETURN_IF_FAULT(ReadText(header, kMaxNameBytes, &next_name_));
        next_name_.resize(std::min(next_name_.size(), next_name_.find('\0')));
        break;
      case 'g':  // of all members: comments, times
      case 'K':  // the name of a link
        break;
      case '5':
        next_name_.clear();
        next_size_ = -1;
        break;
      case '0':
      case '7':
      case '\0': {
        std::string& name = next_name_.empty() ? header.name : next_name_;
        if (static_cast<int64_t>(name.size()) > kMaxNameBytes) {
          return TooLarge("tar archive '" + path_ + "' has too long a name",
                          "at most " + Count(kMaxNameBytes, "byte"), std::to_string(name.size()));
        }
        if (name.ends_with('/')) break;  // how old programs write a folder
        *member = {std::move(name), header.content, header.size};
        return {};
      }
      default:
        return Wrong(
            "tar archive '" + path_ + "' has a member that is no file: '" +
                Shown(next_name_.empty() ? header.name : next_name_, 100) + "'",
            "files and folders", "a link, a device or a sparse file",
            "write it with what the links stand for: tar --dereference --hard-dereference");
    }
  }
}

}  // namespace cyxwiz::data
