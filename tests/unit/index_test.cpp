#include "index/index.hpp"

#include <doctest/doctest.h>

#include <map>

#include "base/error.hpp"
#include "index/filter.hpp"
#include "index/postings.hpp"
#include "index/schema.hpp"
#include "support.hpp"

using namespace runctl;

namespace {

constexpr const char* k_store = "file:///store";

index::Index open(const std::string& path) {
  return std::move(*index::Index::open(path, k_store, index::Index::Access::write));
}

// A table of small runs, `names` of which have equal ids where the texts are equal.
run::Table table_of(const std::vector<std::pair<std::string, std::string>>& ids_and_bytes) {
  run::Table table;
  const run::Arena arena;
  std::uint32_t raw = 0;
  for (const auto& [id, bytes] : ids_and_bytes) {
    run::Record record;
    record.json = bytes;
    record.id = run::id_of_text(id);
    record.trace_id = run::id_of_text("trace of " + id.substr(0, 1));
    record.parent_id = record.id;
    record.fingerprint = std::hash<std::string>{}(bytes);
    table.append(record, arena);
    raw += static_cast<std::uint32_t>(bytes.size()) + 1;
  }
  table.frames.push_back({0, 10, 0, raw});
  return table;
}

}  // namespace

TEST_CASE("postings are found in any number of segments") {
  const tests::TemporaryDirectory directory;
  index::Database database(directory / "p.sqlite", index::Database::Mode::create);
  index::create_schema(database, "file:///s");
  index::Postings postings(database, index::PostingKind::id);
  std::map<std::uint64_t, std::vector<std::uint32_t>> model;
  tests::Random random(1);
  std::uint32_t row = 0;
  for (int round = 0; round < 70; ++round) {
    std::vector<index::Posting> added;
    const std::uint32_t first = row + 1;
    for (std::size_t n = 1 + random.below(2000); n > 0; --n) {
      // Few distinct keys, so that many entries share one and fill several blocks.
      const std::uint64_t key = random.below(10) == 0 ? 5 : random.below(3000) << 50;
      added.push_back({key, 0, ++row});
      model[key].push_back(row);
    }
    std::sort(added.begin(), added.end());
    postings.add(added, first, row);
  }
  CHECK(database.number("SELECT max(level) FROM segment") == 2);
  CHECK(database.number("SELECT count(*) FROM segment") <= 21);
  CHECK(database.number("SELECT count(*) FROM block") == database.number("SELECT count(*) FROM place"));
  CHECK(database.number("SELECT max(length(entries)) FROM block") <= 2016);
  std::vector<index::Posting> wanted;
  std::vector<std::vector<std::uint32_t>> many;
  for (const auto& [key, rows] : model) {
    for (const std::uint64_t near : {key - 1, key, key + 1}) {
      wanted.push_back({near, 0, static_cast<std::uint32_t>(wanted.size())});
    }
  }
  std::sort(wanted.begin(), wanted.end());
  many.resize(wanted.size());
  postings.find_many(wanted, [&many](std::uint32_t asked, std::uint32_t r) { many.at(asked).push_back(r); });
  for (const index::Posting& ask : wanted) {
    std::vector<std::uint32_t>& found = many.at(ask.row);
    std::sort(found.begin(), found.end());
    const auto known = model.find(ask.key);
    CHECK(found == (known == model.end() ? std::vector<std::uint32_t>() : known->second));
  }
  for (auto& [key, rows] : model) {
    std::vector<std::uint32_t> found;
    postings.find(key, [&found](std::uint32_t r) { found.push_back(r); });
    std::sort(found.begin(), found.end());
    CHECK(found == rows);
  }
  postings.find(4, [](std::uint32_t) { FAIL("there is no such key"); });
}

TEST_CASE("blocks of postings are read as they were written, and broken ones refused") {
  tests::Random random(2);
  for (const auto kind : {index::PostingKind::id, index::PostingKind::term}) {
    std::vector<index::Posting> postings;
    for (int i = 0; i < 300; ++i) {
      const std::uint64_t order = kind == index::PostingKind::id ? 0
                                  : random.below(4) == 0         ? 0
                                                                 : ~random.below(9);
      postings.push_back({random.below(3) == 0 ? ~random.below(5) : random.below(5), order,
                          static_cast<std::uint32_t>(random.below(0xFFFFFFFF))});
    }
    std::sort(postings.begin(), postings.end());
    const std::string stored = index::encode_block(kind, postings);
    std::vector<index::Posting> read;
    index::decode_block(kind, stored, read);
    CHECK(read == postings);
    CHECK_THROWS_AS(index::decode_block(kind, stored + '\x80', read), base::Error);
    CHECK_THROWS_AS(index::decode_block(kind, "", read), base::Error);
    CHECK_THROWS_AS(index::decode_block(kind, std::string(11, '\xff'), read), base::Error);
  }
}

