// A batch into the index: one row a run, and what it can be found by into sorted segments.
#include <fmt/format.h>

#include <algorithm>
#include <limits>
#include <optional>
#include <unordered_map>

#include "base/error.hpp"
#include "index/tables.hpp"
#include "run/json.hpp"

namespace runctl::index {

namespace {

using base::Error;
using base::ErrorKind;

// The numbers of the table's texts as rows of another; each is looked up once.
class TextRows {
 public:
  TextRows(Database& database, const run::TextTable& texts, const char* find, const char* insert)
      : database_(database),
        texts_(texts),
        rows_(texts.size() + 1, 0),
        find_(database.prepare(find)),
        insert_(database.prepare(insert)) {}

  std::int64_t of(std::uint32_t number) {
    std::int64_t& row = rows_[number];
    if (row == 0) row = of_text(texts_.text(number));
    return row;
  }
  std::int64_t of_text(std::string_view text) {
    find_.bind_text(1, text);
    std::int64_t row = find_.step() ? find_.number(0) : 0;
    find_.reset();
    if (row != 0) return row;
    insert_.bind_text(1, text).run();
    return database_.last_row();
  }

 private:
  Database& database_;
  const run::TextTable& texts_;
  std::vector<std::int64_t> rows_;
  Statement find_;
  Statement insert_;
};

class Recorder {
 public:
  Recorder(Index::Tables& tables, std::int64_t batch, const run::Table& table, const TableKeys& keys)
      : tables_(tables), database_(tables.database), batch_(batch), table_(table), keys_(keys) {}

  // All but what depends on when the store took the batch. Returns how many runs are new.
  std::size_t record() {
    find_present();
    number_rows();
    insert_runs();
    insert_fields();
    add_postings();
    return added_;
  }

  void order_versions() {
    move_to_older();
    for (const run::Id& id : touched_) mark_old_versions(id);
  }

 private:
  // Stands for "earlier in this table" among rows, which never get so high.
  static constexpr std::uint32_t k_repeated = std::numeric_limits<std::uint32_t>::max();

  // Sets `present_` to the rows of runs that are there already, and notes ids of which another version is.
  void find_present() {
    present_.assign(table_.size(), 0);
    tables_.ids.find_many(keys_.ids, [this](std::uint32_t i, std::uint32_t row) {
      std::uint64_t fingerprint = 0;
      if (!tables_.is_run(row, table_.ids[i], fingerprint)) return;
      if (fingerprint == table_.fingerprints[i])
        present_[i] = row;
      else
        touched_.push_back(table_.ids[i]);
    });
    for (auto begin = keys_.ids.begin(); begin != keys_.ids.end();) {
      const auto end =
          std::find_if(begin, keys_.ids.end(), [begin](const Posting& p) { return p.key != begin->key; });
      if (end - begin > 1) find_repeated(begin, end);
      begin = end;
    }
    std::sort(touched_.begin(), touched_.end());
    touched_.erase(std::unique(touched_.begin(), touched_.end()), touched_.end());
  }

  // Among runs of the table whose ids have one key.
  void find_repeated(std::vector<Posting>::const_iterator begin, std::vector<Posting>::const_iterator end) {
    const auto identity = [this](const Posting& p) {
      return std::tie(table_.ids[p.row], table_.fingerprints[p.row]);
    };
    std::vector<Posting> group(begin, end);
    std::stable_sort(group.begin(), group.end(),
                     [&](const Posting& a, const Posting& b) { return identity(a) < identity(b); });
    for (std::size_t k = 1; k < group.size(); ++k) {
      if (table_.ids[group[k].row] != table_.ids[group[k - 1].row]) continue;
      if (identity(group[k]) != identity(group[k - 1]))
        touched_.push_back(table_.ids[group[k].row]);
      else if (present_[group[k].row] == 0)
        present_[group[k].row] = k_repeated;
    }
  }

