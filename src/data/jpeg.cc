#include "data/decoders.h"

#if CYXWIZ_JPEG
#include <csetjmp>
#include <cstddef>
#include <cstdio>
// After cstdio, which it needs.
#include <jerror.h>
#include <jpeglib.h>
#endif

namespace cyxwiz::data {

#if CYXWIZ_JPEG
namespace {

constexpr int kMaxScans = 100;

// What libjpeg calls when something is wrong. It must not return from an error, so it jumps.
struct Errors {
  jpeg_error_mgr manager;
  std::jmp_buf back;
  char message[JMSG_LENGTH_MAX];
};

[[noreturn]] void OnError(j_common_ptr info) {
  auto* errors = reinterpret_cast<Errors*>(info->err);
  (*info->err->format_message)(info, errors->message);
  std::longjmp(errors->back, 1);
}

// Warnings are for data that is damaged and could be guessed at. Rubbish between the parts of a
// file is none of it.
void OnMessage(j_common_ptr info, int level) {
  if (level < 0 && info->err->msg_code != JWRN_EXTRANEOUS_DATA) OnError(info);
}

// A small file of very many scans would take hours.
void OnProgress(j_common_ptr info) {
  auto* decompress = reinterpret_cast<j_decompress_ptr>(info);
  if (decompress->input_scan_number <= kMaxScans) return;
  auto* errors = reinterpret_cast<Errors*>(info->err);
  std::snprintf(errors->message, sizeof errors->message, "more than %d scans", kMaxScans);
  std::longjmp(errors->back, 1);
}

class Decompressor {
 public:
  Decompressor() {
    info.err = ::jpeg_std_error(&errors_.manager);
    errors_.manager.error_exit = OnError;
    errors_.manager.emit_message = OnMessage;
    progress_.progress_monitor = OnProgress;
  }
  Decompressor(const Decompressor&) = delete;
  Decompressor& operator=(const Decompressor&) = delete;
  ~Decompressor() { ::jpeg_destroy_decompress(&info); }

  // False: an error has broken it off. The step is left by a jump then, so it may have no objects
  // with destructors.
  template <typename Step>
  bool Do(Step step) {
    if (setjmp(errors_.back) != 0) return false;
    step();
    return true;
  }
  void Begin(std::string_view content) {
    ::jpeg_create_decompress(&info);
    info.progress = &progress_;
    ::jpeg_mem_src(&info, reinterpret_cast<const unsigned char*>(content.data()), content.size());
    ::jpeg_read_header(&info, TRUE);
  }
  const char* message() const { return errors_.message; }

  jpeg_decompress_struct info{};

 private:
  Errors errors_{};
  jpeg_progress_mgr progress_{};
};

}  // namespace

Fault DecodeJpeg(std::string_view content, const std::string& path, int64_t channels, bool whole,
                 Picture* picture) {
  Decompressor jpeg;
  jpeg_decompress_struct& info = jpeg.info;
  if (!jpeg.Do([&] { jpeg.Begin(content); })) return DamagedPicture(path, jpeg.message());
  RETURN_IF_FAULT(CheckPictureSize(path, info.image_height, info.image_width));
  picture->height = info.image_height;
  picture->width = info.image_width;
  picture->channels = channels > 0 ? channels : info.num_components == 1 ? 1 : 3;
  if (!whole) return {};
  info.out_color_space = picture->channels == 3 ? JCS_RGB : JCS_GRAYSCALE;
  info.dct_method = JDCT_ISLOW;
  const size_t row_bytes = static_cast<size_t>(picture->width * picture->channels);
  picture->pixels.resize(row_bytes * static_cast<size_t>(picture->height));
  const bool decoded = jpeg.Do([&] {
    ::jpeg_start_decompress(&info);
    while (info.output_scanline < info.output_height) {
      JSAMPROW row = picture->pixels.data() + row_bytes * info.output_scanline;
      ::jpeg_read_scanlines(&info, &row, 1);
    }
    ::jpeg_finish_decompress(&info);
  });
  return decoded ? Fault() : DamagedPicture(path, jpeg.message());
}

#else

Fault DecodeJpeg(std::string_view, const std::string& path, int64_t, bool, Picture*) {
  return {Code::kUnavailable,
          "this program was built without libjpeg and cannot read '" + path + "'", "a PNG file",
          "a JPEG file", "install libjpeg62-turbo-dev and build again"};
}

#endif

}  // namespace cyxwiz::data
