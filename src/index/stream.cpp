#include "index/stream.hpp"

#include <algorithm>

namespace runctl::index {

namespace {

class TermStream final : public Stream {
 public:
  TermStream(BlockSource& blocks, const Segment& segment, std::uint64_t key, Direction direction,
             Position begin)
      : blocks_(blocks), segment_(segment), key_(key), direction_(direction) {
    seek(begin);
  }

  [[nodiscard]] bool done() const override { return done_; }
  [[nodiscard]] Position current() const override {
    const Posting& posting = entries_[at_];
    return mapped({posting.order, posting.row}, direction_);
  }

  void next() override {
    const Position last = current();
    if (direction_ == Direction::up) {
      if (++at_ == entries_.size()) load(block_ + 1, 0);
    } else if (at_ == 0) {
      load(block_ - 1, k_last);
    } else {
      --at_;
    }
    settle();
    if (!done_ && current() <= last) throw_broken_block();  // else a search would never end
  }

  void seek(Position target) override {
    if (!entries_.empty() && (done_ || current() >= target)) return;
    const Position real = mapped(target, direction_);
    const Posting wanted{key_, real.order, real.row};
    if (entries_.empty() || wanted < entries_.front() || entries_.back() < wanted) {
      load(blocks_.at_or_before(segment_, wanted), 0);
    }
    if (direction_ == Direction::up) {
      at_ = static_cast<std::size_t>(std::lower_bound(entries_.begin(), entries_.end(), wanted) -
                                     entries_.begin());
      if (at_ == entries_.size()) load(block_ + 1, 0);
    } else {
      const auto behind = std::upper_bound(entries_.begin(), entries_.end(), wanted);
      if (behind == entries_.begin())
        done_ = true;  // the first block of the segment, and all of it lies behind
      else
        at_ = static_cast<std::size_t>(behind - entries_.begin()) - 1;
    }
    settle();
    if (!done_ && current() < target) throw_broken_block();
  }

 private:
  static constexpr std::size_t k_last = static_cast<std::size_t>(-1);

  void load(std::int64_t block, std::size_t at) {
    if (block < segment_.first_block || block > segment_.last_block) {
      done_ = true;
      return;
    }
    block_ = block;
    blocks_.read(block, entries_);
    at_ = std::min(at, entries_.size() - 1);
  }
  void settle() { done_ = done_ || entries_[at_].key != key_; }

  BlockSource& blocks_;
  const Segment segment_;
  const std::uint64_t key_;
  const Direction direction_;
  std::int64_t block_ = 0;
  std::vector<Posting> entries_;
  std::size_t at_ = 0;
  bool done_ = false;
};

class PositionStream final : public Stream {
 public:
  explicit PositionStream(std::vector<Position> positions) : positions_(std::move(positions)) {
    std::sort(positions_.begin(), positions_.end());
  }
  [[nodiscard]] bool done() const override { return at_ == positions_.size(); }
  [[nodiscard]] Position current() const override { return positions_[at_]; }
  void next() override { ++at_; }
  void seek(Position target) override {
    while (!done() && current() < target) ++at_;
  }

 private:
  std::vector<Position> positions_;
  std::size_t at_ = 0;
};

// Each stream leaps to where the others are.
class AllStream final : public Stream {
 public:
  explicit AllStream(Streams streams) : streams_(std::move(streams)) { settle(); }
  [[nodiscard]] bool done() const override { return done_; }
  [[nodiscard]] Position current() const override { return streams_.front()->current(); }
  void next() override {
    streams_.front()->next();
    settle();
  }
  void seek(Position target) override {
    if (done_) return;
    streams_.front()->seek(target);
    settle();
  }

 private:
  void settle() {
    std::size_t equal = 0;
    for (std::size_t i = 0; !done_ && equal < streams_.size(); i = (i + 1) % streams_.size()) {
      Stream& stream = *streams_[i];
      if (!stream.done() && equal > 0) stream.seek(target_);
      if (stream.done()) {
        done_ = true;
      } else if (equal == 0 || stream.current() != target_) {
        target_ = stream.current();
        equal = 1;
      } else {
        ++equal;
      }
    }
  }

  Streams streams_;
  Position target_;
  bool done_ = false;
};

// A heap of streams, the least position on top.
class AnyStream final : public Stream {
 public:
  explicit AnyStream(Streams streams) : heap_(std::move(streams)) {
    std::erase_if(heap_, [](const auto& stream) { return stream->done(); });
    std::make_heap(heap_.begin(), heap_.end(), is_behind);
  }
  [[nodiscard]] bool done() const override { return heap_.empty(); }
  [[nodiscard]] Position current() const override { return heap_.front()->current(); }
  void next() override {
    move_top([](Stream& stream) { stream.next(); });
  }
  void seek(Position target) override {
    while (!done() && current() < target) {
      move_top([target](Stream& stream) { stream.seek(target); });
    }
  }

 private:
  static bool is_behind(const std::unique_ptr<Stream>& a, const std::unique_ptr<Stream>& b) {
    return b->current() < a->current();
  }
  template <typename Move>
  void move_top(Move move) {
    std::pop_heap(heap_.begin(), heap_.end(), is_behind);
    move(*heap_.back());
    if (heap_.back()->done())
      heap_.pop_back();
    else
      std::push_heap(heap_.begin(), heap_.end(), is_behind);
  }

  Streams heap_;
};

}  // namespace

std::unique_ptr<Stream> stream_of_term(BlockSource& blocks, const Segment& segment, std::uint64_t key,
                                       Direction direction, Position begin) {
  return std::make_unique<TermStream>(blocks, segment, key, direction, begin);
}

std::unique_ptr<Stream> stream_of_positions(std::vector<Position> positions) {
  return std::make_unique<PositionStream>(std::move(positions));
}

std::unique_ptr<Stream> stream_of_all(Streams streams) {
  return streams.size() == 1 ? std::move(streams.front()) : std::make_unique<AllStream>(std::move(streams));
}

std::unique_ptr<Stream> stream_of_any(Streams streams) {
  return streams.size() == 1 ? std::move(streams.front()) : std::make_unique<AnyStream>(std::move(streams));
}

std::int64_t rank_of(BlockSource& blocks, const Segment& segment, const Posting& posting) {
  const std::int64_t block = blocks.at_or_before(segment, posting);
  std::vector<Posting> entries;
  blocks.read(block, entries);
  const auto place = std::lower_bound(entries.begin(), entries.end(), posting);
  return blocks.entries_before(segment, block) + (place - entries.begin());
}

}  // namespace runctl::index
