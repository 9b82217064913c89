#include <doctest/doctest.h>

#include <algorithm>

#include "base/bytes.hpp"
#include "base/error.hpp"
#include "base/thread_pool.hpp"
#include "batch/columns.hpp"
#include "batch/format.hpp"
#include "batch/frame.hpp"
#include "batch/reader.hpp"
#include "batch/writer.hpp"
#include "run/reader.hpp"
#include "support.hpp"

using namespace runctl;

namespace {

std::future<std::string> compress_now(batch::FrameContent content) {
  std::promise<std::string> promise;
  promise.set_value(batch::compress_frame(content.joined(), batch::k_default_level));
  return promise.get_future();
}

enum class Lines { left, copied };  // where they were read from

// The batches that `ndjson` becomes.
std::vector<batch::Batch> batches_of(const std::string& ndjson, std::uint64_t batch_bytes = 32U << 20,
                                     Lines lines = Lines::left) {
  const auto shared = std::make_shared<run::Block>();
  run::Block& block = *shared;
  block.text = base::Text(ndjson);
  run::BlockReader({}, 1U << 30).read(block, {}, true);
  REQUIRE(block.rejects.empty());
  const batch::FrameContent::Text text(shared, &block.text);
  batch::Writer writer(batch_bytes, compress_now);
  std::vector<batch::Batch> batches;
  for (const run::Record& record : block.records) {
    if (writer.must_finish_before(record)) batches.push_back(batch::complete(writer.finish()));
    writer.add(record, block.arena, lines == Lines::left ? text : nullptr);
  }
  batches.push_back(batch::complete(writer.finish()));
  return batches;
}

std::string object_of(const batch::Batch& batch) {
  std::string object;
  for (const std::string_view part : batch.parts()) object += part;
  return object;
}

run::Table read_table(const std::string& object, int* reads = nullptr) {
  return batch::read_table(object.size(), [&](std::uint64_t offset, std::uint64_t length) {
    REQUIRE(offset + length <= object.size());
    if (reads != nullptr) ++*reads;
    return object.substr(offset, length);
  });
}

std::string ndjson_of(const std::string& object, const run::Table& table) {
  std::string raw;
  for (const run::Frame& frame : table.frames) {
    raw += batch::decompress_frame(std::string_view(object).substr(frame.offset, frame.stored), frame.raw);
  }
  return raw;
}

// Text that compresses about as real runs do.
std::string words(tests::Random& random, std::size_t bytes) {
  std::string text;
  while (text.size() < bytes)
    text += "word" + std::to_string(random.below(3000)) + (random.below(9) == 0 ? ". " : " ");
  return text;
}

std::string sample_runs(std::size_t count) {
  tests::Random random(3);
  std::string ndjson;
  for (std::size_t i = 0; i < count; ++i) {
    const std::string id = run::uuid_text(run::id_of_text("run " + std::to_string(i)));
    const std::string root = run::uuid_text(run::id_of_text("run " + std::to_string(i / 7 * 7)));
    ndjson +=
        "{\"id\":\"" + id + "\",\"trace_id\":\"" + (i % 5 == 0 ? "elsewhere" : root) + "\",\"name\":\"step " +
        std::to_string(i % 4) + "\",\"run_type\":\"tool\",\"start_time\":" + std::to_string(1714952580 + i) +
        ",\"end_time\":" + std::to_string(1714952581 + 2 * i) + (i % 3 == 0 ? ",\"error\":\"e\"" : "") +
        (i % 6 == 0 ? ",\"parent_run_id\":\"" + (i % 4 == 0 ? "far off" : root) + "\"" : "") +
        (i % 4 == 1 ? ",\"metadata\":{\"env\":\"prod\",\"deep\":{\"n\":" + std::to_string(i) + "}}" : "") +
        (i % 2 == 0 ? ",\"tags\":[\"a\",\"b" + std::to_string(i % 3) + "\"]" : "") + ",\"inputs\":\"" +
        words(random, 200 + random.below(3000)) + "\"}\n";
  }
  return ndjson;
}

}  // namespace

