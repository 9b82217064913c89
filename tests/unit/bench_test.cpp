// The parts of a benchmark that rest on nothing but their arguments: numbers, rules, runs, texts, drawings.
#include <doctest/doctest.h>
#include <sys/mman.h>

#include <set>
#include <sstream>

#include <nlohmann/json.hpp>

#include "base/error.hpp"
#include "base/hash.hpp"
#include "bench_chart.hpp"
#include "bench_html.hpp"
#include "bench_json.hpp"
#include "bench_table.hpp"
#include "flow/bench_judge.hpp"
#include "flow/bench_meter.hpp"
#include "flow/bench_runs.hpp"
#include "flow/bench_statistics.hpp"

using namespace runctl;
using namespace runctl::flow;

namespace {

BenchStep step_of(const std::string& name, double median, std::optional<double> noise = 0.01) {
  BenchStep step;
  step.name = name;
  step.operations = 10;
  step.runs = 1000;
  step.bytes = 5'000'000;
  step.seconds = 2;
  step.time = {median / 2, median * 0.9, median, median * 1.1, median * 2, median * 3, median * 4, median};
  step.noise = noise;
  step.requests = 25;
  step.bytes_read = 123'456;
  step.bytes_written = 789;
  step.peak_memory = 50U << 20;
  return step;
}

BenchResult result_of(const std::vector<BenchStep>& steps, const std::string& scenario = "5x1KB") {
  BenchResult result{"0.1.0", "2026-01-02T03:04:05Z", "file:///store", 5, 1, {}};
  result.scenarios.push_back(
      {scenario, 5, 16'000, 5'000, steps, {{25, 20, 5, 15, summarize(std::vector{0.5})}}});
  return result;
}

std::size_t widest_line(const std::string& text) {
  std::istringstream lines(text);
  std::size_t widest = 0;
  for (std::string line; std::getline(lines, line);) widest = std::max(widest, line.size());
  return widest;
}

}  // namespace

TEST_CASE("a summary is of values that were measured") {
  std::vector<double> samples;
  for (int i = 100; i >= 1; --i) samples.push_back(i);
  const BenchSummary summary = summarize(samples);
  CHECK(summary.min == 1);
  CHECK(summary.q1 == 25);
  CHECK(summary.median == 50.5);
  CHECK(summary.q3 == 75);
  CHECK(summary.p95 == 95);
  CHECK(summary.p99 == 99);
  CHECK(summary.max == 100);
  CHECK(summary.mean == 50.5);
}

TEST_CASE("a summary of few samples") {
  CHECK(summarize({}).max == 0);
  const BenchSummary one = summarize(std::vector{7.0});
  CHECK(one.min == 7);
  CHECK(one.q1 == 7);
  CHECK(one.median == 7);
  CHECK(one.p99 == 7);
  const BenchSummary three = summarize(std::vector{3.0, 1.0, 2.0});
  CHECK(three.median == 2);
  CHECK(three.p95 == 3);
}

TEST_CASE("noise is how far repetitions are apart, whatever one of them does") {
  CHECK(!noise_of({}));
  CHECK(!noise_of(std::vector{5.0}));
  CHECK(noise_of(std::vector{5.0, 5.0, 5.0}).value() == 0);
  CHECK(noise_of(std::vector{9.0, 10.0, 11.0, 10.0, 1000.0}).value() == doctest::Approx(0.14826));
}

TEST_CASE("the rule of a comparison") {
  const BenchResult before = result_of({step_of("ingest", 0.100), step_of("search", 0.001)});
  SUBCASE("a median past the budget is past it, one at it is not") {
    const BenchResult now = result_of({step_of("ingest", 0.1101), step_of("search", 0.0011)});
    const auto verdicts = compare(now, before, 0.10);
    REQUIRE(verdicts.size() == 2);
    CHECK(verdicts[0].past_limit());
    CHECK(verdicts[0].regression().value() == doctest::Approx(0.101));
    CHECK(!verdicts[0].within_noise());
    CHECK(!compare(result_of({step_of("ingest", 0.1099)}), before, 0.10)[0].past_limit());
  }
  SUBCASE("faster is never past it") {
    const auto verdicts = compare(result_of({step_of("ingest", 0.01)}), before, 0.0);
    REQUIRE(verdicts.size() == 1);
    CHECK(!verdicts[0].past_limit());
    CHECK(verdicts[0].regression().value() < 0);
  }
  SUBCASE("without a budget nothing is forbidden") {
    CHECK(!compare(result_of({step_of("ingest", 9)}), before, std::nullopt)[0].past_limit());
  }
  SUBCASE("what lies within the noise is judged all the same") {
    const auto verdicts = compare(result_of({step_of("ingest", 0.12, 0.3)}), before, 0.10);
    CHECK(verdicts[0].past_limit());
    CHECK(verdicts[0].within_noise());
    CHECK(cmd::verdict_line(verdicts[0]).find("may be nothing else") != std::string::npos);
  }
  SUBCASE("the noise of both counts; that of one says nothing") {
    const auto both =
        compare(result_of({step_of("ingest", 0.1, 0.03)}), result_of({step_of("ingest", 0.1, 0.04)}), 0.1);
    CHECK(both[0].noise.value() == doctest::Approx(0.05));
    CHECK(!compare(result_of({step_of("ingest", 0.1, std::nullopt)}), before, 0.1)[0].noise);
  }
  SUBCASE("only what both have") {
    CHECK(compare(result_of({step_of("rebuild", 1)}), before, 0.1).empty());
    CHECK(compare(result_of({step_of("ingest", 1)}, "other"), before, 0.1).empty());
  }
}

