#include "index/postings.hpp"

#include <algorithm>
#include <array>

#include "base/bytes.hpp"
#include "base/error.hpp"
#include "index/filter.hpp"

namespace runctl::index {

namespace {

// A look-up decodes one block of each segment; four with their rows of the table fill a page of 8 KiB.
constexpr std::size_t k_block_bytes = 2016;
// One entry takes no more: it is three numbers of up to ten bytes. Another figure would cut blocks elsewhere.
constexpr std::size_t k_entry_max = 40;
// As many segments of a level become one of the next.
constexpr std::size_t k_fan_in = 8;
// More blocks, or entries of a segment, than any file has.
constexpr std::int64_t k_too_many = std::int64_t{1} << 62;

// Returns where the next one goes.
char* write_varint(char* out, std::uint64_t number) {
  for (; number >= 0x80; number >>= 7) *out++ = static_cast<char>(number | 0x80);
  *out++ = static_cast<char>(number);
  return out;
}

std::uint64_t read_varint(const char*& at, const char* end) {
  if (at == end) throw_broken_block();
  std::uint64_t number = static_cast<unsigned char>(*at++);
  if (number < 0x80) return number;
  number &= 0x7F;
  for (unsigned shift = 7; shift < 64; shift += 7) {
    if (at == end) throw_broken_block();
    const auto byte = static_cast<unsigned char>(*at++);
    number |= std::uint64_t{byte & 0x7Fu} << shift;
    if (byte < 0x80) return number;
  }
  throw_broken_block();
}

std::uint64_t distance(std::uint64_t from, std::uint64_t to) {
  return base::zigzag(static_cast<std::int64_t>(to - from));
}
std::uint64_t moved(std::uint64_t from, std::uint64_t by) {
  return from + static_cast<std::uint64_t>(base::unzigzag(by));
}

// At most k_entry_max bytes; returns where the next one goes.
char* write_posting(PostingKind kind, char* out, const Posting& last, const Posting& posting) {
  out = write_varint(out, posting.key - last.key);
  if (kind == PostingKind::term) out = write_varint(out, distance(last.order, posting.order));
  return write_varint(out, distance(last.row, posting.row));
}

Segment segment_of(const Statement& select) {
  return {select.number(0),
          static_cast<int>(select.number(1)),
          select.number(2),
          select.number(3),
          select.number(4),
          static_cast<std::uint32_t>(select.number(5)),
          static_cast<std::uint32_t>(select.number(6))};
}

// Whoever counts blocks or entries on from here stays within the numbers that there are.
void check(const Segment& segment) {
  const bool possible = segment.entries > 0 && segment.entries < k_too_many && segment.first_block > 0 &&
                        segment.first_block <= segment.last_block && segment.last_block < k_too_many;
  if (!possible) throw_broken_block();
}

constexpr const char* k_select_segments =
    "SELECT segment, level, entries, first_block, last_block, first_row, last_row, least, greatest "
    "FROM segment WHERE kind = ?1 ORDER BY first_row";

// Reads a segment from its first entry to its last.
class SegmentReader {
 public:
  SegmentReader(BlockSource& blocks, const Segment& segment)
      : blocks_(blocks), next_block_(segment.first_block), last_block_(segment.last_block) {
    next_block();
  }
  [[nodiscard]] bool done() const { return at_ == block_.size(); }
  [[nodiscard]] const Posting& current() const { return block_[at_]; }
  void advance() {
    if (++at_ == block_.size()) next_block();
  }

