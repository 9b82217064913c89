#include "index/schema.hpp"

#include <fmt/format.h>

#include <string_view>

#include "base/error.hpp"

namespace runctl::index {

namespace {

using base::Error;
using base::ErrorKind;

// Rows of `run` are appended in the order in which batches were recorded, and nothing but appends: B-trees on
// random ids get slower as they grow. What must be found by something else than its row stands in sorted
// segments instead (postings.hpp), which are merged level by level.
constexpr const char* k_tables = R"sql(
CREATE TABLE setting(
  name TEXT PRIMARY KEY,
  value TEXT NOT NULL
) WITHOUT ROWID;

CREATE TABLE batch(
  batch INTEGER PRIMARY KEY AUTOINCREMENT,
  key TEXT NOT NULL UNIQUE,
  size INTEGER NOT NULL,
  modified INTEGER NOT NULL,
  runs INTEGER NOT NULL
);

CREATE TABLE frame(
  batch INTEGER NOT NULL,
  raw_offset INTEGER NOT NULL,
  raw INTEGER NOT NULL,
  offset INTEGER NOT NULL,
  stored INTEGER NOT NULL,
  PRIMARY KEY(batch, raw_offset)
) WITHOUT ROWID;

CREATE TABLE name(
  name INTEGER PRIMARY KEY,
  value TEXT NOT NULL UNIQUE,
  runs INTEGER NOT NULL
);

CREATE TABLE text(
  text INTEGER PRIMARY KEY,
  value TEXT NOT NULL UNIQUE
);

CREATE TABLE run(
  run INTEGER PRIMARY KEY,
  id BLOB NOT NULL,
  trace BLOB,
  parent,
  fingerprint INTEGER NOT NULL,
  batch INTEGER NOT NULL,
  raw_offset INTEGER NOT NULL,
  length INTEGER NOT NULL,
  name INTEGER,
  run_type INTEGER,
  status INTEGER,
  tags INTEGER,
  start INTEGER,
  duration INTEGER,
  error INTEGER NOT NULL
);

CREATE TABLE old_version(
  run INTEGER PRIMARY KEY
);

CREATE TABLE field(
  run INTEGER NOT NULL,
  name INTEGER NOT NULL,
  offset INTEGER NOT NULL,
  length INTEGER NOT NULL,
  PRIMARY KEY(run, name)
) WITHOUT ROWID;

CREATE TABLE segment(
  segment INTEGER PRIMARY KEY AUTOINCREMENT,
  kind INTEGER NOT NULL,
  level INTEGER NOT NULL,
  entries INTEGER NOT NULL,
  least INTEGER NOT NULL,
  greatest INTEGER NOT NULL,
  first_block INTEGER NOT NULL,
  last_block INTEGER NOT NULL,
  first_row INTEGER NOT NULL,
  last_row INTEGER NOT NULL,
  filter BLOB NOT NULL
);

CREATE TABLE place(
  segment INTEGER NOT NULL,
  key INTEGER NOT NULL,
  start INTEGER NOT NULL,
  row INTEGER NOT NULL,
  block INTEGER NOT NULL,
  PRIMARY KEY(segment, key, start, row)
) WITHOUT ROWID;

CREATE TABLE block(
  block INTEGER PRIMARY KEY,
  rank INTEGER NOT NULL,
  entries BLOB NOT NULL
);

CREATE VIEW runs AS
  SELECT run.run AS run, lower(hex(run.id)) AS id, lower(hex(coalesce(run.trace, run.id))) AS trace,
         lower(hex(CASE typeof(run.parent)
           WHEN 'integer' THEN (SELECT other.id FROM run AS other WHERE other.run = run.run + run.parent)
           WHEN 'blob' THEN run.parent END)) AS parent,
         name.value AS name, run_type.value AS run_type, status.value AS status, tags.value AS tags,
         strftime('%Y-%m-%dT%H:%M:%fZ', run.start / 1e6, 'unixepoch') AS start,
         run.duration / 1e6 AS seconds, run.error AS error,
         NOT EXISTS (SELECT 1 FROM old_version WHERE old_version.run = run.run) AS latest,
         batch.key AS batch_key, run.raw_offset AS raw_offset, run.length AS length
  FROM run JOIN batch USING(batch)
  LEFT JOIN name ON name.name = run.name
  LEFT JOIN text AS run_type ON run_type.text = run.run_type
  LEFT JOIN text AS status ON status.text = run.status
  LEFT JOIN text AS tags ON tags.text = run.tags;

CREATE VIEW batches AS
  SELECT batch, key, size, strftime('%Y-%m-%dT%H:%M:%fZ', modified / 1e9, 'unixepoch') AS modified, runs,
         (SELECT count(*) FROM frame WHERE frame.batch = batch.batch) AS frames
  FROM batch;
)sql";

// Of version 1, for `migrate`.
constexpr const char* k_tables_of_1 = R"sql(
CREATE TABLE setting(
  name TEXT PRIMARY KEY,
  value TEXT NOT NULL
) WITHOUT ROWID;

CREATE TABLE batch(
  batch INTEGER PRIMARY KEY,
  key TEXT NOT NULL UNIQUE,
  size INTEGER NOT NULL,
  modified INTEGER NOT NULL,
  runs INTEGER NOT NULL
);

CREATE TABLE frame(
  batch INTEGER NOT NULL,
  raw_offset INTEGER NOT NULL,
  raw INTEGER NOT NULL,
  offset INTEGER NOT NULL,
  stored INTEGER NOT NULL,
  PRIMARY KEY(batch, raw_offset)
) WITHOUT ROWID;

CREATE TABLE text(
  text INTEGER PRIMARY KEY,
  value TEXT NOT NULL UNIQUE
);

CREATE TABLE run(
  run INTEGER PRIMARY KEY,
  id BLOB NOT NULL,
  trace BLOB,
  fingerprint INTEGER NOT NULL,
  batch INTEGER NOT NULL,
  raw_offset INTEGER NOT NULL,
  length INTEGER NOT NULL,
  name INTEGER,
  run_type INTEGER,
  status INTEGER,
  start INTEGER,
  duration INTEGER,
  error INTEGER NOT NULL
);

CREATE TABLE tag(
  tag INTEGER NOT NULL,
  run INTEGER NOT NULL,
  PRIMARY KEY(tag, run)
) WITHOUT ROWID;

CREATE TABLE field(
  run INTEGER NOT NULL,
  name INTEGER NOT NULL,
  offset INTEGER NOT NULL,
  length INTEGER NOT NULL,
  PRIMARY KEY(run, name)
) WITHOUT ROWID;

CREATE TABLE segment(
  segment INTEGER PRIMARY KEY,
  kind INTEGER NOT NULL,
  level INTEGER NOT NULL,
  entries INTEGER NOT NULL,
  least INTEGER NOT NULL,
  greatest INTEGER NOT NULL
);

CREATE TABLE segment_block(
  segment INTEGER NOT NULL,
  least INTEGER NOT NULL,
  block INTEGER NOT NULL,
  PRIMARY KEY(segment, least, block)
) WITHOUT ROWID;

CREATE TABLE block(
  block INTEGER PRIMARY KEY,
  entries BLOB NOT NULL
);

CREATE VIEW runs AS
  SELECT run.run AS run, lower(hex(run.id)) AS id, lower(hex(coalesce(run.trace, run.id))) AS trace,
         name.value AS name, run_type.value AS run_type, status.value AS status,
         strftime('%Y-%m-%dT%H:%M:%fZ', run.start / 1e6, 'unixepoch') AS start,
         run.duration / 1e6 AS seconds, run.error AS error, batch.key AS batch_key, run.raw_offset AS raw_offset,
         run.length AS length
  FROM run JOIN batch USING(batch)
  LEFT JOIN text AS name ON name.text = run.name
  LEFT JOIN text AS run_type ON run_type.text = run.run_type
  LEFT JOIN text AS status ON status.text = run.status;
)sql";

