// JSON as it is printed.
#pragma once

#include <string>

#include <nlohmann/json.hpp>

namespace runctl::cmd {

// In one line, which steers no terminal: what is not ASCII is escaped. Paths need not be UTF-8, but JSON is:
// what is not becomes U+FFFD.
inline std::string json_text(const nlohmann::ordered_json& json) {
  return json.dump(-1, ' ', true, nlohmann::ordered_json::error_handler_t::replace);
}

}  // namespace runctl::cmd
