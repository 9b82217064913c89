// Files with an owner, and writing that is all or nothing.
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <utility>

namespace runctl::base {

// Owns a file descriptor.
class FileDescriptor {
 public:
  FileDescriptor() = default;
  explicit FileDescriptor(int number) : number_(number) {}
  FileDescriptor(FileDescriptor&& other) noexcept : number_(std::exchange(other.number_, -1)) {}
  FileDescriptor& operator=(FileDescriptor&& other) noexcept {
    std::swap(number_, other.number_);
    return *this;
  }
  FileDescriptor(const FileDescriptor&) = delete;
  FileDescriptor& operator=(const FileDescriptor&) = delete;
  ~FileDescriptor();

  [[nodiscard]] int get() const { return number_; }
  [[nodiscard]] explicit operator bool() const { return number_ >= 0; }

 private:
  int number_ = -1;
};

// Throws Error(io) naming the path.
FileDescriptor open_for_reading(const std::string& path);

// The whole file; absent where there is none. More than `limit` bytes are refused as Error(io).
std::optional<std::string> read_file(const std::string& path, std::size_t limit);

// Writes all of `bytes`; `path` is for the message.
void write_all(int fd, std::string_view bytes, const std::string& path);

// Makes `directory`, with `mode` less the umask, and its parents (0777), durably: also where another process
// made it and was killed before it was synced. Throws Error(io).
void make_directories(const std::string& directory, unsigned mode = 0777);

// Makes durable which names are in the directory.
void sync_directory(const std::string& path);

// Where a file of this name is replaced so that a link goes on leading to it, even if nothing is there yet.
std::string replacement_target(const std::string& path);

// Whether a file of this name is one that an AtomicFile is writing, or was when it was killed.
bool is_temporary_name(const std::string& name);

// A file that appears under its name whole or not at all: written beside its place, then renamed.
class AtomicFile {
 public:
  // Creates the temporary file in the directory of `path`, which must be there.
  explicit AtomicFile(std::string path);
  // Removes the temporary file unless it was committed.
  ~AtomicFile();
  AtomicFile(const AtomicFile&) = delete;
  AtomicFile& operator=(const AtomicFile&) = delete;

  void write(std::string_view bytes);
  // For those who write the file by its name.
  [[nodiscard]] const std::string& temporary_path() const { return temporary_; }

  enum class Replace { yes, no };
  // Makes the file durable and gives it its name. With Replace::no a file of that name is left as it is;
  // false says so.
  bool commit(Replace replace);

 private:
  std::string path_;
  std::string temporary_;
  FileDescriptor file_;
};

}  // namespace runctl::base
