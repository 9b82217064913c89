// What a person or a pipe sees: data on standard output, everything else on standard error.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>

#include "base/file.hpp"
#include "interrupt.hpp"

namespace runctl::cmd {

// Whether messages are coloured.
void set_message_color(bool on);

// "runctl: MESSAGE" and a newline on standard error, in one write; foreign control characters made harmless.
void note(std::string_view message);

// A line on standard error for a program to read, as it is.
void print_error_line(std::string_view line);

// Whether standard error is a terminal.
bool stderr_is_terminal();

// "126.8 MB": decimal units, as disks and networks count.
std::string human_bytes(std::uint64_t bytes);
// "198,031".
std::string human_count(std::uint64_t count);
// "1 batch", "2 batches".
std::string counted(std::uint64_t count, const char* one, const char* many);

// Buffered data: to standard output, or to a file that appears whole at the end or not at all.
class DataOutput {
 public:
  // A file that is extended is no longer all or nothing; what comes begins on a line of its own.
  enum class Existing { replaced, extended };

  // An empty path, "-" and /dev/stdout are standard output. A pipe or device of that name is written to as it
  // is, and a link is followed.
  explicit DataOutput(const std::string& path, Existing existing = Existing::replaced);

  // Whether it is not standard output.
  [[nodiscard]] bool is_elsewhere() const { return device_ || file_; }

  void write(std::string_view bytes);
  // Bytes that have gone there; all of them after finish().
  [[nodiscard]] std::uint64_t written() const { return written_; }
  // Passes on what was written.
  void flush();
  // Must be called at the end; throws base::Error(io) where not everything could be written.
  void finish();

 private:
  void pass_on(std::string_view bytes);

  std::string buffer_;
  std::uint64_t written_ = 0;
  std::string name_ = "standard output";
  base::FileDescriptor device_;
  std::unique_ptr<base::AtomicFile> file_;
  std::unique_ptr<RemovedOnSignal> leftover_;  // of file_
};

}  // namespace runctl::cmd
