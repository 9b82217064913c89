// Runs in the order of their start times, one after the other or by leaps: what a search is put together
// from.
#pragma once

#include <compare>
#include <cstdint>
#include <memory>
#include <vector>

#include "index/postings.hpp"

namespace runctl::index {

// Which way a search goes; positions of streams that go down are mapped so that they too ascend.
enum class Direction { up, down };

struct Position {
  std::uint64_t order = 0;
  std::uint32_t row = 0;

  friend auto operator<=>(const Position&, const Position&) = default;
};

// A position as a stream of that direction gives it, and back.
constexpr Position mapped(Position position, Direction direction) {
  return direction == Direction::up ? position : Position{~position.order, ~position.row};
}

// Ascending positions. After construction it stands on the first one.
class Stream {
 public:
  Stream() = default;
  Stream(const Stream&) = delete;
  Stream& operator=(const Stream&) = delete;
  virtual ~Stream() = default;

  [[nodiscard]] virtual bool done() const = 0;
  // Only while not done.
  [[nodiscard]] virtual Position current() const = 0;
  virtual void next() = 0;
  // To the first position that is not less than `target`; never back.
  virtual void seek(Position target) = 0;
};

using Streams = std::vector<std::unique_ptr<Stream>>;

// The runs of one term in one segment, from `begin` on.
std::unique_ptr<Stream> stream_of_term(BlockSource& blocks, const Segment& segment, std::uint64_t key,
                                       Direction direction, Position begin);
// Given positions, in any order.
std::unique_ptr<Stream> stream_of_positions(std::vector<Position> positions);
// Those that are in every one.
std::unique_ptr<Stream> stream_of_all(Streams streams);
// Those that are in at least one; no position is in two.
std::unique_ptr<Stream> stream_of_any(Streams streams);

// How many entries of the segment lie before `posting`.
std::int64_t rank_of(BlockSource& blocks, const Segment& segment, const Posting& posting);

}  // namespace runctl::index
