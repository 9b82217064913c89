// Sizes and ages as people write them: in flags, variables and the config file.
#pragma once

#include <cstdint>
#include <optional>
#include <string>

#include "settings.hpp"

namespace runctl::cmd {

// Bytes: a number, with B, K, M, G or T behind it, "B" or "iB" added or not; powers of 1024. Throws
// base::Error(usage) naming the setting.
std::uint64_t size_of(const Setting& setting);

// Microseconds: a number, which may have decimals, with us, ms, s, m, h or d behind it; absent where the text
// is none of this.
std::optional<std::int64_t> duration_of(const std::string& text);

// Microseconds: a number with s, m, h or d behind it. Throws base::Error(usage) naming the setting.
std::int64_t age_of(const Setting& setting);

}  // namespace runctl::cmd