TEST_CASE("the rule of a budget") {
  const BenchResult now = result_of({step_of("ingest", 0.2)});
  const BenchResult before = result_of({step_of("ingest", 0.1)});
  const auto judge = [&](const std::string& limits) {
    const auto parsed = cmd::parse_bench_budget(R"({"*":{"ingest":)" + limits + "}}", "budget");
    const auto verdicts = apply_limits(now, &before, parsed);
    REQUIRE(verdicts.size() == 1);
    return verdicts[0].past_limit();
  };
  CHECK(judge(R"({"median_ms": 199})"));
  CHECK(!judge(R"({"median_ms": 201})"));
  CHECK(judge(R"({"median_ms": "+99%"})"));
  CHECK(!judge(R"({"median_ms": "101%"})"));
  CHECK(judge(R"({"runs_per_second": 501})"));  // a least
  CHECK(!judge(R"({"runs_per_second": 499})"));
  CHECK(!judge(R"({"runs_per_second": "0%"})"));
  CHECK(judge(R"({"requests": 24})"));
  CHECK(judge(R"({"peak_memory_bytes": 1e6})"));
  const auto limits = cmd::parse_bench_budget(R"({"other":{"ingest":{"max_ms":1}}})", "budget");
  CHECK(apply_limits(now, &before, limits).empty());
}

TEST_CASE("a budget that makes no sense is refused") {
  const auto refused = [](const std::string& text) {
    CHECK_THROWS_AS(cmd::parse_bench_budget(text, "budget"), base::Error);
  };
  refused("");
  refused("[]");
  refused("{}");
  refused(R"({"*": 5})");
  refused(R"({"*": {"igest": {"median_ms": 1}}})");
  refused(R"({"*": {"ingest": {"median": 1}}})");
  refused(R"({"*": {"ingest": {"median_ms": "10"}}})");
  refused(R"({"*": {"ingest": {"median_ms": "-10%"}}})");
  refused(R"({"*": {"ingest": {"median_ms": true}}})");
}

TEST_CASE("a saved result comes back") {
  const BenchResult result = result_of({step_of("ingest", 0.1), step_of("search", 0.001, std::nullopt)});
  const std::string saved = cmd::bench_json(result, {});
  const BenchResult back = cmd::parse_bench_json(saved, "file");
  CHECK(cmd::bench_json(back, {}) == saved);
  CHECK(back.scenarios[0].steps[0].noise.value() == 0.01);
  CHECK(!back.scenarios[0].steps[1].noise);
  CHECK(back.scenarios[0].hit_rates[0].hits == 5);
  for (const std::string& text : {std::string(), std::string("{}"), std::string("[1]"), saved.substr(0, 100)})
    CHECK_THROWS_AS(cmd::parse_bench_json(text, "file"), base::Error);
}

TEST_CASE("runs are the same everywhere and have the size asked for") {
  const BenchRuns runs(1, 1000);
  std::string all;
  std::set<std::string> ids;
  for (std::uint64_t i = 0; i < 50; ++i) {
    const std::string run = runs.run(i);
    CHECK(run == BenchRuns(1, 1000).run(i));
    all += run + "\n";
    const auto json = nlohmann::ordered_json::parse(run);
    ids.insert(json.at("id").get<std::string>());
    for (const char* field : {"inputs", "outputs", "metadata"}) {
      CHECK(json.at(field).is_object());
      CHECK(json.at(field).dump().size() == 1000);
    }
  }
  CHECK(ids.size() == 50);
  CHECK(BenchRuns(2, 1000).run(0) != runs.run(0));
  CHECK(BenchRuns(1, k_min_payload).run(7).find("\"metadata\":{\"model\"") != std::string::npos);
  // Both compilers, and all later versions: what was saved must stay comparable.
  CHECK(base::xxh3_64(all) == 11576684875676153087U);
}

