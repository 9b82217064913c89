#include "terminal.hpp"

#include <doctest/doctest.h>
#include <time.h>

#include <cstdlib>

#include "base/time.hpp"
#include "display_support.hpp"

using namespace runctl;
using cmd::k_unlimited;
using cmd::Screen;
using cmd::Shown;

namespace {

constexpr std::int64_t k_ms = 1'000;
constexpr std::int64_t k_s = 1'000'000;

std::string shown(std::string_view text, std::size_t limit = k_unlimited) {
  return cmd::show(text, limit, Screen{}).text;
}

}  // namespace

TEST_CASE("plain text of any script is shown as it is, its width in columns") {
  CHECK(shown("get_user %_\"'") == "get_user %_\"'");
  CHECK(shown("") == "");
  CHECK(shown("caf\u00E9 \u4F60\u597D \U0001F600") == "caf\u00E9 \u4F60\u597D \U0001F600");
  CHECK(cmd::show("caf\u00E9", k_unlimited, Screen{}).width == 4);
  CHECK(cmd::show("e\u0301", k_unlimited, Screen{}).width == 1);  // a combining accent
  CHECK(cmd::show("\u4F60\u597D", k_unlimited, Screen{}).width == 4);
  CHECK(cmd::show("\U0001F600", k_unlimited, Screen{}).width == 2);
  CHECK(cmd::display_width("caf\u00E9 \u4F60\u597D \U0001F600 e\u0301") == 14);
}

TEST_CASE("what could steer a terminal is shown as what it is") {
  CHECK(shown("a\x1b[31mb\x1b]0;title\x07") == "a\\x1b[31mb\\x1b]0;title\\x07");
  CHECK(shown("one\ntwo\r\ttab\x7f") == "one\\x0atwo\\x0d\\x09tab\\x7f");
  CHECK(shown(std::string_view("nul\0", 4)) == "nul\\x00");
  CHECK(shown("\u009B31m") == "\\xc2\\x9b31m");
  CHECK(shown("\xFF\xC3(\xED\xA0\x80") == "\\xff\\xc3(\\xed\\xa0\\x80");
  CHECK(shown("a\u202Eb\u2066c\u2069d\u200Fe\u061Cf") == "a\\u202eb\\u2066c\\u2069d\\u200fe\\u061cf");
  CHECK(shown("zero\u200Bwidth\uFEFF\u00AD\u2028\U000E0041") ==
        "zero\\u200bwidth\\ufeff\\u00ad\\u2028\\ue0041");
  CHECK(shown("\uFFFF") == "\\uffff");
}

TEST_CASE("widths do not depend on how a terminal joins characters") {
  CHECK(shown("\u2764\uFE0F") == "\u2764");
  CHECK(shown("\U0001F468\u200D\U0001F469") == "\U0001F468\U0001F469");
  std::string heap = "a";
  for (int i = 0; i < 1000; ++i) heap += "\u0301";
  CHECK(shown(heap).size() == 1 + 8 * 2);
  // A mark at the start would land on the character before.
  CHECK(shown("\u0301a") == "\u25CC\u0301a");
  CHECK(cmd::show("\u0301a", k_unlimited, Screen{}).width == 2);
}

TEST_CASE("text from right to left is isolated on a terminal, and only there") {
  Screen terminal;
  terminal.terminal = true;
  const std::string hebrew = "\u05E9\u05DC\u05D5\u05DD";
  CHECK(cmd::show(hebrew, k_unlimited, terminal).text == "\u2068" + hebrew + "\u2069");
  CHECK(cmd::show(hebrew, k_unlimited, terminal).width == 4);
  CHECK(cmd::show(hebrew, 3, terminal).text == "\u2068\u05E9\u05DC\u2026\u2069");
  CHECK(cmd::show("left", k_unlimited, terminal).text == "left");
  CHECK(shown(hebrew) == hebrew);
}

TEST_CASE("text is cut to a width, never within a character or an escape") {
  CHECK(shown("abcdef", 6) == "abcdef");
  CHECK(shown("abcdefg", 6) == "abcde\u2026");
  CHECK(shown("\u4F60\u597D\u4F60", 6) == "\u4F60\u597D\u4F60");
  CHECK(shown("\u4F60\u597D\u4F60", 5) == "\u4F60\u597D\u2026");
  CHECK(shown("\u4F60\u597D\u4F60", 4) == "\u4F60\u2026");
  CHECK(shown("ab\x1b[0m", 6) == "ab\u2026");
  CHECK(shown("abc", 1) == "\u2026");
  CHECK(shown("abc", 0) == "");
  CHECK(shown("", 0) == "");
  for (std::size_t limit = 0; limit < 40; ++limit) {
    for (const std::string& name : naughty_names()) {
      for (const bool unicode : {true, false}) {
        CAPTURE(name.substr(0, 100));
        CAPTURE(limit);
        Screen screen;
        screen.unicode = unicode;
        const Shown cut = cmd::show(name, limit, screen);
        CHECK(cut.width <= limit);
        CHECK(cut.width == cmd::display_width(cut.text));
      }
    }
  }
}

