#include "cache/upkeep.hpp"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <optional>

#include "base/error.hpp"
#include "cache/cleaning.hpp"
#include "cache/entry.hpp"

namespace runctl::cache {

namespace {

// Why the file is no entry; empty where it is one, absent where it is gone meanwhile.
std::optional<std::string> fault_on_disk(int shard, const std::string& name) {
  struct stat status {};
  if (::fstatat(shard, name.c_str(), &status, AT_SYMLINK_NOFOLLOW) != 0) return std::nullopt;
  if (!S_ISREG(status.st_mode)) return "is no regular file";
  const auto size = static_cast<std::uint64_t>(status.st_size);
  if (size > k_max_entry_bytes) return "is larger than any entry";
  const base::FileDescriptor file(
      ::openat(shard, name.c_str(), O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK));
  if (!file) return errno == ENOENT ? std::nullopt : std::optional<std::string>(std::strerror(errno));
  std::string bytes(size, '\0');
  const ssize_t got = ::pread(file.get(), bytes.data(), bytes.size(), 0);
  if (got < 0) return std::strerror(errno);
  return fault_of(name, std::string_view(bytes).substr(0, static_cast<std::size_t>(got)));
}

}  // namespace

Stats stats(const std::string& path) {
  Stats out;
  const auto directory = Directory::open(path, Make::no);
  if (!directory) return out;
  out.bytes = directory->own_bytes();
  for (unsigned shard = 0; shard < k_shards; ++shard) {
    const auto listing = directory->list(shard);
    if (!listing) continue;
    out.bytes += listing->bytes;
    out.entries += listing->entries.size();
    for (const Entry& entry : listing->entries) {
      if (out.oldest_use_ns == 0 || entry.last_use_ns < out.oldest_use_ns)
        out.oldest_use_ns = entry.last_use_ns;
    }
  }
  if (const auto usage = read_usage(directory->descriptor())) {
    out.hits = usage->hits;
    out.misses = usage->misses;
    out.counted_since_ns = usage->counted_since_ns;
  }
  return out;
}

VerifyReport verify(const std::string& path, const std::function<void(const std::string& why)>& bad) {
  VerifyReport report;
  const auto directory = Directory::open(path, Make::no);
  if (!directory) return report;
  for (unsigned shard = 0; shard < k_shards; ++shard) {
    const auto listing = directory->list(shard);
    const base::FileDescriptor descriptor = directory->shard(shard, Make::no);
    if (!listing || !descriptor) continue;
    for (const Entry& entry : listing->entries) {
      const auto fault = fault_on_disk(descriptor.get(), entry.name);
      if (!fault) continue;
      ++report.checked;
      if (fault->empty()) continue;
      ++report.bad;
      UsageLock lock = must_lock(*directory);
      const bool removed = remove_entry(*directory, lock, entry);
      lock.save();
      bad(directory->path_of(shard, entry.name) + ": " + *fault + (removed ? "; removed" : ""));
    }
  }
  return report;
}

ClearReport clear(const std::string& path) {
  ClearReport report;
  const auto directory = Directory::open(path, Make::no);
  if (!directory) return report;
  const std::uint64_t before = stats(path).bytes;
  for (unsigned shard = 0; shard < k_shards; ++shard) {
    UsageLock lock = must_lock(*directory);
    for (const Entry& entry : measure(*directory, lock, shard))
      report.removed += remove_entry(*directory, lock, entry) ? 1 : 0;
    measure(*directory, lock, shard);
    if (directory->remove_shard(shard)) lock.usage.shards[shard] = {};
    lock.save();
  }
  UsageLock lock = must_lock(*directory);
  lock.usage.hits = lock.usage.misses = 0;
  lock.usage.counted_since_ns = 0;
  lock.save();
  const std::uint64_t after = stats(path).bytes;
  report.freed = before - std::min(before, after);
  return report;
}

}  // namespace runctl::cache
