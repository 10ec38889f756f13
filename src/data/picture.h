// PNG and JPEG, decoded by libpng and libjpeg-turbo where the build has them. Internal to src/data.
//
// A picture is gray or colour of 8 bits; others are converted: palettes and 16 bits, and what is
// transparent lies on black. Which format a file has, its first bytes tell, never its name.
//
// Limits: 16384 pixels each way, 64 million pixels, 100 scans of a JPEG; the content those of
// sample_files.h. Sizes are checked before memory is taken.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "data/fault.h"
#include "spec/dataset.h"

namespace cyxwiz::data {

inline constexpr int64_t kMaxPicturePixels = 64'000'000;

struct Picture {
  int64_t height = 0, width = 0;
  int64_t channels = 0;         // 1 or 3
  std::vector<uint8_t> pixels;  // height x width x channels
};

// Size and channels of the picture in `content`; `path` names it in messages.
Fault InspectPicture(std::string_view content, const std::string& path, Picture* picture);

// The picture, converted to `channels`; 0: as it is.
Fault DecodePicture(std::string_view content, const std::string& path, int64_t channels,
                    Picture* picture);

// Channels, height and width of the samples of a data set whose first picture this is.
std::vector<int64_t> SampleShape(const spec::ImageOptions& options, const Picture& first);

}  // namespace cyxwiz::data
