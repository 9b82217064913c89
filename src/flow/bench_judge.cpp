#include "flow/bench_judge.hpp"

#include <algorithm>
#include <array>
#include <cmath>

namespace runctl::flow {

namespace {

double milliseconds(double seconds) { return seconds * 1000; }

constexpr std::array k_metrics = {
    BenchMetric{"min_ms", false, [](const BenchStep& step) { return milliseconds(step.time.min); }},
    BenchMetric{"q1_ms", false, [](const BenchStep& step) { return milliseconds(step.time.q1); }},
    BenchMetric{"median_ms", false, [](const BenchStep& step) { return milliseconds(step.time.median); }},
    BenchMetric{"q3_ms", false, [](const BenchStep& step) { return milliseconds(step.time.q3); }},
    BenchMetric{"p95_ms", false, [](const BenchStep& step) { return milliseconds(step.time.p95); }},
    BenchMetric{"p99_ms", false, [](const BenchStep& step) { return milliseconds(step.time.p99); }},
    BenchMetric{"max_ms", false, [](const BenchStep& step) { return milliseconds(step.time.max); }},
    BenchMetric{"mean_ms", false, [](const BenchStep& step) { return milliseconds(step.time.mean); }},
    BenchMetric{"runs_per_second", true, [](const BenchStep& step) { return step.runs_per_second(); }},
    BenchMetric{"mb_per_second", true, [](const BenchStep& step) { return step.megabytes_per_second(); }},
    BenchMetric{"requests", false, [](const BenchStep& step) { return static_cast<double>(step.requests); }},
    BenchMetric{"bytes_read", false,
                [](const BenchStep& step) { return static_cast<double>(step.bytes_read); }},
    BenchMetric{"bytes_written", false,
                [](const BenchStep& step) { return static_cast<double>(step.bytes_written); }},
    BenchMetric{"retries", false, [](const BenchStep& step) { return static_cast<double>(step.retries); }},
    BenchMetric{"peak_memory_bytes", false,
                [](const BenchStep& step) { return static_cast<double>(step.peak_memory); }},
};

template <typename Named>
const Named* find_named(std::span<const Named> all, std::string_view name) {
  const auto found =
      std::find_if(all.begin(), all.end(), [name](const Named& one) { return one.name == name; });
  return found == all.end() ? nullptr : &*found;
}

// The step of the earlier result that is to be compared with this one.
const BenchStep* earlier(const BenchResult* before, const BenchScenario& scenario, const BenchStep& step) {
  const BenchScenario* const same = before == nullptr ? nullptr : find_scenario(*before, scenario.name);
  return same == nullptr ? nullptr : find_step(*same, step.name);
}

std::optional<double> joint_noise(const BenchStep& now, const BenchStep& before) {
  if (!now.noise || !before.noise) return std::nullopt;
  return std::hypot(*now.noise, *before.noise);  // the two errors are independent
}

BenchVerdict verdict_on(const BenchScenario& scenario, const BenchStep& now, const BenchMetric& metric,
                        const BenchStep* before) {
  BenchVerdict verdict;
  verdict.scenario = scenario.name;
  verdict.step = now.name;
  verdict.metric = &metric;
  verdict.value = metric.value(now);
  if (before == nullptr) return verdict;
  verdict.before = metric.value(*before);
  verdict.noise = joint_noise(now, *before);
  return verdict;
}

double relative_limit(const BenchMetric& metric, double before, double part) {
  return metric.more_is_better ? before * (1 - part) : before * (1 + part);
}

}  // namespace

std::span<const BenchMetric> bench_metrics() { return k_metrics; }

const BenchMetric* find_bench_metric(std::string_view name) { return find_named(bench_metrics(), name); }

const BenchScenario* find_scenario(const BenchResult& result, std::string_view name) {
  return find_named(std::span(result.scenarios), name);
}

const BenchStep* find_step(const BenchScenario& scenario, std::string_view name) {
  return find_named(std::span(scenario.steps), name);
}

std::optional<double> BenchVerdict::regression() const {
  if (!before || !(*before > 0)) return std::nullopt;
  const double change = value / *before - 1;
  return metric->more_is_better ? -change : change;
}

bool BenchVerdict::past_limit() const {
  if (!limit) return false;
  return metric->more_is_better ? value < *limit : value > *limit;
}

bool BenchVerdict::within_noise() const {
  const auto change = regression();
  return change && noise && std::abs(*change) <= *noise;
}

std::vector<BenchVerdict> compare(const BenchResult& now, const BenchResult& before,
                                  std::optional<double> max_regress) {
  std::vector<BenchVerdict> verdicts;
  const BenchMetric& metric = *find_bench_metric(k_judged_metric);
  for (const BenchScenario& scenario : now.scenarios) {
    for (const BenchStep& step : scenario.steps) {
      const BenchStep* const same = earlier(&before, scenario, step);
      if (same == nullptr) continue;
      BenchVerdict& verdict = verdicts.emplace_back(verdict_on(scenario, step, metric, same));
      verdict.relative = true;
      if (max_regress) verdict.limit = relative_limit(metric, *verdict.before, *max_regress);
    }
  }
  return verdicts;
}

std::vector<BenchVerdict> apply_limits(const BenchResult& now, const BenchResult* before,
                                       std::span<const BenchLimit> limits) {
  std::vector<BenchVerdict> verdicts;
  for (const BenchLimit& limit : limits) {
    for (const BenchScenario& scenario : now.scenarios) {
      if (limit.scenario != "*" && limit.scenario != scenario.name) continue;
      const BenchStep* const step = find_step(scenario, limit.step);
      if (step == nullptr) continue;
      const BenchStep* const same = earlier(before, scenario, *step);
      if (limit.relative && same == nullptr) continue;
      BenchVerdict& verdict = verdicts.emplace_back(verdict_on(scenario, *step, *limit.metric, same));
      verdict.relative = limit.relative;
      verdict.limit =
          limit.relative ? relative_limit(*limit.metric, *verdict.before, limit.limit) : limit.limit;
    }
  }
  return verdicts;
}

}  // namespace runctl::flow
