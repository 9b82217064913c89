#include "cache/directory.hpp"

#include <dirent.h>
#include <fcntl.h>
#include <fmt/format.h>
#include <sys/stat.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <charconv>
#include <ctime>
#include <memory>

#include "base/error.hpp"
#include "base/time.hpp"
#include "cache/entry.hpp"
#include "cache/usage.hpp"

namespace runctl::cache {

namespace {

using base::Error;
using base::ErrorKind;

constexpr std::int64_t k_leftover_ns = std::int64_t{3600} * 1'000'000'000;
// https://bford.info/cachedir/: backups leave out what is in the directory.
constexpr const char* k_tag_name = "CACHEDIR.TAG";
constexpr std::string_view k_tag =
    "Signature: 8a477f597d28d172789f06886806bc55\n# The cache of runctl; see runctl-cache(1).\n";
constexpr int k_open_directory = O_RDONLY | O_DIRECTORY | O_CLOEXEC | O_NOFOLLOW;

std::uint64_t blocks(const struct stat& status) { return static_cast<std::uint64_t>(status.st_blocks) * 512; }

std::int64_t nanoseconds(const timespec& time) { return base::nanoseconds_of(time.tv_sec, time.tv_nsec); }

std::array<char, 3> shard_name(unsigned shard) {
  constexpr const char* k_digits = "0123456789abcdef";
  return {k_digits[shard / 16], k_digits[shard % 16], '\0'};
}

// Like base::make_directories, but for our eyes only, and not durable: a cache may be lost.
void make_private_directories(const std::string& path) {
  for (std::size_t slash = path.find('/', 1);; slash = path.find('/', slash + 1)) {
    const std::string part = path.substr(0, slash);
    if (::mkdir(part.c_str(), 0700) != 0 && errno != EEXIST)
      base::throw_errno(part + ": cannot be made", errno);
    if (slash == std::string::npos) return;
  }
}

void check_owner(int root, const std::string& path) {
  struct stat status {};
  if (::fstat(root, &status) != 0) base::throw_errno(path, errno);
  if (status.st_uid != ::geteuid())
    throw Error(ErrorKind::io, path + ": belongs to another user; name another cache with --cache-dir");
  if ((status.st_mode & 022U) != 0)
    throw Error(ErrorKind::io, path + ": others may write into it; chmod 700 makes it private");
}

void write_tag(int root) {
  const base::FileDescriptor tag(
      ::openat(root, k_tag_name, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, 0600));
  if (tag) base::write_all(tag.get(), k_tag, k_tag_name);
}

struct CloseDirectory {
  void operator()(DIR* stream) const { ::closedir(stream); }
};
using Stream = std::unique_ptr<DIR, CloseDirectory>;

// From the first on, whatever was read of the directory before.
Stream entries_of(int directory, const std::string& path) {
  // The stream owns its descriptor.
  const int duplicate = ::fcntl(directory, F_DUPFD_CLOEXEC, 0);
  Stream stream(duplicate < 0 ? nullptr : ::fdopendir(duplicate));
  if (!stream) base::throw_errno(path, errno);
  ::rewinddir(stream.get());  // the place is shared with the descriptor
  return stream;
}

}  // namespace

unsigned shard_of(const std::string& name) {
  unsigned shard = 0;
  std::from_chars(name.data(), name.data() + 2, shard, 16);
  return shard;
}

std::uint64_t disk_bytes(int file) {
  struct stat status {};
  return ::fstat(file, &status) == 0 ? blocks(status) : 0;
}

std::optional<Directory> Directory::open(const std::string& path, Make make) {
  const std::string whole = path + "/v1";
  base::FileDescriptor root(::open(whole.c_str(), k_open_directory));
  if (!root && errno == ENOENT) {
    if (make == Make::no) return std::nullopt;
    make_private_directories(whole);
    root = base::FileDescriptor(::open(whole.c_str(), k_open_directory));
    if (root) write_tag(root.get());
  }
  if (!root) base::throw_errno(whole, errno);
  check_owner(root.get(), whole);
  return Directory(whole, std::move(root));
}

std::uint64_t Directory::own_bytes() const {
  struct stat status {};
  std::uint64_t sum = disk_bytes(root_.get()) + usage_file_bytes(root_.get());
  if (::fstatat(root_.get(), k_tag_name, &status, AT_SYMLINK_NOFOLLOW) == 0) sum += blocks(status);
  if (::fstatat(root_.get(), "..", &status, 0) == 0) sum += blocks(status);
  return sum;
}

std::string Directory::path_of(unsigned shard, const std::string& name) const {
  return fmt::format("{}/{}/{}", path_, shard_name(shard).data(), name);
}

base::FileDescriptor Directory::shard(unsigned shard, Make make) const {
  const auto name = shard_name(shard);
  base::FileDescriptor directory(::openat(root_.get(), name.data(), k_open_directory));
  if (directory || make == Make::no) return directory;
  if (::mkdirat(root_.get(), name.data(), 0700) != 0 && errno != EEXIST)
    base::throw_errno(path_ + "/" + name.data(), errno);
  directory = base::FileDescriptor(::openat(root_.get(), name.data(), k_open_directory));
  if (!directory) base::throw_errno(path_ + "/" + name.data(), errno);
  return directory;
}

std::bitset<k_shards> Directory::shards() const {
  const Stream stream = entries_of(root_.get(), path_);
  std::bitset<k_shards> found;
  while (true) {
    errno = 0;
    const dirent* const entry = ::readdir(stream.get());
    if (entry == nullptr && errno != 0) base::throw_errno(path_, errno);
    if (entry == nullptr) return found;
    const std::string_view name(entry->d_name);
    const char* const end = name.data() + name.size();
    unsigned shard = 0;
    if (name.size() == 2 && std::from_chars(name.data(), end, shard, 16).ptr == end &&
        shard_name(shard).data() == name)
      found.set(shard);
  }
}

std::optional<Listing> Directory::list(unsigned shard) const {
  const base::FileDescriptor directory = this->shard(shard, Make::no);
  if (!directory) {
    if (errno == ENOENT || errno == ENOTDIR || errno == ELOOP) return std::nullopt;
    base::throw_errno(path_ + "/" + shard_name(shard).data(), errno);
  }
  const Stream stream = entries_of(directory.get(), path_of(shard, ""));
  timespec now{};
  ::clock_gettime(CLOCK_REALTIME, &now);
  Listing listing;
  listing.bytes = disk_bytes(directory.get());
  while (const dirent* const found = ::readdir(stream.get())) {
    const std::string name(found->d_name);
    struct stat status {};
    if (name == "." || name == ".." ||
        ::fstatat(directory.get(), found->d_name, &status, AT_SYMLINK_NOFOLLOW) != 0)
      continue;
    listing.bytes += blocks(status);
    const std::int64_t modified = nanoseconds(status.st_mtim);
    if (is_entry_name(name))
      listing.entries.push_back({name, shard, blocks(status), modified});
    else if (base::is_temporary_name(name) && modified < nanoseconds(now) - k_leftover_ns)
      listing.leftovers.push_back(name);
  }
  return listing;
}

bool Directory::remove_shard(unsigned shard) const {
  return ::unlinkat(root_.get(), shard_name(shard).data(), AT_REMOVEDIR) == 0;
}

}  // namespace runctl::cache
