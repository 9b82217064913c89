// The disk that faulty_disk.cpp watches: what was done to it and not synced, and what happens at which
// operation.
#pragma once

#include <dlfcn.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <climits>
#include <csignal>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <map>
#include <mutex>
#include <optional>
#include <random>
#include <set>
#include <string>
#include <utility>
#include <vector>

namespace faulty {

using Inode = std::pair<dev_t, ino_t>;

// The function of that name which the program would have called.
template <typename Function>
Function* real(const char* name) {
  return reinterpret_cast<Function*>(::dlsym(RTLD_NEXT, name));
}
#define REAL(name) (*real<decltype(::name)>(#name))

inline Inode inode_of(const struct stat& status) { return {status.st_dev, status.st_ino}; }

inline Inode inode_of(const std::string& path) {
  struct stat status {};
  return ::stat(path.c_str(), &status) == 0 ? inode_of(status) : Inode{};
}

inline std::string parent_of(const std::string& path) { return path.substr(0, path.rfind('/')); }

// An unsynced change, and what takes it back.
struct Change {
  enum class Kind { data, made_file, made_directory, renamed, linked, removed };
  Kind kind = Kind::data;
  Inode owner{};  // the file whose bytes, or the directory whose names
  std::string path{}, from{};
  std::string saved{};  // a link to what the change took away
  int file = -1;
  off_t offset = 0, size_before = 0, size_after = 0;
  std::string before{}, after{};
};

// A change as one process hands it on to the next; its five texts follow.
struct Record {
  Change::Kind kind = Change::Kind::data;
  dev_t device = 0;
  ino_t inode = 0;
  off_t offset = 0, size_before = 0, size_after = 0;
  std::array<std::size_t, 5> lengths{};
};

class Disk {
 public:
  static Disk& get() {
    static Disk* const disk = new Disk;  // never destroyed: the program writes until its end
    disk->take_over();                   // not before there is a disk: it uses what this library replaces
    return *disk;
  }

  std::recursive_mutex mutex;

  [[nodiscard]] bool holds(const std::string& path) const {
    return !inside_ && !root_.empty() && path.starts_with(root_ + "/") && !path.ends_with("-shm");
  }

  // The path of a file of this disk that is open; empty where it is another's.
  std::string path_of(int fd) {
    if (inside_ || root_.empty()) return {};
    char target[PATH_MAX];
    const ssize_t length = ::readlink(("/proc/self/fd/" + std::to_string(fd)).c_str(), target, sizeof target);
    const std::string path(target, length > 0 ? static_cast<std::size_t>(length) : 0);
    return path == root_ || holds(path) ? path : std::string();
  }

  std::string absolute(int directory, const char* path) {
    if (inside_ || root_.empty()) return {};
    std::string whole = path;
    if (!whole.starts_with('/')) {
      const std::string base =
          directory == AT_FDCWD ? std::filesystem::current_path().string() : path_of(directory);
      if (base.empty()) return {};
      whole = base + "/" + whole;
    }
    return std::filesystem::path(whole).lexically_normal().string();
  }

  // To be called before each operation. False where it is to fail, with errno.
  bool allows(const char* name, const std::string& path, bool needs_space) {
    ++count_;
    if (log_ >= 0) {
      const std::string line = std::string(name) + "\t" + path + "\n";
      if (REAL(write)(log_, line.data(), line.size()) < 0) std::abort();
    }
    if (at_ == 0 || count_ < at_ || (count_ > at_ && !stays_)) return true;
    if (error_ == 0) {
      if (cut_) {
        take_back();
      } else if (!carry_.empty()) {
        hand_on();
      }
      ::kill(::getpid(), SIGKILL);
      ::pause();
    }
    if (error_ == ENOSPC && !needs_space) return true;
    errno = error_;
    return false;
  }

  void note(Change change) {
    if (follows()) changes_.push_back(std::move(change));
  }

  // Before bytes of a file are changed; the rest is told by wrote().
  Change before_write(int fd, off_t offset, std::size_t length) {
    Change change;
    if (!follows()) return change;
    struct stat status {};
    ::fstat(fd, &status);
    change.owner = inode_of(status);
    change.size_before = status.st_size;
    change.file = own_descriptor(fd, change.owner);
    change.offset = offset;
    const off_t there = std::max<off_t>(0, std::min(status.st_size - offset, static_cast<off_t>(length)));
    change.before.resize(static_cast<std::size_t>(there));
    read_all(change.file, change.before, offset);
    return change;
  }

