#include "run/json.hpp"

#include <doctest/doctest.h>
#include <fmt/format.h>
#include <simdjson.h>

#include <array>
#include <string_view>

#include <nlohmann/json.hpp>

#include "support.hpp"

using namespace runctl;
using run::Verdict;

namespace {

// White space around the value is the caller's business, as is other text behind it: here there must be none.
Verdict verdict_of(std::string_view text) {
  while (!text.empty() && run::is_json_space(text.front())) text.remove_prefix(1);
  while (!text.empty() && run::is_json_space(text.back())) text.remove_suffix(1);
  run::JsonScanner scanner;
  const run::Scan scan = scanner.scan(text);
  if (scan.verdict == Verdict::valid && scan.end != text.size()) return Verdict::invalid;
  return scan.verdict;
}

}  // namespace

TEST_CASE("valid JSON is found valid") {
  for (const char* const text : {"{}", "[]", "0", "-0", "1.0", "1e400", "18446744073709551617", "\"\"",
                                 "\"\\ud800\"", "true", "[1,[2,{\"a\":[]}]]", "{\"a\":{\"a\":1,\"a\":2}}",
                                 "[ 1 , 2 ]", "\"\xF0\x9F\x98\x80\"", "{\"\":\"\\u0000\"}"}) {
    CAPTURE(text);
    CHECK(verdict_of(text) == Verdict::valid);
  }
}

TEST_CASE("what breaks the grammar is found where it breaks") {
  struct Case {
    const char* text;
    std::size_t end;
  };
  for (const Case& c :
       {Case{"{\"a\":trux}", 8}, Case{"[1,]", 3}, Case{"[01]", 2}, Case{"[1.]", 3}, Case{"[+1]", 1},
        Case{"{\"a\" 1}", 5}, Case{"{,}", 1}, Case{"{\"a\":1,}", 7}, Case{"[\"\\x\"]", 2},
        Case{"[\"\\u12g4\"]", 2}, Case{"[\"\t\"]", 2}, Case{"[\"\xFF\"]", 2}, Case{"[1}", 2}, Case{"{]", 1},
        Case{"[nul]", 4}, Case{"[\"\xED\xA0\x80\"]", 2}}) {
    CAPTURE(c.text);
    run::JsonScanner scanner;
    const run::Scan scan = scanner.scan(c.text);
    CHECK(scan.verdict == Verdict::invalid);
    CHECK(scan.end == c.end);
    CHECK(std::string(scan.reason) != "");
  }
}

TEST_CASE("every beginning of a valid object is truncated, not invalid") {
  const std::string text = R"({"k":"a\u00e9\n","n":-1.5e+3,"l":[true,null,{"x":[]}],"u":"é😀"})";
  REQUIRE(verdict_of(text) == Verdict::valid);
  for (std::size_t length = 0; length < text.size(); ++length) {
    CAPTURE(length);
    CHECK(verdict_of(text.substr(0, length)) == Verdict::truncated);
  }
}

TEST_CASE("nesting is read up to the stated limit") {
  const auto nested = [](std::size_t depth) { return std::string(depth, '[') + std::string(depth, ']'); };
  CHECK(verdict_of(nested(run::k_max_depth)) == Verdict::valid);
  CHECK(verdict_of(nested(run::k_max_depth + 1)) == Verdict::invalid);
}

TEST_CASE("members are the object's own, with the spans they have in the text") {
  run::JsonScanner scanner;
  const std::string text = R"({ "a" : {"x":1} , "b":[{"y":2}],"\u0063":"v" })";
  REQUIRE(scanner.scan(text).verdict == Verdict::valid);
  const auto& members = scanner.members();
  REQUIRE(members.size() == 3);
  CHECK(members[0].key == "a");
  CHECK(members[0].value == "{\"x\":1}");
  CHECK(members[1].key == "b");
  CHECK(members[1].value == "[{\"y\":2}]");
  CHECK(members[2].key_escaped);
  CHECK(run::unescape(members[2].key) == "c");
  CHECK(members[2].value == "\"v\"");
  CHECK(scanner.scan("[{\"a\":1}]").verdict == Verdict::valid);
  CHECK(scanner.members().empty());
}

TEST_CASE("the members of what is opened follow it") {
  constexpr std::array<std::string_view, 2> k_opened = {"in", "out"};
  run::JsonScanner scanner(k_opened);
  const auto told = [&scanner](const std::string& text) {
    REQUIRE(scanner.scan(text).verdict == Verdict::valid);
    std::string all;
    for (const run::Member& member : scanner.members())
      all += fmt::format("{}{}={} ", std::string(member.depth, '.'), member.key, member.value);
    return all;
  };
  CHECK(told(R"({"in":{"a":{"b":1},"c": {} , "in":[{"d":2}]},"other":{"in":{"e":3}},"z":0})") ==
        R"(.in={"a":{"b":1},"c": {} , "in":[{"d":2}]} ..a={"b":1} ...b=1 ..c={} ..in=[{"d":2}] )"
        R"(.other={"in":{"e":3}} .z=0 )");
  CHECK(told(R"({"in":[{"a":1}],"out":"x"})") == R"(.in=[{"a":1}] .out="x" )");
  CHECK(told(R"({"\u0069n":{"a":1}})") == R"(.\u0069n={"a":1} ..a=1 )");
  CHECK(told(R"([{"in":{"a":1}}])").empty());
  CHECK(told(R"({"in":{},"out":{"a":[]}})") == R"(.in={} .out={"a":[]} ..a=[] )");
}

