// Batches of format v1 as the first version wrote them. Every later version must read them and find the same;
// never replace these files.
#include <doctest/doctest.h>

#include "base/error.hpp"
#include "batch/frame.hpp"
#include "batch/reader.hpp"
#include "run/reader.hpp"
#include "support.hpp"

using namespace runctl;

TEST_CASE("frozen batches are readable for ever") {
  for (const char* const name : {"v1-small", "v1-split", "v1-mixed"}) {
    CAPTURE(name);
    const std::string stem = std::string(RUNCTL_TESTS_DIR "/golden/") + name;
    const std::string object = tests::read_whole(stem + ".ndjson.zst");
    const std::string expected_stored = tests::read_whole(stem + ".expected.zst");
    REQUIRE(!object.empty());
    const run::Table table = batch::read_table(
        object.size(),
        [&](std::uint64_t offset, std::uint64_t length) { return object.substr(offset, length); });
    std::string ndjson;
    for (const run::Frame& frame : table.frames) {
      ndjson +=
          batch::decompress_frame(std::string_view(object).substr(frame.offset, frame.stored), frame.raw);
    }
    std::string expected(ndjson.size() + 1, '\0');
    batch::StreamDecompressor stream;
    std::string_view rest = expected_stored;
    std::size_t size = 0;
    while (!rest.empty()) size += stream.read(rest, {expected.data() + size, expected.size() - size});
    expected.resize(size);
    CHECK(ndjson == expected);

    // What the footer says of each run is what the run says of itself.
    run::Block block;
    block.text = expected;
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
      CHECK(table.tag_ends[i] - (i == 0 ? 0 : table.tag_ends[i - 1]) == record.tags_end - record.tags_begin);
    }
  }
}
