#include "central/dataset_pieces.h"

#include <utility>

#include "base/resources.h"

namespace cyxwiz::central {

Result<DatasetPieceStored> DatasetPieces::Store(const DatasetPiece& piece, MonotonicTime now) {
  auto stored = store_->SizeOf(piece.sha256);
  if (stored.ok()) return DatasetPieceStored{*stored, true};
  if (stored.status().code() != Code::kNotFound) return stored.status();
  const auto bytes = static_cast<int64_t>(piece.data.size());
  if (piece.size < 0 || piece.offset < 0 || bytes > piece.size - piece.offset) {
    return InvalidArgument("the piece lies beyond the file: expected at most " +
                               std::to_string(piece.size) + " bytes, found " +
                               std::to_string(bytes) + " from " + std::to_string(piece.offset),
                           "'size' is that of the whole file");
  }
  std::lock_guard lock(mutex_);
  std::erase_if(open_, [now](const auto& entry) { return now - entry.second.used > kIdle; });
  if (piece.offset == 0) RETURN_IF_ERROR(Begin(piece, now));
  auto found = open_.find(piece.sha256);
  const int64_t received = found == open_.end() ? 0 : found->second.received;
  if (found == open_.end() || piece.offset != received || piece.size != found->second.size) {
    return FailedPrecondition("the piece does not follow what has come: expected offset " +
                                  std::to_string(received) + ", found " +
                                  std::to_string(piece.offset) + " of " +
                                  std::to_string(piece.size) + " bytes",
                              received == 0 ? "begin the file anew, at offset 0"
                                            : "go on there, or begin anew at offset 0");
  }
  Open& open = found->second;
  open.used = now;
  Status appended = open.upload->Append(piece.data);
  if (!appended.ok()) {
    open_.erase(found);
    return appended;
  }
  open.received += bytes;
  DatasetPieceStored outcome{open.received, open.received == open.size};
  if (!outcome.complete) return outcome;
  auto finished = open.upload->Finish(piece.sha256);
  open_.erase(found);
  RETURN_IF_ERROR(finished.status());
  return outcome;
}

Status DatasetPieces::Begin(const DatasetPiece& piece, MonotonicTime now) {
  open_.erase(piece.sha256);
  if (open_.size() >= kMostOpen) {
    return ResourceExhausted("too many files come in pieces at this moment: expected at most " +
                                 std::to_string(kMostOpen),
                             "try again in a moment");
  }
  ASSIGN_OR_RETURN(auto upload, store_->Begin());
  open_[piece.sha256] = {std::move(upload), piece.size, 0, now};
  return OkStatus();
}

}  // namespace cyxwiz::central
