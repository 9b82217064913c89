// Drawings of numbers as SVG. Places are in per cent of the width and in pixels of the height, so that a
// drawing fits any screen while its text keeps its size.
#pragma once

#include <functional>
#include <string>
#include <string_view>
#include <vector>

namespace runctl::cmd {

// `text` with the characters escaped that mean something in HTML or XML.
std::string escape_markup(std::string_view text);

// One value, or the range of many around it.
struct ChartMark {
  std::size_t series = 0;  // decides the colour
  double value = 0;
  std::string text;  // of the value
  std::string tip;   // what a pointer over it tells
  // Of a range: its ends, and those of the box in it.
  double low = 0;
  double box_low = 0;
  double box_high = 0;
  double high = 0;
};

struct ChartRow {
  std::string name;
  std::vector<ChartMark> marks;
};

enum class ChartKind {
  range,  // a box with whiskers and a line at the value; logarithmic
  dot,    // logarithmic
  bar,    // from zero
};

// `label` writes the numbers at the axis. Rows without marks are left out; marks of value 0 are not drawn on
// a logarithmic axis.
std::string chart(ChartKind kind, std::string_view title, const std::vector<ChartRow>& rows,
                  const std::function<std::string(double)>& label);

}  // namespace runctl::cmd
