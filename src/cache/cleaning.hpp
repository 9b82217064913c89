// Removing entries, so that the cache stays within its limits.
#pragma once

#include <chrono>
#include <cstdint>
#include <limits>
#include <string>
#include <vector>

#include "cache/directory.hpp"
#include "cache/usage.hpp"

namespace runctl::cache {

struct Limits {
  std::uint64_t bytes = 1ULL << 30;  // on disk, of everything in the cache's directory
  // What was last used before goes; in nanoseconds since 1970.
  std::int64_t oldest_use_ns = std::numeric_limits<std::int64_t>::min();
};

// Finds out what a shard takes, notes it down in the lock's usage, and removes what killed writers have left.
std::vector<Entry> measure(const Directory& directory, UsageLock& lock, unsigned shard);

// Removes an entry and notes that down; false where it is gone already or cannot be removed.
bool remove_entry(const Directory& directory, UsageLock& lock, const Entry& entry);

// Lets `needed` bytes more fit into the limits, if that can be: some of the least recently used entries go,
// and a few more than need be, so that not every call has to look for them. Looks at a few thousand entries
// at most, however many there are.
bool make_room(const Directory& directory, UsageLock& lock, std::uint64_t needed, const Limits& limits);

struct CleanReport {
  std::uint64_t removed = 0;  // entries
  std::uint64_t freed = 0;    // bytes on disk
  std::uint64_t entries = 0;  // that are left
  std::uint64_t bytes = 0;
  bool finished = true;  // false where the time was up before
};

enum class DryRun { no, yes };

// Brings the whole cache at `path` within the limits, the least recently used entries first. Others may use
// the cache meanwhile: the lock is held for one shard or a few dozen entries at a time, and what was used
// since it was looked at stays. Throws base::Error(io).
CleanReport clean(const std::string& path, const Limits& limits, DryRun dry_run, std::chrono::seconds time);

// The lock, for a command that is nothing without it. Throws base::Error(io) where others hold it for long.
UsageLock must_lock(const Directory& directory);

}  // namespace runctl::cache
