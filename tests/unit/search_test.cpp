// The index's searches against a model that looks at every run.
#include <doctest/doctest.h>

#include <algorithm>
#include <set>

#include "base/error.hpp"
#include "base/hash.hpp"
#include "index/index.hpp"
#include "index/table_keys.hpp"
#include "index/terms.hpp"
#include "support.hpp"

using namespace runctl;

namespace {

struct ModelRun {
  std::string id;
  std::string trace;
  std::string parent;
  std::string name;
  std::string run_type;
  std::vector<std::string> tags;
  std::vector<std::string> metadata;
  std::int64_t start = base::k_no_time;
  std::int64_t end = base::k_no_time;
  bool error = false;
  std::uint64_t fingerprint = 0;
};

template <std::size_t N>
std::string pick(tests::Random& random, const char* const (&choices)[N]) {
  return choices[random.below(N)];
}

ModelRun random_run(tests::Random& random, std::size_t number) {
  static constexpr const char* k_names[] = {
      "", "plan", "planner", "a%b_c", "re\x1bply", "\xd7\xa9\xd7\x9c", "\"q\"\\"};
  static constexpr const char* k_types[] = {"", "llm", "chain", "tool"};
  static constexpr const char* k_tags[] = {"red", "green", "", "[\"x\"]"};
  static constexpr const char* k_metadata[] = {"env=prod", "env=test", "user.name=ann", "n=1", "empty="};
  ModelRun run;
  run.id = "run " + std::to_string(random.below(10) == 0 ? random.below(number + 1) : number);
  run.trace = random.below(3) == 0 ? run.id : "run " + std::to_string(random.below(number + 1) / 5 * 5);
  run.parent = random.below(2) == 0 ? run.id : "run " + std::to_string(random.below(number + 20));
  run.name = pick(random, k_names);
  // Some names are rare.
  if (random.below(20) == 0) run.name = "rare " + std::to_string(random.below(50));
  run.run_type = pick(random, k_types);
  for (std::size_t n = random.below(3); n > 0; --n) run.tags.push_back(pick(random, k_tags));
  for (std::size_t n = random.below(4); n > 0; --n) run.metadata.push_back(pick(random, k_metadata));
  if (random.below(8) != 0) run.start = static_cast<std::int64_t>(random.below(5000)) - 500;
  if (run.start != base::k_no_time && random.below(5) != 0) {
    run.end = run.start + static_cast<std::int64_t>(random.below(300)) - 20;
  }
  run.error = random.below(6) == 0;
  run.fingerprint = random.below(4) == 0 ? 7 : number + 100;
  return run;
}

run::Table table_of(const std::vector<ModelRun>& runs) {
  run::Table table;
  std::uint32_t raw = 0;
  for (const ModelRun& model : runs) {
    run::Arena arena;
    run::Record record;
    record.json = "{}";
    record.id = run::id_of_text(model.id);
    record.trace_id = run::id_of_text(model.trace);
    record.parent_id = run::id_of_text(model.parent);
    record.name = model.name;
    record.run_type = model.run_type;
    record.start_time = model.start;
    record.end_time = model.end;
    record.has_error = model.error;
    record.fingerprint = model.fingerprint;
    for (const std::string& tag : model.tags) arena.tags.push_back(tag);
    for (const std::string& entry : model.metadata) arena.metadata.push_back(entry);
    record.tags_end = static_cast<std::uint32_t>(arena.tags.size());
    record.metadata_end = static_cast<std::uint32_t>(arena.metadata.size());
    table.append(record, arena);
    raw += 3;
  }
  table.frames.push_back({0, 10, 0, raw});
  return table;
}

// All runs that the index holds, in the order of their rows.
struct Model {
  std::vector<ModelRun> rows;

  void add(const std::vector<ModelRun>& batch) {
    for (const ModelRun& run : batch) {
      const bool present = std::any_of(rows.begin(), rows.end(), [&run](const ModelRun& other) {
        return other.id == run.id && other.fingerprint == run.fingerprint;
      });
      if (!present) rows.push_back(run);
    }
  }

