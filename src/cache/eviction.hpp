// Which entries of the cache go: pure, so that it can be reasoned about without a disk.
#pragma once

#include <cstdint>
#include <limits>
#include <span>
#include <string>
#include <vector>

namespace runctl::cache {

// An entry as it lies on disk.
struct Entry {
  std::string name;
  unsigned shard = 0;
  std::uint64_t bytes = 0;       // that the file takes on disk
  std::int64_t last_use_ns = 0;  // since 1970
};

struct Goal {
  std::uint64_t free_bytes = 0;  // at least so many must go
  // Whatever was last used before goes in any case; in nanoseconds since 1970.
  std::int64_t oldest_use_ns = std::numeric_limits<std::int64_t>::min();
};

// The positions in `entries` of those that go, the least recently used first. Where all of them together are
// smaller than what must go, all of them.
std::vector<std::size_t> choose(std::span<const Entry> entries, const Goal& goal);

}  // namespace runctl::cache
