// Points in time as HTTP and S3 write them. Seconds count from 1970-01-01T00:00:00Z, without leap seconds.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

namespace runctl::http {

// "20130524T000000Z", the form that signatures carry.
std::string format_compact_time(std::int64_t seconds);

// "Fri, 24 May 2013 00:00:00 GMT" (IMF-fixdate, RFC 9110 section 5.6.7); the obsolete forms are absent.
std::optional<std::int64_t> parse_http_date(std::string_view text);

// "2013-05-24T00:00:00.123Z" or without the fraction, which is cut off; "+00:00" for "Z" is understood too.
std::optional<std::int64_t> parse_iso_time(std::string_view text);

}  // namespace runctl::http
