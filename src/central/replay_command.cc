#include "central/replay_command.h"

#include <fcntl.h>
#include <unistd.h>

#include <cerrno>
#include <cstdio>
#include <filesystem>
#include <vector>

#include "base/file.h"
#include "central/server.h"
#include "central/store_export.h"
#include "history/past.h"

namespace cyxwiz::central {
namespace {

namespace fs = std::filesystem;

constexpr size_t kWriteBytes = 1 << 16;

// Of a data folder, a folder of segments, or one segment.
Result<std::vector<history::SegmentFile>> SegmentsAt(const std::string& path) {
  std::error_code error;
  if (fs::is_regular_file(path, error))
    return std::vector<history::SegmentFile>{
        {1, path, static_cast<int64_t>(fs::file_size(path, error))}};
  const bool is_data = fs::is_directory(HistoryOf(path), error);
  ASSIGN_OR_RETURN(auto segments, history::ListSegments(is_data ? HistoryOf(path) : path));
  if (segments.empty()) {
    return NotFound("there is no history in '" + path + "'",
                    "name a server's data folder, one that 'export --history' "
                    "wrote, or a segment");
  }
  return segments;
}

}  // namespace

Status ExportSegments(const std::string& folder, const std::string& target) {
  std::error_code error;
  if (fs::exists(target, error) && !fs::is_empty(target, error)) {
    return FailedPrecondition("'" + target + "' is there and not empty", "name a new folder");
  }
  ASSIGN_OR_RETURN(auto segments, SegmentsAt(folder));
  RETURN_IF_ERROR(MakeFolder(target, 0700));
  for (history::SegmentFile& segment : segments) {
    const std::string copy = target + "/" + fs::path(segment.path).filename().string();
    if (!fs::copy_file(segment.path, copy, error))
      return ErrnoStatus("cannot copy '" + segment.path + "' to '" + copy + "'", error.value());
    segment.path = copy;
  }
  const std::string path = target + "/decisions.jsonl";
  UniqueFd file(::open(path.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600));
  if (!file) return ErrnoStatus("cannot create '" + path + "'", errno);
  std::string waiting;
  auto done = history::ReplayAll(segments, [&](const control::Output& output, Now) {
    for (const control::Effect& effect : output.effects) {
      auto* event = std::get_if<control::EventEffect>(&effect);
      if (event != nullptr) waiting += EventLine(event->event) + "\n";
    }
    if (waiting.size() < kWriteBytes) return OkStatus();
    Status written = WriteAll(file.get(), waiting);
    waiting.clear();
    return written;
  });
  RETURN_IF_ERROR(WriteAll(file.get(), waiting));
  if (!done.status.ok()) {
    return Status(
        done.status.code(),
        done.status.message() + "; '" + path + "' ends before that, the segments are whole",
        done.status.hint());
  }
  return OkStatus();
}

Status ReplaySegments(const std::string& path) {
  ASSIGN_OR_RETURN(auto segments, SegmentsAt(path));
  auto done = history::ReplayAll(segments, [](const control::Output&, Now) { return OkStatus(); });
  for (const std::string& torn : done.torn)
    std::printf("'%s' ends in what is no whole batch: cut short, or damaged\n", torn.c_str());
  RETURN_IF_ERROR(done.status);
  std::printf("the same decisions in %lld batches of %lld segments\n",
              static_cast<long long>(done.batches), static_cast<long long>(done.segments));
  return OkStatus();
}

}  // namespace cyxwiz::central
