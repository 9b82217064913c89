#include "store/directory_store.hpp"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <cerrno>
#include <filesystem>
#include <set>
#include <vector>

#include "base/error.hpp"
#include "base/file.hpp"
#include "base/time.hpp"

namespace runctl::store {

namespace {

namespace fs = std::filesystem;
using base::Error;
using base::ErrorKind;

std::int64_t nanoseconds(const timespec& time) { return base::nanoseconds_of(time.tv_sec, time.tv_nsec); }

// Keys come from indexes and listings too, so none may lead out of the directory.
void check_key(const std::string& key) {
  const fs::path path(key);
  const bool climbs = std::any_of(path.begin(), path.end(), [](const fs::path& part) {
    return part == ".." || part == "." || part.empty();
  });
  if (key.empty() || key.find("//") != std::string::npos || path.is_absolute() || climbs ||
      key.find('\0') != std::string::npos) {
    throw Error(ErrorKind::corrupt, "\"" + key + "\": is no key of this store");
  }
}

class DirectoryStore final : public ObjectStore {
 public:
  explicit DirectoryStore(const std::string& path) : root_(fs::absolute(path).lexically_normal().string()) {
    while (root_.size() > 1 && root_.ends_with('/')) root_.pop_back();
    struct stat status {};
    if (::stat(root_.c_str(), &status) == 0 && !S_ISDIR(status.st_mode)) {
      throw Error(ErrorKind::usage, root_ + ": is not a directory; a store is a directory or file:///DIR");
    }
  }

  PutResult put(const std::string& key, std::span<const std::string_view> parts,
                const base::Sha256Digest& /*digest*/) override {
    std::uint64_t size = 0;
    for (const std::string_view part : parts) size += part.size();
    ++puts_;
    const auto there = head(key);
    if (there && there->size == size) {
      // Its writer may have been killed before it came to this.
      base::sync_directory(fs::path(path_of(key)).parent_path().string());
      return {*there, false};
    }
    const std::string path = path_of(key);
    base::make_directories(fs::path(path).parent_path().string());
    base::AtomicFile file(path);
    for (const std::string_view part : parts) file.write(part);
    // A file of another size is no longer what its key names. One that another process has just written is.
    const bool created = file.commit(there ? base::AtomicFile::Replace::yes : base::AtomicFile::Replace::no);
    written_ += size;
    const auto info = head(key);
    if (!info || info->size != size) throw Error(ErrorKind::io, path + ": is not there after it was written");
    return {*info, created};
  }

  void read(std::span<const Range> ranges, const RangeSink& sink) override {
    base::FileDescriptor file;
    const std::string* open_key = nullptr;
    for (std::size_t i = 0; i < ranges.size(); ++i) {
      if (open_key == nullptr || *open_key != ranges[i].key) {
        file = open(ranges[i].key);
        open_key = &ranges[i].key;
      }
      ++gets_;
      sink(i, read_range(file.get(), ranges[i]));
      read_ += ranges[i].length;
    }
  }

  std::optional<ObjectInfo> head(const std::string& key) override {
    struct stat status {};
    const std::string path = path_of(key);
    if (::stat(path.c_str(), &status) != 0) {
      if (errno == ENOENT || errno == ENOTDIR) return std::nullopt;
      base::throw_errno(path, errno);
    }
    return ObjectInfo{key, static_cast<std::uint64_t>(status.st_size), nanoseconds(status.st_mtim)};
  }

  void list(const std::string& prefix, const std::function<void(const ObjectInfo&)>& visit) override {
    // Walk only the directory that the prefix names, and sort: directories have no order.
    const std::size_t slash = prefix.rfind('/');
    const std::string top = slash == std::string::npos ? root_ : root_ + "/" + prefix.substr(0, slash);
    std::vector<std::string> keys;
    collect(top, keys);
    std::sort(keys.begin(), keys.end());
    for (const std::string& key : keys) {
      if (!key.starts_with(prefix)) continue;
      if (const auto info = head(key)) visit(*info);
    }
  }

  std::vector<std::string> list_groups(const std::string& prefix) override {
    std::vector<std::string> groups;
    require_root();
    std::error_code failure;
    const std::string directory = root_ + "/" + prefix;
    if (!fs::exists(directory, failure) && !failure) return groups;
    for (const fs::directory_entry& entry : fs::directory_iterator(directory, failure)) {
      const std::string name = entry.path().filename().string();
      if (entry.is_directory(failure) && !fs::is_empty(entry.path(), failure)) groups.push_back(name);
    }
    if (failure) throw Error(ErrorKind::io, directory + ": cannot be listed: " + failure.message());
    std::sort(groups.begin(), groups.end());
    return groups;
  }

  void make_durable(std::span<const ObjectInfo> listed) override {
    std::set<std::string> directories;
    for (const ObjectInfo& object : listed)
      directories.insert(fs::path(path_of(object.key)).parent_path().string());
    for (const std::string& directory : directories) base::sync_directory(directory);
  }

