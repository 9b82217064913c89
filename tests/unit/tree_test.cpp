#include "tree.hpp"

#include <doctest/doctest.h>

#include <random>
#include <set>

#include "display_support.hpp"

using namespace runctl;
using cmd::Collapse;

namespace {

constexpr std::int64_t k_start = 1714952579'000'000;  // 2024-05-05 23:42:59 UTC
constexpr std::int64_t k_ms = 1'000;

// A run from `from` to `to` milliseconds after k_start.
run::Facts facts(std::uint64_t number, std::optional<std::uint64_t> parent, std::string name,
                 std::int64_t from, std::int64_t to) {
  run::Facts run;
  run.id = id_number(number);
  if (parent) run.parent = id_number(*parent);
  run.name = std::move(name);
  run.run_type = "llm";
  run.start = k_start + from * k_ms;
  run.end = k_start + to * k_ms;
  return run;
}

cmd::Screen screen_of(std::size_t width, bool unicode = true) {
  cmd::Screen screen;
  screen.width = width;
  screen.unicode = unicode;
  return screen;
}

std::string draw(const std::vector<run::Facts>& runs, std::size_t width, bool unicode = true) {
  return cmd::draw_trace(runs, "t1", Collapse::yes, screen_of(width, unicode));
}

std::vector<run::Facts> small_trace() {
  std::vector<run::Facts> runs = {facts(1, std::nullopt, "agent", 0, 4000), facts(4, 3, "search", 2000, 2500),
                                  facts(2, 1, "plan", 0, 1000), facts(3, 1, "act", 1000, 4000),
                                  facts(5, 3, "write", 3000, 3000)};
  runs[1].error = true;
  return runs;
}

// Every run has a line of its own or is counted in a line that it shares.
void check_complete(const std::vector<run::Facts>& runs, const cmd::TraceTree& tree) {
  std::set<std::size_t> drawn;
  std::size_t counted = 0;
  for (const cmd::TreeLine& line : tree.lines) {
    CHECK(drawn.insert(line.run).second);
    counted += line.runs;
  }
  CHECK(counted == runs.size());
}

}  // namespace

TEST_CASE("a trace is drawn as a tree with bars on one axis") {
  const TimeZone zone("UTC");
  CHECK(draw(small_trace(), 60) ==
        "trace t1\n"
        "2024-05-05 23:42:59, 4.0s, 5 runs, 1 error\n"
        "                       0                                4.0s\n"
        "agent            4.0s  █████████████████████████████████████\n"
        "├─ plan          1.0s  █████████▎\n"
        "└─ act           3.0s           ████████████████████████████\n"
        "   ├─ search ✗  500ms                    ▐████▏\n"
        "   └─ write       0ms                             ▎\n");
  CHECK(draw(small_trace(), 60, false) ==
        "trace t1\n"
        "2024-05-05 23:42:59, 4.0s, 5 runs, 1 error\n"
        "                       0                                4.0s\n"
        "agent            4.0s  #####################################\n"
        "|- plan          1.0s  ##########\n"
        "`- act           3.0s           ############################\n"
        "   |- search !  500ms                    ######\n"
        "   `- write       0ms                             #\n");
}

TEST_CASE("no times, no bars; a narrow screen, neither bars nor types") {
  std::vector<run::Facts> runs = small_trace();
  for (run::Facts& run : runs) run.start = run.end = base::k_no_time;
  CHECK(draw(runs, 80) ==
        "trace t1\n"
        "5 runs, 1 error\n"
        "agent          llm      -\n"
        "├─ plan        llm      -\n"
        "└─ act         llm      -\n"
        "   ├─ search ✗ llm      -\n"
        "   └─ write    llm      -\n");
  CHECK(draw(small_trace(), 24) ==
        "trace t1\n"
        "2024-05-05 23:42:59, 4.…\n"
        "agent            4.0s\n"
        "├─ plan          1.0s\n"
        "└─ act           3.0s\n"
        "   ├─ search ✗  500ms\n"
        "   └─ write       0ms\n");
}

