// Text for people: tables, bars, durations, rates. Pure functions of their arguments.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "base/clock.h"

namespace cyxwiz::cli {

// Every line of `text`, made printable, each after `before` ("\n  "); empty lines are left out.
std::string PrintableLines(std::string_view text, std::string_view before);

// Columns that `text` takes: code points, ANSI colour sequences not counted.
size_t DisplayWidth(std::string_view text);

// `text` cut to `width` columns, ending in "..." (one column "…" with unicode) when something was
// cut. Not for text with colours.
std::string Cut(std::string_view text, size_t width, bool unicode);

std::string FormatDuration(
    Duration duration);  // "0.4 s", "12 s", "3 min 05 s", "2 h 10 min", "3 d 4 h"
std::string FormatClock(Duration duration);         // "0:07", "12:34", "1:02:03"
std::string FormatAge(int64_t seconds);             // "5s", "12m", "3h", "4d"
std::string FormatRate(double samples_per_second);  // "48.2k samples/s"
std::string FormatNumber(double value);             // "0.3121", "48213", "1.2e-05"
std::string FormatPercent(double part);             // " 62 %"; 100 only when whole

// A bar of `width` columns, filled to `part` (0 to 1).
std::string Bar(double part, size_t width, bool unicode);

// Rows of cells in aligned columns, two spaces apart.
class Table {
 public:
  struct Column {
    std::string title;
    bool right = false;    // numbers
    bool shrinks = false;  // cut when the table is too wide; the widest such column gives way first
  };
  explicit Table(std::vector<Column> columns) : columns_(std::move(columns)) {}

  // Cells are plain text; colour (ANSI, or null) is applied to the padded cell by the printer.
  struct Cell {
    std::string text;
    const char* ansi = nullptr;
  };
  void Add(std::vector<Cell> row);
  size_t rows() const { return rows_.size(); }

  // width 0: nothing is cut.
  std::string ToString(int width, bool unicode, bool colour) const;

 private:
  std::vector<Column> columns_;
  std::vector<std::vector<Cell>> rows_;
};

}  // namespace cyxwiz::cli