TEST_CASE("numbers come back from their columns") {
  const std::vector<std::vector<std::uint64_t>> columns = {{},
                                                           {0},
                                                           {0, 0, 0},
                                                           {7},
                                                           {1000000, 3000000, 0},
                                                           {1, 2, 0xFFFFFFFFFFFFFFFF},
                                                           std::vector<std::uint64_t>(5000, 42)};
  for (const auto& numbers : columns) {
    CHECK(batch::decode_numbers(batch::encode_numbers(numbers), numbers.size()) == numbers);
  }
  CHECK(batch::decode_bytes(batch::encode_bytes("abc"), 3) == "abc");
  CHECK_THROWS_AS(batch::decode_bytes(batch::encode_bytes("abcd"), 3), base::Error);
  CHECK_THROWS_AS(batch::decode_numbers(batch::encode_numbers({1, 2}), 3), base::Error);
}

TEST_CASE("a batch says of its runs what was said in them") {
  const std::string ndjson = sample_runs(400);
  const auto batches = batches_of(ndjson);
  REQUIRE(batches.size() == 1);
  const std::string object = object_of(batches[0]);
  CHECK(object.size() == batches[0].size);
  CHECK(batches[0].key ==
        "runs/v1/2024-05-05/" + base::to_hex(base::as_bytes(base::sha256(object))) + ".ndjson.zst");
  CHECK(batch::is_batch_key(batches[0].key));
  const run::Table table = read_table(object);
  CHECK(ndjson_of(object, table) == ndjson);
  const run::Table& written = batches[0].table;
  CHECK(table.ids == written.ids);
  CHECK(table.traces == written.traces);
  CHECK(table.parents == written.parents);
  CHECK(table.fingerprints == written.fingerprints);
  CHECK(table.lengths == written.lengths);
  CHECK(table.starts == written.starts);
  CHECK(table.ends == written.ends);
  CHECK(table.errors == written.errors);
  CHECK(table.names == written.names);
  CHECK(table.tags == written.tags);
  CHECK(table.metadata_ends == written.metadata_ends);
  CHECK(table.metadata == written.metadata);
  CHECK(table.tag_ends == written.tag_ends);
  CHECK(table.texts.text(table.metadata.at(0)) == "env=prod");
  CHECK(table.texts.text(table.metadata.at(1)) == "deep.n=1");
  CHECK(table.texts.text(table.names[1]) == "step 1");
}

TEST_CASE("texts are numbered in the order of their first use, however many there are") {
  run::TextTable table;
  CHECK(table.number_of("") == 0);
  for (const int round : {1, 2}) {
    for (std::uint32_t i = 1; i <= 5000; ++i) {
      const std::string text = std::to_string(i % 3 == 0 ? i : 100'000'000 + i);
      CHECK_MESSAGE(table.number_of(text) == i, round);
      CHECK(table.text(i) == text);
    }
  }
  CHECK(table.size() == 5000);
  CHECK(table.text(0).empty());
  const run::TextTable taken = std::move(table);
  CHECK(taken.text(5000) == "100005000");
}

TEST_CASE("a batch of any size is indexed by at most two reads") {
  for (const std::size_t count : {1U, 50U, 3000U, 12000U}) {
    int reads = 0;
    read_table(object_of(batches_of(sample_runs(count)).front()), &reads);
    CHECK(reads <= 2);
  }
}

TEST_CASE("the same runs make the same object") {
  const std::string ndjson = sample_runs(2000);
  CHECK(object_of(batches_of(ndjson).front()) == object_of(batches_of(ndjson).front()));
}