  void number_rows() {
    const std::int64_t last_row = database_.number("SELECT max(run) FROM run");
    if (last_row < 0) throw_broken_block();
    if (last_row >= k_repeated - static_cast<std::int64_t>(table_.size()) - 1) {
      throw Error(ErrorKind::usage, tables_.path + ": the index is full: it holds at most 4294967294 runs");
    }
    first_row_ = last_row + 1;
    rows_.assign(table_.size(), 0);
    for (std::size_t i = 0; i < table_.size(); ++i) {
      if (present_[i] == 0)
        rows_[i] = static_cast<std::uint32_t>(first_row_) + static_cast<std::uint32_t>(added_++);
    }
  }

  void insert_runs() {
    // Rows are numbered by SQLite, each one more than the greatest, as number_rows() has done: a row that is
    // told its number is looked for first.
    Statement insert = database_.prepare(
        "INSERT INTO run(id, trace, parent, fingerprint, batch, raw_offset, length, name, run_type, status, "
        "tags, start, duration, error) VALUES(?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14)");
    const auto bind_optional = [&insert](int parameter, bool given, std::int64_t number) {
      if (given)
        insert.bind(parameter, number);
      else
        insert.bind_null(parameter);
    };
    std::vector<std::int64_t> uses(table_.texts.size() + 1, 0);
    insert.bind(5, batch_);  // stands for all
    std::uint64_t raw_offset = 0;
    for (std::size_t i = 0; i < table_.size(); raw_offset += table_.lengths[i] + 1, ++i) {
      if (rows_[i] == 0) continue;
      insert.bind_blob(1, bytes_of(table_.ids[i]));
      if (table_.traces[i] == table_.ids[i])
        insert.bind_null(2);
      else
        insert.bind_blob(2, bytes_of(table_.traces[i]));
      bind_parent(insert, 3, i);
      insert.bind(4, as_signed(table_.fingerprints[i])).bind(6, as_signed(raw_offset));
      insert.bind(7, table_.lengths[i]);
      const std::uint32_t name = table_.names[i];
      ++uses[name];
      bind_optional(8, name != 0, name == 0 ? 0 : names_.of(name));
      const std::uint32_t type = table_.run_types[i];
      bind_optional(9, type != 0, type == 0 ? 0 : texts_.of(type));
      const std::uint32_t status = table_.statuses[i];
      bind_optional(10, status != 0, status == 0 ? 0 : texts_.of(status));
      const std::int64_t tags = tags_of(i);
      bind_optional(11, tags != 0, tags);
      const bool has_start = table_.starts[i] != base::k_no_time;
      const bool has_end = table_.ends[i] != base::k_no_time;
      bind_optional(12, has_start, table_.starts[i]);
      bind_optional(13, has_start && has_end,
                    as_signed(static_cast<std::uint64_t>(table_.ends[i]) -
                              static_cast<std::uint64_t>(table_.starts[i])));
      insert.bind(14, table_.errors[i]).run();
    }
    if (added_ > 0 && database_.last_row() != first_row_ + as_signed(added_) - 1) throw_broken_block();
    Statement count = database_.prepare("UPDATE name SET runs = runs + ?2 WHERE name = ?1");
    for (std::uint32_t name = 1; name < uses.size(); ++name) {
      if (uses[name] != 0) count.bind(1, names_.of(name)).bind(2, uses[name]).run();
    }
  }

  // A batch that was stored earlier than the one which a run is known from is found later, when others'
  // batches are synced: the run is as old as its oldest copy, whatever the order in which an index heard of
  // them.
  void move_to_older() {
    Statement move = database_.prepare(
        "UPDATE run SET batch = ?2, raw_offset = ?3 WHERE run = ?1 AND "
        "(SELECT modified, key FROM batch WHERE batch = ?2) < "
        "(SELECT b.modified, b.key FROM batch b WHERE b.batch = run.batch)");
    move.bind(2, batch_);
    std::uint64_t raw_offset = 0;
    for (std::size_t i = 0; i < table_.size(); raw_offset += table_.lengths[i] + 1, ++i) {
      if (rows_[i] == 0 && present_[i] != k_repeated)
        move.bind(1, present_[i]).bind(3, as_signed(raw_offset)).run();
    }
  }