// What SQLite makes by itself, the last two where somebody let it look at how the tables are filled.
constexpr const char* k_tables_of_sqlite =
    "CREATE TABLE sqlite_sequence(name,seq);CREATE TABLE sqlite_stat1(tbl,idx,stat);"
    "CREATE TABLE sqlite_stat4(tbl,idx,neq,nlt,ndlt,sample);";

void check_owner(std::int64_t application, std::int64_t version, const std::string& path) {
  if (application != k_application_id) {
    throw Error(ErrorKind::usage, path + ": is a SQLite file, but no runctl index; give another --index");
  }
  if (version > k_schema_version) {
    throw Error(
        ErrorKind::usage,
        fmt::format("{}: the index has schema version {}, this runctl knows up to {}; use a newer runctl, or "
                    "another --index with 'runctl index rebuild'",
                    path, version, k_schema_version));
  }
}

bool has_statement(std::string_view tables, std::string_view statement) {
  const std::size_t at = tables.find(statement);
  return statement.starts_with("CREATE ") && at != std::string_view::npos &&
         tables.substr(at + statement.size()).starts_with(';');
}

// Views and triggers in the place of a table, columns and indexes that compute something: all of them could
// make a statement run for ever, take any amount of memory, or change what it is about.
void check_tables(Database& database, std::int64_t version, const std::string& path) {
  Statement select = database.prepare("SELECT sql FROM sqlite_master WHERE sql IS NOT NULL");
  while (select.step()) {
    const std::string_view made_by = select.bytes(0);
    if (has_statement(version == 1 ? k_tables_of_1 : k_tables, made_by) ||
        has_statement(k_tables_of_sqlite, made_by))
      continue;
    throw Error(ErrorKind::corrupt,
                path +
                    ": the index has tables, views or triggers that are not runctl's; run 'runctl index "
                    "rebuild' to make it anew from the store");
  }
}

}  // namespace

int schema_version(Database& database, const std::string& path) {
  const Snapshot snapshot(database);  // another process may bring it to the next version meanwhile
  const std::int64_t version = database.number("PRAGMA user_version");
  check_owner(database.number("PRAGMA application_id"), version, path);
  check_tables(database, version, path);
  return static_cast<int>(version);
}

void create_tables(Database& database) {
  database.execute(k_tables);
  database.execute(fmt::format("PRAGMA application_id = {}", k_application_id).c_str());
  database.execute(fmt::format("PRAGMA user_version = {}", k_schema_version).c_str());
}

void create_schema(Database& database, const std::string& store_url) {
  database.execute("PRAGMA page_size = 8192");  // must come before the first table
  // Nobody knows the file before it is whole, and who made it sees to it that it is on the disk by then.
  database.execute("PRAGMA journal_mode = MEMORY");
  database.execute("PRAGMA synchronous = OFF");
  Transaction transaction(database);
  create_tables(database);
  database
      .prepare(
          "INSERT INTO setting(name, value) VALUES('generation', random()), ('store', ?1), "
          "('first_sync', 'due')")
      .bind_text(1, store_url)
      .run();
  transaction.commit();
  database.execute("PRAGMA journal_mode = WAL");
}

}  // namespace runctl::index
