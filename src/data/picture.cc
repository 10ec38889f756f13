#include "data/picture.h"

#include "data/decoders.h"

namespace cyxwiz::data {
namespace {

Fault Decode(std::string_view content, const std::string& path, int64_t channels, bool whole,
             Picture* picture) {
  if (content.starts_with("\x89PNG\r\n\x1a\n")) {
    return DecodePng(content, path, channels, whole, picture);
  }
  if (content.starts_with("\xff\xd8\xff")) {
    return DecodeJpeg(content, path, channels, whole, picture);
  }
  return Wrong("'" + path + "' is not an image that is read", "a PNG or JPEG file",
               content.empty() ? "an empty file" : "'" + Shown(content, 8) + "'");
}

}  // namespace

Fault InspectPicture(std::string_view content, const std::string& path, Picture* picture) {
  return Decode(content, path, 0, /*whole=*/false, picture);
}

Fault DecodePicture(std::string_view content, const std::string& path, int64_t channels,
                    Picture* picture) {
  return Decode(content, path, channels, /*whole=*/true, picture);
}

std::vector<int64_t> SampleShape(const spec::ImageOptions& options, const Picture& first) {
  const bool resizes = options.height > 0;
  return {options.channels > 0 ? options.channels : first.channels,
          resizes ? options.height : first.height, resizes ? options.width : first.width};
}

Fault CheckPictureSize(const std::string& path, int64_t height, int64_t width) {
  if (height >= 1 && width >= 1 && height <= spec::kMaxImageSide && width <= spec::kMaxImageSide &&
      height * width <= kMaxPicturePixels) {
    return {};
  }
  return TooLarge("image '" + path + "' is too large",
                  "at most " + std::to_string(spec::kMaxImageSide) + " pixels each way and " +
                      std::to_string(kMaxPicturePixels) + " in all",
                  std::to_string(height) + "x" + std::to_string(width));
}

Fault DamagedPicture(const std::string& path, const char* what) {
  return Wrong("image '" + path + "' is damaged", "a valid image", what,
               "replace it, or leave it out");
}

}  // namespace cyxwiz::data
