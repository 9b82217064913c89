#include "run/reader.hpp"

#include <doctest/doctest.h>

#include <string>
#include <vector>

#include "support.hpp"

using namespace runctl;
using Place = run::ReadState::Place;

namespace {

constexpr std::size_t k_no_limit = 1U << 30;

// What a reading found, in one comparable list.
struct Found {
  std::vector<std::string> runs;
  std::vector<std::string> faults;  // "LINE:COLUMN: REASON |BYTES"
  friend bool operator==(const Found&, const Found&) = default;
};

run::ReadState input_start() {
  run::ReadState state;
  state.place = Place::input_start;
  return state;
}

// Reads `text` in pieces that end at `cuts`, carrying over what is not consumed; at most `max_found` at a
// time.
Found read_in_pieces(const std::string& text, const std::vector<std::size_t>& cuts, std::size_t max_run,
                     std::size_t max_found = k_no_limit) {
  Found found;
  run::BlockReader reader({}, max_run, max_found);
  run::ReadState state = input_start();
  std::string carry;
  std::uint64_t line = 1;
  std::size_t at = 0;
  for (std::size_t i = 0; i <= cuts.size(); ++i) {
    const std::size_t end = i == cuts.size() ? text.size() : cuts[i];
    run::Block block;
    block.text = base::Text(carry + text.substr(at, end - at));
    at = end;
    do {
      reader.read(block, state, i == cuts.size());
      CHECK(block.records.size() + block.rejects.size() <= max_found + 1);  // zero bytes come on top
      for (const run::Record& record : block.records) found.runs.emplace_back(record.json);
      for (const run::Reject& reject : block.rejects) {
        if (reject.continuation) {
          found.faults.back() += reject.bytes;
          continue;
        }
        found.faults.push_back(std::to_string(line + reject.line) + ":" + std::to_string(reject.column) +
                               ": " + reject.reason + " |" + std::string(reject.bytes));
      }
      line += block.lines;
      state = block.end;
    } while (block.full);
    carry = block.text.view().substr(block.consumed);
  }
  CHECK(carry.empty());
  return found;
}

Found read_whole(const std::string& text, std::size_t max_run = k_no_limit) {
  return read_in_pieces(text, {}, max_run);
}

}  // namespace

TEST_CASE("one form of input is as good as another") {
  const std::vector<std::string> runs = {R"({"id":"a","n":1})", R"({"id":"b","n":[1,{"x":2}]})",
                                         R"({"id":"c"})"};
  const std::string a = runs[0], b = runs[1], c = runs[2];
  for (const std::string& text :
       {a + "\n" + b + "\n" + c + "\n", a + "\n" + b + "\n" + c,
        "\xEF\xBB\xBF" + a + "\r\n\r\n" + b + "\r\n\n" + c, "[" + a + "," + b + "," + c + "]",
        "[\n  " + a + ",\n  " + b + ",\n  " + c + "\n]\n", a + b + c, a + " " + b + "\n\n" + c,
        "[" + a + "]\n[" + b + "," + c + "]"}) {
    CAPTURE(text);
    const Found found = read_whole(text);
    CHECK(found.runs == runs);
    CHECK(found.faults.empty());
  }
}

TEST_CASE("a pretty-printed run becomes one line") {
  const Found found = read_whole("{\n  \"id\": \"a\",\n  \"s\": \"x\\ny\"\n}\n{\n}\n");
  REQUIRE(found.runs.size() == 2);
  CHECK(found.runs[0] == R"({   "id": "a",   "s": "x\ny" })");
}

TEST_CASE("a broken line is named with its place, and those around it stand") {
  const Found found = read_whole(
      "{\"id\":\"a\"}\n  {\"id\":tru}  \n{\"id\":\"b\"}\nnonsense\n{\"id\":\"c\"} x\n{\"id\":1}\n7\n");
  CHECK(found.runs == std::vector<std::string>{"{\"id\":\"a\"}", "{\"id\":\"b\"}"});
  REQUIRE(found.faults.size() == 5);
  CHECK(found.faults[0] ==
        "2:12: invalid JSON: a value is misspelt: true, false and null are the only words |  {\"id\":tru}  ");
  CHECK(found.faults[1].starts_with("4:2: invalid JSON"));
  CHECK(found.faults[2] ==
        "5:12: invalid JSON: something other than a run follows on the line |{\"id\":\"c\"} x");
  CHECK(found.faults[3] == "6:0: \"id\" must be a string |{\"id\":1}");
  CHECK(found.faults[4] == "7:0: a run is a JSON object, this is a number |7");
}

TEST_CASE("a line that was cut takes no other with it") {
  for (const char* const cut :
       {"{\"id\":\"x\"", "{\"id\":\"x\",", "{\"id\":", "{\"id\":\"x", "{\"id\":\"x\",\"l\":[", "{"}) {
    CAPTURE(cut);
    const Found found =
        read_whole("{\"id\":\"a\"}\n" + std::string(cut) + "\n{\"id\":\"b\"}\n{\"id\":\"c\"}\n");
    CHECK(found.runs == std::vector<std::string>{"{\"id\":\"a\"}", "{\"id\":\"b\"}", "{\"id\":\"c\"}"});
    REQUIRE(found.faults.size() == 1);
    CHECK(found.faults[0].starts_with("2:"));
    const Found at_end = read_whole("{\"id\":\"a\"}\n" + std::string(cut));
    CHECK(at_end.runs.size() == 1);
    CHECK(at_end.faults.size() == 1);
  }
}

