// A disk that fails at a chosen operation: preloaded into a program, it counts what the program does to the
// files below one directory, and at the operation of that number something happens.
//
//   FAULTY_DISK_ROOT=DIR    the disk; what lies elsewhere is left alone
//   FAULTY_DISK=kill:N      the process is killed (SIGKILL) just before its Nth operation
//   FAULTY_DISK=cut:N       the power is cut then: what was not synced is taken back, the process killed
//   FAULTY_DISK=cut:N:SEED  the same, but of each file and each directory some unsynced changes stay, by lot
//   FAULTY_DISK=EIO:N       the Nth operation fails with that error (EIO, ENOSPC, EROFS, EDQUOT)
//   FAULTY_DISK=EIO:N+      and so do all that come after it; with ENOSPC those that need no space go on
//   FAULTY_DISK_CARRY=FILE  gets what is not synced at the end; what the process before left there is at
//   stake FAULTY_DISK_SAVE=DIR    a directory on the same file system, for what a power cut must bring back
//   FAULTY_DISK_LOG=FILE    gets one line for each operation: its name, a tab, the path
//
// Synced is: the bytes of a file, once fsync or fdatasync of that file has returned; the names in a
// directory, once fsync of that directory has. SQLite's shared memory (*-shm) is no operation, and is gone
// after a power cut.
#include <dlfcn.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <unistd.h>

#include <algorithm>
#include <climits>
#include <cstdarg>
#include <mutex>
#include <string>

#include "disk.hpp"

namespace {

using namespace faulty;

using Lock = std::lock_guard<std::recursive_mutex>;

// An operation that changes bytes from `offset` on; `call` does it and returns what the program gets.
template <typename Call>
ssize_t write_with(const char* name, int fd, off_t offset, std::size_t length, Call call) {
  // A signal's handler may write to a pipe or an event's descriptor: no lock and no allocation for these.
  struct stat status {};
  if (::fstat(fd, &status) != 0 || !S_ISREG(status.st_mode)) return call();
  Disk& disk = Disk::get();
  const Lock lock(disk.mutex);
  const std::string path = disk.path_of(fd);
  if (path.empty()) return call();
  if (!disk.allows(name, path, true)) return -1;
  Change change = disk.before_write(fd, offset, length);
  const ssize_t written = call();
  if (written > 0) disk.wrote(std::move(change), static_cast<std::size_t>(written));
  return written;
}

off_t position_of(int fd) {
  struct stat status {};
  const bool appends = (::fcntl(fd, F_GETFL) & O_APPEND) != 0 && ::fstat(fd, &status) == 0;
  return appends ? status.st_size : std::max<off_t>(0, ::lseek(fd, 0, SEEK_CUR));
}

std::size_t length_of(const iovec* parts, int count) {
  std::size_t length = 0;
  for (int i = 0; i < count; ++i) length += parts[i].iov_len;
  return length;
}

int open_with(int directory, const char* name, int flags, mode_t mode) {
  Disk& disk = Disk::get();
  const Lock lock(disk.mutex);
  const auto call = [&] { return REAL(openat)(directory, name, flags, mode); };
  const std::string path = disk.absolute(directory, name);
  disk.shared_memory(path);
  if (!disk.holds(path)) return call();
  struct stat status {};
  const bool there = ::stat(path.c_str(), &status) == 0;
  const bool makes = (flags & O_CREAT) != 0 && !there;
  const bool empties = (flags & O_TRUNC) != 0 && there && status.st_size > 0;
  if (!makes && !empties) return call();
  if (!disk.allows(makes ? "create" : "truncate", path, makes)) return -1;
  Change change;
  if (empties) {
    const int file = REAL(openat)(AT_FDCWD, path.c_str(), O_RDWR | O_CLOEXEC);
    change = disk.before_write(file, 0, static_cast<std::size_t>(status.st_size));
    REAL(close)(file);
  }
  const int file = call();
  if (file >= 0 && empties) disk.wrote(std::move(change), 0);
  if (file >= 0 && makes)
    disk.note({.kind = Change::Kind::made_file, .owner = inode_of(parent_of(path)), .path = path});
  return file;
}

int truncate_with(int fd, off_t size) {
  Disk& disk = Disk::get();
  const Lock lock(disk.mutex);
  const std::string path = disk.path_of(fd);
  if (path.empty()) return REAL(ftruncate)(fd, size);
  if (!disk.allows("ftruncate", path, true)) return -1;
  Change change = disk.before_write(fd, size, static_cast<std::size_t>(INT_MAX));
  const int result = REAL(ftruncate)(fd, size);
  if (result == 0) disk.wrote(std::move(change), 0);
  return result;
}

template <typename Call>
int sync_with(const char* name, int fd, Call call) {
  Disk& disk = Disk::get();
  const Lock lock(disk.mutex);
  const std::string path = disk.path_of(fd);
  if (path.empty()) return call();
  if (!disk.allows(name, path, false)) return -1;
  const int result = call();
  if (result == 0) disk.synced(fd);
  return result;
}

template <typename Call>
int rename_with(const char* from, const char* to, Call call) {
  Disk& disk = Disk::get();
  const Lock lock(disk.mutex);
  const std::string path = disk.absolute(AT_FDCWD, to);
  if (!disk.holds(path)) return call();
  if (!disk.allows("rename", path, false)) return -1;
  const std::string saved = disk.save(path);
  const int result = call();
  if (result == 0) {
    disk.note({.kind = Change::Kind::renamed,
               .owner = inode_of(parent_of(path)),
               .path = path,
               .from = disk.absolute(AT_FDCWD, from),
               .saved = saved});
  }
  return result;
}

template <typename Call>
int remove_with(int directory, const char* name, Call call) {
  Disk& disk = Disk::get();
  const Lock lock(disk.mutex);
  const std::string path = disk.absolute(directory, name);
  if (!disk.holds(path) || ::access(path.c_str(), F_OK) != 0) return call();
  if (!disk.allows("unlink", path, false)) return -1;
  const std::string saved = disk.save(path);
  const int result = call();
  if (result == 0)
    disk.note(
        {.kind = Change::Kind::removed, .owner = inode_of(parent_of(path)), .path = path, .saved = saved});
  return result;
}

template <typename Call>
int make_with(const char* operation, Change::Kind kind, int directory, const char* name, Call call) {
  Disk& disk = Disk::get();
  const Lock lock(disk.mutex);
  const std::string path = disk.absolute(directory, name);
  if (!disk.holds(path)) return call();
  if (!disk.allows(operation, path, true)) return -1;
  const int result = call();
  if (result == 0) disk.note({.kind = kind, .owner = inode_of(parent_of(path)), .path = path});
  return result;
}

mode_t mode_from(int flags, std::va_list arguments) {
  return (flags & (O_CREAT | O_TMPFILE)) != 0 ? static_cast<mode_t>(va_arg(arguments, int)) : 0;
}

[[gnu::destructor]] void at_end() {
  Disk& disk = Disk::get();
  const Lock lock(disk.mutex);
  disk.program_ends();
}

}  // namespace

