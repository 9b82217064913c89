#include "output.hpp"

#include <fmt/format.h>
#include <unistd.h>

#include "base/bytes.hpp"
#include "base/error.hpp"

namespace runctl::cmd {

namespace {

constexpr std::size_t k_buffer = 64U << 10;

}  // namespace

void note(std::string_view message) {
  const std::string line = "runctl: " + base::printable(message, 4000) + "\n";
  // There is nowhere to report that standard error cannot be written to.
  [[maybe_unused]] const ssize_t written = ::write(STDERR_FILENO, line.data(), line.size());
}

bool stderr_is_terminal() { return ::isatty(STDERR_FILENO) == 1; }

std::string human_bytes(std::uint64_t bytes) {
  static constexpr const char* k_units[] = {"B", "kB", "MB", "GB", "TB", "PB"};
  auto size = static_cast<double>(bytes);
  std::size_t unit = 0;
  for (; size >= 999.95 && unit < 5; ++unit) size /= 1000;
  return unit == 0 ? fmt::format("{} B", bytes) : fmt::format("{:.1f} {}", size, k_units[unit]);
}

std::string human_count(std::uint64_t count) {
  std::string digits = std::to_string(count);
  for (std::size_t i = digits.size(); i > 3; i -= 3) digits.insert(i - 3, ",");
  return digits;
}

DataOutput::DataOutput(const std::string& path) {
  if (!path.empty()) file_ = std::make_unique<base::AtomicFile>(path);
}

void DataOutput::write(std::string_view bytes) {
  if (buffer_.size() + bytes.size() > k_buffer) flush();
  if (bytes.size() >= k_buffer) {
    if (file_)
      file_->write(bytes);
    else
      base::write_all(STDOUT_FILENO, bytes, "standard output");
  } else {
    buffer_ += bytes;
  }
}

void DataOutput::finish() {
  flush();
  if (file_) file_->commit(base::AtomicFile::Replace::yes);
}

void DataOutput::flush() {
  if (file_)
    file_->write(buffer_);
  else
    base::write_all(STDOUT_FILENO, buffer_, "standard output");
  buffer_.clear();
}

}  // namespace runctl::cmd
