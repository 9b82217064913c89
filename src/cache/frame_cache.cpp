#include "cache/frame_cache.hpp"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <ctime>
#include <utility>

#include "base/error.hpp"
#include "base/time.hpp"
#include "cache/entry.hpp"

namespace runctl::cache {

namespace {

// A last use that is younger is not written down anew: a hit should cost no write.
constexpr std::int64_t k_touch_ns = std::int64_t{60} * 1'000'000'000;
// Longer than this nobody waits for others: the frame is not kept, or the hit not counted.
constexpr std::chrono::milliseconds k_patience{1000};
// Files take whole blocks, and a name more may cost a directory one.
constexpr std::uint64_t k_block = 4096;

std::int64_t now_ns() {
  timespec now{};
  ::clock_gettime(CLOCK_REALTIME, &now);
  return base::nanoseconds_of(now.tv_sec, now.tv_nsec);
}

bool exists(int directory, const std::string& name) {
  return ::faccessat(directory, name.c_str(), F_OK, AT_SYMLINK_NOFOLLOW) == 0;
}

// A file that gets its name when it is whole, and is gone otherwise. It is not made durable: after a power
// cut it may be empty, which its checksum tells.
class NewFile {
 public:
  NewFile(int directory, const std::string& name) : directory_(directory) {
    std::uint64_t random = 0;
    if (::getrandom(&random, sizeof random, 0) != static_cast<ssize_t>(sizeof random))
      base::throw_errno("getrandom", errno);
    temporary_ = fmt::format(".{}.{:016x}.tmp", name, random);
    file_ = base::FileDescriptor(
        ::openat(directory, temporary_.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, 0600));
    if (!file_) base::throw_errno(name, errno);
  }
  ~NewFile() {
    if (!temporary_.empty()) ::unlinkat(directory_, temporary_.c_str(), 0);
  }
  NewFile(const NewFile&) = delete;
  NewFile& operator=(const NewFile&) = delete;

  [[nodiscard]] int descriptor() const { return file_.get(); }
  void commit(const std::string& name) {
    if (::renameat(directory_, temporary_.c_str(), directory_, name.c_str()) != 0)
      base::throw_errno(name, errno);
    temporary_.clear();
  }