  // The distance to the parent's row where this batch brings it, which takes a byte or two; else its id.
  void bind_parent(Statement& insert, int parameter, std::size_t i) {
    const run::Id& parent = table_.parents[i];
    if (parent == table_.ids[i]) {
      insert.bind_null(parameter);
      return;
    }
    if (!last_parent_ || *last_parent_ != parent) {
      last_parent_ = parent;
      last_parent_row_ = row_of(parent);
    }
    if (last_parent_row_ != 0)
      insert.bind(parameter, std::int64_t{last_parent_row_} - std::int64_t{rows_[i]});
    else
      insert.bind_blob(parameter, bytes_of(parent));
  }

  // The new row of a run in this table; 0 where there is none.
  std::uint32_t row_of(const run::Id& id) {
    const std::uint64_t key = id_key(id);
    auto posting = std::lower_bound(keys_.ids.begin(), keys_.ids.end(), Posting{key, 0, 0});
    for (; posting != keys_.ids.end() && posting->key == key; ++posting) {
      if (table_.ids[posting->row] == id && rows_[posting->row] != 0) return rows_[posting->row];
    }
    return 0;
  }

  // The text row of the run's tags as a JSON array; 0 where it has none. Runs of one program have the same
  // few.
  std::int64_t tags_of(std::size_t i) {
    const std::uint32_t begin = i == 0 ? 0 : table_.tag_ends[i - 1];
    if (begin == table_.tag_ends[i]) return 0;
    std::string list;
    for (std::uint32_t t = begin; t < table_.tag_ends[i]; ++t) {
      list += list.empty() ? "[" : ",";
      list += run::quote(table_.texts.text(table_.tags[t]));
    }
    list += "]";
    std::int64_t& row = tag_lists_[list];
    if (row == 0) row = texts_.of_text(list);
    return row;
  }

  void insert_fields() {
    Statement insert =
        database_.prepare("INSERT OR IGNORE INTO field(run, name, offset, length) VALUES(?1, ?2, ?3, ?4)");
    for (const run::FieldSpan& field : table_.fields) {
      if (rows_[field.run] == 0) continue;
      insert.bind(1, rows_[field.run])
          .bind(2, texts_.of(field.name))
          .bind(3, field.offset)
          .bind(4, field.length);
      insert.run();
    }
  }

  void add_postings() {
    if (added_ == 0) return;
    const auto first_row = static_cast<std::uint32_t>(first_row_);
    const std::uint32_t last_row = first_row + static_cast<std::uint32_t>(added_) - 1;
    const auto ids = [this](const Postings::Take& take) {
      for (const Posting& posting : keys_.ids) {
        if (rows_[posting.row] != 0) take({posting.key, 0, rows_[posting.row]});
      }
    };
    // In the order of rows too, which are numbered as the table is.
    const auto terms = [this](const Postings::Take& take) {
      for (const TableKeys::Term& term : keys_.terms) {
        for (std::uint32_t i = term.begin; i < term.end; ++i) {
          const std::uint32_t run = keys_.positions[i];
          if (rows_[run] != 0) take({term.key, order_of(table_.starts[run]), rows_[run]});
        }
      }
    };
    tables_.ids.add(ids, added_, first_row, last_row);
    tables_.terms.add(terms, keys_.positions.size(), first_row, last_row);
  }

  void mark_old_versions(const run::Id& id) {
    const std::vector<Version> versions = tables_.versions(id);
    Statement drop = database_.prepare("DELETE FROM old_version WHERE run = ?1");
    Statement insert = database_.prepare("INSERT OR IGNORE INTO old_version(run) VALUES(?1)");
    for (std::size_t i = 0; i < versions.size(); ++i)
      (i == 0 ? drop : insert).bind(1, versions[i].location.run).run();
  }

