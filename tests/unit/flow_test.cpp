#include <doctest/doctest.h>

#include "flow/block_source.hpp"
#include "support.hpp"

using namespace runctl;

namespace {

// All runs of the inputs, and all faults as "INPUT:LINE".
std::pair<std::vector<std::string>, std::vector<std::string>> read_all(
    const std::vector<std::string>& paths) {
  std::vector<flow::Input> inputs;
  for (const std::string& path : paths) inputs.emplace_back(path);
  base::ThreadPool pool(2);
  flow::BlockSource source(std::move(inputs), {{}, 256U << 20, 4}, pool);
  std::vector<std::string> runs;
  std::vector<std::string> faults;
  while (const auto parsed = source.next()) {
    for (const run::Record& record : parsed->block->records) runs.emplace_back(record.json);
    for (const run::Reject& reject : parsed->block->rejects) {
      faults.push_back(std::to_string(parsed->input) + ":" +
                       std::to_string(parsed->first_line + reject.line));
    }
  }
  return {runs, faults};
}

std::string object(std::size_t number, std::size_t padding) {
  return "{\"id\":\"" + std::to_string(number) + "\",\"p\":\"" + std::string(padding, 'x') + "\"}";
}

}  // namespace

TEST_CASE("runs come in order from inputs of many blocks, in every form") {
  const tests::TemporaryDirectory directory;
  std::vector<std::string> expected;
  std::string lines;
  std::string array = "[";
  for (std::size_t i = 0; i < 9000; ++i) {
    expected.push_back(object(i, i % 1500));
    lines += expected.back() + "\n";
    array += (i == 0 ? "" : ",") + expected.back();
  }
  array += "]";
  tests::write_whole(directory / "lines", lines);
  tests::write_whole(directory / "array", array);
  CHECK(read_all({directory / "lines"}).first == expected);
  CHECK(read_all({directory / "array"}).first == expected);
  const auto twice = read_all({directory / "array", directory / "lines"});
  CHECK(twice.first.size() == 18000);
  CHECK(twice.second.empty());
}

TEST_CASE("faults are counted by the lines of their own input") {
  const tests::TemporaryDirectory directory;
  std::string text;
  std::vector<std::string> expected;
  for (std::size_t line = 1; line <= 6000; ++line) {
    if (line % 1000 == 0) {
      text += "broken\n";
      expected.push_back("1:" + std::to_string(line));
    } else {
      text += object(line, 900) + "\n";
    }
  }
  tests::write_whole(directory / "first", "{\"id\":\"a\"}\n");
  tests::write_whole(directory / "second", text);
  const auto [runs, faults] = read_all({directory / "first", directory / "second"});
  CHECK(runs.size() == 1 + 6000 - 6);
  CHECK(faults == expected);
}

TEST_CASE("a run larger than many blocks is read whole") {
  const tests::TemporaryDirectory directory;
  const std::string large = object(1, 9U << 20);
  tests::write_whole(directory / "file", object(0, 1) + "\n" + large + "\n" + object(2, 1));
  const auto [runs, faults] = read_all({directory / "file"});
  REQUIRE(runs.size() == 3);
  CHECK(runs[1] == large);
}
