#include "run/record.hpp"

#include <doctest/doctest.h>

#include <set>

#include "base/hash.hpp"

using namespace runctl;

namespace {

struct Read {
  std::string reason;
  run::Record record;
  run::Arena arena;
};

std::unique_ptr<Read> read(const std::string& json, run::IdPolicy policy = run::IdPolicy::derived) {
  auto result = std::make_unique<Read>();
  run::JsonScanner scanner(run::RecordReader::k_opened);
  const std::string& kept = result->arena.texts.emplace_back(json);
  REQUIRE(scanner.scan(kept).verdict == run::Verdict::valid);
  result->reason = run::RecordReader({policy}).read(kept, scanner.members(), result->arena, result->record);
  return result;
}

}  // namespace

TEST_CASE("the known fields of a run are read") {
  const auto run = read(
      R"({"id":"36f0bc15-b5dc-5c24-981f-2ee876c2581a","trace_id":"T","name":"a\nb","run_type":"tool","status":"ok",)"
      R"("start_time":"2024-05-05T23:43:00Z","end_time":1714952581,"tags":["x","y,\"z"],"error":"bad"})");
  REQUIRE(run->reason == "");
  CHECK(run::uuid_text(run->record.id) == "36f0bc15-b5dc-5c24-981f-2ee876c2581a");
  CHECK(run->record.trace_id == run::id_of_text("T"));
  CHECK(run->record.name == "a\nb");
  CHECK(run->record.run_type == "tool");
  CHECK(run->record.status == "ok");
  CHECK(run->record.end_time - run->record.start_time == 1000000);
  CHECK(run->record.has_error);
  REQUIRE(run->record.tags_end == 2);
  CHECK(run->arena.tags[1] == "y,\"z");
  CHECK(run->record.fingerprint == base::xxh3_64(run->record.json));
}

TEST_CASE("a field of a wrong type is named") {
  const std::pair<const char*, const char*> cases[] = {{R"({"id":1})", "\"id\""},
                                                       {R"({"id":null})", "\"id\""},
                                                       {R"({"name":[]})", "\"name\""},
                                                       {R"({"tags":"x"})", "\"tags\""},
                                                       {R"({"tags":["x",1]})", "\"tags\""},
                                                       {R"({"error":true})", "\"error\""},
                                                       {R"({"metadata":[]})", "\"metadata\""},
                                                       {R"({"start_time":{}})", "\"start_time\""},
                                                       {R"({"end_time":"soon"})", "\"end_time\""},
                                                       {R"({"id":"a","i\u0064":"b"})", "twice"}};
  for (const auto& [text, word] : cases) {
    const std::string json = text;
    CAPTURE(json);
    CHECK(read(json)->reason.find(word) != std::string::npos);
  }
}

TEST_CASE("an id is made from the content, with its time where there is one") {
  const auto a = read(R"({"name":"x"})");
  const auto again = read(R"({"name":"x"})");
  CHECK(a->record.id == again->record.id);
  CHECK(a->record.json == "{\"id\":\"" + run::uuid_text(a->record.id) + "\",\"name\":\"x\"}");
  CHECK(a->record.trace_id == a->record.id);
  CHECK_FALSE(run::uuid_v7_milliseconds(a->record.id).has_value());
  const auto timed = read(R"({"name":"x","start_time":"2024-05-05T23:43:00.123Z"})");
  CHECK(run::uuid_v7_milliseconds(timed->record.id) == 1714952580123);
  CHECK(read("{}")->record.json == "{\"id\":\"" + run::uuid_text(read("{}")->record.id) + "\"}");
  const auto fresh = read(R"({"name":"x"})", run::IdPolicy::fresh);
  CHECK(run::uuid_v7_milliseconds(fresh->record.id).has_value());
  CHECK(fresh->record.id != read(R"({"name":"x"})", run::IdPolicy::fresh)->record.id);
}

