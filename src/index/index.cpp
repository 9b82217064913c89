#include "index/index.hpp"

#include <sys/stat.h>

#include <algorithm>
#include <filesystem>
#include <limits>
#include <tuple>
#include <unordered_map>
#include <unordered_set>

#include "base/bytes.hpp"
#include "base/error.hpp"
#include "base/file.hpp"
#include "base/hash.hpp"
#include "index/postings.hpp"
#include "index/schema.hpp"
#include "index/sqlite.hpp"

namespace runctl::index {

namespace {

using base::Error;
using base::ErrorKind;

std::string_view bytes_of(const run::Id& id) {
  return {reinterpret_cast<const char*>(id.bytes.data()), id.bytes.size()};
}

// Where an id stands in the sorted segments. Time-ordered ids keep their order, so that segments of different
// times do not overlap; the rest of the key is a hash, since ids of one millisecond, or of a program that
// counts them up, have equal halves.
std::uint64_t key_of(const run::Id& id) {
  const std::uint64_t hash = base::xxh3_64(bytes_of(id));
  const auto milliseconds = run::uuid_v7_milliseconds(id);
  if (!milliseconds) return hash;
  return (static_cast<std::uint64_t>(*milliseconds) << 16) | (hash & 0xFFFF);
}

// Stands for "in the same table" among rows, which start at 1 and never get so high.
constexpr std::uint32_t k_repeated = std::numeric_limits<std::uint32_t>::max();

std::int64_t as_signed(std::uint64_t number) { return static_cast<std::int64_t>(number); }

}  // namespace

struct Index::Tables {
  std::string path;
  Database database;
  Postings ids{database, PostingKind::id};
  Postings traces{database, PostingKind::trace};

  Tables(std::string file, Database::Mode mode) : path(std::move(file)), database(path, mode) {}

  void bind_to_store(const std::string& store_url, Access access);
  bool matches(std::uint32_t row, const run::Id& id, std::uint64_t fingerprint);
  std::vector<std::int64_t> add_texts(const run::TextTable& texts);
  std::uint32_t row_of(const run::Id& id, std::uint64_t fingerprint);
  std::vector<std::uint32_t> present_runs(const run::Table& table);
  void keep_oldest(std::uint32_t row, std::int64_t batch, std::uint64_t raw_offset);
  std::size_t add_batch(const BatchInfo& batch, const run::Table& table, Known known);
  std::size_t add_runs(std::int64_t batch, const run::Table& table, Known known);
  void add_frames(std::int64_t batch, const std::vector<run::Frame>& frames);

  // A run as it was stored at one time.
  struct Version {
    Location location;
    std::int64_t modified = 0;
    std::string key;
    std::int64_t start = 0;  // the largest number where there is none
    run::Id id;
    // What decides which version is the latest.
    [[nodiscard]] auto age() const { return std::tie(modified, key, location.raw_offset); }
  };
  // Those of `rows` for which `condition` on ?2, the id, holds; the latest first.
  std::vector<Version> versions(const std::vector<std::uint32_t>& rows, const char* condition,
                                const run::Id& id);