 private:
  void next_block() {
    at_ = 0;
    block_.clear();
    if (next_block_ <= last_block_) blocks_.read(next_block_++, block_);
  }
  BlockSource& blocks_;
  std::int64_t next_block_;
  std::int64_t last_block_;
  std::vector<Posting> block_;
  std::size_t at_ = 0;
};

}  // namespace

void throw_broken_block() {
  throw base::Error(
      base::ErrorKind::corrupt,
      "the index has a broken block; run 'runctl index rebuild' to make it anew from the store");
}

std::string encode_block(PostingKind kind, const std::vector<Posting>& postings) {
  std::string stored(postings.size() * k_entry_max, '\0');
  char* end = stored.data();
  Posting last;
  for (const Posting& posting : postings) {
    end = write_posting(kind, end, last, posting);
    last = posting;
  }
  stored.resize(static_cast<std::size_t>(end - stored.data()));
  return stored;
}

void decode_block(PostingKind kind, std::string_view stored, std::vector<Posting>& postings) {
  postings.clear();
  Posting posting;
  const char* at = stored.data();
  const char* const end = at + stored.size();
  while (at != end) {
    posting.key += read_varint(at, end);
    if (kind == PostingKind::term) posting.order = moved(posting.order, read_varint(at, end));
    posting.row = static_cast<std::uint32_t>(moved(posting.row, read_varint(at, end)));
    if (!postings.empty() && posting <= postings.back()) throw_broken_block();
    postings.push_back(posting);
  }
  if (postings.empty()) throw_broken_block();
}

std::vector<Segment> segments_of(Database& database, PostingKind kind) {
  std::vector<Segment> segments;
  Statement select = database.prepare(k_select_segments);
  select.bind(1, static_cast<int>(kind));
  while (select.step()) segments.push_back(segment_of(select));
  for (const Segment& segment : segments) check(segment);
  return segments;
}

BlockSource::BlockSource(Database& database, PostingKind kind)
    : kind_(kind),
      place_(
          database.prepare("SELECT block FROM place WHERE segment = ?1 AND (key, start, row) <= (?2, ?3, ?4) "
                           "ORDER BY key DESC, start DESC, row DESC LIMIT 1")),
      rank_(database.prepare("SELECT rank FROM block WHERE block = ?1")),
      content_(database.prepare("SELECT entries FROM block WHERE block = ?1")) {}

std::int64_t BlockSource::at_or_before(const Segment& segment, const Posting& position) {
  place_.bind(1, segment.number).bind(2, as_ordered(position.key)).bind(3, as_ordered(position.order));
  place_.bind(4, position.row);
  const std::int64_t block = place_.step() ? place_.number(0) : segment.first_block;
  place_.reset();
  if (block < segment.first_block || block > segment.last_block) throw_broken_block();
  return block;
}

std::int64_t BlockSource::entries_before(const Segment& segment, std::int64_t block) {
  if (block > segment.last_block) return segment.entries;
  rank_.bind(1, block);
  const std::int64_t rank = rank_.step() ? rank_.number(0) : 0;
  rank_.reset();
  if (rank < 0 || rank > segment.entries) throw_broken_block();
  return rank;
}

void BlockSource::read(std::int64_t block, std::vector<Posting>& postings) {
  content_.bind(1, block);
  if (!content_.step()) throw_broken_block();
  const std::string stored(content_.bytes(0));  // nothing may be left open where it is broken
  content_.reset();
  decode_block(kind_, stored, postings);
}

// Writes a segment from postings in ascending order.
class Postings::Writer {
 public:
  Writer(Database& database, PostingKind kind, int level, std::uint64_t entries_expected)
      : database_(database),
        kind_(kind),
        insert_block_(database.prepare("INSERT INTO block(block, rank, entries) VALUES(?1, ?2, ?3)")),
        insert_place_(database.prepare(
            "INSERT INTO place(segment, key, start, row, block) VALUES(?1, ?2, ?3, ?4, ?5)")) {
    // A number never stands for two segments: other processes remember filters by it.
    segment_.number = 1 + database.number("SELECT seq FROM sqlite_sequence WHERE name = 'segment'");
    segment_.level = level;
    segment_.first_block = database.number("SELECT coalesce(max(block), 0) + 1 FROM block");
    segment_.last_block = segment_.first_block - 1;
    if (kind == PostingKind::id) bits_ = make_filter(entries_expected);
  }
  ~Writer() = default;
  Writer(const Writer&) = delete;  // end_ points into stored_
  Writer& operator=(const Writer&) = delete;

  void add(const Posting& posting) {
    if (end_ > stored_.data() + k_block_bytes - k_entry_max) flush();
    if (end_ == stored_.data()) {
      first_ = posting;
      last_ = {};
      if (segment_.entries == 0) least_ = posting.key;
    }
    end_ = write_posting(kind_, end_, last_, posting);
    last_ = posting;
    ++segment_.entries;
    if (!bits_.empty()) add_to_filter(bits_, posting.key);
  }

