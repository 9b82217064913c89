// What an index file holds: blocks of postings, filters, the numbers by which segments are found, and the
// file itself. Whatever stands there, all that is asked of the index ends, with an answer or an error.
#include <fcntl.h>
#include <unistd.h>

#include <array>

#include "base/error.hpp"
#include "base/file.hpp"
#include "fuzz/target.hpp"
#include "index/filter.hpp"
#include "index/index.hpp"
#include "index/postings.hpp"
#include "index/schema.hpp"

namespace {

using namespace runctl;
using fuzz::Input;
using fuzz::require;
using index::Database;
using index::Index;
using index::Posting;
using index::PostingKind;

constexpr const char* k_store = "file:///store";
// More than a file of this size can truthfully answer; what comes to no end comes to this.
constexpr std::size_t k_max_hits = 1 << 20;

void read_block(PostingKind kind, std::string_view stored) {
  std::vector<Posting> postings;
  index::decode_block(kind, stored, postings);
  require(!postings.empty() && postings.size() <= stored.size(), "an entry takes bytes");
  for (std::size_t i = 1; i < postings.size(); ++i)
    require(postings[i - 1] < postings[i], "the entries of a block ascend");
  std::vector<Posting> again;
  index::decode_block(kind, index::encode_block(kind, postings), again);
  require(again == postings, "a block is read as it is written");
}

void read_filter(Input input) {
  const auto key = input.number<std::uint64_t>();
  std::string bits(input.rest());
  index::may_contain(bits, key);
  bits = index::make_filter(input.below(256));
  while (!input.rest().empty() && !bits.empty()) {
    const auto added = input.number<std::uint64_t>();
    index::add_to_filter(bits, added);
    require(index::may_contain(bits, added), "a filter knows what was added to it");
  }
}

// --- an index of a few batches ---

run::Id id_of(std::size_t number) { return run::id_of_text("run " + std::to_string(number)); }

index::BatchInfo batch_of(std::size_t number) {
  return {"runs/v1/mixed/" + std::to_string(number) + ".ndjson.zst", 1000,
          static_cast<std::int64_t>(number) * 1'000'000'000};
}

// Runs number `first` and on, of all kinds; some are later versions of others.
run::Table table_of(std::size_t first, std::size_t count) {
  run::Table table;
  for (std::size_t i = first; i < first + count; ++i) {
    run::Arena arena;
    run::Record record;
    record.json = "{}";
    record.id = i % 50 == 49 ? id_of(i / 2) : id_of(i);
    record.trace_id = id_of(i / 8 * 8);
    record.parent_id = id_of(i / 8 * 8);
    record.fingerprint = i;
    const std::string name = "step " + std::to_string(i % 5);
    record.name = name;
    record.run_type = i % 2 == 0 ? "llm" : "tool";
    if (i % 7 != 0) record.start_time = 1'700'000'000'000'000 + static_cast<std::int64_t>(i) * 1000;
    if (i % 7 != 0) record.end_time = record.start_time + 5;
    record.has_error = i % 11 == 0;
    arena.metadata.push_back(arena.texts.emplace_back("env=test"));
    record.metadata_end = 1;
    arena.tags.push_back(arena.texts.emplace_back("tag"));
    record.tags_end = 1;
    table.append(record, arena);
  }
  table.frames.push_back({0, 1000, 0, static_cast<std::uint32_t>(3 * count)});
  return table;
}

constexpr std::size_t k_first_runs = 230;   // several blocks
constexpr std::size_t k_small_batches = 6;  // and one more makes merging due
constexpr std::size_t k_small_runs = 4;
constexpr std::size_t k_runs = k_first_runs + k_small_batches * k_small_runs;

// A file for one process, in memory where there is such a place.
class Scratch {
 public:
  Scratch() {
    if (::access("/dev/shm", W_OK) == 0) directory_.replace(0, 4, "/dev/shm");
    require(::mkdtemp(directory_.data()) != nullptr, "there is a directory");
    clear();
    Index made = open();
    made.add(batch_of(0), table_of(0, k_first_runs));
    for (std::size_t i = 0; i < k_small_batches; ++i)
      made.add(batch_of(1 + i), table_of(k_first_runs + i * k_small_runs, k_small_runs));
    Database(path(), Database::Mode::write).execute("PRAGMA wal_checkpoint(TRUNCATE)");
    whole_ = base::read_file(path(), 64U << 20).value();
  }
  ~Scratch() {
    clear();
    ::rmdir(directory_.c_str());
  }
  Scratch(const Scratch&) = delete;
  Scratch& operator=(const Scratch&) = delete;

  [[nodiscard]] std::string path() const { return directory_ + "/index.sqlite"; }
  [[nodiscard]] const std::string& whole() const { return whole_; }

  void put(std::string_view content) const {
    clear();
    const base::FileDescriptor file(::open(path().c_str(), O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600));
    base::write_all(file.get(), content, path());
  }

 private:
  Index open() { return std::move(*Index::open(path(), k_store, Index::Access::write)); }
  void clear() const {
    for (const char* const suffix : {"", "-wal", "-shm", "-journal"}) ::unlink((path() + suffix).c_str());
  }

  std::string directory_ = "/tmp/runctl_fuzz_XXXXXX";
  std::string whole_;
};

const Scratch& scratch() {
  static const Scratch one;
  return one;
}

// --- questions ---

void search_all(Index& index, index::Query query) {
  std::size_t hits = 0;
  std::optional<index::Cursor> last;
  for (const auto order : {index::Query::Order::newest, index::Query::Order::oldest}) {
    query.order = order;
    last.reset();
    index.search(query, [&](const index::Hit& hit) {
      require(++hits < k_max_hits, "a search comes to an end");
      const index::Cursor& here = hit.cursor;
      require(!last || here.start_order == last->start_order ||
                  (here.start_order > last->start_order) == (order == index::Query::Order::oldest),
              "hits come in the order that was asked for");
      last = here;
    });
  }
  require(index.count(query) >= 0, "a number of runs is none below zero");
  if (!last) return;
  query.after = last;
  query.limit = 3;
  index.search(query, [](const index::Hit&) {});
}

constexpr std::size_t k_queries = 8;

std::array<index::Query, k_queries> queries() {
  std::array<index::Query, k_queries> all;
  for (index::Query& query : all) query.limit = 0;
  all[1].name = "step 3";
  all[1].run_type = "tool";
  all[2].tags = {"tag"};
  all[2].metadata = {"env=test"};
  all[2].since = 1'700'000'000'010'000;
  all[3].name_contains = "ep";
  all[3].limit = 2;
  all[4].name_prefix = "step";
  all[5].trace = id_of(8);
  all[6].error = false;
  all[6].min_latency = 1;
  all[7].error = true;
  all[7].until = 1'700'000'000'200'000;
  return all;
}

// Each question is asked whatever became of the one before.
template <typename Question>
void ask(Question question) {
  try {
    question();
  } catch (const base::Error& error) {
    require(std::string_view(error.what()).find("misuse") == std::string_view::npos,
            "SQLite is used rightly");
  }
}

void look_up(Index& index) {
  for (const std::size_t number : {std::size_t{0}, std::size_t{24}, k_first_runs + 1, k_runs + 7}) {
    ask([&] {
      for (const index::Location& found : index.find(id_of(number))) {
        ask([&] { index.frames(found.batch, found.raw_offset, found.length); });
        ask([&] { index.batch(found.batch); });
        ask([&] { index.field(found.run, "inputs"); });
      }
    });
  }
  ask([&] { index.find_trace(id_of(8)); });
  ask([&] { index.status(); });
  ask([&] { index.batch_keys(); });
  ask([&] { index.has_batch(batch_of(0).key); });
  ask([&] { index.runs_by_batch(); });
  ask([&] {
    const run::Table table = table_of(k_first_runs, k_small_runs);
    index.batches_of(table.ids, table.fingerprints);
    index.compare(batch_of(1).key, table, k_small_runs);
  });
}

// One of the queries, the look-ups, or everything.
constexpr std::size_t k_look_ups = k_queries, k_everything = k_queries + 1, k_questions = k_queries + 2;

void ask_question(Index& index, std::size_t question) {
  if (question >= k_look_ups) look_up(index);
  const std::array all = queries();
  for (std::size_t i = 0; i < k_queries; ++i) {
    if (question == i || question == k_everything) ask([&] { search_all(index, all.at(i)); });
  }
}

void add_batches(Index& index) {
  for (std::size_t i = 0; i < 2; ++i) {
    const std::size_t number = 1 + k_small_batches + i;
    ask([&] { index.add(batch_of(number), table_of(k_runs + i * k_small_runs, k_small_runs)); });
  }
}

void rebuild(Index& index) {
  bool given = false;
  index.rebuild([&](index::BatchInfo& batch, run::Table& table) {
    batch = batch_of(0);
    table = table_of(0, k_small_runs);
    return !std::exchange(given, true);
  });
}

// What is done with the file that the scratch holds, and what is asked afterwards.
struct Use {
  explicit Use(Input& input) : question(input.below(k_questions)), action(input.below(4)) {}
  std::size_t question;
  std::size_t action;  // one of these, or all
};
constexpr std::size_t k_read = 0, k_add = 1, k_rebuild = 2, k_all = 3;

void use(const Use& chosen) {
  const auto does = [&chosen](std::size_t action) {
    return chosen.action == action || chosen.action == k_all;
  };
  ask([&] {
    auto index = does(k_read) ? Index::open(scratch().path(), k_store, Index::Access::read) : std::nullopt;
    if (index) ask_question(*index, chosen.question);
  });
  for (const std::size_t action : {k_add, k_rebuild}) {
    if (!does(action)) continue;
    ask([&] {
      Index index = std::move(*Index::open(scratch().path(), k_store, Index::Access::write));
      action == k_add ? add_batches(index) : rebuild(index);
      ask_question(index, chosen.question);
    });
  }
}

// --- what is done to a file ---

struct Column {
  const char* table;
  const char* column;
  const char* key;
};
constexpr std::array k_columns = std::to_array<Column>({
    {"block", "entries", "block"},
    {"block", "rank", "block"},
    {"block", "block", "block"},
    {"segment", "filter", "segment"},
    {"segment", "entries", "segment"},
    {"segment", "first_block", "segment"},
    {"segment", "last_block", "segment"},
    {"segment", "level", "segment"},
    {"segment", "kind", "segment"},
    {"segment", "least", "segment"},
    {"segment", "greatest", "segment"},
    {"segment", "first_row", "segment"},
    {"segment", "last_row", "segment"},
    {"segment", "segment", "segment"},
    {"place", "block", "block"},
    {"place", "key", "block"},
    {"place", "start", "block"},
    {"place", "row", "block"},
    {"place", "segment", "block"},
    {"run", "run", "run"},
    {"run", "id", "run"},
    {"run", "trace", "run"},
    {"run", "parent", "run"},
    {"run", "batch", "run"},
    {"run", "name", "run"},
    {"run", "start", "run"},
    {"run", "duration", "run"},
    {"run", "raw_offset", "run"},
    {"run", "length", "run"},
    {"old_version", "run", "run"},
    {"batch", "batch", "batch"},
    {"batch", "key", "batch"},
    {"batch", "size", "batch"},
    {"batch", "modified", "batch"},
    {"frame", "raw_offset", "batch"},
    {"frame", "raw", "batch"},
    {"name", "value", "name"},
    {"name", "runs", "name"},
    {"setting", "value", "name"},
    {"sqlite_sequence", "seq", "name"},
});

constexpr std::array k_numbers = std::to_array<std::int64_t>(
    {0, 1, -1, INT64_MAX, INT64_MIN, INT64_MAX - 1, UINT32_MAX, std::int64_t{UINT32_MAX} + 1, 1LL << 40, -2});

// One change: a value of one row, or of all rows, of one column; or a row more, or less.
void change(Database& database, Input& input) {
  const std::size_t kind = input.below(9);
  const Column& column = k_columns.at(input.below(k_columns.size()));
  const std::size_t row = input.below(256);
  const std::string table = column.table;
  const std::string of_row = row == 255 ? " WHERE ?2 = ?2"
                                        : " WHERE " + std::string(column.key) + " = (SELECT " + column.key +
                                              " FROM " + table + " LIMIT 1 OFFSET ?2)";
  std::string sql = "UPDATE OR IGNORE " + table + " SET " + column.column + " = ?1" + of_row;
  std::string bytes;
  if (kind == 4)
    sql = "UPDATE OR IGNORE " + table + " SET " + column.column + " = " + column.column + " + ?1" + of_row;
  if (kind == 5) sql = "UPDATE OR IGNORE " + table + " SET " + column.column + " = CAST(?1 AS TEXT)" + of_row;
  if (kind == 6) sql = "DELETE FROM " + table + of_row + " AND ?1 = ?1";
  if (kind == 7) {
    sql =
        "INSERT INTO segment SELECT NULL, kind, level, entries, least, greatest, first_block, last_block, "
        "first_row, last_row, filter FROM segment WHERE ?1 = ?1 LIMIT 1 OFFSET ?2";
  }
  if (kind == 8) sql = "INSERT OR IGNORE INTO block SELECT ?1, rank, entries FROM block LIMIT 1 OFFSET ?2";
  index::Statement statement = database.prepare(sql);
  statement.bind(2, static_cast<std::int64_t>(row));
  if (kind == 0 || kind == 5) {
    bytes = input.until('\x1E');
    statement.bind_blob(1, bytes);
  } else if (kind == 1 || kind == 8) {
    statement.bind(1, k_numbers.at(input.below(k_numbers.size())));
  } else if (kind == 2) {
    statement.bind(1, input.number<std::int64_t>());
  } else {
    statement.bind(1, input.number<std::int8_t>());
  }
  statement.run();
}

void change_all(Input& input, std::size_t changes) {
  Database database(scratch().path(), Database::Mode::write);
  database.execute("PRAGMA synchronous = OFF");
  for (std::size_t i = 0; i < changes; ++i) ask([&] { change(database, input); });
}

// Ours with changes.
void read_changed(Input input) {
  const Use chosen(input);
  scratch().put(scratch().whole());
  change_all(input, 1 + input.below(6));
  use(chosen);
}

// A file from elsewhere, with changes.
void read_file(Input input) {
  const Use chosen(input);
  const std::size_t changes = input.below(5);
  Input of_changes(input.until('\x1D'));
  scratch().put(input.rest());
  if (changes > 0) ask([&] { change_all(of_changes, changes); });
  use(chosen);
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  Input input(fuzz::bytes_of(data, size));
  try {
    switch (input.below(8)) {
      case 0:
        read_block(PostingKind::id, input.rest());
        break;
      case 1:
        read_block(PostingKind::term, input.rest());
        break;
      case 2:
        read_filter(input);
        break;
      case 3:
      case 4:
        read_file(input);
        break;
      default:
        read_changed(input);
    }
  } catch (const base::Error& error) {
    fuzz::require_printable(error.what());
  }
  return 0;
}