TEST_CASE("a filter knows its keys, and few others") {
  std::string bits = index::make_filter(10'000);
  CHECK(bits.size() < 16'000);
  for (std::uint64_t key = 0; key < 10'000; ++key) index::add_to_filter(bits, key << 16);
  std::size_t wrong = 0;
  for (std::uint64_t key = 0; key < 10'000; ++key) {
    CHECK(index::may_contain(bits, key << 16));
    wrong += index::may_contain(bits, (key << 16) + 1) ? 1 : 0;
  }
  CHECK(wrong < 200);
}

TEST_CASE("a filter too small to be one is not relied on") {
  for (const std::size_t size : {0U, 1U, 63U}) CHECK(index::may_contain(std::string(size, '\0'), 7));
  CHECK_FALSE(index::may_contain(std::string(64, '\0'), 7));
}

TEST_CASE("the latest version is the one the store took last, then the one behind in its batch") {
  const tests::TemporaryDirectory directory;
  index::Index index = open(directory / "i.sqlite");
  CHECK(index.add({"runs/v1/mixed/b", 100, 2000}, table_of({{"a", "new"}, {"b", "b1"}})) == 2);
  CHECK(index.add({"runs/v1/mixed/a", 100, 1000}, table_of({{"a", "old"}, {"a", "old, later"}})) == 2);
  const auto versions = index.find(run::id_of_text("a"));
  REQUIRE(versions.size() == 3);
  CHECK(index.batch(versions[0].batch).modified_ns == 2000);
  CHECK(versions[1].raw_offset == 4);
  CHECK(versions[2].raw_offset == 0);
  const auto trace = index.find_trace(run::id_of_text("trace of a"));
  REQUIRE(trace.size() == 1);
  CHECK(trace[0].run == versions[0].run);
  CHECK(index.find(run::id_of_text("none")).empty());
}

TEST_CASE("many runs are found together as each alone") {
  const tests::TemporaryDirectory directory;
  index::Index index = open(directory / "i.sqlite");
  tests::Random random(3);
  const auto any_id = [&random] { return std::to_string(random.below(900)); };
  for (int batch = 0; batch < 12; ++batch) {
    std::vector<std::pair<std::string, std::string>> runs;
    for (int i = 0; i < 100; ++i) runs.emplace_back(any_id(), std::to_string(random.below(3)));
    index.add({"runs/v1/mixed/" + std::to_string(batch), 1, static_cast<std::int64_t>(random.below(5))},
              table_of(runs));
  }
  const auto same = [](const std::vector<index::Location>& a, const std::vector<index::Location>& b) {
    return std::equal(a.begin(), a.end(), b.begin(), b.end(),
                      [](const index::Location& x, const index::Location& y) { return x.run == y.run; });
  };
  std::size_t with_versions = 0;
  for (const std::size_t count : {0U, 1U, 255U, 256U, 1000U}) {
    std::vector<run::Id> ids;
    for (std::size_t i = 0; i < count; ++i)
      ids.push_back(run::id_of_text(any_id()));  // some twice, some unknown
    const auto found = index.find(ids);
    REQUIRE(found.size() == count);
    for (std::size_t i = 0; i < count; ++i) {
      CHECK(same(found[i], index.find(ids[i])));
      if (found[i].size() > 1) ++with_versions;
    }
  }
  CHECK(with_versions > 100);
}

TEST_CASE("a run is recorded once, whoever stores it") {
  const tests::TemporaryDirectory directory;
  index::Index one = open(directory / "i.sqlite");
  index::Index other = open(directory / "i.sqlite");
  const std::vector<run::Id> ids = {run::id_of_text("a"), run::id_of_text("b")};
  const auto table = table_of({{"a", "1"}, {"b", "2"}});
  CHECK(one.batches_of(ids, table.fingerprints) == std::vector<std::int64_t>{0, 0});
  CHECK(other.batches_of(ids, table.fingerprints) == std::vector<std::int64_t>{0, 0});
  CHECK(one.add({"runs/v1/mixed/x", 1, 1}, table) == 2);
  // The other looked before the first one added; its batch is cut differently.
  CHECK(other.add({"runs/v1/mixed/y", 1, 2}, table_of({{"b", "2"}, {"c", "3"}})) == 1);
  CHECK(!other.add({"runs/v1/mixed/y", 1, 2}, table_of({{"b", "2"}, {"c", "3"}})));
  CHECK(one.status().runs == 3);
  CHECK(one.status().batches == 2);
  CHECK(one.batches_of(ids, table.fingerprints) == std::vector<std::int64_t>{1, 1});
}

TEST_CASE("a run is as old as its oldest copy, in whatever order an index hears of them") {
  const tests::TemporaryDirectory directory;
  index::Index index = open(directory / "i.sqlite");
  index.add({"runs/v1/mixed/late", 1, 3000}, table_of({{"x", "1"}}));
  index.add({"runs/v1/mixed/middle", 1, 2000}, table_of({{"x", "2"}}));
  CHECK(index.find(run::id_of_text("x")).front().fingerprint == std::hash<std::string>{}("1"));
  CHECK(index.add({"runs/v1/mixed/early", 1, 1000}, table_of({{"x", "1"}})) == 0);
  CHECK(index.find(run::id_of_text("x")).front().fingerprint == std::hash<std::string>{}("2"));
  CHECK(index.add({"runs/v1/mixed/twice", 1, 4000}, table_of({{"y", "1"}, {"y", "1"}})) == 1);
}

TEST_CASE("a batch that the store confirms while it is recorded is as old as that says, or not there") {
  const tests::TemporaryDirectory directory;
  index::Index index = open(directory / "i.sqlite");
  index.add({"runs/v1/mixed/late", 1, 3000}, table_of({{"x", "1"}, {"y", "1"}}));
  const run::Table table = table_of({{"x", "2"}, {"y", "1"}, {"z", "1"}});
  const index::TableKeys keys = index::keys_of(table);
  const index::BatchInfo batch{"runs/v1/mixed/middle", 1, 0};
  const auto refused = []() -> std::int64_t { throw base::Error(base::ErrorKind::remote, "away"); };
  CHECK_THROWS_AS(index.add(batch, table, keys, refused), base::Error);
  CHECK(index.status().batches == 1);
  CHECK(index.status().runs == 2);
  CHECK(index.add(batch, table, keys, [] { return 2000; }) == 2);
  CHECK(index.status().newest_modified_ns == 3000);
  const auto keys_of_versions = [&index](const std::string& id) {
    std::vector<std::string> found;
    for (const index::Location& version : index.find(run::id_of_text(id)))
      found.push_back(index.batch(version.batch).key);
    return found;
  };
  using Keys = std::vector<std::string>;
  CHECK(keys_of_versions("x") == Keys{"runs/v1/mixed/late", "runs/v1/mixed/middle"});
  CHECK(keys_of_versions("y") == Keys{"runs/v1/mixed/middle"});  // the copy that was taken first
  CHECK(index.batch(2).modified_ns == 2000);
  CHECK(index.add({"runs/v1/mixed/newest", 1, 0}, table, keys, [] { return 5000; }) == 0);
  CHECK(keys_of_versions("y") == Keys{"runs/v1/mixed/middle"});
}

TEST_CASE("a rebuild that fails changes nothing") {
  const tests::TemporaryDirectory directory;
  index::Index index = open(directory / "i.sqlite");
  index.add({"runs/v1/mixed/x", 1, 1}, table_of({{"a", "1"}}));
  int calls = 0;
  CHECK_THROWS_AS(index.rebuild([&](index::BatchInfo& batch, run::Table& table) {
    if (++calls == 2) throw base::Error(base::ErrorKind::remote, "the store is gone");
    batch = {"runs/v1/mixed/y", 1, 1};
    table = table_of({{"b", "2"}});
    return true;
  }),
                  base::Error);
  CHECK(index.find(run::id_of_text("a")).size() == 1);
  CHECK(index.find(run::id_of_text("b")).empty());
}

TEST_CASE("ids that a program counts up do not slow the index down") {
  // Equal first halves: the look-up key must not be a part of the id.
  const tests::TemporaryDirectory directory;
  index::Index index = open(directory / "i.sqlite");
  std::vector<std::pair<std::string, std::string>> runs;
  for (int i = 0; i < 5000; ++i) {
    char id[37];
    std::snprintf(id, sizeof id, "00000000-0000-0000-0000-%012x", i);
    runs.emplace_back(id, std::to_string(i));
  }
  index.add({"runs/v1/mixed/x", 1, 1}, table_of(runs));
  for (int i = 0; i < 5000; i += 100)
    CHECK(index.find(run::id_of_text(runs[static_cast<std::size_t>(i)].first)).size() == 1);
}

TEST_CASE("an index knows whose it is") {
  const tests::TemporaryDirectory directory;
  const std::string path = directory / "i.sqlite";
  open(path);
  CHECK_THROWS_WITH_AS(index::Index::open(path, "file:///other", index::Index::Access::read),
                       doctest::Contains("file:///store"), base::Error);
  CHECK_FALSE(index::Index::open(directory / "none.sqlite", k_store, index::Index::Access::read).has_value());
  {
    index::Database database(path, index::Database::Mode::write);
    database.execute("PRAGMA user_version = 999");
  }
  CHECK_THROWS_WITH_AS(index::Index::open(path, k_store, index::Index::Access::write),
                       doctest::Contains("schema version 999"), base::Error);
  {
    index::Database database(directory / "foreign.sqlite", index::Database::Mode::create);
    database.execute("CREATE TABLE t(x)");
  }
  CHECK_THROWS_WITH_AS(index::Index::open(directory / "foreign.sqlite", k_store, index::Index::Access::write),
                       doctest::Contains("no runctl index"), base::Error);
}
