#include "data/decoders.h"

#if CYXWIZ_PNG
#include <png.h>
#endif

namespace cyxwiz::data {

#if CYXWIZ_PNG

Fault DecodePng(std::string_view content, const std::string& path, int64_t channels, bool whole,
                Picture* picture) {
  // libpng's simplified interface: its errors come as texts, not as jumps.
  struct Image {
    png_image png{};
    Image() { png.version = PNG_IMAGE_VERSION; }
    ~Image() { ::png_image_free(&png); }
  } image;
  png_image& png = image.png;
  if (::png_image_begin_read_from_memory(&png, content.data(), content.size()) == 0) {
    return DamagedPicture(path, png.message);
  }
  RETURN_IF_FAULT(CheckPictureSize(path, png.height, png.width));
  picture->height = png.height;
  picture->width = png.width;
  picture->channels = channels > 0 ? channels : (png.format & PNG_FORMAT_FLAG_COLOR) != 0 ? 3 : 1;
  if (!whole) return {};
  png.format = picture->channels == 3 ? PNG_FORMAT_RGB : PNG_FORMAT_GRAY;
  picture->pixels.resize(static_cast<size_t>(picture->height * picture->width * picture->channels));
  const png_color black{0, 0, 0};
  if (::png_image_finish_read(&png, &black, picture->pixels.data(), 0, nullptr) == 0) {
    return DamagedPicture(path, png.message);
  }
  return {};
}

#else

Fault DecodePng(std::string_view, const std::string& path, int64_t, bool, Picture*) {
  return {Code::kUnavailable,
          "this program was built without libpng and cannot read '" + path + "'", "a JPEG file",
          "a PNG file", "install libpng-dev and build again"};
}

#endif

}  // namespace cyxwiz::data
