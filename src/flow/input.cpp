#include "flow/input.hpp"

#include <fcntl.h>
#include <poll.h>
#include <sys/eventfd.h>
#include <sys/stat.h>
#include <unistd.h>
#include <zlib.h>

#include <algorithm>
#include <atomic>
#include <cerrno>
#include <cstring>
#include <limits>
#include <string_view>
#include <vector>

#include "base/error.hpp"
#include "base/file.hpp"
#include "batch/frame.hpp"

namespace runctl::flow {

namespace {

using base::Error;
using base::ErrorKind;

constexpr std::size_t k_buffer = 256U << 10;

// Inflates gzip (RFC 1952), member after member.
class GzipStream {
 public:
  // 15 bits of window, and 16 for "a gzip header must be there" (zlib.h, inflateInit2).
  GzipStream() { inflateInit2(&stream_, 15 + 16); }
  ~GzipStream() { inflateEnd(&stream_); }
  GzipStream(const GzipStream&) = delete;
  GzipStream& operator=(const GzipStream&) = delete;

  std::size_t read(std::string_view& stored, std::span<char> out) {
    if (complete_) {
      // Behind a member, zeros are padding (of tapes, once).
      while (!stored.empty() && stored.front() == '\0') stored.remove_prefix(1);
      if (stored.empty()) return 0;
      inflateReset(&stream_);
      complete_ = false;
    }
    // zlib wants bytes that are not const, and leaves them alone.
    stream_.next_in = reinterpret_cast<Bytef*>(const_cast<char*>(stored.data()));
    stream_.avail_in = static_cast<uInt>(stored.size());
    stream_.next_out = reinterpret_cast<Bytef*>(out.data());
    stream_.avail_out = static_cast<uInt>(out.size());
    const int code = inflate(&stream_, Z_NO_FLUSH);
    if (code != Z_OK && code != Z_STREAM_END && code != Z_BUF_ERROR) {
      throw Error(ErrorKind::input, std::string("the gzip stream is broken: ") +
                                        (stream_.msg != nullptr ? stream_.msg : "bad data"));
    }
    complete_ = code == Z_STREAM_END;
    stored.remove_prefix(stored.size() - stream_.avail_in);
    return out.size() - stream_.avail_out;
  }

  [[nodiscard]] bool complete() const { return complete_; }

 private:
  z_stream stream_{};
  bool complete_ = false;
};

}  // namespace

struct Input::State {
  std::string name;
  base::FileDescriptor owned;
  int fd = STDIN_FILENO;
  std::optional<std::uint64_t> size;
  std::atomic<std::uint64_t> position{0};
  base::FileDescriptor wake{::eventfd(0, EFD_CLOEXEC)};
  std::atomic<bool> cancelled{false};
  std::unique_ptr<char[]> buffer = std::make_unique_for_overwrite<char[]>(k_buffer);
  std::string_view unread;  // of the buffer
  bool started = false;
  std::optional<Clock::time_point> until;  // of this read
  bool waiting = false;                    // `until` has come
  std::unique_ptr<GzipStream> gzip;
  std::unique_ptr<batch::StreamDecompressor> zstd;
  std::unique_ptr<FollowedFile> followed;

  // Puts more of the file behind what is unread; false at the end.
  bool fill() {
    if (!unread.empty()) std::memmove(buffer.get(), unread.data(), unread.size());
    const std::size_t kept = unread.size();
    const std::size_t got = read_file({buffer.get() + kept, k_buffer - kept});
    unread = {buffer.get(), kept + got};
    position += got;
    return got > 0;
  }

  std::size_t read_file(std::span<char> out) {
    if (followed) {
      FollowedFile::End end = FollowedFile::End::none;
      const std::size_t count = cancelled ? 0 : followed->read(out, until, wake.get(), end);
      waiting = end == FollowedFile::End::quiet && !cancelled;
      return count;
    }
    if (!wait()) return 0;
    ssize_t got = 0;
    do {
      got = ::read(fd, out.data(), out.size());
    } while (got < 0 && errno == EINTR);
    if (got < 0) base::throw_errno(name, errno);
    return static_cast<std::size_t>(got);
  }

  // Waits until there is something to read; false where the input was cancelled. Files never make wait.
  bool wait() {
    if (size) return !cancelled;
    pollfd events[2] = {{fd, POLLIN, 0}, {wake.get(), POLLIN, 0}};
    int ready = -1;
    while (!cancelled && (ready = ::poll(events, 2, milliseconds_left())) < 0) {
      if (errno != EINTR) base::throw_errno(name, errno);
    }
    waiting = ready == 0;
    return !cancelled && !waiting;
  }