  void wrote(Change change, std::size_t length) {
    if (!follows()) return;
    change.after.resize(length);
    read_all(change.file, change.after, change.offset);
    struct stat status {};
    ::fstat(change.file, &status);
    change.size_after = status.st_size;
    note(std::move(change));
  }

  void synced(int fd) {
    struct stat status {};
    ::fstat(fd, &status);
    std::erase_if(changes_,
                  [owner = inode_of(status)](const Change& change) { return change.owner == owner; });
  }

  // Another name for what will be taken away; empty where there is nothing.
  std::string save(const std::string& path) {
    if (!follows()) return {};
    const std::string saved = save_ + "/" + std::to_string(::getpid()) + "." + std::to_string(++saved_);
    if (REAL(link)(path.c_str(), saved.c_str()) == 0) return saved;
    if (errno != ENOENT) std::abort();
    return {};
  }

  void program_ends() {
    if (cut_ && at_ == 0) {
      take_back();
    } else if (!carry_.empty()) {
      hand_on();
    }
  }

  void shared_memory(const std::string& path) {
    if (path.ends_with("-shm")) shared_memory_.insert(path);
  }

 private:
  Disk() {
    const auto variable = [](const char* name) {
      const char* const value = std::getenv(name);
      return std::string(value == nullptr ? "" : value);
    };
    root_ = variable("FAULTY_DISK_ROOT");
    save_ = variable("FAULTY_DISK_SAVE");
    if (const std::string log = variable("FAULTY_DISK_LOG"); !log.empty())
      log_ = REAL(open)(log.c_str(), O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600);
    const std::string what = variable("FAULTY_DISK");
    const std::size_t colon = what.find(':');
    if (colon == std::string::npos) return;
    const std::string kind = what.substr(0, colon);
    at_ = std::stoul(what.substr(colon + 1));
    stays_ = what.ends_with('+');
    cut_ = kind == "cut";
    carry_ = variable("FAULTY_DISK_CARRY");
    if (const std::size_t seed = what.find(':', colon + 1); seed != std::string::npos)
      lot_.emplace(std::stoul(what.substr(seed + 1)));
    const std::map<std::string, int> errors = {
        {"EIO", EIO}, {"ENOSPC", ENOSPC}, {"EROFS", EROFS}, {"EDQUOT", EDQUOT}};
    if (const auto found = errors.find(kind); found != errors.end()) error_ = found->second;
  }

  // Whether what is not synced is kept in mind.
  [[nodiscard]] bool follows() const { return cut_ || !carry_.empty(); }

  // What the processes before left unsynced is as good as this one's: it is the machine that loses it.
  void take_over() {
    const std::lock_guard lock(mutex);
    if (std::exchange(taken_over_, true) || carry_.empty()) return;
    inside_ = true;
    std::ifstream file(carry_, std::ios::binary);
    std::map<Inode, std::string> names;
    for (const auto& entry : std::filesystem::recursive_directory_iterator(root_))
      names.emplace(inode_of(entry.path().string()), entry.path().string());
    Record record{};
    while (file.read(reinterpret_cast<char*>(&record), sizeof record)) {
      Change change{.kind = record.kind,
                    .owner = {record.device, record.inode},
                    .offset = record.offset,
                    .size_before = record.size_before,
                    .size_after = record.size_after};
      std::string* const texts[] = {&change.path, &change.from, &change.saved, &change.before, &change.after};
      for (std::size_t i = 0; i < std::size(texts); ++i) {
        texts[i]->resize(record.lengths[i]);
        file.read(texts[i]->data(), static_cast<std::streamsize>(texts[i]->size()));
      }
      if (change.kind == Change::Kind::data) {
        const auto name = names.find(change.owner);
        if (name == names.end()) continue;  // removed since, and nobody can read it
        const auto [entry, added] = descriptors_.try_emplace(change.owner, -1);
        if (added) entry->second = REAL(open)(name->second.c_str(), O_RDWR | O_CLOEXEC);
        change.file = entry->second;
      }
      changes_.push_back(std::move(change));
    }
    inside_ = false;
  }

