// What picture.cc and the two decoders share. Internal to src/data.
#pragma once

#include <string>
#include <string_view>

#include "data/picture.h"
#include "spec/dataset.h"

namespace cyxwiz::data {

// `whole`: with the pixels; else the size alone. channels: 0: as the file has them.
Fault DecodePng(std::string_view content, const std::string& path, int64_t channels, bool whole,
                Picture* picture);
Fault DecodeJpeg(std::string_view content, const std::string& path, int64_t channels, bool whole,
                 Picture* picture);

Fault CheckPictureSize(const std::string& path, int64_t height, int64_t width);
Fault DamagedPicture(const std::string& path, const char* what);

}  // namespace cyxwiz::data