  void finish(std::uint32_t first_row, std::uint32_t last_row) {
    flush();
    Statement insert = database_.prepare(
        "INSERT INTO segment(segment, kind, level, entries, least, greatest, first_block, last_block, "
        "first_row, last_row, filter) VALUES(?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11)");
    insert.bind(1, segment_.number).bind(2, static_cast<int>(kind_)).bind(3, segment_.level);
    insert.bind(4, segment_.entries).bind(5, as_ordered(least_)).bind(6, as_ordered(last_.key));
    insert.bind(7, segment_.first_block).bind(8, segment_.last_block);
    insert.bind(9, first_row).bind(10, last_row).bind_blob(11, bits_).run();
  }

 private:
  void flush() {
    if (end_ == stored_.data()) return;
    const std::string_view stored(stored_.data(), static_cast<std::size_t>(end_ - stored_.data()));
    const std::int64_t block = ++segment_.last_block;
    insert_block_.bind(1, block).bind(2, flushed_).bind_blob(3, stored).run();
    insert_place_.bind(1, segment_.number).bind(2, as_ordered(first_.key)).bind(3, as_ordered(first_.order));
    insert_place_.bind(4, first_.row).bind(5, block).run();
    flushed_ = segment_.entries;
    end_ = stored_.data();
  }

