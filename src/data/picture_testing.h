// Pictures for tests, as files.
#pragma once

#include <gtest/gtest.h>
#include <png.h>
// After png.h, which includes cstdio.
#include <jpeglib.h>

#include <cstdint>
#include <cstdlib>
#include <string>

#include "data/picture.h"

namespace cyxwiz::data {

inline Picture Gradient(int64_t height, int64_t width, int64_t channels, int seed = 0) {
  Picture picture{height, width, channels, {}};
  for (int64_t y = 0; y < height; ++y) {
    for (int64_t x = 0; x < width; ++x) {
      for (int64_t c = 0; c < channels; ++c) {
        picture.pixels.push_back(static_cast<uint8_t>((y * 7 + x * 5 + c * 60 + seed) % 256));
      }
    }
  }
  return picture;
}

inline std::string Png(const Picture& picture) {
  png_image image{};
  image.version = PNG_IMAGE_VERSION;
  image.width = static_cast<png_uint_32>(picture.width);
  image.height = static_cast<png_uint_32>(picture.height);
  image.format = picture.channels == 3 ? PNG_FORMAT_RGB : PNG_FORMAT_GRAY;
  png_alloc_size_t bytes = 0;
  png_image_write_get_memory_size(image, bytes, 0, picture.pixels.data(), 0, nullptr);
  std::string file(bytes, '\0');
  EXPECT_NE(
      png_image_write_to_memory(&image, file.data(), &bytes, 0, picture.pixels.data(), 0, nullptr),
      0);
  file.resize(bytes);
  return file;
}

inline std::string Jpeg(const Picture& picture, bool progressive = false) {
  jpeg_compress_struct info{};
  jpeg_error_mgr errors{};
  info.err = jpeg_std_error(&errors);
  jpeg_create_compress(&info);
  unsigned char* buffer = nullptr;
  unsigned long bytes = 0;
  jpeg_mem_dest(&info, &buffer, &bytes);
  info.image_width = static_cast<JDIMENSION>(picture.width);
  info.image_height = static_cast<JDIMENSION>(picture.height);
  info.input_components = static_cast<int>(picture.channels);
  info.in_color_space = picture.channels == 3 ? JCS_RGB : JCS_GRAYSCALE;
  jpeg_set_defaults(&info);
  jpeg_set_quality(&info, 100, TRUE);
  if (progressive) jpeg_simple_progression(&info);
  jpeg_start_compress(&info, TRUE);
  while (info.next_scanline < info.image_height) {
    JSAMPROW row = const_cast<uint8_t*>(picture.pixels.data()) +
                   static_cast<int64_t>(info.next_scanline) * picture.width * picture.channels;
    jpeg_write_scanlines(&info, &row, 1);
  }
  jpeg_finish_compress(&info);
  jpeg_destroy_compress(&info);
  std::string file(reinterpret_cast<char*>(buffer), bytes);
  std::free(buffer);
  return file;
}

}  // namespace cyxwiz::data
