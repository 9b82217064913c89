#include "cache/eviction.hpp"

#include <algorithm>
#include <numeric>

namespace runctl::cache {

std::vector<std::size_t> choose(std::span<const Entry> entries, const Goal& goal) {
  std::vector<std::size_t> order(entries.size());
  std::iota(order.begin(), order.end(), std::size_t{0});
  // Files of one tick of the clock are equally old; their names make the choice the same for every process.
  std::sort(order.begin(), order.end(), [&](std::size_t a, std::size_t b) {
    if (entries[a].last_use_ns != entries[b].last_use_ns)
      return entries[a].last_use_ns < entries[b].last_use_ns;
    return entries[a].name < entries[b].name;
  });
  std::uint64_t freed = 0;
  std::size_t count = 0;
  while (count < order.size() &&
         (freed < goal.free_bytes || entries[order[count]].last_use_ns < goal.oldest_use_ns)) {
    freed += entries[order[count++]].bytes;
  }
  order.resize(count);
  return order;
}

}  // namespace runctl::cache