  Database& database_;
  PostingKind kind_;
  Statement insert_block_;
  Statement insert_place_;
  Segment segment_;
  std::int64_t flushed_ = 0;
  std::uint64_t least_ = 0;
  Posting first_;  // of the block
  Posting last_;
  std::array<char, k_block_bytes> stored_{};  // entries of the block, up to end_
  char* end_ = stored_.data();
  std::string bits_;
};

Postings::Postings(Database& database, PostingKind kind)
    : database_(database),
      kind_(kind),
      blocks_(database, kind),
      select_segments_(database.prepare(k_select_segments)),
      segments_of_key_(database.prepare(
          "SELECT segment, level, entries, first_block, last_block, first_row, last_row FROM segment "
          "WHERE kind = ?1 AND least <= ?2 AND greatest >= ?2")),
      select_filter_(database.prepare("SELECT filter FROM segment WHERE segment = ?1")) {}

void Postings::add(const std::vector<Posting>& sorted, std::uint32_t first_row, std::uint32_t last_row) {
  if (sorted.empty()) return;
  const auto entries = [&sorted](const Take& take) { std::for_each(sorted.begin(), sorted.end(), take); };
  add(entries, sorted.size(), first_row, last_row);
}

void Postings::add(const Entries& entries, std::uint64_t expected, std::uint32_t first_row,
                   std::uint32_t last_row) {
  {
    Writer writer(database_, kind_, 0, expected);
    entries([&writer](const Posting& posting) { writer.add(posting); });
    writer.finish(first_row, last_row);
  }
  for (int level = 0;; ++level) {
    const std::vector<Segment> segments = segments_of(database_, kind_);
    const auto of_level = [level](const Segment& segment) { return segment.level == level; };
    if (static_cast<std::size_t>(std::count_if(segments.begin(), segments.end(), of_level)) < k_fan_in)
      return;
    merge(level);
  }
}

// What a merge reads must be there before it writes, else it might read what it wrote, without end.
std::uint64_t Postings::checked_entries(const Segment& segment) {
  Statement select = database_.prepare(
      "SELECT count(*), coalesce(sum(length(entries)), 0) FROM block WHERE block BETWEEN ?1 AND ?2");
  select.bind(1, segment.first_block).bind(2, segment.last_block).step();
  const bool all_there = select.number(0) == segment.last_block - segment.first_block + 1;
  if (!all_there || segment.entries > select.number(1) / 2) throw_broken_block();
  return static_cast<std::uint64_t>(segment.entries);
}

// Segments of one level lie behind one another in their rows, so that what they become covers a range too.
void Postings::merge(int level) {
  std::vector<Segment> segments = segments_of(database_, kind_);
  std::erase_if(segments, [level](const Segment& segment) { return segment.level != level; });
  std::uint64_t entries = 0;
  for (const Segment& segment : segments) entries += checked_entries(segment);
  {
    std::vector<SegmentReader> readers;
    for (const Segment& segment : segments) readers.emplace_back(blocks_, segment);
    Writer writer(database_, kind_, level + 1, entries);
    while (true) {
      SegmentReader* least = nullptr;
      const Posting* limit = nullptr;  // the least entry of all others
      for (SegmentReader& reader : readers) {
        if (reader.done()) continue;
        if (least == nullptr || reader.current() < least->current()) {
          if (least != nullptr) limit = &least->current();
          least = &reader;
        } else if (limit == nullptr || reader.current() < *limit) {
          limit = &reader.current();
        }
      }
      if (least == nullptr) break;
      do {
        writer.add(least->current());
        least->advance();
      } while (!least->done() && (limit == nullptr || least->current() < *limit));
    }
    writer.finish(segments.front().first_row, segments.back().last_row);
  }
  Statement drop_blocks = database_.prepare("DELETE FROM block WHERE block BETWEEN ?1 AND ?2");
  Statement drop_places = database_.prepare("DELETE FROM place WHERE segment = ?1");
  Statement drop_segment = database_.prepare("DELETE FROM segment WHERE segment = ?1");
  for (const Segment& segment : segments) {
    drop_blocks.bind(1, segment.first_block).bind(2, segment.last_block).run();
    drop_places.bind(1, segment.number).run();
    drop_segment.bind(1, segment.number).run();
  }
}

void Postings::find(std::uint64_t key, const Visit& visit) {
  std::vector<Segment> segments;
  segments_of_key_.bind(1, static_cast<int>(kind_)).bind(2, as_ordered(key));
  while (segments_of_key_.step()) segments.push_back(segment_of(segments_of_key_));
  segments_of_key_.reset();
  for (const Segment& segment : segments) find_in(segment, key, visit);
}

void Postings::find_in(const Segment& segment, std::uint64_t key, const Visit& visit) {
  check(segment);
  // Entries of one key may fill several blocks; the first may lie in a block that starts with smaller keys.
  for (std::int64_t block = blocks_.at_or_before(segment, {key, 0, 0}); block <= segment.last_block;
       ++block) {
    blocks_.read(block, block_);
    if (visit_in_block(key, visit)) return;
  }
}

// False where the next block may hold the key too.
bool Postings::visit_in_block(std::uint64_t key, const Visit& visit) {
  const auto first = std::lower_bound(block_.begin(), block_.end(), Posting{key, 0, 0});
  const auto end = std::find_if(first, block_.end(), [key](const Posting& p) { return p.key != key; });
  for (auto posting = first; posting != end; ++posting) visit(posting->row);
  return end != block_.end();
}

void Postings::load_filters() {
  std::vector<Filter> segments;  // without bits
  select_segments_.bind(1, static_cast<int>(kind_));
  while (select_segments_.step()) {
    segments.push_back({segment_of(select_segments_),
                        static_cast<std::uint64_t>(select_segments_.number(7)) ^ (std::uint64_t{1} << 63),
                        static_cast<std::uint64_t>(select_segments_.number(8)) ^ (std::uint64_t{1} << 63),
                        ""});
  }
  std::map<std::int64_t, Filter> current;
  for (Filter& filter : segments) {
    const std::int64_t number = filter.segment.number;
    if (auto known = filters_.extract(number)) {
      current.insert(std::move(known));
      continue;
    }
    if (select_filter_.bind(1, number).step()) filter.bits = select_filter_.bytes(0);
    select_filter_.reset();
    current.emplace(number, std::move(filter));
  }
  filters_ = std::move(current);
}

void Postings::find_many(const std::vector<Posting>& wanted, const VisitOf& visit) {
  load_filters();
  for (const auto& [number, filter] : filters_) {
    block_.clear();  // a block of this segment from here on
    for (const Posting& ask : wanted) {
      if (ask.key < filter.least || ask.key > filter.greatest || !may_contain(filter.bits, ask.key)) continue;
      const Visit found = [&visit, &ask](std::uint32_t row) { visit(ask.row, row); };
      // What lies inside a block lies in no other.
      if (!block_.empty() && block_.front().key < ask.key && ask.key < block_.back().key)
        visit_in_block(ask.key, found);
      else
        find_in(filter.segment, ask.key, found);
    }
  }
}

}  // namespace runctl::index
