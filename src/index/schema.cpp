#include "index/schema.hpp"

#include <fmt/format.h>

#include "base/error.hpp"

namespace runctl::index {

namespace {

using base::Error;
using base::ErrorKind;

// Rows of `run` are appended in the order in which batches were recorded, and nothing but appends: B-trees on
// random ids get slower as they grow. What must be found by id or trace stands in sorted segments instead
// (postings.hpp), which are merged tier by tier.
constexpr const char* k_tables = R"sql(
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

}  // namespace

void check_schema(Database& database, const std::string& path) {
  check_owner(database.number("PRAGMA application_id"), database.number("PRAGMA user_version"), path);
}

void create_schema(Database& database) {
  // Both must come before the first table.
  database.execute("PRAGMA page_size = 8192");
  database.execute("PRAGMA journal_mode = WAL");
  Transaction transaction(database);
  database.execute(k_tables);
  database.execute(fmt::format("PRAGMA application_id = {}", k_application_id).c_str());
  database.execute(fmt::format("PRAGMA user_version = {}", k_schema_version).c_str());
  transaction.commit();
}

}  // namespace runctl::index
