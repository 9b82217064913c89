// How text looks to a person: what of it is harmless to show, how wide it is, how times read. Only screen_of
// and local_time_text ask the process's surroundings; everything else is a function of its arguments.
#pragma once

#include <cstddef>
#include <cstdint>
#include <limits>
#include <optional>
#include <string>
#include <string_view>

#include "settings.hpp"

namespace runctl::cmd {

inline constexpr std::size_t k_unlimited = std::numeric_limits<std::size_t>::max();

// What is written to.
struct Screen {
  std::size_t width = 80;  // columns
  bool terminal = false;   // a person's; otherwise a pipe or file
  bool color = false;
  bool unicode = true;  // line-drawing and foreign characters; ASCII alone otherwise
};

// That of standard output: its width, else $COLUMNS, else that of standard error's terminal, else 80 columns;
// in colour where `color` asks for it, or leaves it open and this is a terminal; unicode where the locale's
// character set is UTF-8.
Screen screen_of_stdout(When color);

// Whether the locale that the variables LC_ALL, LC_CTYPE and LANG name, in this order of precedence, has the
// character set UTF-8. Their text is what counts: over ssh they often name a locale that is not installed.
bool is_utf8_locale(std::string_view lc_all, std::string_view lc_ctype, std::string_view lang);

// Text that is ready to be written, and how many columns it takes.
struct Shown {
  std::string text;
  std::size_t width = 0;
};

// Foreign text, harmless: it takes one line, steers no terminal and does not reorder its surroundings.
// - Control characters and bytes that are not UTF-8 become \xNN, as base::printable writes them; invisible
// and
//   direction-changing characters, and those that the C library does not know, become \uNNNN. Without
//   `screen.unicode` all characters beyond ASCII do.
// - Joiners and variation selectors are left out, since terminals disagree on the width of what they make;
//   of a heap of combining marks, the first few are kept.
// - On a terminal, text that runs from right to left is isolated (Unicode Standard Annex 9), else it would
//   draw the digits behind it to its left.
// Text wider than `limit` columns is cut, with an ellipsis at its end.
Shown show(std::string_view foreign, std::size_t limit, const Screen& screen);

// The columns that harmless text takes; escape sequences must not be in it.
std::size_t display_width(std::string_view text);

// `text` between the escape sequences of `style` (ECMA-48 SGR parameters, such as "1;31"), where the screen
// has colour.
std::string styled(std::string_view text, const char* style, const Screen& screen);
inline constexpr const char* k_bold = "1";
inline constexpr const char* k_dim = "2";
inline constexpr const char* k_red = "31";
inline constexpr const char* k_cyan = "36";

// The mark of an error, one column wide: it must be seen without colour, too.
const char* error_mark(const Screen& screen);

// "0ms", "<1ms", "950ms", "1.2s", "3m05s", "2h14m", "12d03h", "100d", in at most 6 columns; "<0" below zero,
// "-" where there is none.
std::string duration_text(std::optional<std::int64_t> microseconds);

// Forms of a time, from long to short.
enum class TimeForm {
  seconds,  // "2024-05-05 23:42:59"
  minutes,  // "2024-05-05 23:42"
  brief,    // "05-05 23:42" in the year of `now`, else "2024-05-05", as ls(1) does
};
// A time in the user's zone (TZ); "-" where it is base::k_no_time. `now` in microseconds since 1970.
std::string local_time_text(std::int64_t microseconds, TimeForm form, std::int64_t now);

}  // namespace runctl::cmd
