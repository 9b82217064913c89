#include "quantity.hpp"

#include <fmt/format.h>

#include <charconv>
#include <limits>
#include <optional>
#include <string_view>

#include "base/error.hpp"

namespace runctl::cmd {

namespace {

// The number at the front of a text, and what stands behind it; blanks between them count for nothing.
struct Amount {
  std::uint64_t number = 0;
  std::string unit;
};

std::optional<Amount> amount_of(const std::string& text) {
  Amount amount;
  const char* const end = text.data() + text.size();
  const auto [rest, failure] = std::from_chars(text.data(), end, amount.number);
  if (failure != std::errc()) return std::nullopt;
  for (const char* at = rest; at != end; ++at) {
    if (*at != ' ') amount.unit += static_cast<char>(*at >= 'A' && *at <= 'Z' ? *at - 'A' + 'a' : *at);
  }
  return amount;
}

std::optional<std::uint64_t> times(std::uint64_t number, std::uint64_t factor, std::uint64_t limit) {
  return number > limit / factor ? std::nullopt : std::optional(number * factor);
}

}  // namespace

std::uint64_t size_of(const Setting& setting) {
  constexpr std::string_view k_units = "bkmgt";
  if (const auto amount = amount_of(setting.value)) {
    const std::string& unit = amount->unit;
    const std::size_t power = unit.empty() ? 0 : k_units.find(unit.front());
    const std::string_view behind = unit.empty() ? "" : std::string_view(unit).substr(1);
    const bool known = power != std::string_view::npos &&
                       (behind.empty() || (power > 0 && (behind == "b" || behind == "ib")));
    const auto bytes = known ? times(amount->number, std::uint64_t{1} << (10 * power),
                                     std::numeric_limits<std::int64_t>::max())
                             : std::nullopt;
    if (bytes) return *bytes;
  }
  throw base::Error(base::ErrorKind::usage,
                    fmt::format("{}: \"{}\" is no size; give one as 500M, 1GiB or a number of bytes",
                                setting.source, setting.value));
}

std::int64_t age_of(const Setting& setting) {
  if (const auto amount = amount_of(setting.value)) {
    const std::string& unit = amount->unit;
    const std::uint64_t seconds = unit == "s"   ? 1
                                  : unit == "m" ? 60
                                  : unit == "h" ? 3600
                                  : unit == "d" ? 86'400
                                                : 0;
    constexpr std::uint64_t k_century = std::uint64_t{36'525} * 86'400 * 1'000'000;
    const auto age = seconds == 0 ? std::nullopt : times(amount->number, seconds * 1'000'000, k_century);
    if (age) return static_cast<std::int64_t>(*age);
  }
  throw base::Error(
      base::ErrorKind::usage,
      fmt::format("{}: \"{}\" is no age; give one as 7d, 12h, 30m or 90s", setting.source, setting.value));
}

}  // namespace runctl::cmd
