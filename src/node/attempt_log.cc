#include "node/attempt_log.h"

#include <fcntl.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <filesystem>

#include "base/text.h"

namespace cyxwiz::node {
namespace {

constexpr char kHeadName[] = "log.txt";
constexpr char kTailPrefix[] = "log.";
constexpr size_t kTailSegments = 4;

}  // namespace

bool AttemptLog::IsLogFile(const std::string& file_name) {
  return file_name == kHeadName || (file_name.starts_with(kTailPrefix) &&
                                    ParseInt(file_name.substr(sizeof kTailPrefix - 1)).has_value());
}

AttemptLog::AttemptLog(std::string folder, int64_t max_bytes) : folder_(std::move(folder)) {
  max_bytes = std::max<int64_t>(max_bytes, 4096);
  head_max_ = max_bytes / 4;
  segment_max_ = (max_bytes - head_max_) / static_cast<int64_t>(kTailSegments);
}

Result<std::unique_ptr<AttemptLog>> AttemptLog::Open(const std::string& folder, int64_t max_bytes) {
  std::unique_ptr<AttemptLog> log(new AttemptLog(folder, max_bytes));
  std::error_code error;
  for (const auto& entry : std::filesystem::directory_iterator(folder, error)) {
    std::string name = entry.path().filename().string();
    if (!IsLogFile(name)) continue;
    int64_t begin =
        name == kHeadName ? 0 : ParseInt(name.substr(sizeof kTailPrefix - 1)).value_or(0);
    std::error_code size_error;
    int64_t size = static_cast<int64_t>(entry.file_size(size_error));
    if (!size_error) log->segments_.push_back({entry.path().string(), begin, begin + size});
  }
  if (error) return ErrnoStatus("cannot read the log folder '" + folder + "'", error.value());
  std::sort(log->segments_.begin(), log->segments_.end(),
            [](const Segment& a, const Segment& b) { return a.begin < b.begin; });
  if (!log->segments_.empty()) log->size_ = log->segments_.back().end;
  return log;
}

Status AttemptLog::Append(std::string_view data) {
  Status status;
  while (!data.empty()) {
    status = AppendSome(&data);
    if (!status.ok()) {
      // What cannot be written counts as dropped: the next segment begins behind it.
      size_ += static_cast<int64_t>(data.size());
      current_.Reset();
      if (!segments_.empty() && segments_.back().begin == segments_.back().end) {
        ::unlink(segments_.back().path.c_str());
        segments_.pop_back();
      }
      break;
    }
  }
  std::vector<std::function<void()>> woken = std::exchange(waiting_, {});
  for (auto& wake : woken) wake();
  return status;
}

Status AttemptLog::AppendSome(std::string_view* data) {
  bool in_head = segments_.empty() || (segments_.size() == 1 && segments_[0].begin == 0);
  int64_t room = 0;
  if (!segments_.empty() && segments_.back().end == size_) {
    room = (in_head ? head_max_ : segment_max_) - (size_ - segments_.back().begin);
  }
  if (room <= 0) {
    std::string name = size_ == 0 ? kHeadName : kTailPrefix + std::to_string(size_);
    segments_.push_back({folder_ + "/" + name, size_, size_});
    room = size_ == 0 ? head_max_ : segment_max_;
    current_.Reset();
  }
  if (!current_) {
    current_.Reset(
        ::open(segments_.back().path.c_str(), O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600));
    if (!current_) return ErrnoStatus("cannot open '" + segments_.back().path + "'", errno);
  }
  std::string_view part = data->substr(0, static_cast<size_t>(room));
  while (!part.empty()) {
    ssize_t n = ::write(current_.get(), part.data(), part.size());
    if (n < 0 && errno == EINTR) continue;
    if (n < 0) return ErrnoStatus("cannot write '" + segments_.back().path + "'", errno);
    part.remove_prefix(static_cast<size_t>(n));
    data->remove_prefix(static_cast<size_t>(n));
    size_ += n;
    segments_.back().end = size_;
  }
  // Old bytes make room only once new ones are on disk.
  size_t heads = segments_[0].begin == 0 ? 1 : 0;
  while (segments_.size() > heads + kTailSegments) {
    ::unlink(segments_[heads].path.c_str());
    segments_.erase(segments_.begin() + static_cast<std::ptrdiff_t>(heads));
  }
  return OkStatus();
}

void AttemptLog::Close() {
  closed_ = true;
  current_.Reset();
  std::vector<std::function<void()>> woken = std::exchange(waiting_, {});
  for (auto& wake : woken) wake();
}

Result<LogPiece> AttemptLog::ReadSegment(const Segment& segment, int64_t offset, size_t max) const {
  LogPiece piece{offset, {}, 0};
  UniqueFd fd(::open(segment.path.c_str(), O_RDONLY | O_CLOEXEC));
  if (!fd) return ErrnoStatus("cannot open '" + segment.path + "'", errno);
  size_t length = std::min<size_t>(max, static_cast<size_t>(segment.end - offset));
  piece.data.resize(length);
  size_t done = 0;
  while (done < length) {
    ssize_t n = ::pread(fd.get(), piece.data.data() + done, length - done,
                        static_cast<off_t>(offset - segment.begin) + static_cast<off_t>(done));
    if (n < 0 && errno == EINTR) continue;
    if (n < 0) return ErrnoStatus("cannot read '" + segment.path + "'", errno);
    if (n == 0) break;
    done += static_cast<size_t>(n);
  }
  piece.data.resize(done);
  return piece;
}

Result<LogPiece> AttemptLog::Read(int64_t offset, size_t max) const {
  for (const Segment& segment : segments_) {
    if (segment.end <= offset) continue;
    int64_t from = std::max(offset, segment.begin);
    Result<LogPiece> piece = ReadSegment(segment, from, max);
    if (piece.ok()) piece->dropped = from - offset;
    return piece;
  }
  return LogPiece{std::max(offset, size_), {}, std::max<int64_t>(0, size_ - offset)};
}

LogPiece AttemptLog::Tail(size_t max) const {
  int64_t offset = std::max<int64_t>(0, size_ - static_cast<int64_t>(max));
  LogPiece tail{offset, {}, 0};
  while (offset < size_) {
    Result<LogPiece> piece = Read(offset, max);
    if (!piece.ok() || piece->data.empty()) break;
    if (piece->dropped > 0) tail = {piece->offset, {}, 0};
    tail.data += piece->data;
    offset = piece->offset + static_cast<int64_t>(piece->data.size());
  }
  const size_t line = tail.data.find('\n');
  if (tail.offset > 0 && line != std::string::npos && line + 1 < tail.data.size()) {
    tail.data.erase(0, line + 1);
    tail.offset += static_cast<int64_t>(line + 1);
  }
  tail.data = ToUtf8(tail.data);
  return tail;
}

void AttemptLog::Wait(std::function<void()> wake) {
  if (closed_) return wake();
  waiting_.push_back(std::move(wake));
}

int64_t AttemptLog::dropped() const {
  int64_t kept = 0;
  for (const Segment& segment : segments_) kept += segment.end - segment.begin;
  return size_ - kept;
}

std::string ToUtf8(std::string_view bytes) {
  std::string text;
  text.reserve(bytes.size());
  size_t i = 0;
  while (i < bytes.size()) {
    auto byte = [&](size_t k) { return static_cast<unsigned char>(bytes[k]); };
    unsigned char lead = byte(i);
    size_t length = lead < 0x80                    ? 1
                    : lead >= 0xC2 && lead <= 0xDF ? 2
                    : lead >= 0xE0 && lead <= 0xEF ? 3
                    : lead >= 0xF0 && lead <= 0xF4 ? 4
                                                   : 0;
    bool good = length > 0 && i + length <= bytes.size();
    for (size_t k = 1; good && k < length; ++k) good = (byte(i + k) & 0xC0) == 0x80;
    if (good && length > 2) {
      // Overlong forms, surrogates and code points beyond U+10FFFF.
      unsigned char second = byte(i + 1);
      good = !(lead == 0xE0 && second < 0xA0) && !(lead == 0xED && second > 0x9F) &&
             !(lead == 0xF0 && second < 0x90) && !(lead == 0xF4 && second > 0x8F);
    }
    if (good) {
      text.append(bytes.substr(i, length));
      i += length;
    } else {
      text.push_back('?');
      ++i;
    }
  }
  return text;
}

}  // namespace cyxwiz::node
