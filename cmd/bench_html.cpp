#include "bench_html.hpp"

#include <fmt/format.h>

#include <algorithm>

#include "bench_chart.hpp"
#include "bench_table.hpp"
#include "flow/bench_judge.hpp"
#include "output.hpp"

namespace runctl::cmd {

namespace {

using Results = std::vector<LabelledResult>;

constexpr std::string_view k_style = R"(
:root{--paper:#fff;--ink:#1c2128;--soft:#59636e;--rule:#d8dee4;--panel:#f6f8fa;
--s0:#2563eb;--s1:#c2570c;--s2:#047857;--s3:#9333ea;--s4:#be123c;--s5:#0e7490}
@media(prefers-color-scheme:dark){:root{--paper:#14181d;--ink:#e6eaef;--soft:#9aa5b1;--rule:#333b45;--panel:#1c2229;
--s0:#6ea8ff;--s1:#f59e4b;--s2:#3ecf9b;--s3:#c792ff;--s4:#ff7b93;--s5:#56c8e0}}
*{box-sizing:border-box}
body{margin:0 auto;padding:1.25rem 1rem 3rem;max-width:84rem;background:var(--paper);color:var(--ink);
font:15px/1.5 system-ui,-apple-system,"Segoe UI",Roboto,"Liberation Sans",sans-serif}
h1{font-size:1.5rem;margin:0 0 .5rem}
h2{font-size:1.2rem;margin:2.5rem 0 .25rem;padding-top:1rem;border-top:1px solid var(--rule)}
p{margin:.25rem 0;color:var(--soft)}
ul{list-style:none;margin:.75rem 0;padding:0}
li{margin:.3rem 0;overflow-wrap:anywhere}
.key{display:inline-block;width:.8em;height:.8em;border-radius:2px;background:var(--s);margin-right:.5em}
.charts{display:grid;grid-template-columns:repeat(auto-fit,minmax(min(100%,30rem),1fr));gap:1rem;margin:1rem 0}
figure{margin:0;padding:.75rem 1rem;background:var(--panel);border:1px solid var(--rule);border-radius:6px;min-width:0}
figcaption{font-weight:600;margin-bottom:.25rem}
svg{display:block;overflow:visible}
text{fill:var(--ink);font-size:12px}
.name{font-weight:600}.number{text-anchor:end;font-variant-numeric:tabular-nums}.tick{fill:var(--soft);font-size:11px}
.grid{stroke:var(--rule);stroke-width:1}
.whisker{stroke:var(--s);stroke-width:1.5}.box{fill:var(--s);fill-opacity:.35;stroke:var(--s)}
.value{stroke:var(--ink);stroke-width:2.5}.stem{stroke:var(--s);stroke-width:1.5;stroke-dasharray:2 3}
.dot,.bar{fill:var(--s)}
.s0{--s:var(--s0)}.s1{--s:var(--s1)}.s2{--s:var(--s2)}.s3{--s:var(--s3)}.s4{--s:var(--s4)}.s5{--s:var(--s5)}
.wide{overflow-x:auto;margin:1rem 0}
table{border-collapse:collapse;font-size:13px;font-variant-numeric:tabular-nums;white-space:nowrap}
th,td{padding:.3rem .6rem;text-align:right;border-bottom:1px solid var(--rule)}
th{color:var(--soft);font-weight:600}
th:first-child,td:first-child,th:nth-child(2),td.left{text-align:left}
)";

std::string key(std::size_t series) { return fmt::format("<span class=\"key s{}\"></span>", series % 6); }

std::string heading(const Results& results) {
  std::string out = "<h1>runctl bench</h1>\n<ul>";
  for (std::size_t i = 0; i < results.size(); ++i) {
    const flow::BenchResult& result = results[i].result;
    out += fmt::format("<li>{}<strong>{}</strong>: runctl {}, {}, {}, {}</li>", key(i),
                       escape_markup(results[i].label), escape_markup(result.version),
                       escape_markup(result.time), escape_markup(result.store),
                       counted(result.repeat, "repetition", "repetitions"));
  }
  return out + "</ul>\n";
}

// The scenarios of all results, in the order in which they come up.
std::vector<std::string> names_of_scenarios(const Results& results) {
  std::vector<std::string> names;
  for (const LabelledResult& one : results) {
    for (const flow::BenchScenario& scenario : one.result.scenarios) {
      if (std::find(names.begin(), names.end(), scenario.name) == names.end()) names.push_back(scenario.name);
    }
  }
  return names;
}

// What every result has of one scenario.
class Section {
 public:
  Section(const Results& results, const std::string& name) : results_(results), name_(name) {
    for (const LabelledResult& one : results) scenarios_.push_back(flow::find_scenario(one.result, name));
  }

  [[nodiscard]] std::string markup() const {
    std::string out = fmt::format("<section><h2>{}</h2>\n", escape_markup(name_));
    for_each([&](std::size_t series, const flow::BenchScenario& scenario) {
      out += fmt::format("<p>{}{}</p>\n", key(series), escape_markup(scenario_text(scenario)));
    });
    return out + "<div class=\"charts\">" + times() + throughput() + memory() + hit_rates() + "</div>\n" +
           step_table() + hit_rate_table() + "</section>\n";
  }

 private:
  template <typename Visit>
  void for_each(Visit visit) const {
    for (std::size_t i = 0; i < scenarios_.size(); ++i) {
      if (scenarios_[i] != nullptr) visit(i, *scenarios_[i]);
    }
  }

  template <typename Visit>
  void for_each_step(std::string_view name, Visit visit) const {
    for_each([&](std::size_t series, const flow::BenchScenario& scenario) {
      if (const flow::BenchStep* const step = flow::find_step(scenario, name)) visit(series, *step);
    });
  }

  // A row for each step, filled by `mark_of`.
  template <typename MarkOf>
  [[nodiscard]] std::vector<ChartRow> rows_of_steps(MarkOf mark_of) const {
    std::vector<ChartRow> rows;
    for (const std::string_view name : flow::k_bench_steps) {
      ChartRow& row = rows.emplace_back(ChartRow{std::string(name), {}});
      for_each_step(name, [&](std::size_t series, const flow::BenchStep& step) {
        row.marks.push_back(mark_of(series, step));
      });
    }
    return rows;
  }

  [[nodiscard]] std::string tip(std::size_t series, const std::string& text) const {
    return results_[series].label + ": " + text;
  }

  [[nodiscard]] std::string times() const {
    const auto rows = rows_of_steps([this](std::size_t series, const flow::BenchStep& step) {
      const flow::BenchSummary& time = step.time;
      return ChartMark{
          series,
          time.median,
          brief_time(time.median),
          tip(series, fmt::format("min {}, median {}, p95 {}, p99 {}, max {}", brief_time(time.min),
                                  brief_time(time.median), brief_time(time.p95), brief_time(time.p99),
                                  brief_time(time.max))),
          time.min,
          time.q1,
          time.q3,
          time.p95};
    });
    return chart(ChartKind::range, "Time of one operation: minimum, quartiles, median, 95th percentile", rows,
                 brief_time);
  }

  [[nodiscard]] std::string throughput() const {
    const auto rows = rows_of_steps([this](std::size_t series, const flow::BenchStep& step) {
      const std::string text = brief_number(step.runs_per_second());
      return ChartMark{series, step.runs_per_second(), text, tip(series, text + " runs/s"), 0, 0, 0, 0};
    });
    return chart(ChartKind::dot, "Runs per second", rows, brief_number);
  }

  [[nodiscard]] std::string memory() const {
    const auto rows = rows_of_steps([this](std::size_t series, const flow::BenchStep& step) {
      const auto bytes = static_cast<double>(step.peak_memory);
      return ChartMark{series, bytes, brief_bytes(bytes), tip(series, brief_bytes(bytes)), 0, 0, 0, 0};
    });
    return chart(ChartKind::bar, "Peak memory", rows, brief_bytes);
  }

  [[nodiscard]] std::string hit_rates() const {
    std::vector<ChartRow> rows;
    for (const unsigned rate : flow::k_bench_hit_rates) {
      ChartRow row{fmt::format("{} %", rate), {}};
      for_each([&](std::size_t series, const flow::BenchScenario& scenario) {
        for (const flow::BenchHitRate& one : scenario.hit_rates) {
          if (one.rate != rate) continue;
          const std::string text = brief_time(one.time.mean);
          row.marks.push_back({series, one.time.mean, text, tip(series, text), 0, 0, 0, 0});
        }
      });
      if (!row.marks.empty()) rows.push_back(row);
    }
    if (rows.empty()) return "";
    return chart(ChartKind::bar, "Mean time of a get, by the cache's hit rate", rows, brief_time);
  }

  [[nodiscard]] std::string cells(std::size_t series, const std::vector<std::string>& values) const {
    std::string out =
        fmt::format("<td class=\"left\">{}{}</td>", key(series), escape_markup(results_[series].label));
    for (const std::string& value : values) out += "<td>" + escape_markup(value) + "</td>";
    return out;
  }

  [[nodiscard]] std::string step_table() const {
    std::string out =
        "<div class=\"wide\"><table><tr><th>step</th><th>result</th><th>operations</th><th>min ms</th>"
        "<th>median ms</th><th>p95 ms</th><th>p99 ms</th><th>max ms</th><th>noise</th><th>runs/s</th>"
        "<th>MB/s</th><th>requests</th><th>read</th><th>written</th><th>peak memory</th></tr>\n";
    for (const std::string_view name : flow::k_bench_steps) {
      for_each_step(name, [&](std::size_t series, const flow::BenchStep& step) {
        const auto milliseconds = [](double seconds) { return fmt::format("{:.3f}", seconds * 1000); };
        const flow::BenchSummary& time = step.time;
        out += fmt::format("<tr><td>{}</td>", name) +
               cells(series, {std::to_string(step.operations), milliseconds(time.min),
                              milliseconds(time.median), milliseconds(time.p95), milliseconds(time.p99),
                              milliseconds(time.max), step.noise ? percent_text(*step.noise) : "-",
                              fmt::format("{:.1f}", step.runs_per_second()),
                              step.bytes == 0 ? "-" : fmt::format("{:.1f}", step.megabytes_per_second()),
                              std::to_string(step.requests), human_bytes(step.bytes_read),
                              human_bytes(step.bytes_written), human_bytes(step.peak_memory)}) +
               "</tr>\n";
      });
    }
    return out + "</table></div>\n";
  }

  [[nodiscard]] std::string hit_rate_table() const {
    std::string body;
    for (const unsigned rate : flow::k_bench_hit_rates) {
      for_each([&](std::size_t series, const flow::BenchScenario& scenario) {
        for (const flow::BenchHitRate& one : scenario.hit_rates) {
          if (one.rate != rate) continue;
          body += fmt::format("<tr><td>{} %</td>", rate) +
                  cells(series, {std::to_string(one.gets), std::to_string(one.hits),
                                 fmt::format("{:.3f}", one.time.mean * 1000),
                                 fmt::format("{:.3f}", one.time.median * 1000),
                                 fmt::format("{:.3f}", one.time.p95 * 1000), std::to_string(one.requests)}) +
                  "</tr>\n";
        }
      });
    }
    if (body.empty()) return "";
    return "<div class=\"wide\"><table><tr><th>hit rate</th><th>result</th><th>gets</th><th>hits</th>"
           "<th>mean ms</th><th>median ms</th><th>p95 ms</th><th>requests</th></tr>\n" +
           body + "</table></div>\n";
  }

  const Results& results_;
  const std::string& name_;
  std::vector<const flow::BenchScenario*> scenarios_;  // null where a result has none of this name
};

}  // namespace

std::string bench_html(const std::vector<LabelledResult>& results) {
  std::string out =
      "<!doctype html>\n<html lang=\"en\"><head><meta charset=\"utf-8\">"
      "<meta name=\"viewport\" content=\"width=device-width,initial-scale=1\">"
      "<meta name=\"color-scheme\" content=\"light dark\"><title>runctl bench</title>";
  out += fmt::format("<style>{}</style></head><body>\n", k_style);
  out += heading(results);
  for (const std::string& name : names_of_scenarios(results)) out += Section(results, name).markup();
  return out + "</body></html>\n";
}

}  // namespace runctl::cmd
