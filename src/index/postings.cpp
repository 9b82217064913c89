#include "index/postings.hpp"

#include <algorithm>
#include <memory>
#include <string>

#include "base/bytes.hpp"
#include "base/error.hpp"

namespace runctl::index {

namespace {

// A block is the keys of its entries, then their rows, both little-endian; it fills one page of 8 KiB.
constexpr std::size_t k_block_entries = 672;
constexpr std::size_t k_entry_bytes = sizeof(std::uint64_t) + sizeof(std::uint32_t);
// As many segments of a level become one of the next.
constexpr std::int64_t k_fan_in = 8;

// SQLite's integers are signed; this keeps the order of unsigned keys.
std::int64_t ordered(std::uint64_t key) { return static_cast<std::int64_t>(key ^ (std::uint64_t{1} << 63)); }

// The entries of one stored block.
class BlockView {
 public:
  explicit BlockView(std::string_view bytes) : bytes_(bytes), size_(bytes.size() / k_entry_bytes) {
    if (bytes.empty() || bytes.size() % k_entry_bytes != 0) {
      throw base::Error(
          base::ErrorKind::corrupt,
          "the index has a broken block; run 'runctl index rebuild' to make it anew from the store");
    }
  }
  [[nodiscard]] std::size_t size() const { return size_; }
  [[nodiscard]] std::uint64_t key(std::size_t i) const {
    return base::load_number<std::uint64_t>(bytes_.data() + i * sizeof(std::uint64_t));
  }
  [[nodiscard]] std::uint32_t row(std::size_t i) const {
    return base::load_number<std::uint32_t>(bytes_.data() + size_ * sizeof(std::uint64_t) +
                                            i * sizeof(std::uint32_t));
  }
  // The first entry whose key is not less than `key`.
  [[nodiscard]] std::size_t lower_bound(std::uint64_t key_wanted) const {
    std::size_t low = 0;
    std::size_t high = size_;
    while (low < high) {
      const std::size_t middle = (low + high) / 2;
      if (key(middle) < key_wanted)
        low = middle + 1;
      else
        high = middle;
    }
    return low;
  }

 private:
  std::string_view bytes_;
  std::size_t size_;
};

}  // namespace

// Writes a segment from postings in ascending order.
class Postings::SegmentWriter {
 public:
  SegmentWriter(Database& database, PostingKind kind, int level)
      : database_(database),
        insert_block_(database.prepare("INSERT INTO block(entries) VALUES(?1)")),
        insert_place_(
            database.prepare("INSERT INTO segment_block(segment, least, block) VALUES(?1, ?2, ?3)")) {
    Statement insert = database.prepare(
        "INSERT INTO segment(kind, level, entries, least, greatest) VALUES(?1, ?2, 0, 0, 0)");
    insert.bind(1, static_cast<int>(kind)).bind(2, level).run();
    segment_ = database.last_row();
  }

  void add(const Posting& posting) {
    if (pending_.size() == k_block_entries) flush();
    pending_.push_back(posting);
  }

  void finish() {
    flush();
    Statement update =
        database_.prepare("UPDATE segment SET entries = ?2, least = ?3, greatest = ?4 WHERE segment = ?1");
    update.bind(1, segment_).bind(2, entries_).bind(3, ordered(least_)).bind(4, ordered(greatest_)).run();
  }

 private:
  void flush() {
    if (pending_.empty()) return;
    block_.clear();
    for (const Posting& posting : pending_) base::append_number(block_, posting.key);
    for (const Posting& posting : pending_) base::append_number(block_, posting.row);
    insert_block_.bind_blob(1, block_).run();
    insert_place_.bind(1, segment_)
        .bind(2, ordered(pending_.front().key))
        .bind(3, database_.last_row())
        .run();
    if (entries_ == 0) least_ = pending_.front().key;
    greatest_ = pending_.back().key;
    entries_ += static_cast<std::int64_t>(pending_.size());
    pending_.clear();
  }

  Database& database_;
  Statement insert_block_;
  Statement insert_place_;
  std::int64_t segment_ = 0;
  std::int64_t entries_ = 0;
  std::uint64_t least_ = 0;
  std::uint64_t greatest_ = 0;
  std::vector<Posting> pending_;
  std::string block_;
};

// Reads a segment in ascending order, one block at a time.
class Postings::SegmentCursor {
 public:
  SegmentCursor(Database& database, std::int64_t segment)
      : blocks_(
            database.prepare("SELECT entries FROM segment_block JOIN block USING(block) WHERE segment = ?1 "
                             "ORDER BY least, block")) {
    blocks_.bind(1, segment);
    next_block();
  }

