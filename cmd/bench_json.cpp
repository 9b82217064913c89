#include "bench_json.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <charconv>
#include <cmath>

#include <nlohmann/json.hpp>

#include "base/error.hpp"
#include "json_text.hpp"

namespace runctl::cmd {

namespace {

using Json = nlohmann::ordered_json;

constexpr int k_format = 1;

Json or_null(const std::optional<double>& number) { return number ? Json(*number) : Json(); }

// In milliseconds, to the picosecond: so many digits come back as they were written.
double milliseconds(double seconds) { return std::round(seconds * 1e9) / 1e6; }

Json step_json(const flow::BenchStep& step) {
  Json json = {{"step", step.name},   {"operations", step.operations}, {"runs", step.runs},
               {"bytes", step.bytes}, {"seconds", step.seconds},       {"noise", or_null(step.noise)}};
  for (const flow::BenchMetric& metric : flow::bench_metrics()) {
    const double value = metric.value(step);
    Json& number = json[std::string(metric.name)];
    if (metric.name.ends_with("_ms"))
      number = milliseconds(value / 1000);
    else if (metric.name.ends_with("_second"))
      number = value;
    else
      number = static_cast<std::uint64_t>(value);
  }
  return json;
}

Json hit_rate_json(const flow::BenchHitRate& rate) {
  return {{"rate", rate.rate},
          {"gets", rate.gets},
          {"hits", rate.hits},
          {"requests", rate.requests},
          {"mean_ms", milliseconds(rate.time.mean)},
          {"median_ms", milliseconds(rate.time.median)},
          {"p95_ms", milliseconds(rate.time.p95)}};
}

Json verdict_json(const flow::BenchVerdict& verdict) {
  return {{"scenario", verdict.scenario},
          {"step", verdict.step},
          {"metric", std::string(verdict.metric->name)},
          {"value", verdict.value},
          {"before", or_null(verdict.before)},
          {"limit", or_null(verdict.limit)},
          {"regression", or_null(verdict.regression())},
          {"noise", or_null(verdict.noise)},
          {"within_noise", verdict.within_noise()},
          {"past_limit", verdict.past_limit()}};
}

[[noreturn]] void refuse(const std::string& what, const std::string& why) {
  throw base::Error(base::ErrorKind::usage, what + ": " + why);
}

void check_step(const std::string& step, const std::string& name) {
  const auto& known = flow::k_bench_steps;
  if (std::find(known.begin(), known.end(), step) == known.end())
    refuse(name, fmt::format("\"{}\" is no step; there are {}", step, fmt::join(known, ", ")));
}

flow::BenchStep parse_step(const Json& json, const std::string& file) {
  flow::BenchStep step;
  step.name = json.at("step").get<std::string>();
  check_step(step.name, file);
  step.operations = json.at("operations").get<std::uint64_t>();
  step.runs = json.at("runs").get<std::uint64_t>();
  step.bytes = json.at("bytes").get<std::uint64_t>();
  step.seconds = json.at("seconds").get<double>();
  if (const Json& noise = json.at("noise"); !noise.is_null()) step.noise = noise.get<double>();
  const auto seconds = [&json](const char* name) { return json.at(name).get<double>() / 1000; };
  step.time = {seconds("min_ms"), seconds("q1_ms"),  seconds("median_ms"), seconds("q3_ms"),
               seconds("p95_ms"), seconds("p99_ms"), seconds("max_ms"),    seconds("mean_ms")};
  step.requests = json.at("requests").get<std::uint64_t>();
  step.bytes_read = json.at("bytes_read").get<std::uint64_t>();
  step.bytes_written = json.at("bytes_written").get<std::uint64_t>();
  step.retries = json.at("retries").get<std::uint64_t>();
  step.peak_memory = json.at("peak_memory_bytes").get<std::uint64_t>();
  return step;
}

flow::BenchHitRate parse_hit_rate(const Json& json) {
  flow::BenchHitRate rate;
  rate.rate = json.at("rate").get<unsigned>();
  rate.gets = json.at("gets").get<std::uint64_t>();
  rate.hits = json.at("hits").get<std::uint64_t>();
  rate.requests = json.at("requests").get<std::uint64_t>();
  rate.time.mean = json.at("mean_ms").get<double>() / 1000;
  rate.time.median = json.at("median_ms").get<double>() / 1000;
  rate.time.p95 = json.at("p95_ms").get<double>() / 1000;
  return rate;
}

flow::BenchScenario parse_scenario(const Json& json, const std::string& file) {
  flow::BenchScenario scenario;
  scenario.name = json.at("scenario").get<std::string>();
  scenario.runs = json.at("runs").get<std::uint64_t>();
  scenario.bytes = json.at("bytes").get<std::uint64_t>();
  scenario.stored_bytes = json.at("bytes_stored").get<std::uint64_t>();
  for (const Json& step : json.at("steps")) scenario.steps.push_back(parse_step(step, file));
  for (const Json& rate : json.at("hit_rates")) scenario.hit_rates.push_back(parse_hit_rate(rate));
  return scenario;
}

flow::BenchLimit parse_limit(const std::string& scenario, const std::string& step, const std::string& metric,
                             const Json& value, const std::string& name) {
  flow::BenchLimit limit{scenario, step, flow::find_bench_metric(metric), 0, value.is_string()};
  if (limit.metric == nullptr) {
    std::vector<std::string_view> known;
    for (const flow::BenchMetric& one : flow::bench_metrics()) known.push_back(one.name);
    refuse(name, fmt::format("\"{}\" is no metric; there are {}", metric, fmt::join(known, ", ")));
  }
  if (value.is_number())
    limit.limit = value.get<double>();
  else if (value.is_string())
    limit.limit = percent_of(value.get<std::string>(), fmt::format("{}: {}, {}", name, step, metric));
  else
    refuse(name, fmt::format("{}, {}: the limit must be a number, or a text such as \"+10%\"", step, metric));
  return limit;
}

}  // namespace

std::string bench_json(const flow::BenchResult& result, const std::vector<flow::BenchVerdict>& verdicts) {
  Json json = {{"runctl_bench", k_format},  {"version", result.version}, {"time", result.time},
               {"store", result.store},     {"repeat", result.repeat},   {"seed", result.seed},
               {"scenarios", Json::array()}};
  for (const flow::BenchScenario& scenario : result.scenarios) {
    Json one = {{"scenario", scenario.name}, {"runs", scenario.runs},
                {"bytes", scenario.bytes},   {"bytes_stored", scenario.stored_bytes},
                {"steps", Json::array()},    {"hit_rates", Json::array()}};
    for (const flow::BenchStep& step : scenario.steps) one["steps"].push_back(step_json(step));
    for (const flow::BenchHitRate& rate : scenario.hit_rates) one["hit_rates"].push_back(hit_rate_json(rate));
    json["scenarios"].push_back(std::move(one));
  }
  for (const flow::BenchVerdict& verdict : verdicts) json["verdicts"].push_back(verdict_json(verdict));
  return json_text(json) + "\n";
}

flow::BenchResult parse_bench_json(const std::string& text, const std::string& name) {
  flow::BenchResult result;
  try {
    const Json json = Json::parse(text);
    if (json.at("runctl_bench").get<int>() != k_format)
      refuse(name, "was saved by another version of runctl bench; save a result anew");
    result.version = json.at("version").get<std::string>();
    result.time = json.at("time").get<std::string>();
    result.store = json.at("store").get<std::string>();
    result.repeat = json.at("repeat").get<std::uint64_t>();
    result.seed = json.at("seed").get<std::uint64_t>();
    for (const Json& scenario : json.at("scenarios"))
      result.scenarios.push_back(parse_scenario(scenario, name));
  } catch (const Json::exception&) {
    refuse(name, "is no result that 'runctl bench --save' wrote");
  }
  return result;
}

std::vector<flow::BenchLimit> parse_bench_budget(const std::string& text, const std::string& name) {
  std::vector<flow::BenchLimit> limits;
  Json json;
  try {
    json = Json::parse(text);
  } catch (const Json::parse_error& error) {
    refuse(name, fmt::format("is not JSON: at byte {}", error.byte));
  }
  const auto members = [&name](const Json& object, const std::string& what) {
    if (!object.is_object()) refuse(name, what + " must be an object");
    return object.items();
  };
  for (const auto& [scenario, steps] : members(json, "the budget")) {
    for (const auto& [step, metrics] : members(steps, '"' + scenario + '"')) {
      check_step(step, name);
      for (const auto& [metric, value] : members(metrics, '"' + step + '"'))
        limits.push_back(parse_limit(scenario, step, metric, value, name));
    }
  }
  if (limits.empty()) refuse(name, "there is no limit in it");
  return limits;
}

double percent_of(const std::string& text, const std::string& what) {
  const std::string_view number = text.starts_with('+') ? std::string_view(text).substr(1) : text;
  double percent = 0;
  const auto [end, failure] = std::from_chars(number.data(), number.data() + number.size(), percent);
  const bool whole = failure == std::errc() && std::string_view(end, number.data() + number.size()) == "%";
  if (!whole || !(percent >= 0) || percent > 1e6)
    refuse(what, fmt::format("\"{}\" is no part; give one as 10%", text));
  return percent / 100;
}

}  // namespace runctl::cmd
