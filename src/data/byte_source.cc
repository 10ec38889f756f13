#include "data/byte_source.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>

namespace cyxwiz::data {
namespace {

constexpr size_t kInputBytes = 256 << 10;
constexpr int64_t kBestDeflateRatio = 1032;  // zlib's technical notes: 258 bytes from 2 bits

// Reads until `size` bytes are there or the file ends.
int ReadFully(int fd, void* buffer, size_t size, size_t* got) {
  *got = 0;
  while (*got < size) {
    size_t chunk = std::min<size_t>(size - *got, 1 << 30);
    ssize_t n = ::read(fd, static_cast<char*>(buffer) + *got, chunk);
    if (n < 0 && errno == EINTR) continue;
    if (n < 0) return errno;
    if (n == 0) break;
    *got += static_cast<size_t>(n);
  }
  return 0;
}

}  // namespace

std::string Shown(std::string_view text, size_t most) {
  static constexpr char kDigits[] = "0123456789abcdef";
  std::string shown;
  for (unsigned char c : text.substr(0, most)) {
    if (c >= ' ' && c != 127 && c < 128) {
      shown += static_cast<char>(c);
    } else {
      shown += std::string("\\x") + kDigits[c >> 4] + kDigits[c & 15];
    }
  }
  return text.size() > most ? shown + "..." : shown;
}

ByteSource::~ByteSource() {
  if (stream_open_) ::inflateEnd(&stream_);
}

Fault OpenRegular(const std::string& path, UniqueFd* fd, int64_t* bytes) {
  // O_NONBLOCK: a pipe must not make us wait; it is refused below.
  fd->Reset(::open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOFOLLOW));
  if (!*fd) return SystemFault("cannot open", path, "a readable file", errno);
  struct stat info;
  if (::fstat(fd->get(), &info) != 0) return SystemFault("cannot inspect", path, "a file", errno);
  if (!S_ISREG(info.st_mode)) {
    return Wrong("'" + path + "' is not a file", "a regular file",
                 S_ISDIR(info.st_mode) ? "a folder" : "a pipe, socket or device");
  }
  *bytes = info.st_size;
  return {};
}

Fault ByteSource::Open(const std::string& path) {
  path_ = path;
  RETURN_IF_FAULT(OpenRegular(path, &fd_, &file_bytes_));
  ::posix_fadvise(fd_.get(), 0, 0, POSIX_FADV_SEQUENTIAL);
  unsigned char magic[2] = {0, 0};
  if (::pread(fd_.get(), magic, sizeof magic, 0) < 0) {
    return SystemFault("cannot read", path, "a readable file", errno);
  }
  compressed_ = magic[0] == 0x1f && magic[1] == 0x8b;
  if (!compressed_) return {};
  // 16: a gzip header and trailer, checked.
  if (::inflateInit2(&stream_, 15 + 16) != Z_OK) {
    return TooLarge("cannot unpack '" + path + "'", "memory for zlib", "none left");
  }
  stream_open_ = true;
  input_.reset(new unsigned char[kInputBytes]);
  return {};
}

Fault ByteSource::Read(void* buffer, size_t size, size_t* got) {
  *got = 0;
  Fault fault = compressed_ ? ReadGzip(buffer, size, got) : ReadPlain(buffer, size, got);
  bytes_read_ += static_cast<int64_t>(*got);
  return fault;
}

Fault ByteSource::ReadPlain(void* buffer, size_t size, size_t* got) {
  if (int error = ReadFully(fd_.get(), buffer, size, got); error != 0) {
    return SystemFault("cannot read", path_, "a readable file", error);
  }
  return {};
}

Fault ByteSource::ReadGzip(void* buffer, size_t size, size_t* got) {
  while (*got < size && !ended_) {
    bool at_end = false;
    RETURN_IF_FAULT(FillInput(&at_end));
    if (at_end) {
      return Wrong("the gzip file '" + path_ + "' is cut off", "more compressed data",
                   "its end after " + Count(file_bytes_, "compressed byte"),
                   "copy or download the file again");
    }
    size_t room = std::min<size_t>(size - *got, 1 << 30);
    stream_.next_out = static_cast<unsigned char*>(buffer) + *got;
    stream_.avail_out = static_cast<unsigned>(room);
    int result = ::inflate(&stream_, Z_NO_FLUSH);
    *got += room - stream_.avail_out;
    if (result == Z_STREAM_END) {
      bool more = false;
      RETURN_IF_FAULT(NextMember(&more));
      ended_ = !more;
    } else if (result == Z_MEM_ERROR) {
      return TooLarge("cannot unpack '" + path_ + "'", "memory for zlib", "none left");
    } else if (result != Z_OK && result != Z_BUF_ERROR) {
      return Wrong("the gzip file '" + path_ + "' is damaged", "valid compressed data",
                   stream_.msg ? stream_.msg : "invalid data", "copy or download the file again");
    }
  }
  return {};
}

Fault ByteSource::FillInput(bool* at_end) {
  *at_end = false;
  if (stream_.avail_in > 0) return {};
  size_t got = 0;
  if (int error = ReadFully(fd_.get(), input_.get(), kInputBytes, &got); error != 0) {
    return SystemFault("cannot read", path_, "a readable file", error);
  }
  *at_end = got == 0;
  stream_.next_in = input_.get();
  stream_.avail_in = static_cast<unsigned>(got);
  return {};
}

Fault ByteSource::NextMember(bool* more) {
  bool at_end = false;
  RETURN_IF_FAULT(FillInput(&at_end));
  *more = !at_end;
  if (at_end) return {};
  // The whole magic is checked by inflate; its first byte tells a further member from rubbish.
  if (stream_.next_in[0] != 0x1f) {
    return Wrong(
        "the gzip file '" + path_ + "' goes on after its end", "the end of the file",
        "other bytes after " + Count(static_cast<int64_t>(stream_.total_out), "unpacked byte"));
  }
  ::inflateReset(&stream_);
  return {};
}

bool ByteSource::CanHold(int64_t bytes) const {
  if (!compressed_) return file_bytes_ >= bytes;
  return bytes / kBestDeflateRatio <= file_bytes_;
}

bool ByteSource::TrailerSays(int64_t bytes) const {
  unsigned char tail[4];
  if (::pread(fd_.get(), tail, sizeof tail, file_bytes_ - 4) != sizeof tail) return false;
  uint32_t says = static_cast<uint32_t>(tail[0]) | static_cast<uint32_t>(tail[1]) << 8 |
                  static_cast<uint32_t>(tail[2]) << 16 | static_cast<uint32_t>(tail[3]) << 24;
  return says == static_cast<uint32_t>(bytes);
}

}  // namespace cyxwiz::data
