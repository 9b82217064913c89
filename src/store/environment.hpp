// The variables that a process was started with, as a value, so that tests need not change their own.
#pragma once

#include <cstdlib>
#include <functional>
#include <optional>
#include <string>

namespace runctl::store {

// The value of a variable; absent where it is not set or empty, which AWS tools treat alike.
using Environment = std::function<std::optional<std::string>(const std::string& name)>;

inline Environment process_environment() {
  return [](const std::string& name) -> std::optional<std::string> {
    const char* const value = std::getenv(name.c_str());
    if (value == nullptr || *value == '\0') return std::nullopt;
    return value;
  };
}

}  // namespace runctl::store