TEST_CASE("without UTF-8 everything is ASCII") {
  Screen screen;
  screen.unicode = false;
  CHECK(cmd::show("caf\u00E9 \U0001F600\n", k_unlimited, screen).text == "caf\\u00e9 \\u1f600\\x0a");
  CHECK(cmd::show("abcdef", 5, screen).text == "ab...");
  CHECK(cmd::show("abcdef", 2, screen).text == "..");
  CHECK(std::string(cmd::error_mark(screen)) == "!");
}

TEST_CASE("the character set is that of the locale's name") {
  CHECK(cmd::is_utf8_locale("", "", "en_US.UTF-8"));
  CHECK(cmd::is_utf8_locale("", "C.utf8", "C"));
  CHECK_FALSE(cmd::is_utf8_locale("C", "en_US.UTF-8", "en_US.UTF-8"));
  CHECK_FALSE(cmd::is_utf8_locale("", "", ""));
  CHECK_FALSE(cmd::is_utf8_locale("", "", "de_DE.ISO-8859-1"));
}

TEST_CASE("durations take at most six columns") {
  CHECK(cmd::duration_text(std::nullopt) == "-");
  CHECK(cmd::duration_text(-1) == "<0");
  CHECK(cmd::duration_text(0) == "0ms");
  CHECK(cmd::duration_text(999) == "<1ms");
  CHECK(cmd::duration_text(950 * k_ms) == "950ms");
  CHECK(cmd::duration_text(999'499) == "999ms");
  CHECK(cmd::duration_text(999'500) == "1.0s");
  CHECK(cmd::duration_text(1'240 * k_ms) == "1.2s");
  CHECK(cmd::duration_text(59'949 * k_ms) == "59.9s");
  CHECK(cmd::duration_text(59'950 * k_ms) == "1m00s");
  CHECK(cmd::duration_text(185 * k_s) == "3m05s");
  CHECK(cmd::duration_text(3'599'499 * k_ms) == "59m59s");
  CHECK(cmd::duration_text(3'599'500 * k_ms) == "1h00m");
  CHECK(cmd::duration_text(8'040 * k_s) == "2h14m");
  CHECK(cmd::duration_text(86'400 * k_s - 30 * k_s) == "1d00h");
  CHECK(cmd::duration_text(12 * 86'400 * k_s + 3 * 3'600 * k_s) == "12d03h");
  CHECK(cmd::duration_text(100 * 86'400 * k_s) == "100d");
  CHECK(cmd::duration_text(std::numeric_limits<std::int64_t>::max()) == ">9999d");
  for (std::int64_t duration = 1; duration < std::numeric_limits<std::int64_t>::max() / 8;
       duration = duration * 5 / 3 + 1)
    CHECK(cmd::duration_text(duration).size() <= 6);
}

TEST_CASE("times are in the user's zone") {
  const TimeZone zone("UTC-2");  // POSIX: two hours ahead of UTC
  const std::int64_t time = 1714952579 * k_s + 999'999;
  const std::int64_t now = 1716000000 * k_s;
  CHECK(cmd::local_time_text(time, cmd::TimeForm::seconds, now) == "2024-05-06 01:42:59");
  CHECK(cmd::local_time_text(time, cmd::TimeForm::minutes, now) == "2024-05-06 01:42");
  CHECK(cmd::local_time_text(time, cmd::TimeForm::brief, now) == "05-06 01:42");
  CHECK(cmd::local_time_text(time, cmd::TimeForm::brief, now + 366 * base::k_microseconds_per_day) ==
        "2024-05-06");
  CHECK(cmd::local_time_text(-1, cmd::TimeForm::seconds, now) == "1970-01-01 01:59:59");
  CHECK(cmd::local_time_text(base::k_no_time, cmd::TimeForm::seconds, now) == "-");
  CHECK(cmd::local_time_text(std::numeric_limits<std::int64_t>::max(), cmd::TimeForm::seconds, now)
            .starts_with("29"));
}