// NOLINTBEGIN: the names, the signatures and the C linkage are the C library's.
extern "C" {

#define OPEN(name, directory, ...)                   \
  {                                                  \
    std::va_list arguments;                          \
    va_start(arguments, flags);                      \
    const mode_t mode = mode_from(flags, arguments); \
    va_end(arguments);                               \
    return open_with(directory, name, flags, mode);  \
  }
int open(const char* name, int flags, ...) OPEN(name, AT_FDCWD) int open64(const char* name, int flags, ...)
    OPEN(name, AT_FDCWD) int openat(int directory, const char* name, int flags, ...)
        OPEN(name, directory) int openat64(int directory, const char* name, int flags, ...)
            OPEN(name, directory)

                ssize_t write(int fd, const void* bytes, size_t length) {
  return write_with("write", fd, position_of(fd), length, [&] { return REAL(write)(fd, bytes, length); });
}
ssize_t pwrite(int fd, const void* bytes, size_t length, off_t offset) {
  return write_with("pwrite", fd, offset, length, [&] { return REAL(pwrite)(fd, bytes, length, offset); });
}
ssize_t pwrite64(int fd, const void* bytes, size_t length, off64_t offset) {
  return ::pwrite(fd, bytes, length, offset);
}
ssize_t writev(int fd, const iovec* parts, int count) {
  return write_with("writev", fd, position_of(fd), length_of(parts, count),
                    [&] { return REAL(writev)(fd, parts, count); });
}
int ftruncate(int fd, off_t size) noexcept { return truncate_with(fd, size); }
int ftruncate64(int fd, off64_t size) noexcept { return truncate_with(fd, size); }
int fsync(int fd) {
  return sync_with("fsync", fd, [&] { return REAL(fsync)(fd); });
}
int fdatasync(int fd) {
  return sync_with("fdatasync", fd, [&] { return REAL(fdatasync)(fd); });
}
int rename(const char* from, const char* to) noexcept {
  return rename_with(from, to, [&] { return REAL(rename)(from, to); });
}
int renameat(int from_directory, const char* from, int to_directory, const char* to) noexcept {
  if (from_directory != AT_FDCWD || to_directory != AT_FDCWD) {
    const std::string from_path = Disk::get().absolute(from_directory, from);
    const std::string to_path = Disk::get().absolute(to_directory, to);
    if (!from_path.empty() && !to_path.empty()) return ::rename(from_path.c_str(), to_path.c_str());
  }
  return rename_with(from, to, [&] { return REAL(renameat)(from_directory, from, to_directory, to); });
}
int renameat2(int from_directory, const char* from, int to_directory, const char* to,
              unsigned flags) noexcept {
  return rename_with(from, to,
                     [&] { return REAL(renameat2)(from_directory, from, to_directory, to, flags); });
}
int unlink(const char* name) noexcept {
  return remove_with(AT_FDCWD, name, [&] { return REAL(unlink)(name); });
}
int unlinkat(int directory, const char* name, int flags) noexcept {
  return remove_with(directory, name, [&] { return REAL(unlinkat)(directory, name, flags); });
}
int link(const char* from, const char* to) noexcept {
  return make_with("link", Change::Kind::linked, AT_FDCWD, to, [&] { return REAL(link)(from, to); });
}
int mkdir(const char* name, mode_t mode) noexcept {
  return make_with("mkdir", Change::Kind::made_directory, AT_FDCWD, name,
                   [&] { return REAL(mkdir)(name, mode); });
}
int mkdirat(int directory, const char* name, mode_t mode) noexcept {
  return make_with("mkdir", Change::Kind::made_directory, directory, name,
                   [&] { return REAL(mkdirat)(directory, name, mode); });
}
}
// NOLINTEND
