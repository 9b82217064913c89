#include "base/clock.hpp"

#include <thread>

namespace runctl::base {

namespace {

class SystemClock final : public Clock {
 public:
  [[nodiscard]] Time since_1970() const override {
    return std::chrono::system_clock::now().time_since_epoch();
  }
  [[nodiscard]] Time steady() const override { return std::chrono::steady_clock::now().time_since_epoch(); }
  void sleep_until(Time steady) override {
    std::this_thread::sleep_until(std::chrono::steady_clock::time_point(steady));
  }
};

}  // namespace

Clock& system_clock() {
  static SystemClock clock;
  return clock;
}

}  // namespace runctl::base
