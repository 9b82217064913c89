// Points in time: microseconds since 1970-01-01T00:00:00Z, without leap seconds, in a signed 64-bit number.
#pragma once

#include <cstdint>
#include <limits>
#include <optional>
#include <string>
#include <string_view>

namespace runctl::base {

inline constexpr std::int64_t k_no_time = std::numeric_limits<std::int64_t>::min();
inline constexpr std::int64_t k_microseconds_per_day = 86'400'000'000;

// Nanoseconds since 1970 of a time in seconds: files and servers may name any year, but the number reaches
// from 1677 to 2262, so what lies beyond becomes its ends.
std::int64_t nanoseconds_of(std::int64_t seconds, std::int64_t nanoseconds = 0);

// ISO 8601 as logs write it: YYYY-MM-DD, then optionally 'T', 't' or a space and HH:MM[:SS[.fraction]], then
// optionally 'Z' or +HH:MM, +HHMM, +HH. Without a zone it is UTC. Digits below a microsecond are dropped.
std::optional<std::int64_t> parse_iso_time(std::string_view text);

// A JSON number since 1970, its unit told by its size: below 1e11 seconds, below 1e14 milliseconds, below
// 1e17 microseconds, else nanoseconds. Absent where the number is beyond 64 bits or has an exponent.
std::optional<std::int64_t> parse_epoch_number(std::string_view number);

// "2024-05-05": the UTC day of a time.
std::string day_text(std::int64_t microseconds);

// Whether two times lie in one UTC day.
bool same_day(std::int64_t a, std::int64_t b);

// "2024-05-05T23:43:00.123456Z"; the fraction is left out where it is zero.
std::string iso_text(std::int64_t microseconds);

}  // namespace runctl::base
