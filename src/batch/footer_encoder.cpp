#include <numeric>
#include <unordered_map>
#include <utility>

#include "base/bytes.hpp"
#include "base/hash.hpp"
#include "batch/columns.hpp"
#include "batch/footer.hpp"
#include "batch/format.hpp"

namespace runctl::batch {

namespace {

using Numbers = std::vector<std::uint64_t>;

std::uint64_t half_of(const run::Id& id, std::size_t begin) {
  std::uint64_t half = 0;
  for (std::size_t i = begin; i < begin + 8; ++i) half = (half << 8) | id.bytes[i];
  return half;
}

// Wraps around where it is out of range, as the decoder's sums do: times that a footer names may be any.
std::int64_t distance(std::int64_t from, std::int64_t to) {
  return static_cast<std::int64_t>(static_cast<std::uint64_t>(to) - static_cast<std::uint64_t>(from));
}

template <typename Items, typename Function>
Numbers numbers_of(const Items& items, Function function) {
  Numbers numbers;
  numbers.reserve(items.size());
  for (const auto& item : items) numbers.push_back(static_cast<std::uint64_t>(function(item)));
  return numbers;
}

template <typename Items>
Numbers numbers_of(const Items& items) {
  return numbers_of(items, [](auto item) { return item; });
}

void append_column(RunColumns& columns, Column column, const std::string& bytes) {
  base::append_number(columns.bytes, static_cast<std::uint32_t>(column));
  base::append_number(columns.bytes, static_cast<std::uint32_t>(bytes.size()));
  columns.bytes += bytes;
  ++columns.count;
}

class RunEncoder {
 public:
  explicit RunEncoder(const run::Table& table) : table_(table) {}

  RunColumns encode() {
    add_identity();
    add_texts();
    add_times();
    add_tags_and_fields();
    add_metadata();
    columns_.foreign_ids = foreign_ids_.size();
    return std::move(columns_);
  }

 private:
  void add_bytes(Column column, const std::string& bytes) { append_column(columns_, column, bytes); }
  void add(Column column, Numbers numbers) { add_bytes(column, encode_numbers(std::move(numbers))); }

  void add_ids(Column high, Column low, const std::vector<run::Id>& ids) {
    add(high, numbers_of(ids, [](const run::Id& id) { return half_of(id, 0); }));
    add(low, numbers_of(ids, [](const run::Id& id) { return half_of(id, 8); }));
  }

  void add_identity() {
    add_ids(Column::id_high, Column::id_low, table_.ids);
    add(Column::fingerprint, numbers_of(table_.fingerprints));
    add(Column::length, numbers_of(table_.lengths));
    Numbers traces = references_to(table_.traces);
    Numbers parents = references_to(table_.parents);
    // The parent of most runs is the root of their trace.
    for (std::size_t i = 0; i < parents.size(); ++i) {
      if (parents[i] != 0) parents[i] = parents[i] == traces[i] ? k_parent_is_trace : parents[i] + 1;
    }
    add(Column::trace, std::move(traces));
    add_ids(Column::trace_high, Column::trace_low, foreign_ids_);
    add(Column::parent, std::move(parents));
  }

  // Which run is meant, for each run. It is nearly always in the same batch: so most references are distances
  // of a few runs, and few ids are stored a second time.
  Numbers references_to(const std::vector<run::Id>& ids) {
    Numbers references(table_.size(), 0);
    for (std::size_t i = 0; i < table_.size(); ++i) {
      if (ids[i] == table_.ids[i]) continue;
      if (positions_.empty()) {
        positions_.reserve(table_.size());
        for (std::size_t k = 0; k < table_.size(); ++k) positions_.emplace(table_.ids[k], k);
      }
      const auto meant = positions_.find(ids[i]);
      if (meant != positions_.end()) {
        const auto distance = static_cast<std::int64_t>(meant->second) - static_cast<std::int64_t>(i);
        references[i] = base::zigzag(distance) * 2;
      } else {
        const auto [known, added] = foreign_.emplace(ids[i], foreign_ids_.size());
        if (added) foreign_ids_.push_back(ids[i]);
        references[i] = known->second * 2 + 1;
      }
    }
    return references;
  }

