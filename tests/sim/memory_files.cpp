// SQLite's file layer for Unix stays as it is; what it asks of the system is answered here (xSetSystemCall).
#include "memory_files.hpp"

#include <fcntl.h>
#include <sqlite3.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <cerrno>
#include <cstdarg>
#include <cstring>
#include <list>
#include <vector>

namespace runctl::sim {

namespace {

// Of address space; the index of a history is below a megabyte.
constexpr std::size_t k_room = 64U << 20;
constexpr std::size_t k_descriptors = 1024;

// Memory that stays where it is when a file grows: SQLite maps its shared memory.
class Room {
 public:
  Room()
      : begin_(::mmap(nullptr, k_room, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE,
                      -1, 0)) {
    if (begin_ == MAP_FAILED) throw std::bad_alloc();
  }
  ~Room() { ::munmap(begin_, k_room); }
  Room(const Room&) = delete;
  Room& operator=(const Room&) = delete;
  [[nodiscard]] char* begin() const { return static_cast<char*>(begin_); }

 private:
  void* begin_;
};

struct File {
  struct stat status {};
  Room room;
  std::size_t size = 0;
  std::size_t opened = 0;  // so many times
  int disk = -1;           // the file itself
  bool changed = false;

  // Beyond its end there are zeros.
  void resize(std::size_t to) {
    if (to < size) std::memset(room.begin() + to, 0, size - to);
    changed = true;
    size = to;
  }
};

// Those of this thread.
thread_local std::list<File> files;
// By descriptor.
std::array<std::atomic<File*>, k_descriptors> opened_files;

File* of(int descriptor) {
  return descriptor >= 0 && static_cast<std::size_t>(descriptor) < k_descriptors
             ? opened_files[static_cast<std::size_t>(descriptor)].load()
             : nullptr;
}

File* find(const struct stat& status) {
  const auto file = std::find_if(files.begin(), files.end(), [&status](const File& f) {
    return f.status.st_ino == status.st_ino && f.status.st_dev == status.st_dev;
  });
  return file == files.end() ? nullptr : &*file;
}

File* find(const std::string& path) {
  struct stat status {};
  return ::stat(path.c_str(), &status) == 0 ? find(status) : nullptr;
}

bool read_all(File& file) {
  while (file.size < static_cast<std::size_t>(file.status.st_size)) {
    const ssize_t got =
        ::pread(file.disk, file.room.begin() + file.size,
                static_cast<std::size_t>(file.status.st_size) - file.size, static_cast<off_t>(file.size));
    if (got <= 0) return false;
    file.size += static_cast<std::size_t>(got);
  }
  return true;
}

bool write_all(const File& file) {
  std::size_t written = 0;
  while (written < file.size) {
    const ssize_t done =
        ::pwrite(file.disk, file.room.begin() + written, file.size - written, static_cast<off_t>(written));
    if (done <= 0) return false;
    written += static_cast<std::size_t>(done);
  }
  return ::ftruncate(file.disk, static_cast<off_t>(file.size)) == 0;
}

void release(const File* file) {
  ::close(file->disk);
  files.remove_if([file](const File& f) { return &f == file; });
}

// Null where it cannot be had.
File* load(const char* path, const struct stat& status) {
  if (static_cast<std::size_t>(status.st_size) > k_room) return nullptr;
  File& file = files.emplace_back();
  file.status = status;
  file.disk = ::open(path, O_RDWR | O_CLOEXEC);
  if (file.disk >= 0 && read_all(file)) return &file;
  release(&file);
  return nullptr;
}

int open_file(const char* path, int flags, int mode) {
  const int descriptor = ::open(path, flags, mode);
  struct stat status {};
  if (descriptor < 0 || ::fstat(descriptor, &status) != 0 || !S_ISREG(status.st_mode)) return descriptor;
  File* file = find(status);
  if (file == nullptr) file = load(path, status);
  if (file == nullptr || static_cast<std::size_t>(descriptor) >= k_descriptors) {
    ::close(descriptor);
    errno = EMFILE;
    return -1;
  }
  ++file->opened;
  opened_files[static_cast<std::size_t>(descriptor)] = file;
  return descriptor;
}

int close_file(int descriptor) {
  File* const file = of(descriptor);
  if (file == nullptr) return ::close(descriptor);
  opened_files[static_cast<std::size_t>(descriptor)] = nullptr;
  if (--file->opened == 0) {
    const bool kept = !file->changed || write_all(*file);
    release(file);
    if (!kept) return -1;
  }
  return ::close(descriptor);
}

int stat_path(const char* path, struct stat* status) {
  const int result = ::stat(path, status);
  if (const File* const file = result == 0 ? find(*status) : nullptr)
    status->st_size = static_cast<off_t>(file->size);
  return result;
}

int stat_file(int descriptor, struct stat* status) {
  const File* const file = of(descriptor);
  if (file == nullptr) return ::fstat(descriptor, status);
  *status = file->status;
  status->st_size = static_cast<off_t>(file->size);
  return 0;
}

int truncate_file(int descriptor, off_t size) {
  File* const file = of(descriptor);
  if (file == nullptr) return ::ftruncate(descriptor, size);
  file->resize(static_cast<std::size_t>(size));
  return 0;
}

ssize_t read_at(int descriptor, void* bytes, std::size_t count, off_t offset) {
  const File* const file = of(descriptor);
  if (file == nullptr) return ::pread(descriptor, bytes, count, offset);
  const auto begin = std::min(static_cast<std::size_t>(offset), file->size);
  const std::size_t there = std::min(count, file->size - begin);
  std::memcpy(bytes, file->room.begin() + begin, there);
  return static_cast<ssize_t>(there);
}

ssize_t write_at(int descriptor, const void* bytes, std::size_t count, off_t offset) {
  File* const file = of(descriptor);
  if (file == nullptr) return ::pwrite(descriptor, bytes, count, offset);
  const auto begin = static_cast<std::size_t>(offset);
  if (begin > k_room || count > k_room - begin) {
    errno = ENOSPC;
    return -1;
  }
  std::memcpy(file->room.begin() + begin, bytes, count);
  file->size = std::max(file->size, begin + count);
  file->changed = true;
  return static_cast<ssize_t>(count);
}

// Locks of the system are between programs, and there is only this one: SQLite itself keeps those of its
// connections apart.
int control(int descriptor, int command, ...) {
  va_list arguments;
  va_start(arguments, command);
  void* const argument = va_arg(arguments, void*);
  va_end(arguments);
  if (of(descriptor) == nullptr || (command != F_SETLK && command != F_GETLK))
    return ::fcntl(descriptor, command, argument);
  if (command == F_GETLK) static_cast<struct flock*>(argument)->l_type = F_UNLCK;
  return 0;
}

void* map(void* address, std::size_t length, int protection, int flags, int descriptor, off_t offset) {
  File* const file = of(descriptor);
  if (file == nullptr) return ::mmap(address, length, protection, flags, descriptor, offset);
  file->changed = true;
  return file->room.begin() + offset;
}

int unmap(void* address, std::size_t length) {
  const bool in_a_file = std::any_of(files.begin(), files.end(), [address](const File& file) {
    return address >= file.room.begin() && address < file.room.begin() + k_room;
  });
  return in_a_file ? 0 : ::munmap(address, length);
}

}  // namespace

void keep_files_in_memory() {
  sqlite3_vfs* const unix_files = sqlite3_vfs_find("unix");
  const auto set = [unix_files](const char* name, auto function) {
    unix_files->xSetSystemCall(unix_files, name, reinterpret_cast<sqlite3_syscall_ptr>(function));
  };
  set("open", open_file);
  set("close", close_file);
  set("stat", stat_path);
  set("fstat", stat_file);
  set("ftruncate", truncate_file);
  set("fcntl", control);
  set("mmap", map);
  set("munmap", unmap);
  for (const char* const name : {"pread", "pread64"}) set(name, read_at);
  for (const char* const name : {"pwrite", "pwrite64"}) set(name, write_at);
}

bool overwrite_in_memory(const std::string& path, const std::string& bytes) {
  File* const file = find(path);
  if (file == nullptr) return false;
  file->resize(bytes.size());
  std::memcpy(file->room.begin(), bytes.data(), bytes.size());
  return true;
}

bool zero_in_memory(const std::string& path) {
  File* const file = find(path);
  if (file == nullptr) return false;
  const std::size_t size = file->size;
  file->resize(0);
  file->resize(size);
  return true;
}

}  // namespace runctl::sim
