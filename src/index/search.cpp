// Searches: terms by their sorted postings, segment by segment; what is no term, run by run.
#include <algorithm>
#include <limits>
#include <unordered_set>

#include "base/bytes.hpp"
#include "base/error.hpp"
#include "base/hash.hpp"
#include "index/rows.hpp"
#include "index/stream.hpp"
#include "index/tables.hpp"

namespace runctl::index {

namespace {

using base::Error;
using base::ErrorKind;

// What the ways to answer a search by part of a name cost, in microseconds, measured on ten million runs: to
// find one name in one segment, and to look at the row of one run.
constexpr double k_find_cost = 10;
constexpr double k_row_cost = 2;
// Each find is a decoded block in memory.
constexpr double k_max_finds = 10'000;
class Search {
 public:
  Search(Index::Tables& tables, const Query& query)
      : tables_(tables),
        query_(query),
        direction_(query.order == Query::Order::newest ? Direction::down : Direction::up),
        blocks_(tables.database, PostingKind::term),
        segments_(segments_of(tables.database, PostingKind::term)),
        rows_(tables.database),
        generation_(tables.database.number("SELECT value FROM setting WHERE name = 'generation'")) {
    set_window();
    set_terms();
    set_names();
  }

  void visit(const std::function<void(const Hit&)>& visit) {
    if (nothing_) return;
    std::size_t found = 0;
    for (const std::unique_ptr<Stream> stream = open(); !stream->done(); stream->next()) {
      const Position position = mapped(stream->current(), direction_);
      if (direction_ == Direction::up ? position.order >= until_ : position.order < since_) break;
      if (rows_.is_old(position.row)) continue;
      rows_.go_to(position.row);
      if (!row_matches()) continue;
      visit({rows_.location(),
             rows_.facts(),
             {generation_, direction_ == Direction::down, position.order, position.row}});
      if (++found == query_.limit) break;
    }
  }

  std::int64_t count() {
    if (nothing_) return 0;
    // The number of entries of one term follows from where they begin and end.
    const bool one_term = terms_.size() <= 1 && names_.empty() && !query_.trace;
    if (one_term && !query_.after && !needs_row()) {
      const std::uint64_t term = terms_.empty() ? term_key(TermKind::all, "") : terms_.front();
      const std::int64_t latest = entries_of(term) - old_entries_of(term);
      if (latest < 0) throw_broken_block();
      return latest;
    }
    std::int64_t found = 0;
    for (const std::unique_ptr<Stream> stream = open(); !stream->done(); stream->next()) {
      const Position position = mapped(stream->current(), direction_);
      if (direction_ == Direction::up ? position.order >= until_ : position.order < since_) break;
      if (rows_.is_old(position.row)) continue;
      if (needs_row()) {
        rows_.go_to(position.row);
        if (!row_matches()) continue;
      }
      ++found;
    }
    return found;
  }

 private:
  // Runs without a start are in no window.
  void set_window() {
    if (query_.since || query_.until) since_ = 1;
    if (query_.since) since_ = std::max(since_, order_of(*query_.since));
    if (query_.until) until_ = order_of(*query_.until);
    nothing_ = since_ >= until_;
    begin_ =
        mapped(direction_ == Direction::up ? Position{since_, 0}
                                           : Position{until_ == k_no_end ? until_ : until_ - 1, k_last_row},
               direction_);
    if (!query_.after) return;
    const Cursor& after = *query_.after;
    if (after.newest_first != (query_.order == Query::Order::newest)) {
      throw Error(ErrorKind::usage, "--after: the cursor is of a search in the other order");
    }
    if (after.generation != generation_) {
      throw Error(
          ErrorKind::usage,
          "--after: the cursor is of another index, or of before its last rebuild; search anew without it");
    }
    Position behind = mapped({after.start_order, after.row}, direction_);
    if (++behind.row == 0) ++behind.order;
    begin_ = std::max(begin_, behind);
  }

