// From keys to rows: sorted segments, written whole and merged as their number grows. Inserting is appending,
// at a speed that does not fall as the index grows. Each segment covers a range of rows of its own.
#pragma once

#include <compare>
#include <cstdint>
#include <functional>
#include <map>
#include <string>
#include <string_view>
#include <vector>

#include "index/sqlite.hpp"

namespace runctl::index {

// What the keys of a segment are made of. Stored: never renumber.
enum class PostingKind : int {
  id = 1,    // of runs; all have the order 0
  term = 3,  // of what can be searched for (terms.hpp), in the order of start times
};

struct Posting {
  std::uint64_t key = 0;
  std::uint64_t order = 0;
  std::uint32_t row = 0;

  friend auto operator<=>(const Posting&, const Posting&) = default;
};

// One row of the table "segment".
struct Segment {
  std::int64_t number = 0;
  int level = 0;
  std::int64_t entries = 0;
  std::int64_t first_block = 0;
  std::int64_t last_block = 0;
  std::uint32_t first_row = 0;
  std::uint32_t last_row = 0;
};

// SQLite's integers are signed; this keeps the order of unsigned numbers.
constexpr std::int64_t as_ordered(std::uint64_t number) {
  return static_cast<std::int64_t>(number ^ (std::uint64_t{1} << 63));
}

// Sorted entries in few bytes, and back (runctl-batch(5), INDEX). Throws Error(corrupt) where `stored` is
// anything else.
std::string encode_block(PostingKind kind, const std::vector<Posting>& postings);
void decode_block(PostingKind kind, std::string_view stored, std::vector<Posting>& postings);

// Sorts postings whose keys are hashes, several times as fast as std::sort.
void sort_postings(std::vector<Posting>& postings);

// Throws Error(corrupt): what a block holds cannot be.
[[noreturn]] void throw_broken_block();

// All segments of a kind, in ascending order of rows. Throws Error(corrupt) where one has no blocks.
std::vector<Segment> segments_of(Database& database, PostingKind kind);

// Reads the blocks of segments.
class BlockSource {
 public:
  BlockSource(Database& database, PostingKind kind);

  // The last block of the segment that starts at or before `position`, or its first block.
  std::int64_t at_or_before(const Segment& segment, const Posting& position);
  // How many entries of the segment lie before that block.
  std::int64_t entries_before(const Segment& segment, std::int64_t block);
  void read(std::int64_t block, std::vector<Posting>& postings);

 private:
  PostingKind kind_;
  Statement place_;
  Statement rank_;
  Statement content_;
};

// The segments of one kind. Calls belong inside a transaction of the caller: segments come and go.
class Postings {
 public:
  Postings(Database& database, PostingKind kind);

  // Calls `take` with each entry of a segment, in ascending order.
  using Take = std::function<void(const Posting&)>;
  using Entries = std::function<void(const Take& take)>;
  // Adds a segment of `entries`, of which there is at least one and `expected` at most, for the rows from
  // `first_row` to `last_row`, all of them behind those added before; and merges segments where there are
  // many.
  void add(const Entries& entries, std::uint64_t expected, std::uint32_t first_row, std::uint32_t last_row);
  void add(const std::vector<Posting>& sorted, std::uint32_t first_row, std::uint32_t last_row);

  // Calls `visit` with each row that `key` stands for, in no order.
  using Visit = std::function<void(std::uint32_t row)>;
  void find(std::uint64_t key, const Visit& visit);

  // The same for many keys, most of which are not there: a Bloom filter of each segment, read once, spares
  // the look. `wanted` ascends; `visit` gets its entries' `row` as `asked`. Of ids.
  using VisitOf = std::function<void(std::uint32_t asked, std::uint32_t row)>;
  void find_many(const std::vector<Posting>& wanted, const VisitOf& visit);

 private:
  class Writer;
  void merge(int level);
  std::uint64_t checked_entries(const Segment& segment);
  void load_filters();
  void find_in(const Segment& segment, std::uint64_t key, const Visit& visit);
  bool visit_in_block(std::uint64_t key, const Visit& visit);

  struct Filter {
    Segment segment;
    std::uint64_t least = 0;
    std::uint64_t greatest = 0;
    std::string bits;
  };

  Database& database_;
  PostingKind kind_;
  BlockSource blocks_;
  Statement select_segments_;  // of the kind
  Statement segments_of_key_;
  Statement select_filter_;
  std::vector<Posting> block_;              // that was read last
  std::map<std::int64_t, Filter> filters_;  // by segment
};

}  // namespace runctl::index