TEST_CASE("a batch does not depend on where its runs lie, nor on what lies between them") {
  const std::string ndjson = sample_runs(2000);
  const std::string object = object_of(batches_of(ndjson).front());
  CHECK(object == object_of(batches_of(ndjson, 32U << 20, Lines::copied).front()));
  std::string apart;
  std::string pretty;
  std::string spaced;
  for (std::size_t begin = 0, end = 0; begin < ndjson.size(); begin = end + 1) {
    end = ndjson.find('\n', begin);
    const std::string line = ndjson.substr(begin, end - begin);
    apart += (begin % 3 == 0 ? "  " : "") + line + (begin % 2 == 0 ? "\r\n\n" : "\n");
    const std::size_t comma = line.find(',') + 1;
    pretty += line.substr(0, comma) + "\n" + line.substr(comma) + "\n";
    spaced += line.substr(0, comma) + " " + line.substr(comma) + "\n";
  }
  CHECK(object == object_of(batches_of(apart).front()));
  CHECK(object == object_of(batches_of(ndjson.substr(0, ndjson.size() - 1)).front()));
  CHECK(object_of(batches_of(pretty).front()) == object_of(batches_of(spaced).front()));
}

TEST_CASE("a frame's content is what was added, left where it is as far as that goes") {
  const auto text = std::make_shared<const base::Text>("one\ntwo\n three\nfour");
  const auto part = [&text](std::size_t at, std::size_t length) { return text->view().substr(at, length); };
  batch::FrameContent content;
  content.add(part(0, 3), text);
  content.add_newline();
  content.add(part(4, 3), text);
  content.add_newline();
  CHECK(content.size() == 8);
  CHECK(content.joined().data() == text->data());
  content.add(part(9, 5), text);  // not next to it
  content.add_newline();
  content.add("elsewhere", text);
  content.add_newline();
  content.add(part(15, 4), text);
  content.add_newline();  // the text has no more
  CHECK(content.size() == 8 + 6 + 10 + 5);
  CHECK(content.joined() == "one\ntwo\nthree\nelsewhere\nfour\n");
  CHECK(text.use_count() == 1);

  const auto long_text = std::make_shared<const base::Text>(std::string((4U << 20) + 1, 'x'));
  batch::FrameContent copy;
  copy.add(long_text->view().substr(1, 5), long_text);
  CHECK(copy.joined() == "xxxxx");
  CHECK(long_text.use_count() == 1);
}

TEST_CASE("a frame that cannot be compressed fails its batch, whoever waits for it") {
  const auto block = std::make_shared<run::Block>();
  block->text = base::Text(sample_runs(1000));  // of one day
  run::BlockReader({}, 1U << 30).read(*block, {}, true);
  for (const std::size_t threads : {0U, 1U, 2U}) {
    CAPTURE(threads);
    base::ThreadPool pool(threads);
    const auto batch_of = [&](std::size_t broken) {
      std::size_t frames = 0;
      batch::Writer writer(32U << 20, [&](batch::FrameContent content) {
        return pool.submit([content = std::move(content), fails = frames++ == broken]() mutable {
          if (fails) throw base::Error(base::ErrorKind::io, "no memory");
          return batch::compress_frame(content.joined(), batch::k_default_level);
        });
      });
      for (const run::Record& record : block->records)
        writer.add(record, block->arena, {block, &block->text});
      const auto pending = std::make_shared<batch::PendingBatch>(writer.finish());
      std::future<batch::RunColumns> runs =
          pool.submit([pending] { return batch::encode_runs(pending->table); });
      std::future<base::Sha256> hash = pool.submit([pending] { return batch::hash_frames(*pending); });
      return batch::complete(*pending, runs.get(), hash.get());
    };
    const std::size_t frames = batch_of(std::string::npos).table.frames.size();
    REQUIRE(frames > 3);
    CHECK(object_of(batch_of(std::string::npos)) ==
          object_of(batches_of(std::string(block->text.view())).front()));
    for (const std::size_t broken : {frames - 1, frames - 2})
      CHECK_THROWS_WITH_AS(batch_of(broken), "no memory", base::Error);
  }
}

TEST_CASE("frames have the size that one read should have") {
  const auto batch = std::move(batches_of(sample_runs(8000)).back());  // the first ends with its day
  const auto& frames = batch.table.frames;
  REQUIRE(frames.size() > 20);
  for (std::size_t i = 0; i + 1 < frames.size(); ++i) {
    CHECK(frames[i].raw <= 1U << 20);
    // The first are cut before any ratio is known.
    if (i >= 4) CHECK(frames[i].stored > 50U << 10);
    if (i >= 4) CHECK(frames[i].stored < 110U << 10);
  }
}