  std::int64_t data_version = database.number("PRAGMA data_version");
  bool others_wrote = false;
  Statement batch_of_row = database.prepare("SELECT batch FROM run WHERE run = ?1");
  Statement move_to_older = database.prepare(
      "UPDATE run SET batch = ?2, raw_offset = ?3 WHERE run = ?1 AND "
      "(SELECT modified, key FROM batch WHERE batch = ?2) < "
      "(SELECT b.modified, b.key FROM batch b WHERE b.batch = run.batch)");
  Statement row_matches = database.prepare("SELECT id = ?2 AND fingerprint = ?3 FROM run WHERE run = ?1");
};

// An index belongs to one store: with another's it would point to objects that are not there.
void Index::Tables::bind_to_store(const std::string& store_url, Access access) {
  Statement read = database.prepare("SELECT value FROM setting WHERE name = 'store'");
  if (read.step()) {
    const std::string known(read.bytes(0));
    if (known == store_url) return;
    throw Error(ErrorKind::usage,
                path + ": is the index of " + known + ", not of " + store_url + "; give another --index");
  }
  if (access == Access::read) return;
  read.reset();
  Statement write = database.prepare("INSERT OR IGNORE INTO setting(name, value) VALUES('store', ?1)");
  write.bind_text(1, store_url).run();
}

Index::Index(std::unique_ptr<Tables> tables) : tables_(std::move(tables)) {}
Index::Index(Index&&) noexcept = default;
Index& Index::operator=(Index&&) noexcept = default;
Index::~Index() = default;

// An index appears with all its tables at once: several processes may want to make the same one, and a switch
// to WAL does not wait for its turn.
void Index::create(const std::string& path) {
  base::make_directories(std::filesystem::absolute(path).parent_path().string());
  base::AtomicFile file(path);
  {
    Database database(file.temporary_path(), Database::Mode::create);
    create_schema(database);
  }
  file.commit(base::AtomicFile::Replace::no);
}

std::optional<Index> Index::open(const std::string& path, const std::string& store_url, Access access) {
  struct stat status {};
  const bool there = ::stat(path.c_str(), &status) == 0;
  if (access == Access::read && !there) return std::nullopt;
  if (there && S_ISDIR(status.st_mode))
    throw Error(ErrorKind::usage, path + ": is a directory; --index takes a file");
  if (!there) create(path);
  {
    Database database(path, Database::Mode::read);
    check_schema(database, path);
  }
  auto tables =
      std::make_unique<Tables>(path, access == Access::read ? Database::Mode::read : Database::Mode::write);
  if (access == Access::write) {
    // The store is the truth: after a power cut the index may miss its last batches, never have half of one.
    tables->database.execute("PRAGMA synchronous = NORMAL");
    tables->database.execute("PRAGMA cache_size = -16384");
    tables->database.execute("PRAGMA secure_delete = OFF");
  }
  tables->bind_to_store(store_url, access);
  return Index(std::move(tables));
}

bool Index::Tables::matches(std::uint32_t row, const run::Id& id, std::uint64_t fingerprint) {
  row_matches.bind(1, row).bind_blob(2, bytes_of(id)).bind(3, as_signed(fingerprint));
  const bool match = row_matches.step() && row_matches.number(0) != 0;
  row_matches.reset();
  return match;
}

std::uint32_t Index::Tables::row_of(const run::Id& id, std::uint64_t fingerprint) {
  std::uint32_t found = 0;
  ids.find(key_of(id), [&](std::uint32_t row) {
    if (found == 0 && matches(row, id, fingerprint)) found = row;
  });
  return found;
}

std::vector<std::int64_t> Index::batches_of(const std::vector<run::Id>& ids,
                                            const std::vector<std::uint64_t>& fingerprints) {
  std::vector<std::int64_t> batches(ids.size(), 0);
  if (tables_->database.number("SELECT max(batch) FROM batch") == 0) return batches;
  for (std::size_t i = 0; i < ids.size(); ++i) {
    const std::uint32_t row = tables_->row_of(ids[i], fingerprints[i]);
    if (row == 0) continue;
    tables_->batch_of_row.bind(1, row);
    if (tables_->batch_of_row.step()) batches[i] = tables_->batch_of_row.number(0);
    tables_->batch_of_row.reset();
  }
  return batches;
}

std::vector<std::int64_t> Index::Tables::add_texts(const run::TextTable& texts) {
  std::vector<std::int64_t> rows(texts.size() + 1, 0);
  Statement find = database.prepare("SELECT text FROM text WHERE value = ?1");
  Statement insert = database.prepare("INSERT INTO text(value) VALUES(?1)");
  for (std::uint32_t number = 1; number <= texts.size(); ++number) {
    find.bind_text(1, texts.text(number));
    if (find.step()) {
      rows[number] = find.number(0);
    } else {
      insert.bind_text(1, texts.text(number)).run();
      rows[number] = database.last_row();
    }
    find.reset();
  }
  return rows;
}

// The rows of those runs that are there already, 0 for the others. A run that the table itself has twice
// counts as there the second time, as row k_repeated.
std::vector<std::uint32_t> Index::Tables::present_runs(const run::Table& table) {
  std::vector<std::uint32_t> rows(table.size(), 0);
  const bool empty = database.number("SELECT max(batch) FROM batch") == 0;
  std::unordered_map<run::Id, std::vector<std::uint64_t>> seen;
  seen.reserve(table.size());
  for (std::size_t i = 0; i < table.size(); ++i) {
    std::vector<std::uint64_t>& prints = seen[table.ids[i]];
    if (std::find(prints.begin(), prints.end(), table.fingerprints[i]) != prints.end()) {
      rows[i] = k_repeated;
      continue;
    }
    prints.push_back(table.fingerprints[i]);
    if (!empty) rows[i] = row_of(table.ids[i], table.fingerprints[i]);
  }
  return rows;
}

// A batch that was stored earlier than the one which a run is known from is found later, when others' batches
// are synced: the run is as old as its oldest copy, whatever the order in which an index heard of them.
void Index::Tables::keep_oldest(std::uint32_t row, std::int64_t batch, std::uint64_t raw_offset) {
  move_to_older.bind(1, row).bind(2, batch).bind(3, as_signed(raw_offset)).run();
}

void Index::Tables::add_frames(std::int64_t batch, const std::vector<run::Frame>& frames) {
  Statement insert = database.prepare(
      "INSERT INTO frame(batch, raw_offset, raw, offset, stored) VALUES(?1, ?2, ?3, ?4, ?5)");
  for (const run::Frame& frame : frames) {
    insert.bind(1, batch).bind(2, as_signed(frame.raw_offset)).bind(3, frame.raw);
    insert.bind(4, as_signed(frame.offset)).bind(5, frame.stored).run();
  }
}

std::size_t Index::Tables::add_runs(std::int64_t batch, const run::Table& table, Known known) {
  const std::vector<std::uint32_t> present =
      known == Known::yes ? std::vector<std::uint32_t>(table.size(), 0) : present_runs(table);
  const std::vector<std::int64_t> texts = add_texts(table.texts);
  Statement insert = database.prepare(
      "INSERT INTO run(run, id, trace, fingerprint, batch, raw_offset, length, name, run_type, status, "
      "start, duration, "
      "error) VALUES(?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13)");
  Statement insert_tag = database.prepare("INSERT OR IGNORE INTO tag(tag, run) VALUES(?1, ?2)");
  Statement insert_field =
      database.prepare("INSERT OR IGNORE INTO field(run, name, offset, length) VALUES(?1, ?2, ?3, ?4)");
  const auto bind_optional = [&insert](int parameter, bool given, std::int64_t number) {
    if (given)
      insert.bind(parameter, number);
    else
      insert.bind_null(parameter);
  };
  std::vector<Posting> id_postings;
  std::vector<Posting> trace_postings;
  id_postings.reserve(table.size());
  std::uint64_t raw_offset = 0;
  std::size_t next_field = 0;
  std::int64_t row = database.number("SELECT max(run) FROM run");
  if (row + static_cast<std::int64_t>(table.size()) > std::numeric_limits<std::uint32_t>::max()) {
    throw Error(ErrorKind::usage, path + ": the index is full: it holds at most 4294967295 runs");
  }
  for (std::size_t i = 0; i < table.size(); raw_offset += table.lengths[i] + 1, ++i) {
    if (present[i] != 0) {
      if (present[i] != k_repeated) keep_oldest(present[i], batch, raw_offset);
      continue;
    }
    ++row;
    const bool own_trace = table.traces[i] == table.ids[i];
    insert.bind(1, row).bind_blob(2, bytes_of(table.ids[i]));
    if (own_trace)
      insert.bind_null(3);
    else
      insert.bind_blob(3, bytes_of(table.traces[i]));
    insert.bind(4, as_signed(table.fingerprints[i])).bind(5, batch).bind(6, as_signed(raw_offset));
    insert.bind(7, table.lengths[i]);
    bind_optional(8, table.names[i] != 0, texts[table.names[i]]);
    bind_optional(9, table.run_types[i] != 0, texts[table.run_types[i]]);
    bind_optional(10, table.statuses[i] != 0, texts[table.statuses[i]]);
    const bool has_start = table.starts[i] != base::k_no_time;
    const bool has_end = table.ends[i] != base::k_no_time;
    bind_optional(11, has_start, table.starts[i]);
    bind_optional(
        12, has_start && has_end,
        as_signed(static_cast<std::uint64_t>(table.ends[i]) - static_cast<std::uint64_t>(table.starts[i])));
    insert.bind(13, table.errors[i]).run();
    id_postings.push_back({key_of(table.ids[i]), static_cast<std::uint32_t>(row)});
    if (!own_trace) trace_postings.push_back({key_of(table.traces[i]), static_cast<std::uint32_t>(row)});
    for (std::uint32_t t = i == 0 ? 0 : table.tag_ends[i - 1]; t < table.tag_ends[i]; ++t) {
      insert_tag.bind(1, texts[table.tags[t]]).bind(2, row).run();
    }
    while (next_field < table.fields.size() && table.fields[next_field].run < i) ++next_field;
    for (; next_field < table.fields.size() && table.fields[next_field].run == i; ++next_field) {
      const run::FieldSpan& field = table.fields[next_field];
      insert_field.bind(1, row).bind(2, texts[field.name]).bind(3, field.offset).bind(4, field.length).run();
    }
  }
  const std::size_t added = id_postings.size();
  ids.add(std::move(id_postings));
  traces.add(std::move(trace_postings));
  return added;
}

std::size_t Index::Tables::add_batch(const BatchInfo& batch, const run::Table& table, Known known) {
  Statement insert = database.prepare("INSERT INTO batch(key, size, modified, runs) VALUES(?1, ?2, ?3, ?4)");
  insert.bind_text(1, batch.key).bind(2, as_signed(batch.size)).bind(3, batch.modified_ns);
  insert.bind(4, as_signed(table.size())).run();
  const std::int64_t row = database.last_row();
  add_frames(row, table.frames);
  return add_runs(row, table, known);
}

std::size_t Index::add(const BatchInfo& batch, const run::Table& table, Known known) {
  Transaction transaction(tables_->database);
  if (has_batch(batch.key)) return 0;
  // It changes when another connection has written (sqlite.org, PRAGMA data_version).
  const std::int64_t version = tables_->database.number("PRAGMA data_version");
  tables_->others_wrote = tables_->others_wrote || version != tables_->data_version;
  const std::size_t added = tables_->add_batch(batch, table, tables_->others_wrote ? Known::no : known);
  transaction.commit();
  return added;
}

void Index::rebuild(const NextBatch& next) {
  Tables& tables = *tables_;
  Transaction transaction(tables.database);
  for (const char* const clear :
       {"DELETE FROM run", "DELETE FROM batch", "DELETE FROM frame", "DELETE FROM tag", "DELETE FROM field",
        "DELETE FROM text", "DELETE FROM segment", "DELETE FROM segment_block", "DELETE FROM block"}) {
    tables.database.execute(clear);
  }
  BatchInfo batch;
  run::Table table;
  while (next(batch, table)) {
    tables.add_batch(batch, table, Known::no);
    table = {};
  }
  transaction.commit();
  tables.database.execute("PRAGMA wal_checkpoint(TRUNCATE)");
}

void Index::remove(const std::string& path) {
  for (const char* const suffix : {"", "-wal", "-shm"}) {
    std::error_code failure;
    std::filesystem::remove(path + suffix, failure);
    if (failure) throw Error(ErrorKind::io, path + suffix + ": cannot be removed: " + failure.message());
  }
}

std::vector<Index::Tables::Version> Index::Tables::versions(const std::vector<std::uint32_t>& rows,
                                                            const char* condition, const run::Id& id) {
  // The rows are candidates: keys are hashes, so the id itself decides.
  Statement select = database.prepare(
      std::string(
          "SELECT run.batch, run.raw_offset, run.length, batch.modified, batch.key, run.start, run.id, "
          "run.fingerprint "
          "FROM run JOIN batch USING(batch) WHERE run.run = ?1 AND ") +
      condition);
  std::vector<Version> found;
  for (const std::uint32_t row : rows) {
    if (select.bind(1, row).bind_blob(2, bytes_of(id)).step()) {
      Version version;
      version.location = {row, select.number(0), static_cast<std::uint64_t>(select.number(1)),
                          static_cast<std::uint32_t>(select.number(2)),
                          static_cast<std::uint64_t>(select.number(7))};
      version.modified = select.number(3);
      version.key = select.bytes(4);
      version.start = select.is_null(5) ? std::numeric_limits<std::int64_t>::max() : select.number(5);
      const std::string_view bytes = select.bytes(6);
      if (bytes.size() == version.id.bytes.size())
        std::copy(bytes.begin(), bytes.end(), version.id.bytes.begin());
      found.push_back(std::move(version));
    }
    select.reset();
  }
  std::sort(found.begin(), found.end(), [](const Version& a, const Version& b) { return a.age() > b.age(); });
  return found;
}

std::vector<Location> Index::find(const run::Id& id) {
  std::vector<std::uint32_t> rows;
  tables_->ids.find(key_of(id), [&rows](std::uint32_t row) { rows.push_back(row); });
  std::vector<Location> locations;
  for (const Tables::Version& version : tables_->versions(rows, "run.id = ?2", id)) {
    locations.push_back(version.location);
  }
  return locations;
}

std::vector<Location> Index::find_trace(const run::Id& trace) {
  std::vector<std::uint32_t> rows;
  const auto add = [&rows](std::uint32_t row) { rows.push_back(row); };
  tables_->traces.find(key_of(trace), add);
  tables_->ids.find(key_of(trace), add);  // the root run, whose trace is its own id
  std::vector<Tables::Version> versions = tables_->versions(rows, "coalesce(run.trace, run.id) = ?2", trace);
  std::unordered_set<run::Id> seen;
  std::erase_if(versions,
                [&seen](const Tables::Version& version) { return !seen.insert(version.id).second; });
  std::reverse(versions.begin(), versions.end());
  std::stable_sort(versions.begin(), versions.end(),
                   [](const Tables::Version& a, const Tables::Version& b) { return a.start < b.start; });
  std::vector<Location> locations;
  for (const Tables::Version& version : versions) locations.push_back(version.location);
  return locations;
}

std::vector<std::string> Index::batch_keys() {
  std::vector<std::string> keys;
  Statement select = tables_->database.prepare("SELECT key FROM batch");
  while (select.step()) keys.emplace_back(select.bytes(0));
  return keys;
}

BatchInfo Index::batch(std::int64_t batch) {
  Statement select = tables_->database.prepare("SELECT key, size, modified FROM batch WHERE batch = ?1");
  if (!select.bind(1, batch).step()) {
    throw Error(ErrorKind::corrupt, tables_->path + ": the index is broken; run 'runctl index rebuild'");
  }
  return {std::string(select.bytes(0)), static_cast<std::uint64_t>(select.number(1)), select.number(2)};
}

bool Index::has_batch(std::string_view key) {
  Statement select = tables_->database.prepare("SELECT 1 FROM batch WHERE key = ?1");
  return select.bind_text(1, key).step();
}

std::vector<run::Frame> Index::frames(std::int64_t batch, std::uint64_t raw_offset, std::uint64_t length) {
  Statement select = tables_->database.prepare(
      "SELECT raw_offset, raw, offset, stored FROM frame WHERE batch = ?1 AND raw_offset < ?3 AND raw_offset "
      ">= "
      "(SELECT max(raw_offset) FROM frame WHERE batch = ?1 AND raw_offset <= ?2) ORDER BY raw_offset");
  select.bind(1, batch).bind(2, as_signed(raw_offset)).bind(3, as_signed(raw_offset + length));
  std::vector<run::Frame> frames;
  while (select.step()) {
    run::Frame frame;
    frame.raw_offset = static_cast<std::uint64_t>(select.number(0));
    frame.raw = static_cast<std::uint32_t>(select.number(1));
    frame.offset = static_cast<std::uint64_t>(select.number(2));
    frame.stored = static_cast<std::uint32_t>(select.number(3));
    frames.push_back(frame);
  }
  return frames;
}

std::optional<FieldPlace> Index::field(std::int64_t run, std::string_view name) {
  Statement select = tables_->database.prepare(
      "SELECT offset, length FROM field JOIN text ON text.text = field.name WHERE run = ?1 AND text.value = "
      "?2");
  if (!select.bind(1, run).bind_text(2, name).step()) return std::nullopt;
  return FieldPlace{static_cast<std::uint32_t>(select.number(0)),
                    static_cast<std::uint32_t>(select.number(1))};
}

Status Index::status() {
  Statement select = tables_->database.prepare(
      "SELECT (SELECT count(*) FROM run), count(*), coalesce(sum(size), 0), coalesce(max(modified), 0) FROM "
      "batch");
  select.step();
  return {select.number(0), select.number(1), select.number(2), select.number(3)};
}

std::optional<std::string> Index::setting(std::string_view name) {
  Statement select = tables_->database.prepare("SELECT value FROM setting WHERE name = ?1");
  if (!select.bind_text(1, name).step()) return std::nullopt;
  return std::string(select.bytes(0));
}

void Index::set_setting(std::string_view name, std::string_view value) {
  Transaction transaction(tables_->database);
  tables_->database.prepare("INSERT OR REPLACE INTO setting(name, value) VALUES(?1, ?2)")
      .bind_text(1, name)
      .bind_text(2, value)
      .run();
  transaction.commit();
}

}  // namespace runctl::index
