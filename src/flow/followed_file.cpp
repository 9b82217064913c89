#include "flow/followed_file.hpp"

#include <fcntl.h>
#include <fmt/format.h>
#include <poll.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstring>
#include <filesystem>
#include <system_error>

#include "base/error.hpp"
#include "base/hash.hpp"

namespace runctl::flow {

namespace {

namespace fs = std::filesystem;
using base::Error;
using base::ErrorKind;

// How often a quiet file is looked at: unlike inotify(7), looking works on network file systems too.
constexpr std::chrono::milliseconds k_look{200};
// How long a file that was rotated away must be quiet before it is left: its writer may still have it open.
constexpr std::chrono::seconds k_grace{2};

std::string read_at(int file, std::uint64_t offset, std::size_t length) {
  std::string bytes(length, '\0');
  const ssize_t got = ::pread(file, bytes.data(), length, static_cast<off_t>(offset));
  bytes.resize(got < 0 ? 0 : static_cast<std::size_t>(got));
  return bytes;
}

// Whether the file has at `place` what it had.
bool still_has(int file, const FilePlace& place) {
  const std::string tail = read_at(file, place.offset - place.tail_length, place.tail_length);
  return tail.size() == place.tail_length && base::xxh3_64(tail) == place.tail_hash;
}

std::optional<FilePlace> beginning_of(int file) {
  struct stat status {};
  if (::fstat(file, &status) != 0 || !S_ISREG(status.st_mode)) return std::nullopt;
  FilePlace place;
  place.device = status.st_dev;
  place.inode = status.st_ino;
  set_tail(place, {});
  return place;
}

base::FileDescriptor open_file(const std::string& path) {
  return base::FileDescriptor(::open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK));
}

}  // namespace

void set_tail(FilePlace& place, std::string_view before) {
  before = before.substr(before.size() - std::min<std::size_t>({before.size(), k_tail, place.offset}));
  place.tail_length = before.size();
  place.tail_hash = base::xxh3_64(before);
}

FollowedFile::FollowedFile(std::string path, const std::optional<FilePlace>& from, Trouble trouble)
    : path_(std::move(path)), trouble_(std::move(trouble)) {
  base::FileDescriptor file = open_file(path_);
  if (!file) throw Error(ErrorKind::usage, path_ + ": " + std::strerror(errno));
  const auto place = beginning_of(file.get());
  if (!place) throw Error(ErrorKind::usage, path_ + ": is no file; --follow reads a file that grows");
  const bool same =
      from && from->device == place->device && from->inode == place->inode && still_has(file.get(), *from);
  std::optional<Opened> rotated;
  if (from && !same) rotated = find_rotated(*from);
  if (from && !same && !rotated) {
    trouble_(
        fmt::format("{}: is not the file that was read up to byte {}, and none beside it is; it is read "
                    "from its beginning",
                    path_, from->offset));
  }
  start(rotated ? std::move(*rotated) : Opened{std::move(file), same ? *from : *place});
}

std::optional<FollowedFile::Opened> FollowedFile::find_rotated(const FilePlace& from) const {
  std::string directory = fs::path(path_).parent_path().string();
  if (directory.empty()) directory = ".";
  std::error_code failure;
  for (fs::directory_iterator entry(directory, failure), end; !failure && entry != end;
       entry.increment(failure)) {
    struct stat status {};
    if (::stat(entry->path().c_str(), &status) != 0 || !S_ISREG(status.st_mode) ||
        status.st_dev != from.device || status.st_ino != from.inode)
      continue;
    base::FileDescriptor file = open_file(entry->path().string());
    if (file && still_has(file.get(), from)) return Opened{std::move(file), from};
  }
  return std::nullopt;
}

void FollowedFile::start(Opened opened) {
  now_ = std::move(opened);
  begin_ = now_.place;
  tail_ = read_at(now_.file.get(), begin_.offset - begin_.tail_length, begin_.tail_length);
  done_ = false;
  replaced_at_.reset();
}

// Whether another file has been at `path_` for long enough.
bool FollowedFile::was_replaced() {
  struct stat status {};
  const bool other = ::stat(path_.c_str(), &status) == 0 && S_ISREG(status.st_mode) &&
                     (status.st_dev != now_.place.device || status.st_ino != now_.place.inode);
  if (!other) {
    replaced_at_.reset();
    return false;
  }
  if (!replaced_at_) replaced_at_ = Clock::now();
  return Clock::now() - *replaced_at_ >= k_grace;
}

std::size_t FollowedFile::read(std::span<char> out, std::optional<Clock::time_point> until, int wake,
                               End& end) {
  end = End::none;
  while (true) {
    if (!done_ || open_next()) {
      const std::size_t got = read_more(out);
      if (done_) end = End::file;
      if (done_ || got > 0) return got;
    }
    if (!wait(until, wake)) {
      end = End::quiet;
      return 0;
    }
  }
}

// False where no file has its place at the moment, as in the middle of a rotation.
bool FollowedFile::open_next() {
  base::FileDescriptor file = open_file(path_);
  const auto place = file ? beginning_of(file.get()) : std::nullopt;
  if (place) start({std::move(file), *place});
  return place.has_value();
}

// 0 where there is nothing for now, or for ever: then the file is done.
std::size_t FollowedFile::read_more(std::span<char> out) {
  // Cut, or cut and filled again: then other bytes stand before the place where reading goes on. Both are
  // read at once, for the file may be cut at any time.
  std::string before(tail_.size(), '\0');
  const std::array<iovec, 2> pieces{{{before.data(), before.size()}, {out.data(), out.size()}}};
  ssize_t got = 0;
  do {
    got = ::preadv(now_.file.get(), pieces.data(), static_cast<int>(pieces.size()),
                   static_cast<off_t>(now_.place.offset - before.size()));
  } while (got < 0 && errno == EINTR);
  if (got < 0) base::throw_errno(path_, errno);
  if (static_cast<std::size_t>(got) < before.size() || before != tail_) {
    trouble_(path_ + ": was truncated; it is read from its beginning");
    done_ = true;
    return 0;
  }
  const std::size_t count = static_cast<std::size_t>(got) - before.size();
  if (count == 0) {
    done_ = was_replaced();
    return 0;
  }
  now_.place.offset += count;
  const std::size_t kept = std::min(count, k_tail);
  tail_.append(out.data() + count - kept, kept);
  tail_.erase(0, tail_.size() - std::min(tail_.size(), k_tail));
  replaced_at_.reset();
  return count;
}

// False where the time has come, or somebody wants this to end.
bool FollowedFile::wait(std::optional<Clock::time_point> until, int wake) {
  auto time = k_look;
  if (until) time = std::min(time, std::chrono::ceil<std::chrono::milliseconds>(*until - Clock::now()));
  if (time.count() <= 0) return false;
  pollfd event{wake, POLLIN, 0};
  return ::poll(&event, 1, static_cast<int>(time.count())) <= 0;
}

}  // namespace runctl::flow