  static bool matches(const ModelRun& run, const index::Query& query) {
    const auto has_all = [](const std::vector<std::string>& wanted, const std::vector<std::string>& there) {
      return std::all_of(wanted.begin(), wanted.end(), [&there](const std::string& text) {
        return std::find(there.begin(), there.end(), text) != there.end();
      });
    };
    if (query.trace && run::id_of_text(run.trace) != *query.trace) return false;
    if (query.name && run.name != *query.name) return false;
    if (query.name_contains && run.name.find(*query.name_contains) == std::string::npos) return false;
    if (query.name_prefix && !run.name.starts_with(*query.name_prefix)) return false;
    if (query.run_type && run.run_type != *query.run_type) return false;
    if (!has_all(query.tags, run.tags) || !has_all(query.metadata, run.metadata)) return false;
    if (query.error && run.error != *query.error) return false;
    if ((query.since || query.until) && run.start == base::k_no_time) return false;
    if (query.since && run.start < *query.since) return false;
    if (query.until && run.start >= *query.until) return false;
    if (!query.min_latency && !query.max_latency) return true;
    if (run.end == base::k_no_time) return false;
    const std::int64_t latency = run.end - run.start;
    return (!query.min_latency || latency >= *query.min_latency) &&
           (!query.max_latency || latency <= *query.max_latency);
  }

  // Rows, from 1.
  [[nodiscard]] std::vector<std::int64_t> search(const index::Query& query) const {
    std::vector<std::int64_t> found;
    for (std::size_t i = 0; i < rows.size(); ++i) {
      // Batches are stored one after the other, so a later row is a later version.
      const bool latest = std::none_of(rows.begin() + static_cast<std::ptrdiff_t>(i) + 1, rows.end(),
                                       [&](const ModelRun& other) { return other.id == rows[i].id; });
      if (latest && matches(rows[i], query)) found.push_back(static_cast<std::int64_t>(i) + 1);
    }
    const auto key = [this](std::int64_t row) {
      return std::pair(rows[static_cast<std::size_t>(row) - 1].start, row);
    };
    std::sort(found.begin(), found.end(), [&](std::int64_t a, std::int64_t b) { return key(a) < key(b); });
    if (query.order == index::Query::Order::newest) std::reverse(found.begin(), found.end());
    return found;
  }
};

index::Query random_query(tests::Random& random, std::size_t runs) {
  static constexpr const char* k_parts[] = {"",     "plan",   "er", "%",           "_",
                                            "rare", "rare 1", "\"", "none of them"};
  index::Query query;
  const auto sometimes = [&random] { return random.below(4) == 0; };
  if (sometimes()) query.trace = run::id_of_text("run " + std::to_string(random.below(runs) / 5 * 5));
  if (sometimes()) query.name = random.below(3) == 0 ? pick(random, k_parts) : "plan";
  if (sometimes()) query.name_contains = pick(random, k_parts);
  if (sometimes()) query.name_prefix = pick(random, k_parts);
  if (sometimes()) query.run_type = random.below(4) == 0 ? "" : "llm";
  if (sometimes()) query.tags.push_back(random.below(2) == 0 ? "red" : "");
  if (sometimes()) query.tags.emplace_back("green");
  if (sometimes()) query.metadata.emplace_back(random.below(2) == 0 ? "env=prod" : "user.name=ann");
  if (sometimes()) query.metadata.emplace_back(random.below(2) == 0 ? "n=1" : "n=2");
  if (sometimes()) query.error = random.below(2) == 0;
  if (sometimes()) query.since = static_cast<std::int64_t>(random.below(5000)) - 500;
  if (sometimes()) query.until = static_cast<std::int64_t>(random.below(5000)) - 500;
  if (sometimes()) query.min_latency = static_cast<std::int64_t>(random.below(200)) - 10;
  if (sometimes()) query.max_latency = static_cast<std::int64_t>(random.below(300));
  if (random.below(2) == 0) query.order = index::Query::Order::oldest;
  return query;
}

std::vector<std::int64_t> rows_of(index::Index& index, const index::Query& query) {
  std::vector<std::int64_t> rows;
  index.search(query, [&rows](const index::Hit& hit) { rows.push_back(hit.location.run); });
  return rows;
}

}  // namespace