  // For poll(2), rounded up.
  [[nodiscard]] int milliseconds_left() const {
    if (!until) return -1;
    const auto left = std::chrono::ceil<std::chrono::milliseconds>(*until - Clock::now()).count();
    return static_cast<int>(std::clamp<std::int64_t>(left, 0, std::numeric_limits<int>::max()));
  }

  // Looks at the first bytes: gzip's magic is 1F 8B (RFC 1952, 2.3.1).
  void start() {
    while (unread.size() < 4 && fill()) {
    }
    if (waiting) return;
    started = true;
    if (followed) {
      if (!unread.starts_with("\x1F\x8B") && !batch::is_zstd(unread)) return;
      throw Error(ErrorKind::usage, name + ": is compressed; --follow reads plain text");
    }
    if (unread.starts_with("\x1F\x8B"))
      gzip = std::make_unique<GzipStream>();
    else if (batch::is_zstd(unread))
      zstd = std::make_unique<batch::StreamDecompressor>();
  }

  template <typename Stream>
  std::size_t inflated(Stream& stream, std::span<char> out, const char* what) {
    while (true) {
      if (unread.empty() && !fill()) {
        if (!stream.complete()) {
          if (cancelled || waiting) return 0;
          throw Error(ErrorKind::input,
                      std::string("the ") + what + " stream is cut short: its end is missing");
        }
        return 0;
      }
      const std::size_t got = stream.read(unread, out);
      if (got > 0) return got;
    }
  }

  std::size_t plain(std::span<char> out) {
    if (unread.empty()) {
      const std::size_t got = read_file(out);
      position += got;
      return got;
    }
    const std::size_t count = std::min(out.size(), unread.size());
    std::memcpy(out.data(), unread.data(), count);
    unread.remove_prefix(count);
    return count;
  }
};

Input::Input(const std::string& path) : state_(std::make_unique<State>()) {
  state_->name = path;
  if (path != "-") {
    state_->owned = base::FileDescriptor(::open(path.c_str(), O_RDONLY | O_CLOEXEC));
    if (!state_->owned) throw Error(ErrorKind::usage, path + ": " + std::strerror(errno));
    state_->fd = state_->owned.get();
  }
  struct stat status {};
  if (::fstat(state_->fd, &status) != 0) throw Error(ErrorKind::usage, path + ": " + std::strerror(errno));
  if (S_ISDIR(status.st_mode)) throw Error(ErrorKind::usage, path + ": is a directory; name the files in it");
  if (S_ISREG(status.st_mode)) state_->size = static_cast<std::uint64_t>(status.st_size);
}

Input::Input(const std::string& path, std::unique_ptr<FollowedFile> followed)
    : state_(std::make_unique<State>()) {
  state_->name = path;
  state_->followed = std::move(followed);
}

Input::~Input() = default;
Input::Input(Input&&) noexcept = default;
Input& Input::operator=(Input&&) noexcept = default;

std::size_t Input::read(std::span<char> out, std::optional<Clock::time_point> until) {
  state_->until = until;
  state_->waiting = false;
  if (!state_->started) state_->start();
  if (state_->waiting) return 0;
  if (state_->gzip) return state_->inflated(*state_->gzip, out, "gzip");
  if (state_->zstd) return state_->inflated(*state_->zstd, out, "zstd");
  return state_->plain(out);
}

bool Input::is_waiting() const { return state_->waiting; }

std::optional<FilePlace> Input::followed_from() const {
  if (!state_->followed) return std::nullopt;
  return state_->followed->begin();
}

void Input::cancel() {
  state_->cancelled = true;
  const std::uint64_t one = 1;
  [[maybe_unused]] const ssize_t written = ::write(state_->wake.get(), &one, sizeof one);
}

bool Input::is_file(const std::string& path) const {
  struct stat mine {};
  struct stat other {};
  const bool known =
      state_->followed ? ::stat(state_->name.c_str(), &mine) == 0 : ::fstat(state_->fd, &mine) == 0;
  return known && ::stat(path.c_str(), &other) == 0 && S_ISREG(mine.st_mode) && mine.st_dev == other.st_dev &&
         mine.st_ino == other.st_ino;
}

std::uint64_t Input::position() const { return state_->position; }

std::optional<std::uint64_t> Input::size() const { return state_->size; }

}  // namespace runctl::flow
