// Folders of images, a sub-folder a class. Internal to src/data.
//
//   folder = class*            or  folder = "train" ["test"], each with class*
//   class  = sub-folder of PNG and JPEG files (names that end in .png, .jpg or .jpeg)
//
// Classes are the sub-folders in sorted order, those of the training part; samples come class by
// class, in the order of the files' names. Names that begin with a dot, and files with other
// endings, are passed over.
//
// The images stay in their files.
//
// Limits: 2000000 images, 65536 classes; those of picture.h and sample_files.h.
#pragma once

#include <string>
#include <vector>

#include "data/fault.h"
#include "data/raw.h"

namespace cyxwiz::data {

// Reads the folder, which is resolved. Links in it must stay below the roots.
Fault ReadImageFolder(const std::string& folder, const spec::DatasetUri& uri, const Roots& roots,
                      Raw* raw);

// The paths of its images, resolved, in order. TooLarge when there are more than `most`.
Fault ListImages(const std::string& folder, const Roots& roots, size_t most,
                 std::vector<std::string>* paths);

}  // namespace cyxwiz::data
