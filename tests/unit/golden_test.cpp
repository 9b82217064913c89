// Batches of format v1 as the first version wrote them. Every later version must read them and find the same;
// never replace these files.
#include <doctest/doctest.h>

#include <functional>
#include <limits>

#include "base/error.hpp"
#include "batch/frame.hpp"
#include "batch/reader.hpp"
#include "index/index.hpp"
#include "run/reader.hpp"
#include "support.hpp"

using namespace runctl;

namespace {

// The content of a zstd file.
std::string decompressed(const std::string& path) {
  const std::string stored = tests::read_whole(path);
  REQUIRE(!stored.empty());
  std::string content;
  std::string buffer(1U << 20, '\0');
  batch::StreamDecompressor stream;
  std::string_view rest = stored;
  while (!rest.empty()) content.append(buffer, 0, stream.read(rest, {buffer.data(), buffer.size()}));
  return content;
}

}  // namespace

TEST_CASE("frozen batches are readable for ever") {
  for (const char* const name : {"v1-small", "v1-split", "v1-mixed"}) {
    CAPTURE(name);
    const std::string stem = std::string(RUNCTL_TESTS_DIR "/golden/") + name;
    const std::string object = tests::read_whole(stem + ".ndjson.zst");
    REQUIRE(!object.empty());
    const run::Table table = batch::read_table(
        object.size(),
        [&](std::uint64_t offset, std::uint64_t length) { return object.substr(offset, length); });
    std::string ndjson;
    for (const run::Frame& frame : table.frames) {
      ndjson +=
          batch::decompress_frame(std::string_view(object).substr(frame.offset, frame.stored), frame.raw);
    }
    const std::string expected = decompressed(stem + ".expected.zst");
    CHECK(ndjson == expected);

    // What the footer says of each run is what the run says of itself.
    run::Block block;
    block.text = base::Text(expected);
    run::BlockReader({}, 1U << 30).read(block, {}, true);
    REQUIRE(block.records.size() == table.size());
    for (std::size_t i = 0; i < table.size(); ++i) {
      const run::Record& record = block.records[i];
      CHECK(table.ids[i] == record.id);
      CHECK(table.traces[i] == record.trace_id);
      CHECK(table.fingerprints[i] == record.fingerprint);
      CHECK(table.lengths[i] == record.json.size());
      CHECK(table.starts[i] == record.start_time);
      CHECK(table.ends[i] == record.end_time);
      CHECK(table.texts.text(table.names[i]) == record.name);
      CHECK(table.texts.text(table.run_types[i]) == record.run_type);
      CHECK(table.texts.text(table.statuses[i]) == record.status);
      CHECK((table.errors[i] != 0) == record.has_error);
      // The first version wrote neither parents nor metadata.
      CHECK(table.parents[i] == record.id);
      CHECK(table.metadata_ends[i] == 0);
      CHECK(table.tag_ends[i] - (i == 0 ? 0 : table.tag_ends[i - 1]) == record.tags_end - record.tags_begin);
    }
  }
}

TEST_CASE("an index of schema version 1 is brought to the present one") {
  const tests::TemporaryDirectory directory;
  const std::string path = directory / "i.sqlite";
  tests::write_whole(path, decompressed(RUNCTL_TESTS_DIR "/golden/v1-index.sqlite.zst"));
  index::Index index = std::move(*index::Index::open(path, "file:///srv/runs", index::Index::Access::read));
  CHECK(index.status().runs == 331);
  CHECK(index.status().batches == 2);
  CHECK(index.setting("generation").has_value());
  // Every tenth run has a later version.
  const std::vector<index::Location> versions = index.find(run::id_of_text("run-30"));
  REQUIRE(versions.size() == 2);
  CHECK(index.batch(versions[0].batch).modified_ns > index.batch(versions[1].batch).modified_ns);
  CHECK(index.find_trace(run::id_of_text("run-60")).size() == 6);
  CHECK(index.field(index.find(run::id_of_text("big")).front().run, "outputs").has_value());
  const auto count = [&index](const std::function<void(index::Query&)>& set) {
    index::Query query;
    set(query);
    return index.count(query);
  };
  CHECK(count([](index::Query&) {}) == 301);
  CHECK(count([](index::Query& query) { query.name = "plan"; }) == 75);
  CHECK(count([](index::Query& query) { query.name = ""; }) == 75);
  CHECK(count([](index::Query& query) { query.name_contains = "ve \"x"; }) == 75);
  CHECK(count([](index::Query& query) { query.run_type = "llm"; }) == 150);
  CHECK(count([](index::Query& query) { query.tags = {"red"}; }) == 60);
  CHECK(count([](index::Query& query) { query.tags = {"a\"b"}; }) == 30);
  CHECK(count([](index::Query& query) { query.error = true; }) == 34);
  CHECK(count([](index::Query& query) {
          query.since = 1714521600000000;
          query.until = 1714608000000000;
        }) == 12);
  // Another process that opens it meets the new version.
  CHECK(index::Index::open(path, "file:///srv/runs", index::Index::Access::write).has_value());
  // And it goes on from there.
  run::Table table;
  run::Record record;
  record.json = "{}";
  record.id = run::id_of_text("run-30");
  record.trace_id = record.parent_id = record.id;
  table.append(record, {});
  table.frames.push_back({0, 10, 0, 3});
  auto again = index::Index::open(path, "file:///srv/runs", index::Index::Access::write);
  CHECK(again->add({"runs/v1/mixed/new", 1, std::numeric_limits<std::int64_t>::max()}, table) == 1);
  CHECK(index.find(run::id_of_text("run-30")).size() == 3);
  CHECK(count([](index::Query&) {}) == 301);
}
