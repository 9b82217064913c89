// A file that grows while it is read: across rotation and truncation, and from where an earlier reading
// stopped.
#pragma once

#include <chrono>
#include <cstdint>
#include <functional>
#include <optional>
#include <span>
#include <string>
#include <string_view>

#include "base/file.hpp"

namespace runctl::flow {

// A place in a file, by which it is found again under whatever name.
struct FilePlace {
  std::uint64_t device = 0;
  std::uint64_t inode = 0;
  std::uint64_t offset = 0;       // bytes
  std::uint64_t line = 0;         // newlines before it
  std::uint64_t tail_length = 0;  // at most k_tail
  std::uint64_t tail_hash = 0;    // XXH3-64 of that many bytes directly before it

  friend bool operator==(const FilePlace&, const FilePlace&) = default;
};

// By so many bytes a file is told from another that came to its inode, or to its place after truncation.
inline constexpr std::size_t k_tail = 1024;

// Completes a place by the bytes before it.
void set_tail(FilePlace& place, std::string_view before);

class FollowedFile {
 public:
  using Clock = std::chrono::steady_clock;
  // What somebody should know: the file was truncated, or is no longer there.
  using Trouble = std::function<void(const std::string&)>;

  // Goes on at `from` if a file in the directory of `path` still has it, then with `path` itself; else starts
  // at the beginning. Throws Error(usage) where `path` is no file.
  FollowedFile(std::string path, const std::optional<FilePlace>& from, Trouble trouble);

  enum class End {
    none,   // there is more
    quiet,  // nothing came by the time that was given
    file,   // this file is read to its end: it was truncated, or another has taken its place
  };
  // Reads at least one byte; 0 says why not in `end`. Where nothing is there, waits until `until`, or until
  // `wake` can be read (then End::quiet). After End::file, the next call reads the next file.
  std::size_t read(std::span<char> out, std::optional<Clock::time_point> until, int wake, End& end);

  // Where the reading of the present file began.
  [[nodiscard]] const FilePlace& begin() const { return begin_; }

 private:
  struct Opened {
    base::FileDescriptor file;
    FilePlace place;
  };

  [[nodiscard]] std::optional<Opened> find_rotated(const FilePlace& from) const;
  void start(Opened opened);
  [[nodiscard]] bool open_next();
  [[nodiscard]] std::size_t read_more(std::span<char> out);
  [[nodiscard]] static bool wait(std::optional<Clock::time_point> until, int wake);
  [[nodiscard]] bool was_replaced();

  const std::string path_;
  const Trouble trouble_;
  Opened now_;
  FilePlace begin_;
  std::string tail_;                              // the last bytes that were read
  bool done_ = false;                             // the file at `path_` is the next
  std::optional<Clock::time_point> replaced_at_;  // since when another file is at `path_`, and this one quiet
};

}  // namespace runctl::flow