  void add_texts() {
    Numbers lengths;
    std::string bytes;
    for (std::size_t number = 1; number <= table_.texts.size(); ++number) {
      const std::string_view text = table_.texts.text(static_cast<std::uint32_t>(number));
      lengths.push_back(text.size());
      bytes += text;
    }
    add(Column::text_length, std::move(lengths));
    add_bytes(Column::text_bytes, encode_bytes(bytes));
    add(Column::name, numbers_of(table_.names));
    add(Column::run_type, numbers_of(table_.run_types));
    add(Column::status, numbers_of(table_.statuses));
  }

  void add_times() {
    Numbers starts(table_.size(), 0);
    Numbers ends(table_.size(), 0);
    Numbers flags(table_.size(), 0);
    std::int64_t last_start = 0;
    for (std::size_t i = 0; i < table_.size(); ++i) {
      if (table_.starts[i] != base::k_no_time) {
        starts[i] = base::zigzag(distance(last_start, table_.starts[i]));
        last_start = table_.starts[i];
        flags[i] |= k_has_start;
      }
      if (table_.ends[i] != base::k_no_time) {
        ends[i] = base::zigzag(distance(last_start, table_.ends[i]));
        flags[i] |= k_has_end;
      }
      if (table_.errors[i] != 0) flags[i] |= k_has_error;
    }
    add(Column::start, std::move(starts));
    add(Column::end, std::move(ends));
    add(Column::flags, std::move(flags));
  }

  // How many items each run has, from where they end.
  static Numbers counts_of(const std::vector<std::uint32_t>& ends) {
    Numbers counts = numbers_of(ends);
    std::adjacent_difference(counts.begin(), counts.end(), counts.begin());
    return counts;
  }

  void add_metadata() {
    if (table_.metadata.empty()) return;
    add(Column::metadata_count, counts_of(table_.metadata_ends));
    add(Column::metadata, numbers_of(table_.metadata));
  }

  void add_tags_and_fields() {
    add(Column::tag_count, counts_of(table_.tag_ends));
    add(Column::tag, numbers_of(table_.tags));
    add(Column::field_run, numbers_of(table_.fields, [](const run::FieldSpan& span) { return span.run; }));
    add(Column::field_name, numbers_of(table_.fields, [](const run::FieldSpan& span) { return span.name; }));
    add(Column::field_offset,
        numbers_of(table_.fields, [](const run::FieldSpan& span) { return span.offset; }));
    add(Column::field_length,
        numbers_of(table_.fields, [](const run::FieldSpan& span) { return span.length; }));
  }

  const run::Table& table_;
  std::unordered_map<run::Id, std::size_t> positions_;  // of the batch's runs
  std::unordered_map<run::Id, std::size_t> foreign_;    // in foreign_ids_
  std::vector<run::Id> foreign_ids_;                    // that runs refer to and that are not in the batch
  RunColumns columns_;
};

}  // namespace

RunColumns encode_runs(const run::Table& table) { return RunEncoder(table).encode(); }

std::string encode_footer(const run::Table& table, RunColumns runs) {
  const auto add = [&runs, &table](Column column, auto size_of) {
    append_column(runs, column, encode_numbers(numbers_of(table.frames, size_of)));
  };
  add(Column::frame_stored, [](const run::Frame& frame) { return frame.stored; });
  add(Column::frame_raw, [](const run::Frame& frame) { return frame.raw; });
  std::string content(k_footer_version);
  for (const std::size_t count : {table.size(), table.frames.size(), table.texts.size(), runs.foreign_ids,
                                  table.tags.size(), table.fields.size(), runs.count}) {
    base::append_number(content, static_cast<std::uint32_t>(count));
  }
  content += runs.bytes;
  base::append_number(content, base::xxh3_64(content));
  std::string footer;
  base::append_number(footer, k_footer_magic);
  base::append_number(footer, static_cast<std::uint32_t>(content.size()));
  return footer + content;
}

}  // namespace runctl::batch
