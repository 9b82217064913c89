// What the tests of tables and trees share: names that break layouts, a zone, and lines as a person sees
// them.
#pragma once

#include <time.h>

#include <cstdlib>
#include <string>
#include <string_view>
#include <vector>

#include "base/hash.hpp"
#include "run/facts.hpp"
#include "terminal.hpp"

namespace runctl {

// Sets the time zone for a scope; afterwards it is UTC.
class TimeZone {
 public:
  explicit TimeZone(const char* zone) { set(zone); }
  ~TimeZone() { set("UTC"); }
  TimeZone(const TimeZone&) = delete;
  TimeZone& operator=(const TimeZone&) = delete;

 private:
  static void set(const char* zone) {
    ::setenv("TZ", zone, 1);
    ::tzset();
  }
};

inline std::vector<std::string> naughty_names() {
  std::string zalgo = "z";
  for (int i = 0; i < 200; ++i) zalgo += "\u0301\u0336";
  return {"",
          std::string(10'000, 'x'),
          "tab\tnew\nline\rback\b",
          "\x1b[2J\x1b[31mred\x1b]0;t\x07",
          std::string("nul\0nul", 7),
          "\"quoted\" 'single' `tick` \\ back",
          "100%_done%s%n",
          "\u05E9\u05DC\u05D5\u05DD \u0645\u0631\u062D\u0628\u0627 123",
          "over\u202Eride\u2066isolate",
          "\xFF\xFE broken \xC3( \xED\xA0\x80",
          zalgo,
          "\u0301mark first",
          "\u4F60\u597D\u4E16\u754C\u4F60\u597D\u4E16\u754C\u4F60\u597D\u4E16\u754C",
          "\U0001F600\U0001F468\u200D\U0001F469\u200D\U0001F467 \u2764\uFE0F \U0001F1E9\U0001F1EA",
          " blanks ",
          std::string(300, '\x01')};
}

inline std::vector<std::string> lines_of(std::string_view text) {
  std::vector<std::string> lines;
  while (!text.empty()) {
    const std::size_t end = text.find('\n');
    lines.emplace_back(text.substr(0, end));
    text.remove_prefix(end == std::string_view::npos ? text.size() : end + 1);
  }
  return lines;
}

// A line without its escape sequences of colour.
inline std::string uncoloured(std::string_view line) {
  std::string plain;
  for (std::size_t i = 0; i < line.size(); ++i) {
    if (line[i] == '\033') {
      i = line.find('m', i);
      if (i == std::string_view::npos) break;
    } else {
      plain += line[i];
    }
  }
  return plain;
}

inline run::Id id_number(std::uint64_t number) { return run::id_of_text("run " + std::to_string(number)); }

}  // namespace runctl
