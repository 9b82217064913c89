// One line on a terminal that tells how far a command is; nothing anywhere else.
#pragma once

#include <chrono>
#include <cstdint>
#include <optional>
#include <string>

#include "settings.hpp"

namespace runctl::cmd {

class ProgressLine {
 public:
  ProgressLine(When when, bool quiet);
  // Clears the line.
  ~ProgressLine();
  ProgressLine(const ProgressLine&) = delete;
  ProgressLine& operator=(const ProgressLine&) = delete;

  // `done` of `all` units, where known; `detail` stands behind the bar. Draws at most ten times a second.
  void update(std::uint64_t done, std::optional<std::uint64_t> all, const std::string& detail);
  // Clears the line, so that a message can be written; the next update draws it again.
  void clear();

 private:
  using Clock = std::chrono::steady_clock;
  bool shown_;
  bool drawn_ = false;
  Clock::time_point started_ = Clock::now();
  Clock::time_point last_{};
};

}  // namespace runctl::cmd