  void set_terms() {
    const auto add = [this](TermKind kind, std::string_view text) { terms_.push_back(term_key(kind, text)); };
    // Runs without a name or a type have no posting for it.
    no_name_ = query_.name && query_.name->empty();
    no_run_type_ = query_.run_type && query_.run_type->empty();
    if (query_.name && !no_name_) add(TermKind::name, *query_.name);
    if (query_.run_type && !no_run_type_) add(TermKind::run_type, *query_.run_type);
    for (const std::string& tag : query_.tags) add(TermKind::tag, tag);
    for (const std::string& entry : query_.metadata) add(TermKind::metadata, entry);
    if (query_.error == true) add(TermKind::error, "");
    if (!query_.trace) return;
    // Runs whose trace is their own id have no posting for it.
    tables_.ids.find(id_key(*query_.trace), [this](std::uint32_t row) {
      std::uint64_t fingerprint = 0;
      if (!tables_.is_run(row, *query_.trace, fingerprint)) return;
      rows_.go_to(row);
      if (rows_.trace() == *query_.trace) roots_.push_back({rows_.order(), row});
    });
  }

  // Parts of names are looked for among the distinct names. What was found there is looked for like any other
  // name, or, where that is more work, compared with the names of runs.
  void set_names() {
    if (!query_.name_contains && !query_.name_prefix) return;
    double runs = 0;
    Statement select = tables_.database.prepare("SELECT name, value, runs FROM name");
    while (select.step()) {
      const std::string_view name = select.bytes(1);
      if (query_.name_contains && name.find(*query_.name_contains) == std::string_view::npos) continue;
      if (query_.name_prefix && !name.starts_with(*query_.name_prefix)) continue;
      if (name_rows_.insert(select.number(0)).second) names_.push_back(term_key(TermKind::name, name));
      runs += static_cast<double>(select.number(2));
    }
    // The empty text is part of every name, and of none.
    const bool of_none = query_.name_contains.value_or("").empty() && query_.name_prefix.value_or("").empty();
    if (of_none) name_rows_.insert(0);
    if (names_.empty() && !of_none) nothing_ = true;
    if (nothing_) return;
    const auto all = static_cast<double>(candidates());
    const double looked_at =
        query_.limit == 0 || runs == 0 ? all : std::min(all, static_cast<double>(query_.limit) * all / runs);
    const double finds = static_cast<double>(names_.size()) * static_cast<double>(segments_.size());
    compare_names_ = of_none || finds > k_max_finds || looked_at * k_row_cost < finds * k_find_cost;
    if (compare_names_) names_.clear();
  }

  // An upper limit of how many runs have all terms.
  std::int64_t candidates() {
    std::int64_t least = entries_of(term_key(TermKind::all, ""));
    for (const std::uint64_t term : terms_) least = std::min(least, entries_of(term));
    return least;
  }

  // How many entries of a term lie in the time window.
  std::int64_t entries_of(std::uint64_t key) {
    std::int64_t entries = 0;
    for (const Segment& segment : segments_) {
      const Posting end = until_ == k_no_end ? Posting{key, k_no_end, k_last_row} : Posting{key, until_, 0};
      const std::int64_t here = rank_of(blocks_, segment, end) - rank_of(blocks_, segment, {key, since_, 0});
      if (here < 0 || here > std::numeric_limits<std::int64_t>::max() - entries) throw_broken_block();
      entries += here;
    }
    return entries;
  }

  // How many of these are of old versions, which are few.
  std::int64_t old_entries_of(std::uint64_t key) {
    if (!rows_.has_old()) return 0;
    std::int64_t entries = 0;
    Statement select = tables_.database.prepare("SELECT run FROM old_version");
    while (select.step()) {
      const auto row = static_cast<std::uint32_t>(select.number(0));
      rows_.go_to(row);
      const Position position{rows_.order(), row};
      if (position.order < since_ || position.order >= until_) continue;
      for (const Segment& segment : segments_) {
        if (row < segment.first_row || row > segment.last_row) continue;
        const auto stream = stream_of_term(blocks_, segment, key, Direction::up, position);
        if (!stream->done() && stream->current() == position) ++entries;
      }
    }
    return entries;
  }

  std::unique_ptr<Stream> open() {
    Streams streams;
    for (const Segment& segment : segments_) streams.push_back(open(segment));
    return stream_of_any(std::move(streams));
  }

