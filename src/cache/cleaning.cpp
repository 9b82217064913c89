#include "cache/cleaning.hpp"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <random>

#include "base/error.hpp"
#include "base/time.hpp"

namespace runctl::cache {

namespace {

// A writer that needs room looks at so many entries, or at all if there are fewer: the least recently used of
// a sample this large are among the least recently used of all.
constexpr std::size_t k_sample = 4096;
// Entries that `clean` removes before it lets others in between.
constexpr std::size_t k_removed_at_once = 32;
constexpr std::chrono::seconds k_command_patience{20};

std::uint64_t total_bytes(const Directory& directory, const UsageLock& lock) {
  return directory.own_bytes() + lock.usage.bytes();
}

void subtract(std::uint64_t& from, std::uint64_t value) { from -= std::min(from, value); }

bool was_used_since(int shard, const Entry& entry) {
  struct stat status {};
  return ::fstatat(shard, entry.name.c_str(), &status, AT_SYMLINK_NOFOLLOW) == 0 &&
         base::nanoseconds_of(status.st_mtim.tv_sec, status.st_mtim.tv_nsec) != entry.last_use_ns;
}

void learn_all(const Directory& directory, UsageLock& lock) {
  // The first thing that a new cache keeps comes here: there is no shard then but its own.
  const std::bitset<k_shards> shards = directory.shards();
  for (unsigned shard = 0; shard < k_shards; ++shard) {
    if (shards.test(shard))
      measure(directory, lock, shard);
    else
      lock.usage.shards[shard] = {};
  }
  lock.save();
}

CleanReport foresee(const Directory& directory, const Limits& limits) {
  CleanReport report;
  std::vector<Entry> entries;
  report.bytes = directory.own_bytes();
  for (unsigned shard = 0; shard < k_shards; ++shard) {
    auto listing = directory.list(shard);
    if (!listing) continue;
    report.bytes += listing->bytes;
    std::move(listing->entries.begin(), listing->entries.end(), std::back_inserter(entries));
  }
  const std::uint64_t excess = report.bytes > limits.bytes ? report.bytes - limits.bytes : 0;
  for (const std::size_t victim : choose(entries, {excess, limits.oldest_use_ns})) {
    ++report.removed;
    report.freed += entries[victim].bytes;
  }
  report.entries = entries.size() - report.removed;
  subtract(report.bytes, report.freed);
  return report;
}

}  // namespace

UsageLock must_lock(const Directory& directory) {
  auto lock = UsageLock::acquire(directory.descriptor(), k_command_patience);
  if (!lock)
    throw base::Error(base::ErrorKind::io,
                      directory.path_of(0, "../usage") + ": another process keeps the cache locked");
  if (lock->unknown()) learn_all(directory, *lock);
  return std::move(*lock);
}

std::vector<Entry> measure(const Directory& directory, UsageLock& lock, unsigned shard) {
  auto listing = directory.list(shard);
  if (listing && !listing->leftovers.empty()) {
    const base::FileDescriptor descriptor = directory.shard(shard, Make::no);
    for (const std::string& name : listing->leftovers) ::unlinkat(descriptor.get(), name.c_str(), 0);
    listing = directory.list(shard);
  }
  if (!listing) listing.emplace();
  lock.usage.shards[shard] = {listing->bytes, listing->entries.size()};
  return std::move(listing->entries);
}

bool remove_entry(const Directory& directory, UsageLock& lock, const Entry& entry) {
  const base::FileDescriptor shard = directory.shard(entry.shard, Make::no);
  if (!shard || was_used_since(shard.get(), entry)) return false;
  // Nothing of ours makes a directory there; an empty one can go.
  if (::unlinkat(shard.get(), entry.name.c_str(), 0) != 0 &&
      (errno != EISDIR || ::unlinkat(shard.get(), entry.name.c_str(), AT_REMOVEDIR) != 0)) {
    if (errno == EROFS || errno == EACCES || errno == EPERM)
      base::throw_errno(directory.path_of(entry.shard, entry.name), errno);
    return false;
  }
  Usage::Shard& usage = lock.usage.shards[entry.shard];
  subtract(usage.bytes, entry.bytes);
  subtract(usage.entries, 1);
  if (usage.entries == 0 && directory.remove_shard(entry.shard)) usage = {};
  return true;
}

bool make_room(const Directory& directory, UsageLock& lock, std::uint64_t needed, const Limits& limits) {
  if (lock.unknown()) learn_all(directory, lock);
  if (total_bytes(directory, lock) + needed <= limits.bytes) return true;
  if (directory.own_bytes() + needed > limits.bytes) return false;
  std::vector<Entry> sample;
  std::uint64_t sampled = 0;
  const unsigned first = std::random_device{}() % k_shards;
  for (unsigned i = 0; i < k_shards; ++i) {
    for (Entry& entry : measure(directory, lock, (first + i) % k_shards)) {
      sampled += entry.bytes;
      sample.push_back(std::move(entry));
    }
    if (sample.size() < k_sample && i + 1 < k_shards) continue;
    // The measured sizes may say that there is room after all.
    const std::uint64_t total = total_bytes(directory, lock) + needed;
    const std::uint64_t spare = std::min(limits.bytes / 64, sampled / 8);
    const std::uint64_t excess = total > limits.bytes ? total - limits.bytes + spare : 0;
    for (const std::size_t victim : choose(sample, {excess, limits.oldest_use_ns}))
      remove_entry(directory, lock, sample[victim]);
    if (total_bytes(directory, lock) + needed <= limits.bytes) break;
    sample.clear();  // the limit was lowered by far: on to the next ones
    sampled = 0;
  }
  lock.save();
  return total_bytes(directory, lock) + needed <= limits.bytes;
}

CleanReport clean(const std::string& path, const Limits& limits, DryRun dry_run, std::chrono::seconds time) {
  const auto deadline = std::chrono::steady_clock::now() + time;
  const auto directory = Directory::open(path, Make::no);
  CleanReport report;
  if (!directory) return report;
  if (dry_run == DryRun::yes) return foresee(*directory, limits);
  std::vector<Entry> entries;
  for (unsigned shard = 0; shard < k_shards; ++shard) {
    UsageLock lock = must_lock(*directory);
    for (Entry& entry : measure(*directory, lock, shard)) entries.push_back(std::move(entry));
    lock.save();
    report.bytes = total_bytes(*directory, lock);
  }
  const std::uint64_t excess = report.bytes > limits.bytes ? report.bytes - limits.bytes : 0;
  const std::vector<std::size_t> victims = choose(entries, {excess, limits.oldest_use_ns});
  for (std::size_t begin = 0; begin < victims.size() && report.finished; begin += k_removed_at_once) {
    UsageLock lock = must_lock(*directory);
    for (std::size_t i = begin; i < std::min(begin + k_removed_at_once, victims.size()); ++i) {
      const Entry& entry = entries[victims[i]];
      // Another cleaner may have come to the same entries.
      const bool expired = entry.last_use_ns < limits.oldest_use_ns;
      if (!expired && total_bytes(*directory, lock) <= limits.bytes) continue;
      if (!remove_entry(*directory, lock, entry)) continue;
      ++report.removed;
      report.freed += entry.bytes;
    }
    lock.save();
    report.bytes = total_bytes(*directory, lock);
    report.finished =
        std::chrono::steady_clock::now() < deadline || begin + k_removed_at_once >= victims.size();
  }
  report.entries = 0;
  if (const auto usage = read_usage(directory->descriptor())) {
    for (const Usage::Shard& shard : usage->shards) report.entries += shard.entries;
  }
  return report;
}

}  // namespace runctl::cache