TEST_CASE("runs whose parents are missing, or lead back to themselves, are drawn with a mark") {
  const std::vector<run::Facts> runs = {
      facts(1, 1, "own parent", 0, 1),     facts(2, 4, "two", 1, 2),     facts(3, 2, "three", 2, 3),
      facts(4, 3, "four", 3, 4),           facts(5, 99, "orphan", 4, 5), facts(6, 5, "child of orphan", 5, 6),
      facts(7, std::nullopt, "root", 6, 7)};
  CHECK(draw(runs, 50) ==
        "trace t1\n"
        "2024-05-05 23:42:59, 7ms, 7 runs, no errors\n"
        "?─ 1 run whose parent is not in this trace\n"
        "↻─ 2 cycles of parents, cut open\n"
        "                                0              7ms\n"
        "↻─ own parent              1ms  ██▋\n"
        "↻─ two                     1ms    ▐██▏\n"
        "   └─ three                1ms       ██▊\n"
        "      └─ four              1ms         ▕██▎\n"
        "?─ orphan                  1ms            ██▉\n"
        "   └─ child of orphan      1ms              ▕██▍\n"
        "root                       1ms                 ▐██\n");
}

TEST_CASE("of runs with the same id each is drawn, and the earliest has the children") {
  const std::vector<run::Facts> runs = {facts(1, std::nullopt, "later", 5, 6),
                                        facts(1, std::nullopt, "earlier", 0, 1), facts(2, 1, "child", 2, 3)};
  const cmd::TraceTree tree = cmd::arrange(runs, Collapse::yes);
  REQUIRE(tree.lines.size() == 3);
  CHECK(runs[tree.lines[0].run].name == "earlier");
  CHECK(runs[tree.lines[1].run].name == "child");
  CHECK(tree.lines[1].depth == 1);
  CHECK(runs[tree.lines[2].run].name == "later");
}

TEST_CASE("siblings come by start time, those without one last") {
  std::vector<run::Facts> runs = {facts(1, std::nullopt, "root", 0, 9), facts(2, 1, "none", 0, 0),
                                  facts(3, 1, "b", 5, 6), facts(4, 1, "a", 2, 3),
                                  facts(5, 1, "before 1970", 0, 1)};
  runs[1].start = base::k_no_time;
  runs[4].start = base::k_no_time + 1;
  const cmd::TraceTree tree = cmd::arrange(runs, Collapse::yes);
  std::vector<std::string> names;
  for (const cmd::TreeLine& line : tree.lines) names.push_back(runs[line.run].name);
  CHECK(names == std::vector<std::string>{"root", "before 1970", "a", "b", "none"});
  CHECK(tree.lines.back().last);
  CHECK(draw(runs, 100).find("before 1970") != std::string::npos);
}

TEST_CASE("more than ten siblings alike in a row share a line, but never an error") {
  std::vector<run::Facts> runs = {facts(0, std::nullopt, "map", 0, 4000)};
  for (std::uint64_t i = 1; i <= 40; ++i)
    runs.push_back(
        facts(i, 0, "call", static_cast<std::int64_t>(i) * 100, static_cast<std::int64_t>(i) * 100 + 50));
  runs[15].error = true;  // 14 before it, 25 behind it
  const cmd::TraceTree tree = cmd::arrange(runs, Collapse::yes);
  REQUIRE(tree.lines.size() == 4);
  CHECK(tree.lines[1].siblings == 14);
  CHECK(tree.lines[1].start == runs[1].start);
  CHECK(tree.lines[1].end == runs[14].end);
  CHECK(tree.lines[2].run == 15);
  CHECK(tree.lines[3].siblings == 25);
  CHECK(tree.collapsed == 39);
  check_complete(runs, tree);
  CHECK(cmd::arrange(runs, Collapse::no).lines.size() == 41);
  runs[15].error = false;
  runs[20].name = "other";
  CHECK(draw(runs, 60) ==
        "trace t1\n"
        "2024-05-05 23:42:59, 4.1s, 41 runs, no errors\n"
        "× 39 runs on shared lines; --all-runs draws each\n"
        "                       0                                4.1s\n"
        "map              4.0s  ████████████████████████████████████▌\n"
        "├─ × 19 call     1.9s  ░░░░░░░░░░░░░░░░░░\n"
        "├─ other         50ms                    ▌\n"
        "└─ × 20 call     2.0s                     ░░░░░░░░░░░░░░░░░░\n");
}

