#include "ids.hpp"

#include <algorithm>

#include "run/json.hpp"

namespace runctl::cmd {

namespace {

bool is_control(char c) { return static_cast<unsigned char>(c) < 0x20 || c == 0x7F; }

}  // namespace

std::string id_line(std::string_view id) {
  const bool plain = !id.empty() && id.front() != '"' && id.front() != ' ' && id.back() != ' ' &&
                     std::none_of(id.begin(), id.end(), is_control);
  return plain ? std::string(id) : run::quote(id);
}

void for_each_id(std::istream& lines, const std::function<void(std::string id)>& visit) {
  std::string line;
  while (std::getline(lines, line)) {
    const std::size_t begin = line.find_first_not_of(" \t\r");
    if (begin == std::string::npos) continue;
    visit(id_of_line(std::string_view(line).substr(begin, line.find_last_not_of(" \t\r") - begin + 1)));
  }
}

std::string id_of_line(std::string_view line) {
  if (!line.starts_with('"')) return std::string(line);
  const run::Scan scan = run::JsonScanner().scan(line);
  const bool is_string = scan.verdict == run::Verdict::valid && scan.end == line.size();
  return is_string ? run::unescape(line.substr(1, line.size() - 2)) : std::string(line);
}

}  // namespace runctl::cmd
