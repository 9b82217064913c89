#include "quantity.hpp"

#include <fmt/format.h>

#include <charconv>
#include <cmath>
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

std::optional<std::int64_t> duration_of(const std::string& text) {
  struct Unit {
    const char* name;
    double microseconds;
  };
  constexpr Unit k_units[] = {{"us", 1},   {"ms", 1e3},   {"s", 1e6},
                              {"m", 60e6}, {"h", 3600e6}, {"d", 86'400e6}};
  constexpr double k_century = 36'525 * 86'400e6;
  double number = 0;
  const char* const end = text.data() + text.size();
  const auto [rest, failure] = std::from_chars(text.data(), end, number, std::chars_format::fixed);
  if (failure != std::errc() || !(number >= 0)) return std::nullopt;
  for (const Unit& unit : k_units) {
    if (std::string_view(rest, static_cast<std::size_t>(end - rest)) != unit.name) continue;
    const double microseconds = number * unit.microseconds;
    return microseconds <= k_century ? std::optional(std::llround(microseconds)) : std::nullopt;
  }
  return std::nullopt;
}

std::int64_t age_of(const Setting& setting) {
  if (const auto age = duration_of(setting.value)) return *age;
  throw base::Error(
      base::ErrorKind::usage,
      fmt::format("{}: \"{}\" is no age; give one as 7d, 12h, 30m or 90s", setting.source, setting.value));
}

}  // namespace runctl::cmd
