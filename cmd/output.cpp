#include "output.hpp"

#include <fcntl.h>
#include <fmt/format.h>
#include <unistd.h>

#include <cerrno>
#include <filesystem>

#include "base/bytes.hpp"
#include "base/error.hpp"

namespace runctl::cmd {

namespace {

constexpr std::size_t k_buffer = 64U << 10;

bool message_color = false;

}  // namespace

void note(std::string_view message) {
  const char* const name = message_color ? "\033[1;31mrunctl:\033[0m " : "runctl: ";
  const std::string line = name + base::printable(message, 4000) + "\n";
  // There is nowhere to report that standard error cannot be written to.
  [[maybe_unused]] const ssize_t written = ::write(STDERR_FILENO, line.data(), line.size());
}

void print_error_line(std::string_view line) {
  const std::string whole = std::string(line) + "\n";
  [[maybe_unused]] const ssize_t written = ::write(STDERR_FILENO, whole.data(), whole.size());
}

void set_message_color(bool on) { message_color = on; }

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

std::string counted(std::uint64_t count, const char* one, const char* many) {
  return human_count(count) + " " + (count == 1 ? one : many);
}

DataOutput::DataOutput(const std::string& path, Existing existing) {
  if (path.empty() || path == "-" || path == "/dev/stdout") return;
  name_ = path;
  std::error_code failure;
  const std::filesystem::file_status status = std::filesystem::status(path, failure);
  if (std::filesystem::exists(status) && !std::filesystem::is_regular_file(status)) {
    device_ = base::FileDescriptor(::open(path.c_str(), O_WRONLY | O_CLOEXEC));
    if (!device_) base::throw_errno(path + ": cannot be written", errno);
    return;
  }
  if (existing == Existing::extended) {
    device_ = base::FileDescriptor(::open(path.c_str(), O_RDWR | O_APPEND | O_CREAT | O_CLOEXEC, 0666));
    if (!device_) base::throw_errno(path + ": cannot be written", errno);
    const off_t size = ::lseek(device_.get(), 0, SEEK_END);
    char last = '\n';
    if (size > 0 && ::pread(device_.get(), &last, 1, size - 1) == 1 && last != '\n') buffer_ = '\n';
    return;
  }
  file_ = std::make_unique<base::AtomicFile>(base::replacement_target(path));
  leftover_ = std::make_unique<RemovedOnSignal>(file_->temporary_path());
}

void DataOutput::write(std::string_view bytes) {
  if (buffer_.size() + bytes.size() > k_buffer) flush();
  if (bytes.size() >= k_buffer) {
    pass_on(bytes);
  } else {
    buffer_ += bytes;
  }
}

void DataOutput::finish() {
  flush();
  if (file_) file_->commit(base::AtomicFile::Replace::yes);
}

void DataOutput::flush() {
  pass_on(buffer_);
  buffer_.clear();
}

void DataOutput::pass_on(std::string_view bytes) {
  if (file_) {
    file_->write(bytes);
  } else {
    base::write_all(device_ ? device_.get() : STDOUT_FILENO, bytes, name_);
  }
  written_ += bytes.size();
}

}  // namespace runctl::cmd