  void hand_on() {
    inside_ = true;
    std::ofstream file(carry_, std::ios::binary | std::ios::trunc);
    for (const Change& change : changes_) {
      const std::string* const texts[] = {&change.path, &change.from, &change.saved, &change.before,
                                          &change.after};
      Record record{.kind = change.kind,
                    .device = change.owner.first,
                    .inode = change.owner.second,
                    .offset = change.offset,
                    .size_before = change.size_before,
                    .size_after = change.size_after};
      for (std::size_t i = 0; i < std::size(texts); ++i) record.lengths[i] = texts[i]->size();
      file.write(reinterpret_cast<const char*>(&record), sizeof record);
      for (const std::string* text : texts)
        file.write(text->data(), static_cast<std::streamsize>(text->size()));
    }
    file.flush();
    if (!file) std::abort();
    inside_ = false;
  }

  // To read and restore a file whatever it is opened for. Stays open: closing it would end SQLite's locks.
  int own_descriptor(int fd, const Inode& inode) {
    const auto [entry, added] = descriptors_.try_emplace(inode, -1);
    if (added) {
      inside_ = true;
      entry->second = REAL(open)(("/proc/self/fd/" + std::to_string(fd)).c_str(), O_RDWR | O_CLOEXEC);
      inside_ = false;
    }
    return entry->second;
  }

  static void read_all(int file, std::string& bytes, off_t offset) {
    if (::pread(file, bytes.data(), bytes.size(), offset) != static_cast<ssize_t>(bytes.size())) std::abort();
  }
  static void write_all(int file, const std::string& bytes, off_t offset) {
    if (REAL(pwrite)(file, bytes.data(), bytes.size(), offset) != static_cast<ssize_t>(bytes.size()))
      std::abort();
  }

  void take_back() {
    inside_ = true;
    // Of a directory the first changes stay, of a file any: a disk writes pages in the order it likes.
    std::set<Inode> ended;
    std::vector<bool> stays(changes_.size(), false);
    for (std::size_t i = 0; lot_ && i < changes_.size(); ++i) {
      stays[i] = (*lot_)() % 2 == 0;
      if (changes_[i].kind == Change::Kind::data) continue;
      if (!stays[i]) ended.insert(changes_[i].owner);
      if (ended.contains(changes_[i].owner)) stays[i] = false;
    }
    for (std::size_t i = changes_.size(); i-- > 0;) {
      if (!stays[i] || changes_[i].kind == Change::Kind::data) take_back(changes_[i]);
    }
    for (std::size_t i = 0; i < changes_.size(); ++i) {
      const Change& change = changes_[i];
      if (!stays[i] || change.kind != Change::Kind::data) continue;
      write_all(change.file, change.after, change.offset);
      if (change.after.empty() && REAL(ftruncate)(change.file, change.size_after) != 0) std::abort();
    }
    for (const std::string& path : shared_memory_) REAL(unlink)(path.c_str());
  }

  static void take_back(const Change& change) {
    switch (change.kind) {
      case Change::Kind::data:
        write_all(change.file, change.before, change.offset);
        if (REAL(ftruncate)(change.file, change.size_before) != 0) std::abort();
        break;
      case Change::Kind::made_file:
      case Change::Kind::linked:
        REAL(unlink)(change.path.c_str());
        break;
      case Change::Kind::made_directory:
        std::filesystem::remove_all(change.path);  // and whatever in it was synced
        break;
      case Change::Kind::renamed:
        REAL(rename)(change.path.c_str(), change.from.c_str());
        [[fallthrough]];
      case Change::Kind::removed:
        if (!change.saved.empty()) REAL(rename)(change.saved.c_str(), change.path.c_str());
        break;
    }
  }

  std::string root_, save_, carry_;
  int log_ = -1;
  unsigned long count_ = 0, at_ = 0, saved_ = 0;
  int error_ = 0;
  bool cut_ = false, stays_ = false, taken_over_ = false;
  bool inside_ = false;  // what this library does itself is no operation
  std::optional<std::mt19937> lot_;
  std::vector<Change> changes_;
  std::map<Inode, int> descriptors_;
  std::set<std::string> shared_memory_;
};

}  // namespace faulty
