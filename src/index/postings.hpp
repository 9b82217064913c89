// From 64-bit keys to rows: sorted segments, written whole and merged as their number grows. Inserting is
// appending, at a speed that does not fall as the index grows; a look-up reads one block of each segment
// whose range holds the key.
#pragma once

#include <cstdint>
#include <functional>
#include <vector>

#include "index/sqlite.hpp"

namespace runctl::index {

struct Posting {
  std::uint64_t key = 0;
  std::uint32_t row = 0;

  friend auto operator<=>(const Posting&, const Posting&) = default;
};

// What a segment's keys are made of. Stored: never renumber.
enum class PostingKind : int { id = 1, trace = 2 };

class Postings {
 public:
  Postings(Database& database, PostingKind kind);

  // Adds one segment, and merges segments where there are many. Inside a write transaction.
  void add(std::vector<Posting> postings);

  // Calls `visit` with each row that `key` stands for, in no order.
  void find(std::uint64_t key, const std::function<void(std::uint32_t row)>& visit);

 private:
  class SegmentWriter;
  class SegmentCursor;
  void merge_level(int level);

  Database& database_;
  PostingKind kind_;
  Statement segments_of_key_;
  Statement blocks_of_key_;
};

}  // namespace runctl::index
