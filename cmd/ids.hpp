// Ids as lines of text, one a line: what ingest and search print, get reads.
#pragma once

#include <functional>
#include <istream>
#include <string>
#include <string_view>

namespace runctl::cmd {

// The id as it is; as a JSON string where it holds a control character, is empty, has blanks at an end, or
// could be taken for one.
std::string id_line(std::string_view id);

// Calls `visit` with the id of each line of the stream; empty lines count for nothing.
void for_each_id(std::istream& lines, const std::function<void(std::string id)>& visit);

// The id that a line stands for.
std::string id_of_line(std::string_view line);

}  // namespace runctl::cmd
