// Whether and when to ask again. Pure: time and chance are passed in.
#pragma once

#include <chrono>
#include <cstdint>
#include <optional>
#include <string_view>

#include "http/message.hpp"

namespace runctl::http {

struct RetryPolicy {
  unsigned attempts = 8;          // in all, the first one included
  unsigned connect_attempts = 3;  // where not even a connection came about: such faults seldom pass soon
  std::chrono::milliseconds first_delay{200};
  std::chrono::milliseconds max_delay{20'000};
  std::chrono::milliseconds budget{90'000};  // from the first attempt to the start of the last
};

// Failures of the network that may be gone the next time.
bool is_transient(Failure failure);

// 408, 429, 500, 502, 503 and 504.
bool is_transient_status(int status);

// What a Retry-After header asks for: seconds, or a date (RFC 9110 section 10.2.3) seen at `now_seconds`.
std::optional<std::chrono::milliseconds> parse_retry_after(std::string_view text, std::int64_t now_seconds);

// The attempts of one request.
class Backoff {
 public:
  explicit Backoff(const RetryPolicy& policy) : policy_(policy) {}

  // How long to wait before the next attempt; absent where there shall be none. `elapsed` counts from the
  // first attempt, `chance` is in [0, 1). The delay is drawn from [0, first_delay * 2^n) ("full jitter", so
  // that many clients do not come back at once), but never shorter than the server asked for, and its wish is
  // capped: a server that says 120 s must not stop a pipeline for two minutes.
  std::optional<std::chrono::milliseconds> next(std::chrono::milliseconds elapsed, double chance,
                                                Failure failure,
                                                std::optional<std::chrono::milliseconds> retry_after);

  [[nodiscard]] unsigned attempts_made() const { return made_; }
  // How many there may be in all where the last one ended so.
  [[nodiscard]] unsigned attempts_allowed(Failure failure) const;

 private:
  RetryPolicy policy_;
  unsigned made_ = 1;
};

}  // namespace runctl::http
