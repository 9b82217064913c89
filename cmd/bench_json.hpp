// Results and budgets of benchmarks as JSON.
#pragma once

#include <string>
#include <vector>

#include "flow/bench_judge.hpp"
#include "flow/bench_result.hpp"

namespace runctl::cmd {

// One line. `verdicts` are left out where there are none.
std::string bench_json(const flow::BenchResult& result, const std::vector<flow::BenchVerdict>& verdicts);

// What bench_json wrote into the file `name`. Throws base::Error(usage) where it is something else.
flow::BenchResult parse_bench_json(const std::string& text, const std::string& name);

// {"SCENARIO": {"STEP": {"METRIC": LIMIT}}}: a number is the limit itself, "+10%" one relative to an earlier
// result. Throws base::Error(usage) where it is something else, or names a step or metric that there is not.
std::vector<flow::BenchLimit> parse_bench_budget(const std::string& text, const std::string& name);

// "10%" as 0.1, a "+" before it or not; throws base::Error(usage) saying "WHAT: ...".
double percent_of(const std::string& text, const std::string& what);

}  // namespace runctl::cmd
