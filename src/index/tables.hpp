// What the parts of the index share: one connection, and the look-ups that several need.
#pragma once

#include <string>
#include <string_view>
#include <tuple>
#include <vector>

#include "index/index.hpp"
#include "index/postings.hpp"
#include "index/sqlite.hpp"
#include "index/table_keys.hpp"
#include "index/terms.hpp"

namespace runctl::index {

inline std::int64_t as_signed(std::uint64_t number) { return static_cast<std::int64_t>(number); }

// The setting that tells whether a row still means the run that it meant: it changes when rows are numbered
// anew.
inline constexpr const char* k_generation = "generation";

// A run as it was stored at one time.
struct Version {
  Location location;
  std::int64_t modified = 0;  // of its batch
  std::string key;
  run::Id id;

  // What decides which version is the latest.
  [[nodiscard]] auto age() const { return std::tie(modified, key, location.raw_offset); }
};

struct Index::Tables {
  std::string path;
  Database database;
  Postings ids{database, PostingKind::id};
  Postings terms{database, PostingKind::term};

  Tables(std::string file, Database opened) : path(std::move(file)), database(std::move(opened)) {}

  void bind_to_store(const std::string& store_url, Access access);

  // Inside a transaction.
  void write_setting(std::string_view name, std::string_view value);

  // All versions of a run, the latest first.
  std::vector<Version> versions(const run::Id& id);
  // The same of many runs, each at its place in `wanted`.
  std::vector<std::vector<Version>> versions(const std::vector<run::Id>& wanted);
  // Adds the version that the row is, if the run is `id`: keys of ids are hashes.
  void add_version(std::uint32_t row, const run::Id& id, std::vector<Version>& versions);

  // Whether the row is that of the run `id`; then `fingerprint` is set.
  bool is_run(std::uint32_t row, const run::Id& id, std::uint64_t& fingerprint);

  // Records a batch inside a transaction; returns how many runs are new.
  std::size_t add_batch(const BatchInfo& batch, const run::Table& table, const TableKeys& keys,
                        const Confirmed& confirmed = {});

  Statement select_identity = database.prepare("SELECT id, fingerprint FROM run WHERE run = ?1");
  Statement select_frames = database.prepare(
      "SELECT raw_offset, raw, offset, stored FROM frame WHERE batch = ?1 AND raw_offset < ?3 AND raw_offset "
      ">= "
      "(SELECT max(raw_offset) FROM frame WHERE batch = ?1 AND raw_offset <= ?2) ORDER BY raw_offset");
  Statement select_version = database.prepare(
      "SELECT run.batch, run.raw_offset, run.length, run.fingerprint, batch.modified, batch.key FROM run "
      "JOIN batch USING(batch) WHERE run.run = ?1 AND run.id = ?2");
};

}  // namespace runctl::index