TEST_CASE("texts for people") {
  CHECK(cmd::brief_time(0) == "0us");
  CHECK(cmd::brief_time(12.34e-6) == "12.3us");
  CHECK(cmd::brief_time(0.9994e-3) == "999us");
  CHECK(cmd::brief_time(1.234e-3) == "1.23ms");
  CHECK(cmd::brief_time(0.1) == "100ms");
  CHECK(cmd::brief_time(65.4321) == "65.4s");
  CHECK(cmd::brief_time(1200) == "20.0m");
  CHECK(cmd::brief_time(1e9) == "278kh");
  CHECK(cmd::percent_text(0.1234) == "12.3%");
  CHECK(cmd::change_text(-0.05) == "-5.0%");
  CHECK(cmd::change_text(123.4) == "+12.3k%");
  CHECK(cmd::brief_number(0) == "0");
  CHECK(cmd::brief_number(2.5) == "2.50");
  CHECK(cmd::brief_number(950) == "950");
  CHECK(cmd::brief_number(12'345) == "12.3k");
  CHECK(cmd::brief_bytes(1'234'567) == "1.23MB");
}

TEST_CASE("the tables fit 80 columns, whatever the numbers") {
  BenchStep large = step_of("cached get", 99'999, 99.0);
  large.requests = large.bytes_read = large.peak_memory = 999'999'999'999'999;
  large.runs = large.bytes = 999'999'999'999'999;
  const BenchStep small = step_of("ingest", 1.26e-7);
  const BenchResult now = result_of({large, small}, "100000x300B");
  const BenchResult before = result_of({step_of("cached get", 1), small}, "100000x300B");
  CHECK(widest_line(cmd::bench_table(now)) <= 80);
  CHECK(cmd::bench_table(now).find("25 %") != std::string::npos);
  const auto verdicts = compare(now, before, 0.1);
  CHECK(widest_line(cmd::verdict_table(verdicts)) <= 80);
  CHECK(cmd::verdict_table(verdicts).find(" !\n") != std::string::npos);
  CHECK(cmd::verdict_table({}).empty());
}

TEST_CASE("the page holds every result, and nothing of it is markup") {
  const BenchResult one = result_of({step_of("ingest", 0.123)}, "<b>&\"'");
  const BenchResult two = result_of({step_of("ingest", 0.456)}, "<b>&\"'");
  const std::string page = cmd::bench_html({{"a<i>", one}, {"two", two}});
  CHECK(page.find("<b>") == std::string::npos);
  CHECK(page.find("<i>") == std::string::npos);
  CHECK(page.find("&lt;b&gt;&amp;&quot;&#39;") != std::string::npos);
  CHECK(page.find("123.000") != std::string::npos);
  CHECK(page.find("456.000") != std::string::npos);
  CHECK(page.find("<script") == std::string::npos);
}

TEST_CASE("a drawing of nothing, of zeros, and of one value") {
  const auto label = [](double number) { return cmd::brief_number(number); };
  for (const cmd::ChartKind kind : {cmd::ChartKind::range, cmd::ChartKind::dot, cmd::ChartKind::bar}) {
    for (const double value : {0.0, 1.0, 1e-9, 1e15}) {
      const std::string drawing = cmd::chart(
          kind, "title", {{"row", {{0, value, "text", "tip", value, value, value, value}}}}, label);
      CHECK(drawing.find("nan") == std::string::npos);
      CHECK(drawing.find("inf") == std::string::npos);
      CHECK(drawing.find("\"-") == std::string::npos);
    }
    CHECK(cmd::chart(kind, "title", {}, label).find("</svg>") != std::string::npos);
  }
}

TEST_CASE("the meter counts what each repetition did") {
  StepMeter meter("ingest");
  for (int repetition = 0; repetition < 2; ++repetition) {
    meter.begin();
    meter.add(std::chrono::milliseconds(10 + repetition));
    meter.count(3, 100);
    meter.end({4, 50, 60, 1});
  }
  const BenchStep step = meter.result();
  CHECK(step.operations == 2);
  CHECK(step.runs == 6);
  CHECK(step.seconds == doctest::Approx(0.021));
  CHECK(step.requests == 8);
  CHECK(step.bytes_written == 120);
  CHECK(step.noise.value() > 0);
  CHECK(step.runs_per_second() == doctest::Approx(6 / 0.021));
  CHECK(step.peak_memory > 1'000'000);
}

TEST_CASE("the largest resident set can be forgotten") {
  if (!forget_peak_memory()) return;  // the kernel was built without it
  constexpr std::size_t k_large = 64U << 20;
  // Not from the heap: what is freed there may stay resident, as under AddressSanitizer.
  void* const large =
      ::mmap(nullptr, k_large, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_POPULATE, -1, 0);
  REQUIRE(large != MAP_FAILED);
  const std::uint64_t with = peak_memory();
  CHECK(with > k_large);
  ::munmap(large, k_large);
  CHECK(peak_memory() > k_large);
  forget_peak_memory();
  CHECK(peak_memory() < with - k_large / 2);
}