TEST_CASE("a large run is cut at its fields, and its fields are found") {
  tests::Random random(5);
  const std::string inputs = "\"" + words(random, 2U << 20) + "\"";
  const std::string json = "{\"id\":\"big\",\"inputs\":" + inputs + ",\"metadata\":{\"k\":1},\"outputs\":\"" +
                           words(random, 1U << 20) + "\"}";
  const std::string ndjson = "{\"id\":\"before\"}\n" + json + "\n{\"id\":\"after\"}\n";
  const std::string object = object_of(batches_of(ndjson).front());
  CHECK(object == object_of(batches_of(ndjson, 32U << 20, Lines::copied).front()));
  const run::Table table = read_table(object);
  CHECK(ndjson_of(object, table) == ndjson);
  REQUIRE(table.fields.size() == 4);
  CHECK(table.fields[2].run == 1);
  CHECK(table.texts.text(table.fields[2].name) == "metadata");
  CHECK(json.substr(table.fields[2].offset, table.fields[2].length) == "{\"k\":1}");
  // No frame holds both the metadata and megabytes of something else.
  const std::uint64_t place = std::string("{\"id\":\"before\"}\n").size() + table.fields[2].offset;
  for (const run::Frame& frame : table.frames) {
    if (frame.raw_offset <= place && place < frame.raw_offset + frame.raw) CHECK(frame.raw < 100);
  }
}

TEST_CASE("a batch is cut when it is full and when the day changes in order") {
  const auto at = [](const std::string& id, const std::string& time) {
    return "{\"id\":\"" + id + "\",\"start_time\":\"" + time + "\"}\n";
  };
  CHECK(batches_of(at("a", "2024-01-01") + at("b", "2024-01-01T23:59") + at("c", "2024-01-02")).size() == 2);
  const auto unordered =
      batches_of(at("a", "2024-01-02T05:00") + at("b", "2024-01-02T04:00") + at("c", "2024-01-03"));
  REQUIRE(unordered.size() == 1);
  CHECK(unordered[0].key.starts_with("runs/v1/mixed/"));
  CHECK(batches_of(at("a", "2024-01-02T05:00") + "{\"id\":\"b\"}\n").at(0).key.starts_with("runs/v1/mixed/"));
  CHECK(batches_of(sample_runs(100), 20000).size() > 5);
}

TEST_CASE("no batch grows beyond what a reader accepts") {
  std::string tags = "[\"\"";
  for (std::size_t i = 1; i < run::k_max_tags; ++i) tags += ",\"\"";
  std::string ndjson;
  for (std::size_t i = 0; i < batch::k_max_items / run::k_max_tags + 10; ++i) {
    ndjson += "{\"id\":\"" + std::to_string(i) + "\",\"tags\":" + tags + "]}\n";
  }
  std::size_t runs = 0;
  for (const batch::Batch& batch : batches_of(ndjson)) runs += read_table(object_of(batch)).size();
  CHECK(runs == batch::k_max_items / run::k_max_tags + 10);

  // Fields just large enough for frames of their own make as many frames as a run of a size can.
  std::string fields = "{\"id\":\"f\"";
  for (int i = 0; i < 700; ++i)
    fields += ",\"k" + std::to_string(i) + "\":\"" + std::string(128U << 10, 'x') + "\"";
  const auto batches = batches_of(fields + "}\n" + fields + "}\n", 1U << 30);
  CHECK(read_table(object_of(batches.front())).size() > 0);
}

