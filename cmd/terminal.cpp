#include "terminal.hpp"

#include <fmt/format.h>
#include <locale.h>
#include <sys/ioctl.h>
#include <unistd.h>
#include <wchar.h>

#include <algorithm>
#include <cstdlib>
#include <ctime>

#include "base/bytes.hpp"
#include "base/time.hpp"
#include "base/utf8.hpp"

namespace runctl::cmd {

namespace {

// More marks than any script puts on a letter.
constexpr std::size_t k_max_marks = 8;

std::string_view variable(const char* name) {
  const char* const value = std::getenv(name);
  return value == nullptr ? std::string_view{} : std::string_view(value);
}

// 0 where it is no terminal, or one that does not know.
std::size_t width_of_terminal(int descriptor) {
  winsize size{};
  return ::ioctl(descriptor, TIOCGWINSZ, &size) == 0 ? size.ws_col : 0;
}

std::size_t screen_width() {
  if (const std::size_t width = width_of_terminal(STDOUT_FILENO); width > 0) return width;
  const std::size_t columns = std::strtoul(std::string(variable("COLUMNS")).c_str(), nullptr, 10);
  if (columns > 0 && columns <= 10'000) return columns;
  // In front of a pager, standard error is still the terminal.
  if (const std::size_t width = width_of_terminal(STDERR_FILENO); width > 0) return width;
  return 80;
}

// Makes the C library's character properties those of Unicode for one scope, whatever the user's locale.
class UnicodeScope {
 public:
  UnicodeScope() : before_(unicode() == nullptr ? nullptr : ::uselocale(unicode())) {}
  ~UnicodeScope() {
    if (before_ != nullptr) ::uselocale(before_);
  }
  UnicodeScope(const UnicodeScope&) = delete;
  UnicodeScope& operator=(const UnicodeScope&) = delete;

  // The columns of a character; -1 where it cannot be shown.
  static int width(char32_t c) {
    if (c < 0x7F) return c < 0x20 ? -1 : 1;
    if (c < 0xA0) return -1;
    // Rather too wide than too narrow: a gap in a line does less harm than a line too long.
    if (unicode() == nullptr) return c < 0x1100 ? 1 : 2;
    return ::wcwidth(static_cast<wchar_t>(c));
  }

 private:
  static locale_t unicode() {
    static const locale_t locale = [] {
      for (const char* const name : {"C.UTF-8", "C.utf8", "UTF-8", "en_US.UTF-8"}) {
        const locale_t found = ::newlocale(LC_CTYPE_MASK, name, nullptr);
        if (found != nullptr) return found;
      }
      return locale_t{};
    }();
    return locale;
  }

  locale_t before_;
};

bool is_between(char32_t c, char32_t first, char32_t last) { return c >= first && c <= last; }

// Invisible, or changing the direction of what is around it (Unicode general category Cf).
bool is_format(char32_t c) {
  return c == 0xAD || c == 0x61C || c == 0x180E || c == 0x200B || is_between(c, 0x200E, 0x200F) ||
         is_between(c, 0x2028, 0x202E) || is_between(c, 0x2060, 0x206F) || c == 0xFEFF ||
         is_between(c, 0xFFF9, 0xFFFB) || is_between(c, 0xE0000, 0xE0FFF);
}

// Joiners and variation selectors.
bool is_shaping(char32_t c) { return is_between(c, 0x200C, 0x200D) || is_between(c, 0xFE00, 0xFE0F); }

// In the blocks of scripts that run from right to left.
bool is_right_to_left(char32_t c) {
  return is_between(c, 0x590, 0x8FF) || is_between(c, 0xFB1D, 0xFDFF) || is_between(c, 0xFE70, 0xFEFE) ||
         is_between(c, 0x10800, 0x10FFF) || is_between(c, 0x1E800, 0x1EFFF);
}

char32_t code_point(std::string_view sequence) {
  const auto at = [sequence](std::size_t i) { return static_cast<unsigned char>(sequence[i]); };
  if (sequence.size() == 1) return at(0);
  char32_t c = at(0) & (0xFFU >> (sequence.size() + 1));
  for (std::size_t i = 1; i < sequence.size(); ++i) c = (c << 6) | (at(i) & 0x3FU);
  return c;
}

// Goes through foreign text; each step gives what of it is written at once.
class Walk {
 public:
  Walk(std::string_view text, bool unicode) : rest_(text), unicode_(unicode) {}

  // False at the end. Otherwise `piece`, which may be empty, takes `columns`.
  bool step(std::string& piece, std::size_t& columns) {
    if (rest_.empty()) return false;
    const std::size_t length = base::utf8_sequence_length(rest_);
    const std::string_view sequence = rest_.substr(0, std::max<std::size_t>(length, 1));
    rest_.remove_prefix(sequence.size());
    if (length == 0) {
      piece = base::printable(sequence);
      columns = piece.size();
    } else {
      character(sequence, piece, columns);
    }
    if (columns > 0) marks_ = 0;
    at_start_ = at_start_ && columns == 0;
    return true;
  }

  [[nodiscard]] bool right_to_left() const { return right_to_left_; }

 private:
  void character(std::string_view sequence, std::string& piece, std::size_t& columns) {
    const char32_t c = code_point(sequence);
    const int width = UnicodeScope::width(c);
    if (width < 0 && c < 0xA0) {
      piece = base::printable(sequence);
      columns = piece.size();
    } else if (c >= 0xA0 && unicode_ && is_shaping(c)) {
      piece.clear();
      columns = 0;
    } else if (c >= 0xA0 && (!unicode_ || width < 0 || is_format(c))) {
      piece = fmt::format("\\u{:04x}", static_cast<std::uint32_t>(c));
      columns = piece.size();
    } else {
      right_to_left_ = right_to_left_ || is_right_to_left(c);
      piece = sequence;
      columns = static_cast<std::size_t>(width);
      if (width > 0) return;
      if (marks_++ >= k_max_marks) piece.clear();
      if (!at_start_) return;
      piece.insert(0, "\u25CC");  // else it would land on the character before this text
      columns = 1;
    }
  }

  std::string_view rest_;
  bool unicode_;
  bool right_to_left_ = false;
  bool at_start_ = true;
  std::size_t marks_ = 0;
};

}  // namespace

Screen screen_of_stdout(When color) {
  Screen screen;
  screen.terminal = ::isatty(STDOUT_FILENO) == 1;
  screen.width = screen_width();
  screen.color = color == When::always || (color == When::automatic && screen.terminal);
  screen.unicode = is_utf8_locale(variable("LC_ALL"), variable("LC_CTYPE"), variable("LANG"));
  return screen;
}

bool is_utf8_locale(std::string_view lc_all, std::string_view lc_ctype, std::string_view lang) {
  std::string name(!lc_all.empty() ? lc_all : !lc_ctype.empty() ? lc_ctype : lang);
  std::transform(name.begin(), name.end(), name.begin(),
                 [](char c) { return c >= 'A' && c <= 'Z' ? static_cast<char>(c + 32) : c; });
  return name.find("utf-8") != std::string::npos || name.find("utf8") != std::string::npos;
}

Shown show(std::string_view foreign, std::size_t limit, const Screen& screen) {
  const UnicodeScope scope;
  const std::string_view ellipsis = screen.unicode ? "\u2026" : "...";
  const std::size_t ellipsis_width = std::min<std::size_t>(screen.unicode ? 1 : 3, limit);
  Shown shown;
  std::size_t cut_size = 0;  // what stays before the ellipsis if the text turns out to be too wide
  std::size_t cut_width = 0;
  Walk walk(foreign, screen.unicode);
  std::string piece;
  std::size_t columns = 0;
  while (walk.step(piece, columns)) {
    if (columns > limit - shown.width) {
      shown.text.resize(cut_size);
      if (ellipsis_width > 0)
        shown.text += ellipsis.substr(0, screen.unicode ? ellipsis.size() : ellipsis_width);
      shown.width = cut_width + ellipsis_width;
      break;
    }
    shown.text += piece;
    shown.width += columns;
    if (shown.width <= limit - ellipsis_width) {
      cut_size = shown.text.size();
      cut_width = shown.width;
    }
  }
  // FIRST STRONG ISOLATE and POP DIRECTIONAL ISOLATE.
  if (walk.right_to_left() && screen.terminal) shown.text = "\u2068" + shown.text + "\u2069";
  return shown;
}

std::size_t display_width(std::string_view text) {
  const UnicodeScope scope;
  std::size_t columns = 0;
  for (std::size_t i = 0; i < text.size();) {
    const std::size_t length = std::max<std::size_t>(base::utf8_sequence_length(text.substr(i)), 1);
    const char32_t c = code_point(text.substr(i, length));
    if (!is_format(c)) columns += static_cast<std::size_t>(std::max(UnicodeScope::width(c), 0));
    i += length;
  }
  return columns;
}

std::string styled(std::string_view text, const char* style, const Screen& screen) {
  if (!screen.color || text.empty()) return std::string(text);
  return fmt::format("\033[{}m{}\033[0m", style, text);
}

const char* error_mark(const Screen& screen) { return screen.unicode ? "\u2717" : "!"; }

std::string duration_text(std::optional<std::int64_t> microseconds) {
  if (!microseconds) return "-";
  const std::int64_t all = *microseconds;
  if (all < 0) return "<0";
  if (all == 0) return "0ms";
  if (all < 1'000) return "<1ms";
  // Each unit ends where its rounded number would.
  if (all < 999'500) return fmt::format("{}ms", (all + 500) / 1'000);
  if (all < 59'950'000)
    return fmt::format("{}.{}s", (all + 50'000) / 1'000'000, (all + 50'000) / 100'000 % 10);
  const std::int64_t seconds = all / 1'000'000 + (all % 1'000'000 >= 500'000 ? 1 : 0);
  if (seconds < 3'600) return fmt::format("{}m{:02}s", seconds / 60, seconds % 60);
  const std::int64_t minutes = (seconds + 30) / 60;
  if (minutes < 24 * 60) return fmt::format("{}h{:02}m", minutes / 60, minutes % 60);
  const std::int64_t hours = (minutes + 30) / 60;
  if (hours < 100 * 24) return fmt::format("{}d{:02}h", hours / 24, hours % 24);
  const std::int64_t days = (hours + 12) / 24;
  return days < 100'000 ? fmt::format("{}d", days) : ">9999d";
}

std::string local_time_text(std::int64_t microseconds, TimeForm form, std::int64_t now) {
  if (microseconds == base::k_no_time) return "-";
  const auto local = [](std::int64_t time) -> std::optional<std::tm> {
    const auto seconds = static_cast<std::time_t>(time / 1'000'000 - (time % 1'000'000 < 0 ? 1 : 0));
    std::tm fields{};
    if (::localtime_r(&seconds, &fields) == nullptr) return std::nullopt;
    return fields;
  };
  const std::optional<std::tm> time = local(microseconds);
  if (!time) return "-";
  const std::string day = fmt::format("{:02}-{:02}", time->tm_mon + 1, time->tm_mday);
  const std::string minute = fmt::format("{:02}:{:02}", time->tm_hour, time->tm_min);
  const std::string date = fmt::format("{:04}-{}", time->tm_year + 1900, day);
  if (form == TimeForm::seconds) return fmt::format("{} {}:{:02}", date, minute, time->tm_sec);
  if (form == TimeForm::minutes) return date + " " + minute;
  const std::optional<std::tm> today = local(now);
  return today && today->tm_year == time->tm_year ? day + " " + minute : date;
}

}  // namespace runctl::cmd
