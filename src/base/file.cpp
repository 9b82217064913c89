#include "base/file.hpp"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <ctime>
#include <filesystem>
#include <system_error>

#include "base/error.hpp"

namespace runctl::base {

namespace {

constexpr int k_max_links = 40;  // as for the kernel

std::string parent_of(const std::string& path) {
  const std::string parent = std::filesystem::path(path).parent_path().string();
  return parent.empty() ? "." : parent;
}

bool is_directory(const std::string& path) {
  std::error_code failure;
  return std::filesystem::is_directory(path, failure);
}

// Returns 0 or the error. A file system that knows no sync of directories says EINVAL (fsync(2)).
int try_to_sync(const std::string& path) {
  const FileDescriptor directory(::open(path.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  if (directory && (::fsync(directory.get()) == 0 || errno == EINVAL)) return 0;
  return errno;
}

// Names of temporary files start with a dot and end so, and no reader takes them for anything.
std::string temporary_name(const std::string& path) {
  std::uint64_t random = 0;
  if (getrandom(&random, sizeof random, 0) != static_cast<ssize_t>(sizeof random))
    throw_errno("getrandom", errno);
  const std::filesystem::path whole(path);
  return fmt::format("{}/.{}.{:016x}.tmp", parent_of(path), whole.filename().string(), random);
}

}  // namespace

FileDescriptor::~FileDescriptor() {
  if (number_ >= 0) ::close(number_);
}

FileDescriptor open_for_reading(const std::string& path) {
  FileDescriptor file(::open(path.c_str(), O_RDONLY | O_CLOEXEC));
  if (!file) throw_errno(path, errno);
  return file;
}

std::optional<std::string> read_file(const std::string& path, std::size_t limit) {
  // A named pipe that nobody writes into is empty, rather than a reason to wait for ever; one that somebody
  // does write into, as a shell's <(command), is read like a file.
  const FileDescriptor file(::open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK));
  if (file && ::fcntl(file.get(), F_SETFL, O_RDONLY) != 0) throw_errno(path, errno);
  if (!file) {
    if (errno == ENOENT || errno == ENOTDIR) return std::nullopt;
    throw_errno(path, errno);
  }
  std::string content;
  char buffer[16384];
  while (true) {
    const ssize_t got = ::read(file.get(), buffer, sizeof buffer);
    if (got < 0 && errno == EINTR) continue;
    if (got < 0) throw_errno(path, errno);
    if (got == 0) return content;
    content.append(buffer, static_cast<std::size_t>(got));
    if (content.size() > limit)
      throw Error(ErrorKind::io, fmt::format("{}: is larger than {} bytes", path, limit));
  }
}

void write_all(int fd, std::string_view bytes, const std::string& path) {
  while (!bytes.empty()) {
    const ssize_t written = ::write(fd, bytes.data(), bytes.size());
    if (written < 0 && errno == EINTR) continue;
    if (written < 0) throw_errno(path, errno);
    bytes.remove_prefix(static_cast<std::size_t>(written));
  }
}

void sync_directory(const std::string& path) {
  if (const int failure = try_to_sync(path); failure != 0) throw_errno(path, failure);
}

void make_directories(const std::string& directory, unsigned mode) {
  if (directory.empty()) return;
  const std::string parent = parent_of(directory);
  if (!is_directory(directory)) {
    if (parent != directory) make_directories(parent);
    if (::mkdir(directory.c_str(), mode) != 0 && (errno != EEXIST || !is_directory(directory)))
      throw_errno(directory + ": cannot be made", errno);
  }
  // A directory that is gone after a power cut takes its files with it, and who made this one may have been
  // killed before it was synced. Those above it were synced before anything was made in them.
  const int failure = try_to_sync(parent);
  if (failure != 0 && failure != EACCES) throw_errno(parent, failure);
}

std::string replacement_target(const std::string& path) {
  std::filesystem::path target(path);
  for (int links = 0; links < k_max_links; ++links) {
    std::error_code failure;
    const std::filesystem::path next = std::filesystem::read_symlink(target, failure);
    if (failure) return target.string();
    target = target.parent_path() / next;
  }
  throw_errno(path + ": cannot be written", ELOOP);
}

bool is_temporary_name(const std::string& name) { return name.starts_with('.') && name.ends_with(".tmp"); }

AtomicFile::AtomicFile(std::string path)
    : path_(std::move(path)),
      temporary_(temporary_name(path_)),
      file_(::open(temporary_.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0666)) {
  if (!file_) throw_errno(path_ + ": cannot be written", errno);
}

AtomicFile::~AtomicFile() {
  if (!temporary_.empty()) ::unlink(temporary_.c_str());
}

void AtomicFile::write(std::string_view bytes) {
  write_all(file_.get(), bytes, path_ + ": cannot be written");
}

bool AtomicFile::commit(Replace replace) {
  // The kernel stamps files with the time of its last tick, which makes files of the same few milliseconds
  // look equally old; the order of batches must show.
  timespec now{};
  clock_gettime(CLOCK_REALTIME, &now);
  const timespec times[2] = {now, now};
  if (::futimens(file_.get(), times) != 0 || ::fsync(file_.get()) != 0)
    throw_errno(path_ + ": cannot be written", errno);
  bool created = true;
  if (replace == Replace::yes) {
    if (::rename(temporary_.c_str(), path_.c_str()) != 0) throw_errno(path_ + ": cannot be written", errno);
    temporary_.clear();
  } else if (::renameat2(AT_FDCWD, temporary_.c_str(), AT_FDCWD, path_.c_str(), RENAME_NOREPLACE) == 0) {
    temporary_.clear();
  } else if ((errno == EINVAL || errno == ENOSYS) && ::link(temporary_.c_str(), path_.c_str()) == 0) {
    // Network file systems know no RENAME_NOREPLACE; the destructor removes the other name.
  } else {
    if (errno != EEXIST) throw_errno(path_ + ": cannot be written", errno);
    created = false;
  }
  sync_directory(parent_of(path_));
  return created;
}

}  // namespace runctl::base
