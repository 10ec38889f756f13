// The bytes of a data file, unpacked when they are gzip. What a file is follows from its first
// bytes, never from its name. Internal to src/data.
#pragma once

#include <zlib.h>

#include <cstdint>
#include <memory>
#include <string>

#include "base/file.h"
#include "data/fault.h"

namespace cyxwiz::data {

// Opens a file to read. `path` is a resolved one: a symlink at its end is an error, and so is
// anything but a regular file.
Fault OpenRegular(const std::string& path, UniqueFd* fd, int64_t* bytes);

// Bytes that are read once, from their beginning. One thread at a time.
class ByteReader {
 public:
  virtual ~ByteReader() = default;
  // Reads `size` bytes, fewer only at the end. *got says how many, also after a fault.
  virtual Fault Read(void* buffer, size_t size, size_t* got) = 0;
  // Whether there can be `bytes` in all.
  virtual bool CanHold(int64_t bytes) const = 0;
};

// Reads a file.
class ByteSource : public ByteReader {
 public:
  ByteSource() = default;
  ~ByteSource() override;
  ByteSource(const ByteSource&) = delete;
  ByteSource& operator=(const ByteSource&) = delete;

  Fault Open(const std::string& path);

  // A gzip file that is cut off or damaged is a fault. Its checksum is checked by the read that
  // meets its end: to have a whole file checked, read until *got < size.
  Fault Read(void* buffer, size_t size, size_t* got) override;

  const std::string& path() const { return path_; }
  bool compressed() const { return compressed_; }
  // On disk.
  int64_t file_bytes() const { return file_bytes_; }
  // Unpacked bytes read so far.
  int64_t bytes_read() const { return bytes_read_; }

  // Whether the file can unpack to `bytes`: exact for a plain file, deflate's best ratio (1032:1)
  // for gzip.
  bool CanHold(int64_t bytes) const override;
  // Whether the length that the last four bytes of a gzip file declare is `bytes` (modulo 2^32).
  // False proves nothing, since a gzip file may have several members; true makes truncation
  // unlikely without unpacking it all.
  bool TrailerSays(int64_t bytes) const;

 private:
  Fault ReadPlain(void* buffer, size_t size, size_t* got);
  Fault ReadGzip(void* buffer, size_t size, size_t* got);
  // Makes input_ hold at least one byte; *at_end when the file has no more.
  Fault FillInput(bool* at_end);
  // After a member ended: *more when another one follows. Anything else but the end of the file is
  // a fault.
  Fault NextMember(bool* more);

  std::string path_;
  UniqueFd fd_;
  bool compressed_ = false;
  int64_t file_bytes_ = 0;
  int64_t bytes_read_ = 0;
  std::unique_ptr<unsigned char[]> input_;
  z_stream stream_{};
  bool stream_open_ = false;
  bool ended_ = false;
};

}  // namespace cyxwiz::data
