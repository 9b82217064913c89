#include "table.hpp"

#include <doctest/doctest.h>

#include "display_support.hpp"

using namespace runctl;

namespace {

constexpr std::int64_t k_start = 1714952579'000'000;  // 2024-05-05 23:42:59 UTC
constexpr std::int64_t k_same_year = 1716000000'000'000;
constexpr std::int64_t k_years_later = 1795000000'000'000;

cmd::Screen terminal(std::size_t width) {
  cmd::Screen screen;
  screen.terminal = true;
  screen.width = width;
  return screen;
}

run::Facts facts(std::uint64_t number, std::string name, std::string type = "llm") {
  run::Facts run;
  run.id = id_number(number);
  run.name = std::move(name);
  run.run_type = std::move(type);
  run.start = k_start;
  run.end = k_start + 1'250'000;
  return run;
}

std::vector<run::Facts> two_runs() {
  std::vector<run::Facts> runs = {facts(1, "a name of twenty col", "chain"), facts(2, "gpt-4o")};
  runs[0].id = run::id_of_text("b8d178f6-c190-5ab8-9b57-0b360f57b807");
  runs[1].id = run::id_of_text("f4e9f296-2537-5fe8-8102-8a4e91b046e7");
  runs[1].error = true;
  runs[1].end = base::k_no_time;
  return runs;
}

}  // namespace

TEST_CASE("a table has what fits, and the whole id") {
  const TimeZone zone("UTC");
  CHECK(cmd::SearchTable(terminal(120), k_same_year).page(two_runs()) ==
        "START                LATENCY     TYPE   ID                                    NAME\n"
        "2024-05-05 23:42:59     1.3s     chain  b8d178f6-c190-5ab8-9b57-0b360f57b807  a name of twenty col\n"
        "2024-05-05 23:42:59        -  \u2717  llm    f4e9f296-2537-5fe8-8102-8a4e91b046e7  gpt-4o\n");
  CHECK(cmd::SearchTable(terminal(80), k_same_year).page(two_runs()) ==
        "START        LATENCY     ID                                    NAME\n"
        "05-05 23:42     1.3s     b8d178f6-c190-5ab8-9b57-0b360f57b807  a name of twenty\u2026\n"
        "05-05 23:42        -  \u2717  f4e9f296-2537-5fe8-8102-8a4e91b046e7  gpt-4o\n");
  CHECK(cmd::SearchTable(terminal(60), k_same_year).page(two_runs()) ==
        "START         ID                                   NAME\n"
        "05-05 23:42   b8d178f6-c190-5ab8-9b57-0b360f57b807 a name o\u2026\n"
        "05-05 23:42 \u2717 f4e9f296-2537-5fe8-8102-8a4e91b046e7 gpt-4o\n");
  CHECK(cmd::SearchTable(terminal(30), k_same_year).page(two_runs()) ==
        "ID\n"
        "b8d178f6-c190-5ab8-9b57-0b360f57b807\n"
        "f4e9f296-2537-5fe8-8102-8a4e91b046e7\n");
}

TEST_CASE("a short start says the year where it is another") {
  const TimeZone zone("UTC");
  const std::string page = cmd::SearchTable(terminal(60), k_years_later).page(two_runs());
  CHECK(lines_of(page)[1].starts_with("2024-05-05 "));
}

TEST_CASE("in a pipe nothing is cut or coloured") {
  std::vector<run::Facts> runs = two_runs();
  runs[0].name = std::string(10'000, 'x');
  runs[1].run_type = std::string(100, 't');
  cmd::Screen pipe;
  pipe.width = 60;
  const std::string page = cmd::SearchTable(pipe, k_same_year).page(runs);
  CHECK(page.find(runs[0].name + "\n") != std::string::npos);
  CHECK(page.find(runs[1].run_type) != std::string::npos);
  CHECK(page.find('\033') == std::string::npos);
}

TEST_CASE("colour adds nothing but colour") {
  cmd::Screen screen = terminal(100);
  const std::string plain = cmd::SearchTable(screen, k_same_year).page(two_runs());
  screen.color = true;
  const std::string coloured = cmd::SearchTable(screen, k_same_year).page(two_runs());
  CHECK(coloured.find("\033[31mgpt-4o\033[0m") != std::string::npos);
  CHECK(uncoloured(coloured) == plain);
}

TEST_CASE("later pages keep the widths of the first, and have no header") {
  cmd::SearchTable table(terminal(120), k_same_year);
  CHECK(table.page({}).empty());
  const std::vector<std::string> first = lines_of(table.page({facts(1, "a", "llm")}));
  const std::vector<std::string> second = lines_of(table.page({facts(2, "b", "a much longer type")}));
  REQUIRE(first.size() == 2);
  REQUIRE(second.size() == 1);
  CHECK(first[1].find(run::uuid_text(id_number(1))) == second[0].find(run::uuid_text(id_number(2))) - 2);
  CHECK(cmd::display_width(first[1]) == cmd::display_width(second[0]));
}

TEST_CASE("no name makes a line too wide, a second line, or hides the id") {
  for (const std::size_t width : {36U, 40U, 60U, 80U, 100U, 200U}) {
    for (const bool color : {false, true}) {
      for (const bool unicode : {false, true}) {
        cmd::Screen screen = terminal(width);
        screen.color = color;
        screen.unicode = unicode;
        std::vector<run::Facts> runs;
        for (const std::string& name : naughty_names()) {
          runs.push_back(facts(runs.size(), name, name));
          runs.back().error = runs.size() % 2 == 0;
        }
        const std::vector<std::string> lines = lines_of(cmd::SearchTable(screen, k_same_year).page(runs));
        REQUIRE(lines.size() == runs.size() + 1);
        for (std::size_t i = 0; i < runs.size(); ++i) {
          CAPTURE(width);
          CAPTURE(lines[i + 1]);
          CHECK(cmd::display_width(uncoloured(lines[i + 1])) <= width);
          CHECK(lines[i + 1].find(run::uuid_text(runs[i].id)) != std::string::npos);
        }
      }
    }
  }
}
