#include "history/journal.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdio>
#include <filesystem>
#include <utility>

#include "base/logging.h"
#include "base/text.h"

namespace cyxwiz::history {
namespace {

namespace fs = std::filesystem;

constexpr std::string_view kSuffix = ".history";
// A segment ends once it holds so much input, and twice as much as its start: so starts are at most
// a third of what is written, and going through one takes seconds.
constexpr int64_t kSegmentInput = 8 << 20;
constexpr int64_t kMostStart = int64_t{1} << 30;
// What waits to be written is let lie for so long, or until it is so much.
constexpr auto kLetLie = std::chrono::seconds(1);
constexpr size_t kWriteBytes = 256 << 10;
// When more waits, the disk is too slow.
constexpr size_t kMostWaiting = 32 << 20;
// After a failure; and when the state is too large, which it will be for a while.
constexpr Duration kRest = std::chrono::minutes(1), kLongRest = std::chrono::hours(1);

std::string NameOf(int64_t number) {
  char name[32];
  std::snprintf(name, sizeof name, "%08lld", static_cast<long long>(number));
  return name + std::string(kSuffix);
}

}  // namespace

Result<std::vector<SegmentFile>> ListSegments(const std::string& folder) {
  std::vector<SegmentFile> segments;
  std::error_code error;
  if (!fs::exists(folder, error) && !error) return segments;
  for (fs::directory_iterator entry(folder, error), end; !error && entry != end;
       entry.increment(error)) {
    const std::string name = entry->path().filename().string();
    if (!name.ends_with(kSuffix)) continue;
    auto number = ParseInt(std::string_view(name).substr(0, name.size() - kSuffix.size()));
    std::error_code gone;
    const auto bytes = fs::file_size(entry->path(), gone);
    if (number && !gone)
      segments.push_back({*number, entry->path().string(), static_cast<int64_t>(bytes)});
  }
  if (error) return ErrnoStatus("cannot read the folder '" + folder + "'", error.value());
  std::sort(segments.begin(), segments.end(),
            [](const SegmentFile& a, const SegmentFile& b) { return a.number < b.number; });
  return segments;
}

Result<std::unique_ptr<FolderJournal>> FolderJournal::Open(JournalOptions options) {
  RETURN_IF_ERROR(MakeFolder(options.folder, 0700));
  ASSIGN_OR_RETURN(auto segments, ListSegments(options.folder));
  std::unique_ptr<FolderJournal> journal(new FolderJournal(std::move(options)));
  if (!segments.empty()) journal->next_number_ = segments.back().number + 1;
  journal->thread_ = std::thread([raw = journal.get()] { raw->Run(); });
  return journal;
}

FolderJournal::~FolderJournal() {
  {
    std::lock_guard lock(mutex_);
    stopping_ = true;
  }
  wake_.notify_one();
  thread_.join();
}

bool FolderJournal::WantsStart(Now now) {
  if (begun_) {
    std::lock_guard lock(mutex_);
    if (failed_) {
      begun_ = false;
      not_before_ = now.monotonic + (too_large_ ? kLongRest : kRest);
    }
  }
  if (now.monotonic < not_before_) return false;
  // No segment takes more than half of all there may be, so that the one before can stay.
  return !begun_ || input_bytes_ >=
                        std::min(std::max(kSegmentInput, 2 * start_bytes_), options_.max_bytes / 4);
}

void FolderJournal::Begin(std::string start) {
  begun_ = true;
  start_bytes_ = static_cast<int64_t>(start.size());
  input_bytes_ = 0;
  std::lock_guard lock(mutex_);
  failed_ = false;
  too_large_ = start_bytes_ > std::min(options_.max_bytes / 4, kMostStart);
  if (too_large_) {
    spdlog::warn(
        "no history is written for an hour: a segment would begin with {} MiB, more than a quarter "
        "of history.max_mb",
        start_bytes_ >> 20);
    failed_ = true;
    return;
  }
  waiting_bytes_ += start.size();
  taken_ += start.size();
  waiting_.push_back({true, std::move(start)});
  wake_.notify_one();
}

bool FolderJournal::Append(std::string_view frames) {
  input_bytes_ += static_cast<int64_t>(frames.size());
  std::lock_guard lock(mutex_);
  if (failed_) return false;
  if (waiting_bytes_ + frames.size() > kMostWaiting + static_cast<size_t>(start_bytes_)) {
    spdlog::warn("the history has a gap: its disk is too slow");
    failed_ = true;
    return false;
  }
  const size_t before = waiting_bytes_;
  if (waiting_.empty()) waiting_.emplace_back();
  waiting_.back().text.append(frames);
  waiting_bytes_ += frames.size();
  taken_ += frames.size();
  if (before == 0 || (before < kWriteBytes && waiting_bytes_ >= kWriteBytes)) wake_.notify_one();
  return true;
}

void FolderJournal::Flush() {
  std::unique_lock lock(mutex_);
  const uint64_t taken = taken_;
  flush_ = true;
  wake_.notify_one();
  written_.wait(lock, [this, taken] { return done_ >= taken; });
}

void FolderJournal::Run() {
  std::unique_lock lock(mutex_);
  for (;;) {
    wake_.wait(lock, [this] { return stopping_ || flush_ || !waiting_.empty(); });
    wake_.wait_for(lock, kLetLie,
                   [this] { return stopping_ || flush_ || waiting_bytes_ >= kWriteBytes; });
    flush_ = false;
    const std::vector<Piece> pieces = std::exchange(waiting_, {});
    const size_t bytes = std::exchange(waiting_bytes_, 0);
    bool failed = failed_;
    lock.unlock();
    Status status;
    for (const Piece& piece : pieces) {
      // After a failure the next segment may do better.
      if (failed && !piece.begins) continue;
      status = Write(piece);
      failed = !status.ok();
      if (failed) spdlog::warn("the history has a gap: {}", status.message());
    }
    lock.lock();
    done_ += bytes;
    if (failed && !pieces.empty()) failed_ = true;
    written_.notify_all();
    if (stopping_ && waiting_.empty()) return;
  }
}

Status FolderJournal::Write(const Piece& piece) {
  RemoveOldest(static_cast<int64_t>(piece.text.size()), piece.begins);
  if (piece.begins) RETURN_IF_ERROR(OpenSegment());
  return WriteAll(file_.get(), piece.text);
}

Status FolderJournal::OpenSegment() {
  const std::string path = options_.folder + "/" + NameOf(next_number_++);
  file_ = UniqueFd(::open(path.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600));
  if (!file_) return ErrnoStatus("cannot create '" + path + "'", errno);
  return OkStatus();
}

void FolderJournal::RemoveOldest(int64_t bytes_to_come, bool begins) {
  auto segments = ListSegments(options_.folder);
  if (!segments.ok()) return;
  int64_t bytes = bytes_to_come;
  for (const SegmentFile& segment : *segments) bytes += segment.bytes;
  const int64_t oldest_ms =
      ReadClocks().unix.ms -
      std::chrono::duration_cast<std::chrono::milliseconds>(options_.max_age).count();
  for (size_t i = 0; i + (begins ? 0 : 1) < segments->size(); ++i) {
    const SegmentFile& segment = (*segments)[i];
    struct stat info = {};
    const bool old = ::stat(segment.path.c_str(), &info) == 0 &&
                     int64_t{info.st_mtime} * 1000 < oldest_ms;  // its last batch is older
    if (bytes <= options_.max_bytes && !old) return;
    ::unlink(segment.path.c_str());
    bytes -= segment.bytes;
  }
}

}  // namespace cyxwiz::history