TEST_CASE("of very many siblings without an error the first are drawn, and the others share a line") {
  std::vector<run::Facts> runs = {facts(0, std::nullopt, "agent", 0, 100'000)};
  for (std::uint64_t i = 1; i <= 3000; i += 3) {
    const auto at = static_cast<std::int64_t>(i) * 10;
    runs.push_back(facts(i, 0, "step", at, at + 20));
    runs.push_back(facts(i + 1, i, i % 2 == 0 ? "think" : "call", at, at + 5));
    runs.push_back(facts(i + 2, 0, "note", at + 21, at + 22));
  }
  runs[1502].error = true;  // below a step
  const cmd::TraceTree tree = cmd::arrange(runs, Collapse::yes);
  check_complete(runs, tree);
  CHECK(tree.lines.size() < 60);
  CHECK(std::any_of(tree.lines.begin(), tree.lines.end(),
                    [](const cmd::TreeLine& line) { return line.run == 1502; }));
  CHECK(draw(runs, 80).find("\u00D7 987 (1,480 runs) note +1 other ") != std::string::npos);
}

TEST_CASE("a chain of ten thousand is drawn, with the name of each") {
  std::vector<run::Facts> runs;
  for (std::uint64_t i = 0; i < 10'000; ++i)
    runs.push_back(facts(i, i == 0 ? std::nullopt : std::optional(i - 1), "name", 0, 1));
  for (const std::size_t width : {40U, 60U, 100U, 200U}) {
    const std::vector<std::string> lines = lines_of(draw(runs, width));
    REQUIRE(lines.size() == runs.size() + 3);
    for (std::size_t i = 3; i < lines.size(); ++i) {
      CHECK(lines[i].find("name") != std::string::npos);
      CHECK(cmd::display_width(lines[i]) <= width);
    }
    CHECK(lines.back().find("\u22EF9999 \u2514\u2500 name") != std::string::npos);
  }
}

TEST_CASE("no name or time makes a line wider than the screen, or a second line") {
  std::vector<run::Facts> runs;
  for (const std::string& name : naughty_names()) {
    const std::uint64_t i = runs.size();
    runs.push_back(facts(i, i % 4 == 0 ? std::nullopt : std::optional(i - 1), name, 0, 1));
    runs.back().run_type = name;
    runs.back().error = i % 3 == 0;
  }
  runs[1].start = std::numeric_limits<std::int64_t>::max();
  runs[2].end = base::k_no_time + 1;
  runs[3].start = base::k_no_time + 1;
  runs[4].end = base::k_no_time;
  runs[5].start = base::k_no_time;
  for (std::size_t width = 1; width <= 200; width = width < 110 ? width + 1 : width + 45) {
    for (const bool color : {false, true}) {
      for (const bool unicode : {false, true}) {
        cmd::Screen screen = screen_of(width, unicode);
        screen.color = color;
        screen.terminal = color;
        const std::string drawn = cmd::draw_trace(runs, naughty_names()[3], Collapse::yes, screen);
        for (const std::string& line : lines_of(drawn)) {
          CAPTURE(width);
          CAPTURE(line);
          CHECK((width < 11 || cmd::display_width(uncoloured(line)) <= width));
        }
      }
    }
  }
}

TEST_CASE("random parents: every run is drawn once or counted, at any width") {
  std::mt19937_64 random(4);
  for (int round = 0; round < 300; ++round) {
    std::vector<run::Facts> runs;
    const std::uint64_t count = random() % 120;
    const std::uint64_t ids =
        1 + random() % (count + 20);  // fewer than runs: duplicates; more: missing parents
    const std::uint64_t names = 1 + random() % 3;
    for (std::uint64_t i = 0; i < count; ++i) {
      std::optional<std::uint64_t> parent;
      if (random() % 8 != 0) parent = random() % (random() % 4 == 0 ? ids : std::min<std::uint64_t>(ids, 3));
      const auto from = static_cast<std::int64_t>(random() % 1000);
      runs.push_back(facts(random() % ids, parent, "n" + std::to_string(random() % names), from,
                           from + static_cast<std::int64_t>(random() % 100)));
      runs.back().error = random() % 20 == 0;
      if (random() % 10 == 0) runs.back().start = base::k_no_time;
    }
    for (const Collapse collapse : {Collapse::yes, Collapse::no}) {
      const cmd::TraceTree tree = cmd::arrange(runs, collapse);
      check_complete(runs, tree);
      if (collapse == Collapse::no) CHECK(tree.lines.size() == runs.size());
      std::size_t errors = 0;
      for (const cmd::TreeLine& line : tree.lines)
        errors += line.siblings == 1 && runs[line.run].error ? 1 : 0;
      CHECK(errors == tree.errors);
    }
    for (const std::size_t width : {20U, 60U, 100U, 200U}) {
      for (const std::string& line : lines_of(draw(runs, width))) CHECK(cmd::display_width(line) <= width);
    }
  }
}