TEST_CASE("the keys of a table are those of each of its runs, in order") {
  tests::Random random(11);
  for (const std::size_t count : {0U, 1U, 2U, 700U}) {
    CAPTURE(count);
    std::vector<ModelRun> runs;
    for (std::size_t i = 0; i < count; ++i) runs.push_back(random_run(random, i));
    std::set<index::Posting> ids;
    std::set<index::Posting> terms;
    for (std::uint32_t i = 0; i < count; ++i) {
      const ModelRun& run = runs[i];
      const run::Id id = run::id_of_text(run.id);
      const run::Id trace = run::id_of_text(run.trace);
      ids.insert({index::id_key(id), 0, i});
      const auto add = [&](index::TermKind kind, std::string_view text) {
        terms.insert({index::term_key(kind, text), index::order_of(run.start), i});
      };
      add(index::TermKind::all, "");
      if (trace != id) add(index::TermKind::trace, index::bytes_of(trace));
      if (!run.name.empty()) add(index::TermKind::name, run.name);
      if (!run.run_type.empty()) add(index::TermKind::run_type, run.run_type);
      if (run.error) add(index::TermKind::error, "");
      for (const std::string& tag : run.tags) add(index::TermKind::tag, tag);
      for (const std::string& entry : run.metadata) add(index::TermKind::metadata, entry);
    }
    const index::TableKeys keys = index::keys_of(table_of(runs));
    CHECK(keys.ids == std::vector<index::Posting>(ids.begin(), ids.end()));
    std::vector<index::Posting> found;
    for (const index::TableKeys::Term& term : keys.terms) {
      for (std::uint32_t i = term.begin; i < term.end; ++i)
        found.push_back(
            {term.key, index::order_of(runs.at(keys.positions.at(i)).start), keys.positions.at(i)});
    }
    CHECK(found == std::vector<index::Posting>(terms.begin(), terms.end()));
  }
}

