#include "data/picture_rows.h"

#include "data/picture.h"
#include "data/resize.h"

namespace cyxwiz::data {

Fault PictureRows::Decode(std::string_view content, const std::string& name, uint8_t* out) const {
  Picture picture;
  RETURN_IF_FAULT(DecodePicture(content, name, channels_, &picture));
  if (!resizes_ && (picture.height != height_ || picture.width != width_)) {
    return Wrong("image '" + name + "' is of another size than the first",
                 std::to_string(height_) + "x" + std::to_string(width_),
                 std::to_string(picture.height) + "x" + std::to_string(picture.width),
                 "size=" + std::to_string(height_) + "x" + std::to_string(width_) +
                     " makes all of that size");
  }
  Resize(picture, height_, width_, out);
  return {};
}

}  // namespace cyxwiz::data
