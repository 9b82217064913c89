// The bytes of one input: a file or standard input, as it is or inflated, told apart by content. The only
// user of zlib.
#pragma once

#include <chrono>
#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string>

#include "flow/followed_file.hpp"

namespace runctl::flow {

class Input {
 public:
  using Clock = std::chrono::steady_clock;

  // `path` is a file's, or "-" for standard input. Throws Error(usage) where it cannot be read as a file.
  explicit Input(const std::string& path);
  // A file that grows, as plain text; it has no size, and ends only when it is cancelled. Where another file
  // begins read() returns 0 once.
  Input(const std::string& path, std::unique_ptr<FollowedFile> followed);
  ~Input();
  Input(Input&&) noexcept;
  Input& operator=(Input&&) noexcept;

  // Reads at least one byte; 0 at the end. Throws Error(input) where a compressed stream is broken or cut,
  // Error(io) where the system fails. Also 0, and is_waiting(), where a pipe gave nothing by `until`.
  std::size_t read(std::span<char> out, std::optional<Clock::time_point> until = {});
  [[nodiscard]] bool is_waiting() const;

  // Where the file that is followed was begun; absent where none is.
  [[nodiscard]] std::optional<FilePlace> followed_from() const;

  // From any thread: a read that waits for a pipe ends now, and so do all later ones.
  void cancel();

  // Whether it reads the file of this path, under whatever name.
  [[nodiscard]] bool is_file(const std::string& path) const;

  // Bytes taken from the file so far, compressed as they lie there.
  [[nodiscard]] std::uint64_t position() const;
  // The file's size; absent for pipes and terminals.
  [[nodiscard]] std::optional<std::uint64_t> size() const;

 private:
  struct State;
  std::unique_ptr<State> state_;
};

}  // namespace runctl::flow