TEST_CASE("whatever day a run starts on, its batch has a name that a listing knows") {
  for (const char* const time :
       {"\"2024-05-05\"", "\"9999-12-31T23:30:00-05:00\"", "\"0000-01-01T00:30:00+05:00\"", "-99999999999",
        "9000000000000000000", "null", "0"}) {
    const auto batches = batches_of("{\"id\":\"a\",\"start_time\":" + std::string(time) + "}\n");
    CAPTURE(batches.front().key);
    CHECK(batch::is_batch_key(batches.front().key));
  }
  CHECK_FALSE(batch::is_batch_key("runs/v1/10000-01-01/" + std::string(64, 'a') + ".ndjson.zst"));
  CHECK_FALSE(batch::is_batch_key("runs/v1/mixed/" + std::string(64, 'A') + ".ndjson.zst"));
}

TEST_CASE("every cut of a batch is noticed") {
  const std::string object = object_of(batches_of(sample_runs(60)).front());
  for (std::size_t length = 0; length < object.size(); length += length < object.size() - 300 ? 97 : 1) {
    CAPTURE(length);
    CHECK_THROWS_AS(read_table(object.substr(0, length)), base::Error);
  }
  CHECK_THROWS_AS(read_table(object + "x"), base::Error);
}

TEST_CASE("every flipped byte behind the frames is noticed") {
  const std::string object = object_of(batches_of(sample_runs(60)).front());
  const run::Table whole = read_table(object);
  const std::size_t footer = whole.frames.back().offset + whole.frames.back().stored;
  for (std::size_t at = footer; at < object.size(); ++at) {
    CAPTURE(at - footer);
    std::string changed = object;
    changed[at] = static_cast<char>(changed[at] ^ 0x20);
    CHECK_THROWS_AS(read_table(changed), base::Error);
  }
}

TEST_CASE("a footer made to hurt is refused, whatever its checksum says") {
  const auto batch = std::move(batches_of(sample_runs(60)).front());
  std::string footer = batch::encode_footer(batch.table);
  batch::Layout layout;
  layout.frames = batch.table.frames;
  tests::Random random(9);
  for (int round = 0; round < 3000; ++round) {
    std::string changed = footer;
    for (std::size_t n = 1 + random.below(4); n > 0; --n) {
      changed[8 + random.below(changed.size() - 16)] = static_cast<char>(random.below(256));
    }
    const std::string content = changed.substr(8, changed.size() - 16);
    changed.resize(changed.size() - 8);
    base::append_number(changed, base::xxh3_64(content));
    try {
      const run::Table table = batch::decode_footer(changed, layout);
      CHECK(table.size() == batch.table.size());
    } catch (const base::Error& error) {
      CHECK(error.kind() == base::ErrorKind::corrupt);
    }
  }
}

TEST_CASE("a seek table that claims more than a batch can have is refused") {
  const auto layout_of = [](std::uint32_t stored, std::uint32_t raw, std::uint32_t footer) {
    std::vector<run::Frame> frames(1);
    frames[0].stored = stored;
    frames[0].raw = raw;
    const std::string table = batch::encode_seek_table(frames, footer);
    return batch::decode_layout(table, std::uint64_t{stored} + footer + table.size());
  };
  CHECK(layout_of(1000, 1000, 100));
  CHECK(layout_of((1U << 20) + 1000, 1000, 256U << 20));
  CHECK_THROWS_AS(layout_of((1U << 20) + 1001, 1000, 100), base::Error);
  CHECK_THROWS_AS(layout_of(0xFFFFFFFF, 1000, 100), base::Error);
  CHECK_THROWS_AS(layout_of(1000, (16U << 20) + 1, 100), base::Error);
  CHECK_THROWS_AS(layout_of(1000, 1000, (256U << 20) + 1), base::Error);
}

TEST_CASE("a frame that is not what the footer says is refused") {
  const std::string frame = batch::compress_frame("abcdef", 3);
  CHECK(batch::decompress_frame(frame, 6) == "abcdef");
  CHECK_THROWS_AS(batch::decompress_frame(frame, 7), base::Error);
  CHECK_THROWS_AS(batch::decompress_frame(frame.substr(0, frame.size() - 1), 6), base::Error);
  std::string changed = frame;
  changed.back() = static_cast<char>(changed.back() ^ 1);
  CHECK_THROWS_AS(batch::decompress_frame(changed, 6), base::Error);
}
