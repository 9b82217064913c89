#include <algorithm>
#include <array>
#include <span>

#include "index/postings.hpp"

namespace runctl::index {

namespace {

// By the bits of the key below `bit`. Hashes spread evenly over buckets by their first bits; what is in one
// bucket came in the order of rows, so that the entries of a frequent key are sorted once they are alone, if
// the runs came in the order of their times.
void sort_by_bits(std::span<Posting> postings, std::span<Posting> scratch, unsigned bit) {
  constexpr unsigned k_bits = 8;
  constexpr std::size_t k_buckets = std::size_t{1} << k_bits;
  constexpr std::size_t k_few = 64;
  if (std::is_sorted(postings.begin(), postings.end())) return;
  const auto has_first_key = [&postings](const Posting& p) { return p.key == postings.front().key; };
  if (postings.size() <= k_few || std::all_of(postings.begin(), postings.end(), has_first_key)) {
    std::sort(postings.begin(), postings.end());
    return;
  }
  bit -= k_bits;
  const auto bucket_of = [bit](const Posting& posting) { return (posting.key >> bit) % k_buckets; };
  std::array<std::size_t, k_buckets + 1> ends{};
  for (const Posting& posting : postings) ++ends[bucket_of(posting) + 1];
  for (std::size_t i = 1; i <= k_buckets; ++i) ends[i] += ends[i - 1];
  // Afterwards each bucket ends at its own position, and begins where the one before ends.
  for (const Posting& posting : postings) scratch[ends[bucket_of(posting)]++] = posting;
  std::copy_n(scratch.begin(), postings.size(), postings.begin());
  std::size_t begin = 0;
  for (std::size_t i = 0; i < k_buckets; ++i) {
    sort_by_bits(postings.subspan(begin, ends[i] - begin), scratch, bit);
    begin = ends[i];
  }
}

}  // namespace

void sort_postings(std::vector<Posting>& postings) {
  std::vector<Posting> scratch(postings.size());
  sort_by_bits(postings, scratch, 64);
}

}  // namespace runctl::index
