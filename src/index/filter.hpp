// A blocked Bloom filter over 64-bit keys: tells of most keys that they are not in a set, from one cache line
// (Putze, Sanders, Singler: Cache-, Hash- and Space-Efficient Bloom Filters, 2007).
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

namespace runctl::index {

// Bits of an empty filter for `keys` keys: 12 a key, so that 1 key in 100 or less is wrongly said to be
// there.
std::string make_filter(std::uint64_t keys);
void add_to_filter(std::string& bits, std::uint64_t key);
// False: the key is not in the set. A filter too small to be one says true of each.
bool may_contain(std::string_view bits, std::uint64_t key);

}  // namespace runctl::index
