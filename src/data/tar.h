// Archives of tar: where the files in one lie. Nothing is unpacked. Internal to src/data.
//
//   tar    = member* end
//   member = header content padding          header: 512 bytes; padding: to a multiple of 512
//   end    = two headers of zeros; one is enough here
//   header = name[100] mode[8] uid[8] gid[8] size[12] mtime[12] checksum[8] type[1] link[100]
//            "ustar\0" "00" ... prefix[155]          numbers in octal; a size beyond 8 GiB in base
//            256
//
// A member of type 'x' (pax: "LENGTH key=value\n"*) or 'L' (GNU: a name) says more of the next one.
//
// https://pubs.opengroup.org/onlinepubs/9699919799/utilities/pax.html
//
// Limits: names of 4096 bytes, 64 KiB of pax records.
#pragma once

#include <cstdint>
#include <string>

#include "data/fault.h"
#include "data/file_range.h"

namespace cyxwiz::data {

struct TarMember {
  std::string name;
  int64_t offset = 0, size = 0;  // of its content, which lies within the archive
};

// One thread.
class TarReader {
 public:
  // `path` is resolved.
  Fault Open(const std::string& path);
  // The next file, folders left out; *found is false at the end. What is neither, such as a link,
  // is a fault.
  Fault Next(TarMember* member, bool* found);

  const FileRange& file() const { return file_; }

 private:
  struct Header;
  Fault ReadHeader(Header* header, bool* end);
  // The content of a member that says something of the next.
  Fault ReadText(const Header& header, int64_t most, std::string* text) const;
  Fault ReadPax(const Header& header);
  Fault Damaged(const std::string& what, std::string expected, std::string found) const;

  std::string path_;
  FileRange file_;
  int64_t at_ = 0;
  // What a member before it has said of the next one.
  std::string next_name_;
  int64_t next_size_ = -1;  // -1: nothing
};

}  // namespace cyxwiz::data