TEST_CASE("a UUID is itself in either case, any other text is hashed") {
  const auto id = run::parse_uuid("36F0BC15-b5dc-5c24-981f-2ee876c2581a");
  REQUIRE(id.has_value());
  CHECK(*id == run::id_of_text("36f0bc15-b5dc-5c24-981f-2ee876c2581a"));
  for (const char* const text :
       {"", "36f0bc15b5dc5c24981f2ee876c2581a", "36f0bc15-b5dc-5c24-981f-2ee876c2581",
        "36f0bc15-b5dc-5c24-981f-2ee876c2581g", "36f0bc15_b5dc-5c24-981f-2ee876c2581a"}) {
    CAPTURE(text);
    CHECK_FALSE(run::parse_uuid(text).has_value());
  }
  CHECK(run::id_of_text("a") != run::id_of_text("b"));
}

TEST_CASE("scalar entries of the metadata can be searched") {
  const auto entries_of = [](const std::string& json) {
    const auto result = read(json);
    CHECK(result->reason.empty());
    return std::vector<std::string>(result->arena.metadata.begin(), result->arena.metadata.end());
  };
  using Entries = std::vector<std::string>;
  CHECK(entries_of(R"({"metadata":{"a":"x","n":1.50,"t":true,"f":false,"none":null,"list":[1]}})") ==
        Entries{"a=x", "n=1.50", "t=true", "f=false"});
  CHECK(entries_of(R"({"metadata":{"user":{"name":"A\u006en","deep":{"er":"\ud83d\ude00"}},"a.b":""}})") ==
        Entries{"user.name=Ann", "user.deep.er=\xF0\x9F\x98\x80", "a.b="});
  CHECK(entries_of(R"({"extra":{"metadata":{"k":"v"}}})") == Entries{"k=v"});
  CHECK(entries_of(R"({"extra":{"metadata":{"k":"v"}},"metadata":{"own":1}})") == Entries{"own=1"});
  CHECK(entries_of(R"({"extra":{"metadata":"text"}})").empty());
  CHECK(entries_of(R"({"metadata":{}})").empty());
  // Too long, too deep, too many.
  CHECK(entries_of(R"({"metadata":{"k":")" + std::string(254, 'x') + R"("}})").size() == 1);
  std::string escapes;
  for (int i = 0; i < 254; ++i) escapes += "\\n";
  CHECK(entries_of(R"({"metadata":{"k":")" + escapes + R"("}})").size() == 1);
  CHECK(entries_of(R"({"metadata":{"k":")" + escapes + R"(\n","next":1}})") == Entries{"next=1"});
  CHECK(entries_of(R"({"metadata":{")" + std::string(2000, 'k') + R"(":{"a":1,"b":{"c":2}},"next":1}})") ==
        Entries{"next=1"});
  CHECK(entries_of(
            R"({"extra":{"runtime":{"metadata":{"a":1}},"metadata":{"k":{"l":2}},"z":{"y":3}},"z":4})") ==
        Entries{"k.l=2"});
  CHECK(entries_of(R"({"metadata":{"k":")" + std::string(255, 'x') + R"(","next":1}})") == Entries{"next=1"});
  std::string deep = "1";
  for (int i = 0; i < 8; ++i) deep = "{\"k\":" + deep + "}";
  CHECK(entries_of(R"({"metadata":)" + deep + "}").size() == 1);
  CHECK(entries_of(R"({"metadata":{"k":)" + deep + "}}").empty());
  CHECK(entries_of(R"({"extra":{"metadata":)" + deep + "}}").size() == 1);
  CHECK(entries_of(R"({"extra":{"metadata":{"k":)" + deep + "}}}").empty());
  CHECK(entries_of(R"({"metadata":{"list":[1],"o":{"p":1}}})") == Entries{"o.p=1"});
  std::string many = "{";
  for (int i = 0; i < 40; ++i) many += (i == 0 ? "\"" : ",\"") + std::to_string(i) + "\":0";
  CHECK(entries_of(R"({"metadata":)" + many + "}}").size() == 32);
}