  // What matches in one segment, in which each run stands with all its terms.
  std::unique_ptr<Stream> open(const Segment& segment) {
    const auto of_term = [&](std::uint64_t key) {
      return stream_of_term(blocks_, segment, key, direction_, begin_);
    };
    Streams needed;
    for (const std::uint64_t term : terms_) needed.push_back(of_term(term));
    if (query_.trace) {
      Streams parts;
      parts.push_back(of_term(term_key(TermKind::trace, bytes_of(*query_.trace))));
      std::vector<Position> roots;
      for (const Position& root : roots_) {
        if (root.row >= segment.first_row && root.row <= segment.last_row)
          roots.push_back(mapped(root, direction_));
      }
      parts.push_back(stream_of_positions(std::move(roots)));
      parts.back()->seek(begin_);
      needed.push_back(stream_of_any(std::move(parts)));
    }
    if (!names_.empty()) {
      Streams names;
      for (const std::uint64_t name : names_) names.push_back(of_term(name));
      needed.push_back(stream_of_any(std::move(names)));
    }
    if (needed.empty()) needed.push_back(of_term(term_key(TermKind::all, "")));
    return stream_of_all(std::move(needed));
  }

  [[nodiscard]] bool needs_row() const {
    return query_.error == false || query_.min_latency || query_.max_latency || compare_names_ || no_name_ ||
           no_run_type_;
  }

  // Whether the row that is stood on has all that is no term.
  [[nodiscard]] bool row_matches() const {
    if (query_.error == false && rows_.error()) return false;
    if (no_name_ && rows_.name() != 0) return false;
    if (no_run_type_ && rows_.run_type() != 0) return false;
    if (compare_names_ && !name_rows_.contains(rows_.name())) return false;
    if (!query_.min_latency && !query_.max_latency) return true;
    const std::optional<std::int64_t> duration = rows_.duration();
    return duration && (!query_.min_latency || *duration >= *query_.min_latency) &&
           (!query_.max_latency || *duration <= *query_.max_latency);
  }

  static constexpr std::uint64_t k_no_end = std::numeric_limits<std::uint64_t>::max();
  static constexpr std::uint32_t k_last_row = std::numeric_limits<std::uint32_t>::max();

  Index::Tables& tables_;
  const Query& query_;
  const Direction direction_;
  BlockSource blocks_;
  const std::vector<Segment> segments_;
  Rows rows_;
  const std::int64_t generation_;
  std::uint64_t since_ = 0;         // orders: from this one
  std::uint64_t until_ = k_no_end;  // up to the one before this
  Position begin_;
  std::vector<std::uint64_t> terms_;
  std::vector<Position> roots_;
  std::vector<std::uint64_t> names_;  // terms, of which a run must have one
  std::unordered_set<std::int64_t> name_rows_;
  bool compare_names_ = false;
  bool no_name_ = false;
  bool no_run_type_ = false;
  bool nothing_ = false;
};

}  // namespace

std::string Cursor::text() const {
  std::string bytes;
  base::append_number(bytes, generation);
  base::append_number(bytes, static_cast<std::uint8_t>(newest_first ? 1 : 0));
  base::append_number(bytes, start_order);
  base::append_number(bytes, row);
  bytes += static_cast<char>(base::xxh3_64(bytes));
  return base::to_hex(bytes);
}

std::optional<Cursor> Cursor::parse(std::string_view text) {
  const std::optional<std::string> bytes = base::from_hex(text);
  if (!bytes || bytes->size() != 22) return std::nullopt;
  const std::string_view body = std::string_view(*bytes).substr(0, 21);
  if (static_cast<char>(base::xxh3_64(body)) != bytes->back()) return std::nullopt;
  base::ByteReader reader(body);
  Cursor cursor;
  cursor.generation = reader.number<std::int64_t>();
  cursor.newest_first = reader.number<std::uint8_t>() != 0;
  cursor.start_order = reader.number<std::uint64_t>();
  cursor.row = reader.number<std::uint32_t>();
  return cursor;
}

void Index::search(const Query& query, const std::function<void(const Hit&)>& visit) {
  const Snapshot snapshot(tables_->database);
  Search(*tables_, query).visit(visit);
}

std::int64_t Index::count(const Query& query) {
  const Snapshot snapshot(tables_->database);
  return Search(*tables_, query).count();
}

}  // namespace runctl::index
