// One member of a zip archive. Internal to src/data.
//
//   archive   = (local header, data)* directory [end64 locator] end
//   directory = entries of 46 bytes, a name and extra fields each; end = 22 bytes and a comment
//   end64     = 56 bytes; locator = 20 bytes, with the place of end64
//   extra     = (id, size of 2 bytes each, content)*       numbers are little endian
//
// A number of 32 bits that is all ones has 64 of them elsewhere: in the extra field 1, or in end64.
//
// https://pkware.cachefly.net/webdocs/casestudies/APPNOTE.TXT
//
// Members are stored or deflated; not encrypted and not over several disks. What a member is said
// to unpack to is a limit: nothing is unpacked beyond it, and deflate's best ratio (1032:1) must
// allow it.
//
// Limits: 1024 members, 1 MiB of directory.
#pragma once

#include <memory>
#include <string>

#include "data/byte_source.h"
#include "data/fault.h"

namespace cyxwiz::data {

struct ZipMember {
  // Gives the member's bytes; its checksum is checked by the read that meets its end.
  std::unique_ptr<ByteReader> reader;
  bool stored = false;            // as it is, where follows:
  int64_t offset = 0, bytes = 0;  // in the file
};

// `path` is resolved.
Fault OpenZipMember(const std::string& path, const std::string& name, ZipMember* member);

}  // namespace cyxwiz::data
