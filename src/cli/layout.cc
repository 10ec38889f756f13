#include "cli/layout.h"

#include <algorithm>
#include <cmath>
#include <cstdio>

#include "base/text.h"

namespace cyxwiz::cli {
namespace {

constexpr size_t kLeastShrunk = 8;  // columns; a narrower cell says nothing

bool StartsCodePoint(char c) { return (static_cast<unsigned char>(c) & 0xC0) != 0x80; }

std::string Format(const char* format, auto... values) {
  char text[64];
  std::snprintf(text, sizeof text, format, values...);
  return text;
}

}  // namespace

std::string PrintableLines(std::string_view text, std::string_view before) {
  std::string lines;
  while (!text.empty()) {
    size_t end = std::min(text.find('\n'), text.size());
    if (end > 0) lines += std::string(before) + Printable(text.substr(0, end));
    text.remove_prefix(std::min(end + 1, text.size()));
  }
  return lines;
}

size_t DisplayWidth(std::string_view text) {
  size_t width = 0;
  for (size_t i = 0; i < text.size(); ++i) {
    if (text[i] == '\x1b' && i + 1 < text.size() && text[i + 1] == '[') {
      while (i < text.size() && text[i] != 'm') ++i;
    } else if (StartsCodePoint(text[i])) {
      ++width;
    }
  }
  return width;
}

std::string Cut(std::string_view text, size_t width, bool unicode) {
  if (DisplayWidth(text) <= width) return std::string(text);
  std::string_view mark = unicode ? "…" : "...";
  size_t mark_width = DisplayWidth(mark);
  if (width <= mark_width)
    return std::string(mark.substr(0, unicode ? mark.size() * width : width));
  size_t kept = 0, end = 0;
  while (end < text.size()) {
    if (StartsCodePoint(text[end]) && kept++ == width - mark_width) break;
    ++end;
  }
  return std::string(text.substr(0, end)) + std::string(mark);
}

std::string FormatDuration(Duration duration) {
  double seconds = std::max(0.0, std::chrono::duration<double>(duration).count());
  if (seconds < 9.95) return Format("%.1f s", seconds);
  auto whole = static_cast<long long>(seconds + 0.5);
  if (whole < 60) return Format("%lld s", whole);
  if (whole < 3600) return Format("%lld min %02lld s", whole / 60, whole % 60);
  if (whole < 86400) return Format("%lld h %02lld min", whole / 3600, whole / 60 % 60);
  return Format("%lld d %lld h", whole / 86400, whole / 3600 % 24);
}

std::string FormatClock(Duration duration) {
  long long seconds =
      std::max<long long>(0, std::chrono::duration_cast<std::chrono::seconds>(duration).count());
  if (seconds >= 3600)
    return Format("%lld:%02lld:%02lld", seconds / 3600, seconds / 60 % 60, seconds % 60);
  return Format("%lld:%02lld", seconds / 60, seconds % 60);
}

std::string FormatAge(int64_t seconds) {
  long long s = std::max<int64_t>(0, seconds);
  if (s < 60) return Format("%llds", s);
  if (s < 3600) return Format("%lldm", s / 60);
  if (s < 86400) return Format("%lldh", s / 3600);
  return Format("%lldd", s / 86400);
}

std::string FormatRate(double rate) {
  if (rate >= 999'950) return Format("%.1fM samples/s", rate / 1e6);
  if (rate >= 999.5) return Format("%.1fk samples/s", rate / 1e3);
  return Format(rate < 9.95 ? "%.1f samples/s" : "%.0f samples/s", rate);
}

std::string FormatNumber(double value) {
  double size = std::fabs(value);
  if (!std::isfinite(value)) return Format("%g", value);
  if (size >= 1000) return Format("%.0f", value);
  if (size >= 1e-3 || size == 0) return Format("%.4f", value);
  return Format("%.3g", value);
}

std::string FormatPercent(double part) {
  // Rounded down: 100 % is for what is done.
  return Format("%3d %%", static_cast<int>(std::clamp(part, 0.0, 1.0) * 100 + 1e-9));
}

std::string Bar(double part, size_t width, bool unicode) {
  auto filled = static_cast<size_t>(std::clamp(part, 0.0, 1.0) * static_cast<double>(width) + 1e-9);
  std::string bar;
  for (size_t i = 0; i < width; ++i)
    bar += i < filled ? (unicode ? "█" : "#") : (unicode ? "░" : "-");
  return bar;
}

void Table::Add(std::vector<Cell> row) {
  row.resize(columns_.size());
  for (Cell& cell : row) cell.text = Printable(cell.text);
  rows_.push_back(std::move(row));
}

std::string Table::ToString(int width, bool unicode, bool colour) const {
  std::vector<size_t> widths;
  for (size_t c = 0; c < columns_.size(); ++c) {
    size_t widest = DisplayWidth(columns_[c].title);
    for (const auto& row : rows_) widest = std::max(widest, DisplayWidth(row[c].text));
    widths.push_back(widest);
  }
  if (width > 0) {
    size_t total = 2 * (columns_.size() - 1);
    for (size_t w : widths) total += w;
    for (; total > static_cast<size_t>(width); --total) {
      size_t widest = columns_.size();
      for (size_t c = 0; c < columns_.size(); ++c) {
        if (!columns_[c].shrinks ||
            widths[c] <= std::max(kLeastShrunk, DisplayWidth(columns_[c].title)))
          continue;
        if (widest == columns_.size() || widths[c] >= widths[widest]) widest = c;
      }
      if (widest == columns_.size()) break;
      --widths[widest];
    }
  }
  std::string text;
  auto print = [&](size_t c, const std::string& cell, const char* ansi) {
    std::string shown = Cut(cell, widths[c], unicode);
    std::string padding(widths[c] - DisplayWidth(shown), ' ');
    bool last = c + 1 == columns_.size();
    if (colour && ansi) shown = "\x1b[" + std::string(ansi) + "m" + shown + "\x1b[0m";
    text += columns_[c].right ? padding + shown : shown + (last ? "" : padding);
    text += last ? "\n" : "  ";
  };
  for (size_t c = 0; c < columns_.size(); ++c) print(c, columns_[c].title, "1");
  for (const auto& row : rows_) {
    for (size_t c = 0; c < columns_.size(); ++c) print(c, row[c].text, row[c].ansi);
  }
  return text;
}

}  // namespace cyxwiz::cli
