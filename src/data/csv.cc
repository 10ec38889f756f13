#include "data/csv.h"

#include <algorithm>
#include <cstring>

#include "base/resources.h"

namespace cyxwiz::data {

Fault RecordReader::Open(const std::string& path, int64_t most_bytes) {
  most_bytes_ = most_bytes;
  RETURN_IF_FAULT(source_.Open(path));
  if (!source_.compressed() && source_.file_bytes() > most_bytes_)
    return TooLargeText(FormatBytes(source_.file_bytes()));
  // Room for a whole record after the longest rest of a buffer, so that one refill completes any
  // record.
  buffer_.reset(new char[kBufferBytes]);  // not filled: a small file touches little of it
  RETURN_IF_FAULT(Fill());
  if (std::string_view(buffer_.get(), end_).starts_with("\xEF\xBB\xBF")) begin_ = 3;
  return {};
}

Fault RecordReader::Next(std::vector<std::string_view>* cells, bool* done) {
  cells->clear();
  *done = false;
  for (;;) {
    if (end_ - begin_ < kMaxCsvRecordBytes + 2 && !at_end_) RETURN_IF_FAULT(Fill());
    if (begin_ == end_) {
      *done = true;
      return {};
    }
    line_ = next_line_;
    size_t start = begin_;
    RETURN_IF_FAULT(Split(cells));
    bool blank = cells->size() == 1 && (*cells)[0].empty() && buffer_[start] != '"';
    if (!blank) return {};
    cells->clear();
  }
}

Fault RecordReader::Fill() {
  std::memmove(buffer_.get(), buffer_.get() + begin_, end_ - begin_);
  end_ -= begin_;
  begin_ = 0;
  size_t got = 0;
  RETURN_IF_FAULT(source_.Read(buffer_.get() + end_, kBufferBytes - end_, &got));
  at_end_ = got < kBufferBytes - end_;
  end_ += got;
  return source_.bytes_read() > most_bytes_ ? TooLargeText("more") : Fault();
}

Fault RecordReader::TooLargeText(std::string found) const {
  return TooLarge("CSV file '" + source_.path() + "' is too large to be kept in memory",
                  "at most " + FormatBytes(most_bytes_) + " of text", std::move(found),
                  "write its numbers as arrays of NumPy (.npy), which are read as they are wanted");
}

Fault RecordReader::Split(std::vector<std::string_view>* cells) {
  char* const limit = buffer_.get() + std::min(end_, begin_ + kMaxCsvRecordBytes + 2);
  char* at = buffer_.get() + begin_;
  next_line_ = line_ + 1;
  for (;;) {
    char* cell = at;
    if (at < limit && *at == '"') {
      RETURN_IF_FAULT(SplitQuoted(&at, limit, cells));
    } else {
      while (at < limit && *at != delimiter_ && *at != '\n') ++at;
      char* cell_end = at;
      bool ends_line = at == limit || *at == '\n';
      if (ends_line && cell_end > cell && cell_end[-1] == '\r') --cell_end;
      cells->push_back({cell, static_cast<size_t>(cell_end - cell)});
    }
    bool in_text = at < limit;
    if (in_text && *at == delimiter_) {
      ++at;
      continue;
    }
    if (!in_text && !IsEndOfFile(at)) return TooLong();
    begin_ = static_cast<size_t>(at - buffer_.get()) + (in_text ? 1 : 0);
    return {};
  }
}

Fault RecordReader::SplitQuoted(char** at, char* limit, std::vector<std::string_view>* cells) {
  char* from = *at + 1;
  char* cell = from;
  char* to = from;  // unescaping only shortens, so the text can move within the cell
  for (;; ++from) {
    if (from == limit) {
      if (!IsEndOfFile(from)) return TooLong();
      return Wrong("CSV file " + Place() + ", column " + std::to_string(cells->size() + 1) +
                       " has a quote that is never closed",
                   "a closing \"", "the end of the file");
    }
    if (*from == '\n') ++next_line_;
    if (*from == '"') {
      if (from + 1 == limit || from[1] != '"') break;
      ++from;
    }
    *to++ = *from;
  }
  cells->push_back({cell, static_cast<size_t>(to - cell)});
  ++from;
  if (from < limit && *from == '\r' && (from + 1 == limit || from[1] == '\n')) ++from;
  if (from < limit && *from != delimiter_ && *from != '\n') {
    char* rest = from;
    while (rest < limit && *rest != delimiter_ && *rest != '\n') ++rest;
    return Wrong(
        "CSV file " + Place() + ", column " + std::to_string(cells->size()) +
            " goes on after its closing quote",
        "a " + std::string(delimiter_ == ',' ? "comma" : "delimiter") + " or the end of the line",
        "'" + Shown({from, static_cast<size_t>(rest - from)}) + "'",
        "a quote within a quoted cell is written twice");
  }
  *at = from;
  return {};
}

Fault RecordReader::TooLong() const {
  return Wrong("CSV file " + Place() + " is too long", "at most " + FormatBytes(kMaxCsvRecordBytes),
               "more", "is a quote never closed, or is this not a CSV file?");
}

}  // namespace cyxwiz::data