  bool remove(const std::string& key) override {
    const std::string path = path_of(key);
    if (::unlink(path.c_str()) == 0) return true;
    if (errno == ENOENT) return false;
    base::throw_errno(path, errno);
  }

  [[nodiscard]] std::string url() const override { return "file://" + root_; }

  // An AtomicFile stamps its files to the nanosecond.
  [[nodiscard]] std::chrono::milliseconds time_step() const override { return std::chrono::milliseconds(0); }
  [[nodiscard]] bool is_local() const override { return true; }

  [[nodiscard]] Traffic traffic() const override {
    // Each is read once: they go on counting meanwhile, and the requests are the sum of the kinds.
    const std::uint64_t gets = gets_;
    const std::uint64_t puts = puts_;
    Traffic out{gets + puts, read_, written_, 0, {}};
    if (gets > 0) out.by_kind[{"get", 0}] = gets;
    if (puts > 0) out.by_kind[{"put", 0}] = puts;
    return out;
  }

 private:
  void require_root() const {
    std::error_code failure;
    if (fs::exists(root_, failure)) return;
    if (failure) throw Error(ErrorKind::io, root_ + ": " + failure.message());
    throw Error(ErrorKind::not_found, root_ + ": there is no such store directory");
  }

  [[nodiscard]] std::string path_of(const std::string& key) const {
    check_key(key);
    return root_ + "/" + key;
  }

  [[nodiscard]] base::FileDescriptor open(const std::string& key) const {
    const std::string path = path_of(key);
    // A named pipe in the place of a batch must not make us wait for who writes into it.
    base::FileDescriptor file(::open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK));
    if (!file && errno == ENOENT) throw Error(ErrorKind::not_found, key + ": is not in the store " + url());
    if (!file) base::throw_errno(path, errno);
    return file;
  }

  static std::string read_range(int file, const Range& range) {
    // The length may come from a broken index: what is not there is not allocated.
    struct stat status {};
    const bool known = ::fstat(file, &status) == 0;
    const auto size = known ? static_cast<std::uint64_t>(status.st_size) : 0;
    if (range.offset > size || range.length > size - range.offset) {
      throw Error(ErrorKind::corrupt, range.key + ": is shorter than it was when it was stored");
    }
    std::string bytes(range.length, '\0');
    std::size_t done = 0;
    while (done < bytes.size()) {
      const ssize_t got =
          ::pread(file, bytes.data() + done, bytes.size() - done, static_cast<off_t>(range.offset + done));
      if (got < 0 && errno == EINTR) continue;
      if (got < 0) base::throw_errno(range.key, errno);
      if (got == 0) throw Error(ErrorKind::corrupt, range.key + ": became shorter while it was read");
      done += static_cast<std::size_t>(got);
    }
    return bytes;
  }

  void collect(const std::string& directory, std::vector<std::string>& keys) const {
    require_root();
    std::error_code failure;
    if (!fs::exists(directory, failure) && !failure) return;
    // A day may have been moved to another disk; links that lead in circles end at the depth that no key has.
    constexpr int k_depth = 8;
    for (fs::recursive_directory_iterator
             entry(directory, fs::directory_options::follow_directory_symlink, failure),
         end;
         !failure && entry != end; entry.increment(failure)) {
      if (entry.depth() >= k_depth) entry.disable_recursion_pending();
      const std::string name = entry->path().filename().string();
      if (name.starts_with('.') || !entry->is_regular_file(failure)) continue;
      keys.push_back(entry->path().string().substr(root_.size() + 1));
    }
    if (failure) throw Error(ErrorKind::io, directory + ": cannot be listed: " + failure.message());
  }

  std::string root_;
  std::atomic<std::uint64_t> gets_{0}, puts_{0}, read_{0}, written_{0};
};

}  // namespace

std::string directory_of(const std::string& url) { return url.substr(std::string_view("file://").size()); }

std::vector<std::string> directory_leftovers(const std::string& directory, std::int64_t age_microseconds) {
  std::vector<std::string> paths;
  timespec now{};
  ::clock_gettime(CLOCK_REALTIME, &now);
  std::error_code failure;
  for (fs::recursive_directory_iterator entry(directory, failure), end; !failure && entry != end;
       entry.increment(failure)) {
    struct stat status {};
    if (!base::is_temporary_name(entry->path().filename().string()) ||
        ::lstat(entry->path().c_str(), &status) != 0)
      continue;
    if (nanoseconds(status.st_mtim) / 1000 < nanoseconds(now) / 1000 - age_microseconds)
      paths.push_back(entry->path().string());
  }
  return paths;
}

void remove_leftovers(const std::vector<std::string>& paths) {
  for (const std::string& path : paths) {
    if (::unlink(path.c_str()) != 0 && errno != ENOENT) base::throw_errno(path, errno);
  }
}

std::unique_ptr<ObjectStore> open_directory(const std::string& path) {
  return std::make_unique<DirectoryStore>(path);
}

}  // namespace runctl::store
