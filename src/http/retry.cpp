#include "http/retry.hpp"

#include <algorithm>
#include <charconv>

#include "http/date.hpp"

namespace runctl::http {

using std::chrono::milliseconds;

bool is_transient(Failure failure) {
  switch (failure) {
    case Failure::resolve:
    case Failure::connect:
    case Failure::timeout:
    case Failure::broken:
    case Failure::mismatch:
      return true;
    case Failure::none:
    case Failure::bad_url:
    case Failure::no_tls:
    case Failure::certificate:
    case Failure::too_short:
    case Failure::cancelled:
      return false;
  }
  return false;
}

bool is_transient_status(int status) {
  return status == 408 || status == 429 || status == 500 || status == 502 || status == 503 || status == 504;
}

std::optional<milliseconds> parse_retry_after(std::string_view text, std::int64_t now_seconds) {
  if (const auto date = parse_http_date(text)) {
    return milliseconds{std::max<std::int64_t>(0, *date - now_seconds) * 1000};
  }
  std::uint32_t seconds = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), seconds);
  if (error != std::errc{} || end != text.data() + text.size()) return std::nullopt;
  return milliseconds{std::int64_t{seconds} * 1000};
}

unsigned Backoff::attempts_allowed(Failure failure) const {
  const bool unreachable = failure == Failure::resolve || failure == Failure::connect;
  return unreachable ? std::min(policy_.attempts, policy_.connect_attempts) : policy_.attempts;
}

std::optional<milliseconds> Backoff::next(milliseconds elapsed, double chance, Failure failure,
                                          std::optional<milliseconds> retry_after) {
  if (made_ >= attempts_allowed(failure)) return std::nullopt;
  milliseconds ceiling = policy_.first_delay;
  for (unsigned i = 1; i < made_ && ceiling < policy_.max_delay; ++i) ceiling *= 2;
  ceiling = std::min(ceiling, policy_.max_delay);
  milliseconds delay{static_cast<std::int64_t>(static_cast<double>(ceiling.count()) * chance)};
  if (retry_after) delay = std::max(delay, std::min(*retry_after, policy_.max_delay));
  if (elapsed + delay > policy_.budget) return std::nullopt;
  ++made_;
  return delay;
}

}  // namespace runctl::http
