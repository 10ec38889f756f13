// WebDataset: samples in archives of tar. Internal to src/data.
//
//   sample = members that follow each other and have one key: "KEY.png" "KEY.cls"
//   KEY    = the path up to the first dot of the file's name
//
// A sample has one picture (.png, .jpg, .jpeg; what it is its content tells) or, without one, one
// array of NumPy (.npy), all samples the same of both; arrays are all of one type and shape. And it
// has one label: the class in .cls, a whole number; or with label=.ENDING the number in the member
// with that ending; or with label=NAME the member NAME of the object in .json. Numbers that are all
// whole and from 0 to 65535 are classes, any others make it a regression; label_type says
// otherwise. What else a sample has is passed over, and so are files without an ending, and those
// whose names begin with a dot. Samples come in the order of the archives and of their members, and
// stay in them.
//
// Limits: 10000 archives, 2^27 samples, 65536 classes; those of tar.h, sample_files.h and
// picture.h; 64 bytes of a label that is no .json, 1 MiB of that.
#pragma once

#include <string>
#include <vector>

#include "data/fault.h"
#include "data/raw.h"

namespace cyxwiz::data {

// The archives of a folder, sorted, without those whose names begin with a dot. Links in it must
// stay below the roots.
Fault ListShards(const std::string& folder, const Roots& roots, std::vector<std::string>* shards);

// shards: resolved.
Fault ReadWebDataset(const std::vector<std::string>& shards, const spec::DatasetUri& uri, Raw* raw);

}  // namespace cyxwiz::data