TEST_CASE("a line that was cut takes no indented line with it") {
  for (const char* const cut : {"{\"id\":\"x\"", " {\"id\":", "{\"id\":\"x", "\t{\"l\":[", "{"}) {
    CAPTURE(cut);
    for (const std::string rest :
         {"  {\"id\":\"b\"} \r\n\t{\"id\":\"c\"}", " {\"id\":\"b\"}\n {\"id\":\"c\"}\n"}) {
      const Found found = read_whole("{\"id\":\"a\"}\n" + std::string(cut) + "\n" + rest);
      CHECK(found.runs == std::vector<std::string>{"{\"id\":\"a\"}", "{\"id\":\"b\"}", "{\"id\":\"c\"}"});
      REQUIRE(found.faults.size() == 1);
      CHECK(found.faults[0].starts_with("2:"));
    }
  }
  // Part of a pretty-printed run is no run.
  const Found found =
      read_whole("{\n  \"l\": [\n    {\"id\": \"x\"},\n    {\"id\": \"y\"}\n  ], 1\n}\n{\"id\":\"a\"}\n");
  CHECK(found.runs == std::vector<std::string>{"{\"id\":\"a\"}"});
  CHECK(found.faults.size() == 1);
}

TEST_CASE("a broken pretty-printed run ends where the next one starts") {
  const Found found = read_whole("{\n  \"id\": \"a\",\n  \"n\": 01\n}\n{\n  \"id\": \"b\"\n}\n");
  REQUIRE(found.runs.size() == 1);
  REQUIRE(found.faults.size() == 1);
  CHECK(found.faults[0].starts_with("3:9: invalid JSON: a number must not start with 0 |{\n"));
}

TEST_CASE("a broken element of an array costs that element") {
  const Found found = read_whole(R"([{"id":"a"},{"id":tru},{"id":"b"},5,{"id":"c"}])");
  CHECK(found.runs.size() == 3);
  CHECK(found.faults.size() == 2);
  CHECK(read_whole(R"([{"id":"a"} {"id":"b"}])").faults.size() == 1);
  const Found open = read_whole(R"([{"id":"a"},)");
  CHECK(open.runs.size() == 1);
  REQUIRE(open.faults.size() == 1);
  CHECK(open.faults[0].find("before the array is closed") != std::string::npos);
}

TEST_CASE("what is no text is refused in plain words") {
  CHECK(read_whole(std::string("{\0\"\0", 4)).faults.at(0).find("UTF-16") != std::string::npos);
  CHECK(read_whole(std::string("\xFF\xFE{\0", 4)).faults.at(0).find("UTF-16") != std::string::npos);
  const Found hole = read_whole(std::string(1000, '\0') + "{\"id\":\"a\"}\n");
  CHECK(hole.runs.size() == 1);
  REQUIRE(hole.faults.size() == 1);
  CHECK(hole.faults[0] == "1:0: 1000 zero bytes were passed over |");
  CHECK(read_whole("").faults.empty());
  CHECK(read_whole(" \n\t").runs.empty());
}

TEST_CASE("a run over the limit is passed over, however long") {
  const std::string longer = "{\"id\":\"" + std::string(500, 'x') + "\"}";
  const Found found = read_whole("{\"id\":\"a\"}\n" + longer + "\n{\"id\":\"b\"}\n", 100);
  CHECK(found.runs.size() == 2);
  REQUIRE(found.faults.size() == 1);
  CHECK(found.faults[0] == "2:0: the record is longer than 100 bytes |" + longer);
}

TEST_CASE("where the blocks are cut changes nothing") {
  const std::string texts[] = {
      "{\"id\":\"a\"}\n{\"id\":tru}\n{\"id\":\"b\",\"t\":\"\xC3\xA9\xF0\x9F\x98\x80\"}\n\n{\"id\":\"c\"\n{"
      "\"id\":\"d\"}\n",
      "[{\"id\":\"a\"},\n {\"id\":tru}, {\"id\":\"b\"},{\"id\":1}]\n[ ]",
      "{\n \"id\": \"a\"\n}\n{\n \"id\": 01\n}\n{\n \"id\": \"b\"\n}\n",
      "\xEF\xBB\xBF{\"id\":\"a\"}{\"id\":\"b\"}\r\n{\"id\":\"c\"} x\r\n" + std::string(7, '\0') +
          "{\"id\":\"d\"}",
      "[{\"id\":\"a\"},{\"id\":\"b\"",
      "{\"id\":\"a\",\n  {\"id\":\"b\"} \n\n{\"id\":\n {\"id\":\"c\"}x\n{}",
      "{\"id\":\"a\"}\n{\"id\":\"" + std::string(60, 'y') + "\"}\n{\"id\":\"b\"}\n"};
  tests::Random random(11);
  for (const std::string& text : texts) {
    for (const std::size_t max_run : {k_no_limit, std::size_t{50}}) {
      const Found whole = read_in_pieces(text, {}, max_run);
      for (std::size_t cut = 0; cut <= text.size(); ++cut) {
        CAPTURE(text);
        CAPTURE(cut);
        CHECK(read_in_pieces(text, {cut}, max_run) == whole);
        CHECK(read_in_pieces(text, {cut}, max_run, 1 + cut % 3) == whole);
      }
      for (int round = 0; round < 50; ++round) {
        std::vector<std::size_t> cuts;
        for (std::size_t at = 0; at < text.size(); at += 1 + random.below(9)) cuts.push_back(at);
        CHECK(read_in_pieces(text, cuts, max_run) == whole);
      }
    }
  }
}
