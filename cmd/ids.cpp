#include "ids.hpp"

#include <fmt/format.h>

#include <algorithm>

#include "run/json.hpp"

namespace runctl::cmd {

namespace {

bool is_control(char c) { return static_cast<unsigned char>(c) < 0x20 || c == 0x7F; }

}  // namespace

std::string id_line(std::string_view id) {
  const bool plain = !id.empty() && id.front() != '"' && id.front() != ' ' && id.back() != ' ' &&
                     std::none_of(id.begin(), id.end(), is_control);
  if (plain) return std::string(id);
  std::string line = "\"";
  for (const char c : id) {
    if (is_control(c))
      line += fmt::format("\\u{:04x}", static_cast<unsigned>(c));
    else if (c == '"' || c == '\\')
      line.append("\\").append(1, c);
    else
      line += c;
  }
  return line + "\"";
}

std::string id_of_line(std::string_view line) {
  if (!line.starts_with('"')) return std::string(line);
  const run::Scan scan = run::JsonScanner().scan(line);
  const bool is_string = scan.verdict == run::Verdict::valid && scan.end == line.size();
  return is_string ? run::unescape(line.substr(1, line.size() - 2)) : std::string(line);
}

}  // namespace runctl::cmd
