#include "progress.hpp"

#include <fmt/format.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include <algorithm>
#include <cmath>

#include "output.hpp"

namespace runctl::cmd {

namespace {

constexpr std::size_t k_bar = 20;

std::size_t terminal_width() {
  winsize size{};
  if (::ioctl(STDERR_FILENO, TIOCGWINSZ, &size) == 0 && size.ws_col > 0) return size.ws_col;
  return 80;
}

void put(const std::string& text) {
  [[maybe_unused]] const ssize_t written = ::write(STDERR_FILENO, text.data(), text.size());
}

}  // namespace

ProgressLine::ProgressLine(When when, bool quiet)
    : shown_(!quiet && (when == When::always || (when == When::automatic && stderr_is_terminal()))) {}

ProgressLine::~ProgressLine() { clear(); }

void ProgressLine::update(std::uint64_t done, std::optional<std::uint64_t> all, const std::string& detail) {
  const Clock::time_point now = Clock::now();
  if (!shown_ || now - last_ < std::chrono::milliseconds(100)) return;
  last_ = now;
  std::string line;
  if (all && *all > 0) {
    const double part = std::min(1.0, static_cast<double>(done) / static_cast<double>(*all));
    const auto full = static_cast<std::size_t>(part * k_bar);
    const double elapsed = std::chrono::duration<double>(now - started_).count();
    line =
        fmt::format("[{}{}] {:3.0f} %  ", std::string(full, '#'), std::string(k_bar - full, '.'), part * 100);
    line += detail;
    if (part > 0 && elapsed > 0.5) {
      const auto left = static_cast<std::uint64_t>(std::lround(elapsed / part - elapsed));
      line += fmt::format("  {}:{:02} left", left / 60, left % 60);
    }
  } else {
    line = detail;
  }
  line.resize(std::min(line.size(), terminal_width() - 1));
  put("\r" + line + "\033[K");
  drawn_ = true;
}

void ProgressLine::clear() {
  if (drawn_) put("\r\033[K");
  drawn_ = false;
}

}  // namespace runctl::cmd