TEST_CASE("the key of a long term is that of its kind and its text") {
  for (const std::size_t size : {0U, 1U, 510U, 511U, 512U, 70'000U}) {
    CAPTURE(size);
    const std::string text(size, 'x');
    CHECK(index::term_key(index::TermKind::name, text) == base::xxh3_64("n" + text));
  }
}

TEST_CASE("every search finds what a look at every run finds") {
  const tests::TemporaryDirectory directory;
  index::Index index =
      std::move(*index::Index::open(directory / "i.sqlite", "file:///store", index::Index::Access::write));
  tests::Random random(11);
  Model model;
  std::size_t number = 0;
  std::size_t found_in_all = 0;
  for (std::int64_t batch = 1; batch <= 40; ++batch) {
    std::vector<ModelRun> runs;
    for (std::size_t n = 1 + random.below(60); n > 0; --n) runs.push_back(random_run(random, number++));
    index.add({"runs/v1/mixed/" + std::to_string(batch), 1, batch}, table_of(runs));
    model.add(runs);
    for (int round = 0; round < 40; ++round) {
      index::Query query = random_query(random, number);
      query.limit = 0;
      const std::vector<std::int64_t> expected = model.search(query);
      CHECK(rows_of(index, query) == expected);
      CHECK(index.count(query) == static_cast<std::int64_t>(expected.size()));
      found_in_all += expected.size();
      query.limit = 1 + random.below(5);
      const std::vector<std::int64_t> first(
          expected.begin(),
          expected.begin() + static_cast<std::ptrdiff_t>(std::min(query.limit, expected.size())));
      CHECK(rows_of(index, query) == first);
    }
  }
  CHECK(found_in_all > 10'000);
}

TEST_CASE("what is found tells what was recorded") {
  const tests::TemporaryDirectory directory;
  index::Index index =
      std::move(*index::Index::open(directory / "i.sqlite", "file:///store", index::Index::Access::write));
  tests::Random random(12);
  std::vector<ModelRun> runs;
  for (std::size_t i = 0; i < 500; ++i) runs.push_back(random_run(random, i));
  Model model;
  for (std::size_t half = 0; half < 2; ++half) {
    const std::vector<ModelRun> batch(runs.begin() + static_cast<std::ptrdiff_t>(half * 250),
                                      runs.begin() + static_cast<std::ptrdiff_t>(half * 250 + 250));
    index.add({"runs/v1/mixed/" + std::to_string(half), 1, static_cast<std::int64_t>(half)}, table_of(batch));
    model.add(batch);
  }
  index::Query query;
  query.limit = 0;
  index.search(query, [&model](const index::Hit& hit) {
    const ModelRun& run = model.rows[static_cast<std::size_t>(hit.location.run) - 1];
    CHECK(hit.facts.id == run::id_of_text(run.id));
    CHECK(hit.facts.trace == run::id_of_text(run.trace));
    CHECK(hit.facts.parent.has_value() == (run.parent != run.id));
    if (hit.facts.parent) CHECK(*hit.facts.parent == run::id_of_text(run.parent));
    CHECK(hit.facts.name == run.name);
    CHECK(hit.facts.run_type == run.run_type);
    CHECK(hit.facts.start == run.start);
    CHECK(hit.facts.end == run.end);
    CHECK(hit.facts.error == run.error);
    CHECK(hit.location.fingerprint == run.fingerprint);
  });
}

TEST_CASE("pages join up while others record runs") {
  const tests::TemporaryDirectory directory;
  index::Index index =
      std::move(*index::Index::open(directory / "i.sqlite", "file:///store", index::Index::Access::write));
  tests::Random random(13);
  for (const auto order : {index::Query::Order::newest, index::Query::Order::oldest}) {
    std::vector<ModelRun> runs;
    const auto more = [&] {
      static std::size_t number = 0;
      runs.clear();
      for (int i = 0; i < 40; ++i) {
        runs.push_back(random_run(random, 0));
        runs.back().id = "unique " + std::to_string(++number);
        runs.back().start /= 500;  // many start at the same time
      }
      index.add({"runs/v1/mixed/" + std::to_string(number), 1, static_cast<std::int64_t>(number)},
                table_of(runs));
    };
    more();
    index::Query query;
    query.order = order;
    query.limit = 0;
    const std::vector<std::int64_t> before = rows_of(index, query);
    query.limit = 7;
    std::vector<std::int64_t> seen;
    while (true) {
      std::vector<index::Cursor> cursors;
      index.search(query, [&](const index::Hit& hit) {
        seen.push_back(hit.location.run);
        cursors.push_back(hit.cursor);
      });
      if (cursors.empty()) break;
      query.after = index::Cursor::parse(cursors.back().text());
      REQUIRE(query.after.has_value());
      if (seen.size() < 200) more();
    }
    CHECK(std::set<std::int64_t>(seen.begin(), seen.end()).size() == seen.size());
    std::erase_if(seen, [&before](std::int64_t row) {
      return std::find(before.begin(), before.end(), row) == before.end();
    });
    CHECK(seen == before);
  }
}

TEST_CASE("a cursor is refused where it cannot be right") {
  const tests::TemporaryDirectory directory;
  index::Index index =
      std::move(*index::Index::open(directory / "i.sqlite", "file:///store", index::Index::Access::write));
  tests::Random random(14);
  index.add({"runs/v1/mixed/a", 1, 1}, table_of({random_run(random, 1)}));
  index::Query query;
  index.search(query, [&query](const index::Hit& hit) { query.after = hit.cursor; });
  REQUIRE(query.after.has_value());
  std::string text = query.after->text();
  CHECK(text.size() == 44);
  text[10] = text[10] == '0' ? '1' : '0';
  CHECK_FALSE(index::Cursor::parse(text).has_value());
  CHECK_FALSE(index::Cursor::parse("").has_value());
  CHECK_FALSE(index::Cursor::parse(std::string(44, 'x')).has_value());
  query.order = index::Query::Order::oldest;
  CHECK_THROWS_WITH_AS(rows_of(index, query), doctest::Contains("other order"), base::Error);
  query.order = index::Query::Order::newest;
  CHECK(rows_of(index, query).empty());
  bool given = false;
  index.rebuild([&](index::BatchInfo& batch, run::Table& table) {
    if (given) return false;
    given = true;
    batch = {"runs/v1/mixed/a", 1, 1};
    table = table_of({random_run(random, 1)});
    return true;
  });
  CHECK_THROWS_WITH_AS(rows_of(index, query), doctest::Contains("rebuild"), base::Error);
}
