// From older schema versions to this one.
#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <limits>

#include "base/time.hpp"
#include "index/postings.hpp"
#include "index/schema.hpp"
#include "index/terms.hpp"

namespace runctl::index {

namespace {

constexpr std::int64_t k_rows_together = 1 << 17;

// Version 1 had neither parents nor metadata, and tags in a table of their own. Footers written at its time
// have none of the first two either, so nothing is missing afterwards.
constexpr const char* k_copy_from_1 = R"sql(
INSERT INTO setting SELECT * FROM old_setting;
INSERT INTO setting(name, value) VALUES('generation', random());
INSERT INTO batch SELECT batch, key, size, modified, runs FROM old_batch;
INSERT INTO frame SELECT batch, raw_offset, raw, offset, stored FROM old_frame;
INSERT INTO text SELECT text, value FROM old_text;
INSERT INTO name
  SELECT old_run.name, old_text.value, count(*) FROM old_run JOIN old_text ON old_text.text = old_run.name
  GROUP BY old_run.name;
INSERT INTO field SELECT run, name, offset, length FROM old_field;
CREATE TEMP TABLE tag_list AS
  SELECT run, json_group_array(value) AS value
  FROM (SELECT run, value FROM old_tag JOIN old_text ON old_text.text = old_tag.tag ORDER BY run, tag) GROUP BY run;
CREATE INDEX temp.tag_list_run ON tag_list(run);
INSERT OR IGNORE INTO text(value) SELECT DISTINCT value FROM tag_list;
INSERT INTO run
  SELECT run, id, trace, NULL, fingerprint, batch, raw_offset, length, name, run_type, status,
         (SELECT text.text FROM tag_list JOIN text ON text.value = tag_list.value WHERE tag_list.run = old_run.run),
         start, duration, error
  FROM old_run ORDER BY run;
INSERT INTO old_version
  SELECT run FROM (
    SELECT run.run AS run,
           row_number() OVER (PARTITION BY id ORDER BY modified DESC, key DESC, raw_offset DESC) AS age
    FROM run JOIN batch USING(batch)
    WHERE id IN (SELECT id FROM run GROUP BY id HAVING count(*) > 1))
  WHERE age > 1;
)sql";

void add_postings(Database& database, std::int64_t first_row, std::int64_t last_row) {
  Statement select = database.prepare(
      "SELECT run.run, id, trace, name.value, text.value, start, error FROM run LEFT JOIN name ON name.name "
      "= run.name "
      "LEFT JOIN text ON text.text = run.run_type WHERE run.run BETWEEN ?1 AND ?2");
  Statement select_tags = database.prepare(
      "SELECT old_tag.run, value FROM old_tag JOIN old_text ON old_text.text = old_tag.tag "
      "WHERE old_tag.run BETWEEN ?1 AND ?2");
  Statement select_start = database.prepare("SELECT start FROM run WHERE run = ?1");
  const auto order_at = [](const Statement& statement, int column) {
    return order_of(statement.is_null(column) ? base::k_no_time : statement.number(column));
  };
  std::vector<Posting> ids;
  std::vector<Posting> terms;
  select.bind(1, first_row).bind(2, last_row);
  while (select.step()) {
    const auto row = static_cast<std::uint32_t>(select.number(0));
    run::Id id;
    const std::string_view bytes = select.bytes(1).substr(0, id.bytes.size());
    std::copy(bytes.begin(), bytes.end(), id.bytes.begin());
    ids.push_back({id_key(id), 0, row});
    const auto add = [&](TermKind kind, std::string_view text) {
      terms.push_back({term_key(kind, text), order_at(select, 5), row});
    };
    add(TermKind::all, "");
    if (!select.is_null(2)) add(TermKind::trace, select.bytes(2));
    if (!select.is_null(3)) add(TermKind::name, select.bytes(3));
    if (!select.is_null(4)) add(TermKind::run_type, select.bytes(4));
    if (select.number(6) != 0) add(TermKind::error, "");
  }
  select_tags.bind(1, first_row).bind(2, last_row);
  while (select_tags.step()) {
    if (!select_start.bind(1, select_tags.number(0)).step()) continue;
    terms.push_back({term_key(TermKind::tag, select_tags.bytes(1)), order_at(select_start, 0),
                     static_cast<std::uint32_t>(select_tags.number(0))});
    select_start.reset();
  }
  sort_postings(ids);
  sort_postings(terms);
  const auto first = static_cast<std::uint32_t>(first_row);
  const auto last = static_cast<std::uint32_t>(last_row);
  Postings(database, PostingKind::id).add(ids, first, last);
  Postings(database, PostingKind::term).add(terms, first, last);
}

void migrate_from_1(Database& database) {
  database.execute("DROP VIEW runs; DROP TABLE segment; DROP TABLE segment_block; DROP TABLE block");
  constexpr std::array k_kept = {"setting", "batch", "frame", "text", "run", "tag", "field"};
  for (const char* const table : k_kept) {
    database.execute(fmt::format("ALTER TABLE {0} RENAME TO old_{0}", table).c_str());
  }
  create_tables(database);
  database.execute(k_copy_from_1);
  const std::int64_t rows = database.number("SELECT max(run) FROM run");
  if (rows > std::numeric_limits<std::uint32_t>::max()) throw_broken_block();
  for (std::int64_t first = 1; first <= rows; first += k_rows_together) {
    add_postings(database, first, std::min(rows, first + k_rows_together - 1));
  }
  for (const char* const table : k_kept) database.execute(fmt::format("DROP TABLE old_{}", table).c_str());
  database.execute("DROP TABLE tag_list");
}

}  // namespace

void migrate(Database& database) {
  Transaction transaction(database);
  // Another process may have been faster.
  if (database.number("PRAGMA user_version") == 1) migrate_from_1(database);
  transaction.commit();
}

}  // namespace runctl::index
