// WebDataset: samples in archives of tar. Internal to src/data.
//
//   sample = members that follow each other and have one key: "KEY.png" "KEY.cls"
//   KEY    = the path up to the first dot of the file's name
//
// A sample has one picture (.png, .jpg, .jpeg; what it is its content tells) and one label: the
// whole number in .cls, or with label=NAME the member NAME of the object in .json. Labels are
// classes. What else a sample has is passed over, and so are files without an ending, and those
// whose names begin with a dot. Samples come in the order of the archives and of their members.
//
// Limits: 10000 archives, 2^27 samples, 65536 classes; those of tar.h and picture.h; 64 bytes of a
// .cls, 1 MiB of a .json.
#pragma once

#include <string>
#include <vector>

#include "data/fault.h"
#include "data/raw.h"

namespace cyxwiz::data {

// The archives of a folder, sorted, without those whose names begin with a dot. Links in it must
// stay below the roots.
Fault ListShards(const std::string& folder, const Roots& roots, std::vector<std::string>* shards);

// shards: resolved. The images stay in them.
Fault ReadWebDataset(const std::vector<std::string>& shards, const spec::DatasetUri& uri, Raw* raw);

}  // namespace cyxwiz::data
