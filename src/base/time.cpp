#include "base/time.hpp"

#include <fmt/format.h>

#include <chrono>

namespace runctl::base {

namespace {

bool is_digit(char c) { return c >= '0' && c <= '9'; }

// Reads a text from the left; every method leaves the text alone where it answers no.
class Cursor {
 public:
  explicit Cursor(std::string_view text) : rest_(text) {}

  bool skip(char wanted) {
    if (rest_.empty() || rest_.front() != wanted) return false;
    rest_.remove_prefix(1);
    return true;
  }

  // Exactly `digits` digits.
  bool number(std::size_t digits, int& value) {
    if (rest_.size() < digits) return false;
    int sum = 0;
    for (std::size_t i = 0; i < digits; ++i) {
      if (!is_digit(rest_[i])) return false;
      sum = sum * 10 + (rest_[i] - '0');
    }
    rest_.remove_prefix(digits);
    value = sum;
    return true;
  }

  // One or more digits after the point, as microseconds.
  bool fraction(int& microseconds) {
    std::size_t digits = 0;
    int sum = 0;
    while (digits < rest_.size() && is_digit(rest_[digits])) {
      if (digits < 6) sum = sum * 10 + (rest_[digits] - '0');
      ++digits;
    }
    if (digits == 0) return false;
    for (std::size_t i = digits; i < 6; ++i) sum *= 10;
    rest_.remove_prefix(digits);
    microseconds = sum;
    return true;
  }

  [[nodiscard]] bool done() const { return rest_.empty(); }

 private:
  std::string_view rest_;
};

struct ClockTime {
  int hour = 0;
  int minute = 0;
  int second = 0;
  int microsecond = 0;
  int zone_minutes = 0;

  [[nodiscard]] bool in_range() const {
    // ISO 8601 knows the second 60 (a leap second) and writes midnight at a day's end as 24:00.
    const bool day_end = hour == 24 && minute == 0 && second == 0 && microsecond == 0;
    return (hour < 24 || day_end) && minute < 60 && second <= 60 && zone_minutes > -24 * 60 &&
           zone_minutes < 24 * 60;
  }

  [[nodiscard]] std::int64_t microseconds() const {
    const std::int64_t seconds = (std::int64_t{hour} * 60 + minute - zone_minutes) * 60 + second;
    return seconds * 1'000'000 + microsecond;
  }
};

bool read_zone(Cursor& cursor, int& zone_minutes) {
  if (cursor.skip('Z') || cursor.skip('z')) return true;
  int sign = 0;
  if (cursor.skip('+'))
    sign = 1;
  else if (cursor.skip('-'))
    sign = -1;
  else
    return true;
  int hours = 0;
  int minutes = 0;
  if (!cursor.number(2, hours)) return false;
  const bool colon = cursor.skip(':');
  if (!cursor.number(2, minutes) && colon) return false;
  zone_minutes = sign * (hours * 60 + minutes);
  return minutes < 60;
}

bool read_clock(Cursor& cursor, ClockTime& clock) {
  if (!cursor.number(2, clock.hour) || !cursor.skip(':') || !cursor.number(2, clock.minute)) return false;
  if (cursor.skip(':')) {
    if (!cursor.number(2, clock.second)) return false;
    if ((cursor.skip('.') || cursor.skip(',')) && !cursor.fraction(clock.microsecond)) return false;
  }
  cursor.skip(' ');  // "2024-05-29 13:46:19 +00:00"
  return read_zone(cursor, clock.zone_minutes) && clock.in_range();
}

std::chrono::sys_days day_of(std::int64_t microseconds) {
  const auto point =
      std::chrono::sys_time<std::chrono::microseconds>(std::chrono::microseconds(microseconds));
  return std::chrono::floor<std::chrono::days>(point);
}

}  // namespace

std::int64_t nanoseconds_of(std::int64_t seconds, std::int64_t nanoseconds) {
  using Limits = std::numeric_limits<std::int64_t>;
  std::int64_t product = 0;
  std::int64_t sum = 0;
  if (__builtin_mul_overflow(seconds, std::int64_t{1'000'000'000}, &product) ||
      __builtin_add_overflow(product, nanoseconds, &sum))
    return seconds < 0 ? Limits::min() : Limits::max();
  return sum;
}

std::optional<std::int64_t> parse_iso_time(std::string_view text) {
  Cursor cursor(text);
  int year = 0;
  int month = 0;
  int day = 0;
  const bool date = cursor.number(4, year) && cursor.skip('-') && cursor.number(2, month) &&
                    cursor.skip('-') && cursor.number(2, day);
  const std::chrono::year_month_day civil{std::chrono::year(year),
                                          std::chrono::month(static_cast<unsigned>(month)),
                                          std::chrono::day(static_cast<unsigned>(day))};
  if (!date || !civil.ok()) return std::nullopt;
  ClockTime clock;
  const bool has_clock = cursor.skip('T') || cursor.skip('t') || cursor.skip(' ');
  if ((has_clock && !read_clock(cursor, clock)) || !cursor.done()) return std::nullopt;
  const auto days = std::chrono::sys_days(civil).time_since_epoch();
  return std::chrono::microseconds(days).count() + clock.microseconds();
}

std::optional<std::int64_t> parse_epoch_number(std::string_view number) {
  // Digits only up to the point: an exponent is not how clocks print, and 1e400 is no time.
  std::string_view digits = number;
  const bool negative = !digits.empty() && digits.front() == '-';
  if (negative) digits.remove_prefix(1);
  std::int64_t whole = 0;
  while (!digits.empty() && is_digit(digits.front())) {
    // The largest number to which a digit can be added without overflow.
    if (whole > (std::numeric_limits<std::int64_t>::max() - 9) / 10) return std::nullopt;
    whole = whole * 10 + (digits.front() - '0');
    digits.remove_prefix(1);
  }
  std::int64_t millionths = 0;
  if (!digits.empty() && digits.front() == '.') {
    digits.remove_prefix(1);
    std::int64_t weight = 100'000;
    while (!digits.empty() && is_digit(digits.front())) {
      millionths += weight * (digits.front() - '0');
      weight /= 10;
      digits.remove_prefix(1);
    }
  }
  if (!digits.empty()) return std::nullopt;
  std::int64_t microseconds = 0;
  if (whole < 100'000'000'000)
    microseconds = whole * 1'000'000 + millionths;
  else if (whole < 100'000'000'000'000)
    microseconds = whole * 1'000 + millionths / 1'000;
  else if (whole < 100'000'000'000'000'000)
    microseconds = whole;
  else
    microseconds = whole / 1'000;
  return negative ? -microseconds : microseconds;
}

std::string day_text(std::int64_t microseconds) {
  const std::chrono::year_month_day day = day_of(microseconds);
  return fmt::format("{:04}-{:02}-{:02}", static_cast<int>(day.year()), static_cast<unsigned>(day.month()),
                     static_cast<unsigned>(day.day()));
}

bool same_day(std::int64_t a, std::int64_t b) { return day_of(a) == day_of(b); }

std::string iso_text(std::int64_t microseconds) {
  const std::int64_t in_day =
      ((microseconds % k_microseconds_per_day) + k_microseconds_per_day) % k_microseconds_per_day;
  const std::int64_t seconds = in_day / 1'000'000;
  std::string text = fmt::format("{}T{:02}:{:02}:{:02}", day_text(microseconds), seconds / 3600,
                                 seconds / 60 % 60, seconds % 60);
  if (in_day % 1'000'000 != 0) text += fmt::format(".{:06}", in_day % 1'000'000);
  return text + "Z";
}

}  // namespace runctl::base