  Index::Tables& tables_;
  Database& database_;
  const std::int64_t batch_;
  const run::Table& table_;
  const TableKeys& keys_;
  TextRows names_{database_, table_.texts, "SELECT name FROM name WHERE value = ?1",
                  "INSERT INTO name(value, runs) VALUES(?1, 0)"};
  TextRows texts_{database_, table_.texts, "SELECT text FROM text WHERE value = ?1",
                  "INSERT INTO text(value) VALUES(?1)"};
  std::unordered_map<std::string, std::int64_t> tag_lists_;
  std::vector<std::uint32_t> present_;  // rows of runs that were there before; 0 or k_repeated
  std::vector<std::uint32_t> rows_;     // of new runs; 0 where a run is present
  std::vector<run::Id> touched_;        // ids with several versions
  std::optional<run::Id> last_parent_;
  std::uint32_t last_parent_row_ = 0;
  std::int64_t first_row_ = 0;
  std::size_t added_ = 0;
};

}  // namespace

std::size_t Index::Tables::add_batch(const BatchInfo& batch, const run::Table& table, const TableKeys& keys,
                                     const Confirmed& confirmed) {
  // Batches and segments are numbered on and on: past the greatest number the next would overflow.
  if (database.number("SELECT max(CAST(seq AS INTEGER)) FROM sqlite_sequence") >
      std::numeric_limits<std::int64_t>::max() / 2)
    throw_broken_block();
  Statement insert = database.prepare("INSERT INTO batch(key, size, modified, runs) VALUES(?1, ?2, ?3, ?4)");
  insert.bind_text(1, batch.key).bind(2, as_signed(batch.size)).bind(3, batch.modified_ns);
  insert.bind(4, as_signed(table.size())).run();
  const std::int64_t row = database.last_row();
  Statement insert_frame = database.prepare(
      "INSERT INTO frame(batch, raw_offset, raw, offset, stored) VALUES(?1, ?2, ?3, ?4, ?5)");
  for (const run::Frame& frame : table.frames) {
    insert_frame.bind(1, row).bind(2, as_signed(frame.raw_offset)).bind(3, frame.raw);
    insert_frame.bind(4, as_signed(frame.offset)).bind(5, frame.stored).run();
  }
  Recorder recorder(*this, row, table, keys);
  const std::size_t added = recorder.record();
  if (confirmed) {
    Statement set_time = database.prepare("UPDATE batch SET modified = ?2 WHERE batch = ?1");
    set_time.bind(1, row).bind(2, confirmed()).run();
  }
  recorder.order_versions();
  return added;
}

std::optional<std::size_t> Index::add(const BatchInfo& batch, const run::Table& table, const TableKeys& keys,
                                      const Confirmed& confirmed) {
  Transaction transaction(tables_->database);
  if (has_batch(batch.key)) return std::nullopt;
  const std::size_t added = tables_->add_batch(batch, table, keys, confirmed);
  transaction.commit();
  return added;
}

void Index::rebuild(const NextBatch& next) {
  Tables& tables = *tables_;
  Transaction transaction(tables.database);
  for (const char* const table :
       {"run", "batch", "frame", "field", "name", "text", "old_version", "segment", "place", "block"}) {
    tables.database.execute((std::string("DELETE FROM ") + table).c_str());
  }
  // Rows get other numbers, so what remembers them is no longer good: see Cursor.
  tables.write_setting(k_generation, std::to_string(tables.database.number("SELECT random()")));
  BatchInfo batch;
  run::Table table;
  while (next(batch, table)) {
    tables.add_batch(batch, table, keys_of(table));
    table = {};
  }
  transaction.commit();
  // Without waiting: a reader may be a search in somebody's pager.
  tables.database.execute("PRAGMA busy_timeout = 0");
  tables.database.execute("PRAGMA wal_checkpoint(TRUNCATE)");
  tables.database.execute(fmt::format("PRAGMA busy_timeout = {}", k_busy_milliseconds).c_str());
}

}  // namespace runctl::index
