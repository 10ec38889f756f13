// Folders of images, a sub-folder a class. Internal to src/data.
//
//   folder = class*            or  folder = "train" ["test"], each with class*
//   class  = sub-folder of PNG and JPEG files (names that end in .png, .jpg or .jpeg)
//
// Classes are the sub-folders in sorted order, those of the training part; samples come class by
// class, in the order of the files' names. Names that begin with a dot, and files with other
// endings, are passed over.
//
// Limits: a million images, 65536 classes, 4 GiB of values; those of picture.h.
#pragma once

#include <string>

#include "data/fault.h"
#include "data/raw.h"

namespace cyxwiz::data {

// Reads the folder, which is resolved. Links in it must stay below the roots.
Fault ReadImageFolder(const std::string& folder, const spec::DatasetUri& uri, const Roots& roots,
                      Raw* raw);

}  // namespace cyxwiz::data