  [[nodiscard]] bool done() const { return done_; }
  [[nodiscard]] const Posting& current() const { return current_; }

  void advance() {
    if (++position_ == view_->size())
      next_block();
    else
      read();
  }

 private:
  void next_block() {
    done_ = !blocks_.step();
    if (done_) return;
    view_ = std::make_unique<BlockView>(blocks_.bytes(0));
    position_ = 0;
    read();
  }
  void read() { current_ = {view_->key(position_), view_->row(position_)}; }

  Statement blocks_;
  std::unique_ptr<BlockView> view_;
  std::size_t position_ = 0;
  Posting current_;
  bool done_ = false;
};

void Postings::add(std::vector<Posting> postings) {
  if (postings.empty()) return;
  std::sort(postings.begin(), postings.end());
  SegmentWriter writer(database_, kind_, 0);
  for (const Posting& posting : postings) writer.add(posting);
  writer.finish();
  Statement count = database_.prepare("SELECT count(*) FROM segment WHERE kind = ?1 AND level = ?2");
  for (int level = 0;; ++level) {
    count.bind(1, static_cast<int>(kind_)).bind(2, level);
    const bool many = count.step() && count.number(0) >= k_fan_in;
    count.reset();
    if (!many) return;
    merge_level(level);
  }
}

void Postings::merge_level(int level) {
  std::vector<std::int64_t> segments;
  Statement list = database_.prepare("SELECT segment FROM segment WHERE kind = ?1 AND level = ?2");
  list.bind(1, static_cast<int>(kind_)).bind(2, level);
  while (list.step()) segments.push_back(list.number(0));
  {
    std::vector<SegmentCursor> cursors;
    for (const std::int64_t segment : segments) cursors.emplace_back(database_, segment);
    SegmentWriter writer(database_, kind_, level + 1);
    while (true) {
      SegmentCursor* least = nullptr;
      for (SegmentCursor& cursor : cursors) {
        if (!cursor.done() && (least == nullptr || cursor.current() < least->current())) least = &cursor;
      }
      if (least == nullptr) break;
      writer.add(least->current());
      least->advance();
    }
    writer.finish();
  }
  Statement drop_blocks = database_.prepare(
      "DELETE FROM block WHERE block IN (SELECT block FROM segment_block WHERE segment = ?1)");
  Statement drop_places = database_.prepare("DELETE FROM segment_block WHERE segment = ?1");
  Statement drop_segment = database_.prepare("DELETE FROM segment WHERE segment = ?1");
  for (const std::int64_t segment : segments) {
    drop_blocks.bind(1, segment).run();
    drop_places.bind(1, segment).run();
    drop_segment.bind(1, segment).run();
  }
}

Postings::Postings(Database& database, PostingKind kind)
    : database_(database),
      kind_(kind),
      segments_of_key_(
          database.prepare("SELECT segment FROM segment WHERE kind = ?1 AND least <= ?2 AND greatest >= ?2")),
      blocks_of_key_(database.prepare("SELECT least, entries FROM segment_block JOIN block USING(block) "
                                      "WHERE segment = ?1 AND least <= ?2 "
                                      "ORDER BY least DESC, block DESC")) {}

void Postings::find(std::uint64_t key, const std::function<void(std::uint32_t row)>& visit) {
  segments_of_key_.bind(1, static_cast<int>(kind_)).bind(2, ordered(key));
  while (segments_of_key_.step()) {
    blocks_of_key_.bind(1, segments_of_key_.number(0)).bind(2, ordered(key));
    // Entries of one key may fill several blocks; the first of them may start in a block of smaller keys.
    while (blocks_of_key_.step()) {
      const BlockView view(blocks_of_key_.bytes(1));
      for (std::size_t i = view.lower_bound(key); i < view.size() && view.key(i) == key; ++i)
        visit(view.row(i));
      if (blocks_of_key_.number(0) < ordered(key)) break;
    }
    blocks_of_key_.reset();
  }
  segments_of_key_.reset();
}

}  // namespace runctl::index
