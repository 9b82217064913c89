// The time, and waiting for it: passed in where a test must neither wait nor depend on when it runs.
#pragma once

#include <chrono>

namespace runctl::base {

class Clock {
 public:
  using Time = std::chrono::nanoseconds;

  Clock() = default;
  Clock(const Clock&) = delete;
  Clock& operator=(const Clock&) = delete;
  virtual ~Clock() = default;

  // Since 1970; a person may set it back.
  [[nodiscard]] virtual Time since_1970() const = 0;
  // Since some moment, ever forward.
  [[nodiscard]] virtual Time steady() const = 0;
  virtual void sleep_until(Time steady) = 0;
};

// The machine's.
Clock& system_clock();

}  // namespace runctl::base
