#include "bench_chart.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>

namespace runctl::cmd {

namespace {

// The plot's part of the width, in per cent; the values' texts stand behind it.
constexpr double k_left = 1;
constexpr double k_right = 80;
// Pixels.
constexpr int k_name_height = 22;
constexpr int k_mark_height = 20;
constexpr int k_axis_height = 26;

constexpr std::size_t k_most_labels = 6;  // at the axis

// From a number to a place.
class Scale {
 public:
  Scale(ChartKind kind, const std::vector<ChartRow>& rows) : logarithmic_(kind != ChartKind::bar) {
    double least = 0;
    double most = 0;
    const auto take = [&](double number) {
      if (!(number > 0)) return;
      least = least == 0 ? number : std::min(least, number);
      most = std::max(most, number);
    };
    for (const ChartRow& row : rows) {
      for (const ChartMark& mark : row.marks) {
        take(mark.value);
        if (kind != ChartKind::range) continue;
        take(mark.low);
        take(mark.high);
      }
    }
    if (most == 0) least = most = 1;
    if (logarithmic_) {
      from_ = std::floor(std::log10(least));
      to_ = std::max(std::ceil(std::log10(most)), from_ + 1);
      return;
    }
    // About four steps of 1, 2 or 5 times a power of ten.
    const double power = std::pow(10, std::floor(std::log10(most / 4)));
    const double rough = most / 4 / power;
    step_ = power * (rough <= 1 ? 1 : rough <= 2 ? 2 : rough <= 5 ? 5 : 10);
    to_ = std::ceil(most / step_) * step_;
  }

  [[nodiscard]] double place(double number) const {
    const double at = logarithmic_ ? (number > 0 ? std::log10(number) : from_) : number;
    return k_left + (k_right - k_left) * (at - from_) / (to_ - from_);
  }

  [[nodiscard]] std::vector<double> ticks() const {
    std::vector<double> ticks;
    const double step = logarithmic_ ? 1 : step_;
    const auto count = static_cast<int>(std::lround((to_ - from_) / step));
    for (int i = 0; i <= count; ++i) {
      const double at = from_ + i * step;
      ticks.push_back(logarithmic_ ? std::pow(10, at) : at);
    }
    return ticks;
  }

  [[nodiscard]] bool shows(double number) const { return !logarithmic_ || number > 0; }

 private:
  bool logarithmic_;
  double from_ = 0;
  double to_ = 1;
  double step_ = 1;
};

std::string line(double x1, double x2, int y1, int y2, const char* style) {
  return fmt::format(R"(<line x1="{:.2f}%" x2="{:.2f}%" y1="{}" y2="{}" class="{}"/>)", x1, x2, y1, y2,
                     style);
}

std::string rectangle(double x1, double x2, int y, int height, const char* style) {
  return fmt::format(R"(<rect x="{:.2f}%" width="{:.2f}%" y="{}" height="{}" class="{}"/>)", x1,
                     std::max(x2 - x1, 0.3), y, height, style);
}

// "1k" for "1.00k": the numbers at an axis are round.
std::string trimmed(std::string text) {
  const std::size_t point = text.find('.');
  if (point == std::string::npos) return text;
  const std::size_t end = std::min(text.find_first_not_of("0123456789", point + 1), text.size());
  const std::size_t last = text.find_last_not_of('0', end - 1);
  text.erase(last == point ? point : last + 1, end - (last == point ? point : last + 1));
  return text;
}

std::string draw_mark(ChartKind kind, const ChartMark& mark, const Scale& scale, int y) {
  const int middle = y + k_mark_height / 2;
  std::string out =
      fmt::format("<g class=\"s{}\"><title>{}</title>", mark.series % 6, escape_markup(mark.tip));
  const double at = scale.place(mark.value);
  switch (kind) {
    case ChartKind::range:
      out += line(scale.place(mark.low), scale.place(mark.high), middle, middle, "whisker");
      out += line(scale.place(mark.low), scale.place(mark.low), middle - 4, middle + 4, "whisker");
      out += line(scale.place(mark.high), scale.place(mark.high), middle - 4, middle + 4, "whisker");
      out += rectangle(scale.place(mark.box_low), scale.place(mark.box_high), middle - 6, 12, "box");
      out += line(at, at, middle - 8, middle + 8, "value");
      break;
    case ChartKind::dot:
      out += line(k_left, at, middle, middle, "stem");
      out += fmt::format(R"(<circle cx="{:.2f}%" cy="{}" r="5" class="dot"/>)", at, middle);
      break;
    case ChartKind::bar:
      out += rectangle(k_left, at, middle - 7, 14, "bar");
      break;
  }
  return out + "</g>";
}

}  // namespace

std::string escape_markup(std::string_view text) {
  std::string out;
  for (const char c : text) {
    switch (c) {
      case '&':
        out += "&amp;";
        break;
      case '<':
        out += "&lt;";
        break;
      case '>':
        out += "&gt;";
        break;
      case '"':
        out += "&quot;";
        break;
      case '\'':
        out += "&#39;";
        break;
      default:
        out += c;
    }
  }
  return out;
}

std::string chart(ChartKind kind, std::string_view title, const std::vector<ChartRow>& rows,
                  const std::function<std::string(double)>& label) {
  const Scale scale(kind, rows);
  std::string marks;
  int y = 0;
  for (const ChartRow& row : rows) {
    if (row.marks.empty()) continue;
    marks += fmt::format(R"(<text x="0" y="{}" class="name">{}</text>)", y + 16, escape_markup(row.name));
    y += k_name_height;
    for (const ChartMark& mark : row.marks) {
      if (scale.shows(mark.value)) marks += draw_mark(kind, mark, scale, y);
      marks +=
          fmt::format(R"(<text x="100%" y="{}" class="number">{}</text>)", y + 15, escape_markup(mark.text));
      y += k_mark_height;
    }
  }
  std::string axis;
  const std::vector<double> ticks = scale.ticks();
  for (std::size_t i = 0; i < ticks.size(); ++i) {
    const double at = scale.place(ticks[i]);
    axis += line(at, at, 0, y + 4, "grid");
    if (ticks.size() > k_most_labels && i % 2 == 1) continue;  // they would touch on a narrow screen
    const char* const anchor = i == 0 ? "start" : "middle";
    axis += fmt::format(R"(<text x="{:.2f}%" y="{}" text-anchor="{}" class="tick">{}</text>)",
                        i == 0 ? 0 : at, y + 19, anchor, escape_markup(trimmed(label(ticks[i]))));
  }
  return fmt::format(
      "<figure><figcaption>{0}</figcaption>"
      "<svg width=\"100%\" height=\"{1}\" role=\"img\" aria-label=\"{0}\">{2}{3}</svg></figure>\n",
      escape_markup(title), y + k_axis_height, axis, marks);
}

}  // namespace runctl::cmd
