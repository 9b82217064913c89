// A benchmark's numbers for a person: texts of at most 80 columns a line.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "flow/bench_judge.hpp"
#include "flow/bench_result.hpp"

namespace runctl::cmd {

// Three digits and the unit, in at most 6 columns: "12.3us", "1.23ms", "123s".
std::string brief_time(double seconds);
// "0", "950", "12.3k", "1.23M".
std::string brief_number(double number);
// "950B", "12.3kB", "1.23MB".
std::string brief_bytes(double bytes);
// A value of the metric, in such a form.
std::string metric_text(const flow::BenchMetric& metric, double value);
// "24.1%", with a sign where it is a change.
std::string percent_text(double part);
std::string change_text(double part);

// What was measured, in words: "500 runs, 15.4 MB of text, 5.1 MB stored".
std::string scenario_text(const flow::BenchScenario& scenario);

std::string bench_table(const flow::BenchResult& result);

// Verdicts as a table; an empty text where there are none.
std::string verdict_table(const std::vector<flow::BenchVerdict>& verdicts);

// One that is past its limit, as a message.
std::string verdict_line(const flow::BenchVerdict& verdict);

}  // namespace runctl::cmd
