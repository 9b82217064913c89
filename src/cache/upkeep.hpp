// What a person asks of the cache as a whole. All throw base::Error(io) where its directory fails; where
// there is no cache yet, there is nothing in it.
#pragma once

#include <cstdint>
#include <functional>
#include <string>

namespace runctl::cache {

struct Stats {
  std::uint64_t entries = 0;
  std::uint64_t bytes = 0;            // on disk, of everything in the cache's directory
  std::uint64_t hits = 0;             // frames that were found in the cache, and
  std::uint64_t misses = 0;           // that were not, since
  std::int64_t counted_since_ns = 0;  // 1970; 0 where nothing was counted
  std::int64_t oldest_use_ns = 0;     // last use of the least recently used entry; 0 where there is none
};

// Measures the files; changes nothing.
Stats stats(const std::string& path);

struct VerifyReport {
  std::uint64_t checked = 0;
  std::uint64_t bad = 0;  // of these
};

// Reads every entry; bad ones are removed, and told with the file's path.
VerifyReport verify(const std::string& path, const std::function<void(const std::string& why)>& bad);

struct ClearReport {
  std::uint64_t removed = 0;  // entries
  std::uint64_t freed = 0;    // bytes on disk
};

// Removes all entries and half-written files, and forgets the counts of hits and misses.
ClearReport clear(const std::string& path);

}  // namespace runctl::cache
