// A benchmark's result held against an earlier one and against limits: pure, so that the rules can be tested.
#pragma once

#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "flow/bench_result.hpp"

namespace runctl::flow {

// A number of a step that can have a limit.
struct BenchMetric {
  std::string_view name;  // that of the saved results
  bool more_is_better = false;
  double (*value)(const BenchStep& step) = nullptr;
};
std::span<const BenchMetric> bench_metrics();
// Null where there is no such metric.
const BenchMetric* find_bench_metric(std::string_view name);

// What a comparison judges: the median of the time.
inline constexpr std::string_view k_judged_metric = "median_ms";

// `value` and what it is held against, in the metric's unit.
struct BenchVerdict {
  std::string scenario;
  std::string step;
  const BenchMetric* metric = nullptr;
  double value = 0;
  std::optional<double> before;  // absent where it was not compared
  std::optional<double> limit;   // absent where nothing is forbidden
  bool relative = false;         // the limit rests on `before`
  std::optional<double> noise;   // of both results together, as a part of `before`; absent where unknown

  // By how much it is worse, as a part of `before`; below 0 where it is better.
  [[nodiscard]] std::optional<double> regression() const;
  [[nodiscard]] bool past_limit() const;
  // The difference is no larger than the noise: another measurement may say otherwise.
  [[nodiscard]] bool within_noise() const;
};

// The medians of every step that both results have. With `max_regress` (0.1 for 10 %) each has a limit.
std::vector<BenchVerdict> compare(const BenchResult& now, const BenchResult& before,
                                  std::optional<double> max_regress);

struct BenchLimit {
  std::string scenario;  // "*" stands for all
  std::string step;
  const BenchMetric* metric = nullptr;
  double limit = 0;  // a most, or a least where more is better; if relative, the part that it may be worse
  bool relative = false;  // to an earlier result
};

// One verdict for each limit and step that it is for. A relative limit on what `before` does not have gives
// none.
std::vector<BenchVerdict> apply_limits(const BenchResult& now, const BenchResult* before,
                                       std::span<const BenchLimit> limits);

// Null where there is none of that name.
const BenchScenario* find_scenario(const BenchResult& result, std::string_view name);
const BenchStep* find_step(const BenchScenario& scenario, std::string_view name);

}  // namespace runctl::flow