 private:
  int directory_;
  std::string temporary_;
  base::FileDescriptor file_;
};

}  // namespace

FrameCache::FrameCache(std::string path, std::string store_url, const Limits& limits, Log log)
    : path_(std::move(path)), store_url_(std::move(store_url)), limits_(limits), log_(std::move(log)) {}

FrameCache::~FrameCache() { count(); }

std::string FrameCache::identity(const std::string& key, std::uint64_t offset, std::uint64_t length) const {
  return identity_of(store_url_, key, offset, length);
}

void FrameCache::stop_keeping(const std::string& why) {
  if (!std::exchange(keeping_, false)) return;
  fault_ = fmt::format("cache: {}: nothing more is kept: {}", path_, why);
  log_(fault_);
}

// Whether there is a cache to look into.
bool FrameCache::ready() {
  if (directory_ || !usable_) return usable_;
  try {
    directory_ = Directory::open(path_, Make::no);
  } catch (const base::Error& error) {
    usable_ = false;
    stop_keeping(error.what());
  }
  return directory_.has_value();
}

std::optional<std::string> FrameCache::find(const std::string& key, std::uint64_t offset,
                                            std::uint64_t length) {
  std::optional<std::string> frame;
  if (ready()) frame = read_entry(identity(key, offset, length), length);
  ++(frame ? hits_ : misses_);
  return frame;
}

bool FrameCache::contains(const std::string& key, std::uint64_t offset, std::uint64_t length) {
  if (!ready()) return false;
  const std::string id = identity(key, offset, length);
  const std::string name = name_of(id);
  const base::FileDescriptor shard = directory_->shard(shard_of(name), Make::no);
  struct stat status {};
  if (!shard || ::fstatat(shard.get(), name.c_str(), &status, AT_SYMLINK_NOFOLLOW) != 0) return false;
  const std::int64_t used = base::nanoseconds_of(status.st_mtim.tv_sec, status.st_mtim.tv_nsec);
  return S_ISREG(status.st_mode) && used >= limits_.oldest_use_ns &&
         static_cast<std::uint64_t>(status.st_size) == k_head_bytes + id.size() + length;
}

std::optional<std::string> FrameCache::read_entry(const std::string& identity, std::uint64_t length) {
  const std::string name = name_of(identity);
  const base::FileDescriptor shard = directory_->shard(shard_of(name), Make::no);
  if (!shard) return std::nullopt;
  // O_NONBLOCK: a pipe in its place must not stop us.
  const base::FileDescriptor file(
      ::openat(shard.get(), name.c_str(), O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK));
  if (!file) {
    if (errno == ELOOP || errno == ENXIO) drop(name);
    return std::nullopt;
  }
  struct stat status {};
  const std::uint64_t size = k_head_bytes + identity.size() + length;
  if (size > k_max_entry_bytes || ::fstat(file.get(), &status) != 0) return std::nullopt;
  std::string bytes;
  std::optional<std::string_view> frame;
  if (S_ISREG(status.st_mode) && static_cast<std::uint64_t>(status.st_size) == size) {
    bytes.resize(size);
    if (::pread(file.get(), bytes.data(), size, 0) == static_cast<ssize_t>(size))
      frame = frame_in(bytes, identity);
  }
  if (!frame) {
    drop(name);
    return std::nullopt;
  }
  const std::int64_t last_use = base::nanoseconds_of(status.st_mtim.tv_sec, status.st_mtim.tv_nsec);
  if (last_use < limits_.oldest_use_ns) {
    drop(name);
    return std::nullopt;
  }
  if (last_use < now_ns() - k_touch_ns) ::futimens(file.get(), nullptr);
  bytes.erase(0, bytes.size() - frame->size());
  return bytes;
}

// What is no entry, or too old, goes.
void FrameCache::drop(const std::string& name) {
  if (!keeping_) return;
  try {
    auto lock = UsageLock::acquire(directory_->descriptor(), k_patience);
    const base::FileDescriptor shard = directory_->shard(shard_of(name), Make::no);
    if (!lock || !shard) return;
    if (::unlinkat(shard.get(), name.c_str(), 0) != 0) ::unlinkat(shard.get(), name.c_str(), AT_REMOVEDIR);
    if (lock->unknown()) return;  // whoever keeps something next measures it all
    measure(*directory_, *lock, shard_of(name));
    lock->save();
  } catch (const base::Error& error) {
    stop_keeping(error.what());
  }
}

void FrameCache::reject(const std::string& key, std::uint64_t offset, std::uint64_t length) {
  --hits_;
  ++misses_;
  drop(name_of(identity(key, offset, length)));
}

void FrameCache::keep(const std::string& key, std::uint64_t offset, std::string_view frame) {
  if (!keeping_) return;
  try {
    if (!directory_) directory_ = Directory::open(path_, Make::yes);
    write_entry(identity(key, offset, frame.size()), frame);
  } catch (const base::Error& error) {
    stop_keeping(error.what());
  }
}

void FrameCache::write_entry(const std::string& identity, std::string_view frame) {
  const std::string name = name_of(identity);
  const unsigned place = shard_of(name);
  auto lock = UsageLock::acquire(directory_->descriptor(), k_patience);
  if (!lock) return;
  const std::uint64_t size = k_head_bytes + identity.size() + frame.size();
  const std::uint64_t on_disk = (size + k_block - 1) / k_block * k_block;
  if (size > k_max_entry_bytes || !make_room(*directory_, *lock, on_disk + 2 * k_block, limits_)) return;
  const base::FileDescriptor shard = directory_->shard(place, Make::yes);
  if (exists(shard.get(), name)) return;  // another process was faster

  NewFile file(shard.get(), name);
  base::write_all(file.descriptor(), head_of(identity, frame), name);
  base::write_all(file.descriptor(), frame, name);
  // It is in the books before it is there: a process that is killed in between makes the cache seem larger
  // than it is, never smaller. Some file systems allocate late, so the larger number counts.
  Usage::Shard& usage = lock->usage.shards[place];
  const std::uint64_t before = usage.bytes == 0 ? 0 : disk_bytes(shard.get());
  usage.bytes += std::max(disk_bytes(file.descriptor()), on_disk);
  ++usage.entries;
  lock->save();
  file.commit(name);
  // The directory was made for it, or grew.
  const std::uint64_t after = disk_bytes(shard.get());
  if (after > before) {
    usage.bytes += after - before;
    lock->save();
  }
}

void FrameCache::count() {
  if (hits_ + misses_ == 0 || !ready()) return;
  try {
    auto lock = UsageLock::acquire(directory_->descriptor(), k_patience);
    if (!lock || lock->unknown()) return;
    if (lock->usage.counted_since_ns == 0) lock->usage.counted_since_ns = now_ns();
    lock->usage.hits += hits_;
    lock->usage.misses += misses_;
    lock->save();
  } catch (const base::Error&) {
    // A cache that cannot be written counts nothing.
  }
}

}  // namespace runctl::cache