TEST_CASE("a newline between tokens is told") {
  const auto on_one_line = [](const std::string& text) {
    const run::Scan scan = run::JsonScanner().scan(text);
    REQUIRE(scan.verdict == Verdict::valid);
    return scan.on_one_line;
  };
  CHECK(on_one_line(R"({ "a\n" : [ 1 ,	2 ] })"));
  for (const char* const text : {"{\n}", "[1\n]", "[\n1]", "[1,\n2]", "[1\n,2]", "{\n\"a\":1}", "{\"a\"\n:1}",
                                 "{\"a\":\n1}", "{\"a\":1,\n\"b\":2}", "{\"a\":{}\n}"})
    CHECK_FALSE(on_one_line(text));
  CHECK(on_one_line("{}\n"));
}

TEST_CASE("different strings stay different when escapes are resolved") {
  CHECK(run::unescape(R"(\"\\\/\b\f\n\r\tA\u00e9)") == "\"\\/\b\f\n\r\tA\xC3\xA9");
  CHECK(run::unescape(R"(\ud83d\ude00)") == "\xF0\x9F\x98\x80");
  CHECK(run::unescape(R"(\ud83d)") == "\xED\xA0\xBD");
  CHECK(run::unescape(R"(\ud83dx\ude00)") == "\xED\xA0\xBDx\xED\xB8\x80");
}

TEST_CASE("indenting changes white space between tokens and nothing else") {
  const std::string text = R"({"a":[1.0,18446744073709551617,{}],"b":"x: {,}\"","c":[ ]})";
  CHECK(run::indent(text) ==
        "{\n  \"a\": [\n    1.0,\n    18446744073709551617,\n    {}\n  ],\n  \"b\": \"x: {,}\\\"\",\n  "
        "\"c\": []\n}");
}

// Mutated texts: the scanner must agree with two parsers that others keep, wherever those decide by the
// grammar alone.
TEST_CASE("the verdict agrees with other parsers on mutated texts") {
  const std::string seeds[] = {R"({"id":"a","n":[1,-2.5e3,true],"s":"x\"\\\u00e9y","o":{"k":null}})",
                               R"([{"a":"é"},[],{},"",0.1,false])",
                               R"({"t":"\ud83d\ude00","deep":[[[[{"x":[1]}]]]]})"};
  const std::string alphabet = "{}[]\",:\\ 0123456789eE+-.tfnul\xC3\xA9\x01";
  tests::Random random(7);
  simdjson::dom::parser fast;
  std::size_t valid = 0;
  for (int round = 0; round < 60000; ++round) {
    std::string text = seeds[random.below(3)];
    for (std::size_t change = 1 + random.below(3); change > 0; --change) {
      const std::size_t at = random.below(text.size());
      const char c = alphabet[random.below(alphabet.size())];
      switch (random.below(3)) {
        case 0:
          text[at] = c;
          break;
        case 1:
          text.insert(at, 1, c);
          break;
        default:
          text.erase(at, 1);
          break;
      }
    }
    CAPTURE(text);
    const bool ours = verdict_of(text) == Verdict::valid;
    // nlohmann refuses numbers that no double holds, and lone surrogates; simdjson refuses huge numbers.
    const bool theirs = nlohmann::json::accept(text);
    const auto error = fast.parse(text.data(), text.size(), true).error();
    if (theirs || error == simdjson::SUCCESS) CHECK(ours);
    const bool odd = text.find("\\ud8") != std::string::npos || text.find("\\ude") != std::string::npos ||
                     text.find('e') != std::string::npos || text.find('E') != std::string::npos;
    if (ours && !odd) CHECK(theirs);
    valid += ours ? 1 : 0;
  }
  CHECK(valid > 1000);
}

// Strings are read 32 bytes at a time, escapes among them: pieces of every kind, at every place of a block.
TEST_CASE("strings of many escapes end where other parsers say, and mean what those say") {
  const std::vector<std::string> pieces = {
      "\\n", "\\t", "\\\"",   "\\\\",   "\\\\\\\\",    "\\\\\\\"", "\\u00e9", "\\/",  "\\r",  "\\b", "é",
      "€",   "a",   "prose ", "code()", "x1234567890", "\\x",      "\\",      "\x01", "\xFF", "\"",  "\\\n"};
  constexpr std::size_t k_sound = 16;
  tests::Random random(11);
  run::JsonScanner scanner;
  std::size_t valid = 0;
  std::size_t broken = 0;
  for (int round = 0; round < 30000; ++round) {
    // A quarter of them with one piece that is not sound.
    const std::size_t count = random.below(40);
    const std::size_t odd = round % 4 == 0 ? random.below(count + 1) : count;
    std::string body(random.below(33), 'p');
    for (std::size_t i = 0; i < count; ++i)
      body +=
          i == odd ? pieces[k_sound + random.below(pieces.size() - k_sound)] : pieces[random.below(k_sound)];
    const std::string text = "{\"s\":\"" + body + "\"}";
    CAPTURE(text);
    const nlohmann::json theirs = nlohmann::json::parse(text, nullptr, false);
    const run::Scan scan = scanner.scan(text);
    CHECK((scan.verdict == Verdict::valid && scan.end == text.size()) == !theirs.is_discarded());
    if (theirs.is_discarded()) {
      ++broken;
      continue;
    }
    ++valid;
    const std::string_view value = scanner.members().front().value;
    CHECK(value == "\"" + body + "\"");
    CHECK(run::unescape(value.substr(1, value.size() - 2)) == theirs["s"].get<std::string>());
    CHECK(scanner.members().front().value_escaped == (body.find('\\') != std::string::npos));
    // A key says so too.
    scanner.scan("{\"" + body + "\":1}");
    CHECK(scanner.members().front().key_escaped == (body.find('\\') != std::string::npos));
  }
  CHECK(valid > 20000);
  CHECK(broken > 3000);
}
