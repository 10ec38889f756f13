// One member of a zip archive. Internal to src/data.
//
//   archive   = (local header, data)* directory end
//   directory = entries of 46 bytes and a name each; end = 22 bytes and a comment
//
// Members are stored or deflated; not encrypted, not over several disks, and without the sizes of
// 64 bits that members of 4 GiB need. What a member is said to unpack to is a limit: nothing is
// unpacked beyond it, and deflate's best ratio (1032:1) must allow it.
//
// Limits: 1024 members, 1 MiB of directory.
#pragma once

#include <memory>
#include <string>

#include "data/byte_source.h"
#include "data/fault.h"

namespace cyxwiz::data {

// *reader gives the member's bytes; its checksum is checked by the read that meets its end. `path`
// is resolved.
Fault OpenZipMember(const std::string& path, const std::string& name,
                    std::unique_ptr<ByteReader>* reader);

}  // namespace cyxwiz::data
