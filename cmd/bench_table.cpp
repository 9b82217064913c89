#include "bench_table.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <optional>
#include <span>

#include "base/bytes.hpp"
#include "output.hpp"

namespace runctl::cmd {

namespace {

// With three digits that count.
std::string three_digits(double number) {
  if (number >= 99.95) return fmt::format("{:.0f}", number);
  return number >= 9.995 ? fmt::format("{:.1f}", number) : fmt::format("{:.2f}", number);
}

std::string scaled(double number, std::span<const char* const> units) {
  std::size_t unit = 0;
  for (; number >= 999.5 && unit + 1 < units.size(); ++unit) number /= 1000;
  const std::string digits = unit == 0 ? fmt::format("{:.0f}", number) : three_digits(number);
  return digits + units[unit];
}

double each(std::uint64_t all, std::uint64_t operations) {
  return operations == 0 ? 0 : static_cast<double>(all) / static_cast<double>(operations);
}

std::string step_line(const flow::BenchStep& step) {
  const double requests = each(step.requests, step.operations);
  return fmt::format("{:<10} {:>6} {:>6} {:>6} {:>6} {:>6} {:>6} {:>5} {:>6} {:>7} {:>6}\n", step.name,
                     brief_time(step.time.min), brief_time(step.time.median), brief_time(step.time.p95),
                     brief_time(step.time.p99), brief_time(step.time.max),
                     brief_number(step.runs_per_second()),
                     step.bytes == 0 ? "-" : brief_number(step.megabytes_per_second()),
                     requests >= 100 || requests == std::floor(requests) ? brief_number(requests)
                                                                         : fmt::format("{:.1f}", requests),
                     brief_bytes(each(step.bytes_read + step.bytes_written, step.operations)),
                     step.peak_memory == 0 ? "-" : brief_bytes(static_cast<double>(step.peak_memory)));
}

}  // namespace

std::string brief_time(double seconds) {
  const double microseconds = seconds * 1e6;
  if (microseconds < 0.5) return "0us";
  if (microseconds < 999.5) return three_digits(microseconds).substr(0, 4) + "us";
  if (microseconds < 999.5e3) return three_digits(microseconds / 1e3) + "ms";
  if (seconds < 999.5) return three_digits(seconds) + "s";
  if (seconds < 999.5 * 60) return three_digits(seconds / 60) + "m";
  return brief_number(seconds / 3600) + "h";
}

std::string brief_number(double number) {
  static constexpr const char* k_units[] = {"", "k", "M", "G", "T"};
  if (number > 0 && number < 99.95 && number != std::floor(number)) return three_digits(number);
  return scaled(number, k_units);
}

std::string brief_bytes(double bytes) {
  static constexpr const char* k_units[] = {"B", "kB", "MB", "GB", "TB", "PB"};
  return scaled(bytes, k_units);
}

std::string metric_text(const flow::BenchMetric& metric, double value) {
  if (metric.name.ends_with("_ms")) return brief_time(value / 1000);
  if (metric.name.find("bytes") != std::string_view::npos) return brief_bytes(value);
  return brief_number(value);
}

std::string percent_text(double part) {
  const double percent = part * 100;
  return percent < 999.95 ? fmt::format("{:.1f}%", percent) : brief_number(percent) + "%";
}

std::string change_text(double part) { return (part < 0 ? "-" : "+") + percent_text(std::abs(part)); }

std::string scenario_text(const flow::BenchScenario& scenario) {
  std::string text = fmt::format("{}, {} of text, {} stored", counted(scenario.runs, "run", "runs"),
                                 human_bytes(scenario.bytes), human_bytes(scenario.stored_bytes));
  if (scenario.stored_bytes > 0)
    text += fmt::format(" ({:.1f}:1)", each(scenario.bytes, scenario.stored_bytes));
  return text;
}

std::string bench_table(const flow::BenchResult& result) {
  std::string out;
  for (const flow::BenchScenario& scenario : result.scenarios) {
    if (!out.empty()) out += '\n';
    out += fmt::format("{}: {}\n", base::printable(scenario.name), scenario_text(scenario));
    out += "STEP          MIN MEDIAN    P95    P99    MAX RUNS/S  MB/S REQ/OP WIRE/OP MEMORY\n";
    for (const flow::BenchStep& step : scenario.steps) out += step_line(step);
    if (scenario.hit_rates.empty()) continue;
    out += "HIT RATE     GETS   MEAN MEDIAN    P95 REQUESTS  SAVED\n";
    for (const flow::BenchHitRate& rate : scenario.hit_rates) {
      out += fmt::format("{:<10} {:>6} {:>6} {:>6} {:>6} {:>8} {:>6}\n", fmt::format("{} %", rate.rate),
                         rate.gets, brief_time(rate.time.mean), brief_time(rate.time.median),
                         brief_time(rate.time.p95), rate.requests,
                         rate.gets - std::min(rate.gets, rate.requests));
    }
  }
  return out;
}

std::string verdict_table(const std::vector<flow::BenchVerdict>& verdicts) {
  if (verdicts.empty()) return "";
  std::string out = "SCENARIO    STEP       METRIC            BEFORE    NOW   CHANGE   NOISE  LIMIT\n";
  for (const flow::BenchVerdict& verdict : verdicts) {
    const auto value = [&verdict](const std::optional<double>& number) {
      return number ? metric_text(*verdict.metric, *number) : std::string("-");
    };
    const auto change = verdict.regression();
    const double sign = verdict.metric->more_is_better ? -1 : 1;
    out += fmt::format(
        "{:<11} {:<10} {:<17} {:>6} {:>6} {:>8} {:>7} {:>6}{}\n", base::printable(verdict.scenario),
        verdict.step, verdict.metric->name, value(verdict.before), value(verdict.value),
        change ? change_text(*change * sign) : "-", verdict.noise ? percent_text(*verdict.noise) : "-",
        value(verdict.limit), verdict.past_limit() ? " !" : "");
  }
  return out;
}

std::string verdict_line(const flow::BenchVerdict& verdict) {
  const flow::BenchMetric& metric = *verdict.metric;
  std::string line = fmt::format("{}, {}: {} is {}, and {} is the limit", base::printable(verdict.scenario),
                                 verdict.step, metric.name, metric_text(metric, verdict.value),
                                 metric_text(metric, verdict.limit.value_or(0)));
  const auto change = verdict.regression();
  if (!change) return line;
  line += fmt::format("; it was {}, so it is {} worse", metric_text(metric, *verdict.before),
                      percent_text(*change));
  if (!verdict.noise) return line + ", and of the noise nothing is known (--repeat 1)";
  line += fmt::format("; the noise is {}", percent_text(*verdict.noise));
  if (verdict.within_noise()) line += ", so it may be nothing else: measure again with a larger --repeat";
  return line;
}

}  // namespace runctl::cmd
