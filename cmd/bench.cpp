// runctl bench: measure the configured store, and hold the result against earlier ones and limits.
#include <fmt/format.h>

#include <algorithm>
#include <charconv>
#include <thread>

#include "base/bytes.hpp"
#include "base/error.hpp"
#include "base/file.hpp"
#include "base/time.hpp"
#include "bench_html.hpp"
#include "bench_json.hpp"
#include "bench_table.hpp"
#include "command.hpp"
#include "flow/bench_judge.hpp"
#include "flow/bench_runs.hpp"
#include "flow/bench_scenario.hpp"
#include "interrupt.hpp"
#include "output.hpp"
#include "progress.hpp"
#include "quantity.hpp"
#include "session.hpp"
#include "sync.hpp"

namespace runctl::cmd {

namespace {

constexpr std::size_t k_max_file = 64U << 20;
constexpr const char* k_default = "500x10KB";
// What has a name besides those that say it: COUNTxSIZE.
constexpr std::uint64_t k_small_runs = 100'000;
constexpr std::uint64_t k_small_payload = 300;
constexpr std::uint64_t k_concurrent_runs = 200;
constexpr std::uint64_t k_payload = 10U << 10;
constexpr std::uint64_t k_runs = 500;
constexpr const char* k_all[] = {"50x10KB",  "200x25KB", "500x10KB", "1000x5KB",  "50x100KB",
                                 "100x50KB", "10x1MB",   "small",    "concurrent"};

struct Options {
  std::vector<std::string> scenarios;
  std::optional<std::uint64_t> runs;
  std::string payload;
  std::string input;
  std::uint64_t writers = 4;
  std::uint64_t readers = 4;
  flow::BenchOptions flow;
  std::string save;
  std::string compare;
  std::string max_regress;
  std::string budget;
  std::string html;
  std::vector<std::string> show;
  std::string generate;
};

[[noreturn]] void refuse(const std::string& why) { throw base::Error(base::ErrorKind::usage, why); }

std::string size_text(std::uint64_t bytes) {
  constexpr std::uint64_t k_kibi = 1U << 10;
  constexpr std::uint64_t k_mebi = 1U << 20;
  if (bytes % k_mebi == 0) return fmt::format("{}MB", bytes / k_mebi);
  if (bytes % k_kibi == 0) return fmt::format("{}KB", bytes / k_kibi);
  return fmt::format("{}B", bytes);
}

std::uint64_t payload_of(const std::string& text, const std::string& source) {
  constexpr std::uint64_t k_most = 64U << 20;
  const std::uint64_t payload = size_of({text, source});
  if (payload < flow::k_min_payload || payload > k_most)
    refuse(fmt::format("{}: a field has {} bytes to {}", source, flow::k_min_payload, size_text(k_most)));
  return payload;
}

// "500x10KB".
flow::BenchPlan sized_plan(const std::string& text) {
  flow::BenchPlan plan{text, 0, 0, "", 0, 0};
  const char* const end = text.data() + text.size();
  const auto [rest, failure] = std::from_chars(text.data(), end, plan.runs);
  if (failure != std::errc() || rest == end || *rest != 'x' || plan.runs == 0) {
    refuse(fmt::format("\"{}\" is no scenario; there are {}, all, and any COUNTxSIZE", text,
                       fmt::join(k_all, ", ")));
  }
  plan.payload = payload_of(std::string(rest + 1, end), text);
  return plan;
}

flow::BenchPlan plan_of(const std::string& name, const Options& options) {
  if (name == "small") return {name, k_small_runs, k_small_payload, "", 0, 0};
  if (name != "concurrent") return sized_plan(name);
  const std::uint64_t payload =
      options.payload.empty() ? k_payload : payload_of(options.payload, "--payload");
  return {name, options.runs.value_or(k_concurrent_runs), payload, "", options.writers, options.readers};
}

std::vector<flow::BenchPlan> plans_of(const Options& options) {
  const bool sized = options.runs || !options.payload.empty();
  std::vector<std::string> names = options.scenarios;
  if (!options.input.empty()) {
    if (sized || !names.empty()) refuse("--input: the file is the scenario: give no other, and no sizes");
    if (options.input == "-") refuse("--input: name a file: it is read several times");
    return {{"input", 0, 0, options.input, 0, 0}};
  }
  if (names == std::vector<std::string>{"all"}) names.assign(std::begin(k_all), std::end(k_all));
  if (names.empty() && sized) {
    const std::uint64_t runs = options.runs.value_or(k_runs);
    const std::uint64_t payload =
        options.payload.empty() ? k_payload : payload_of(options.payload, "--payload");
    return {{fmt::format("{}x{}", runs, size_text(payload)), runs, payload, "", 0, 0}};
  }
  if (names.empty()) names.push_back(k_default);
  if (sized && names != std::vector<std::string>{"concurrent"})
    refuse("--runs and --payload make a scenario of their own, or go with \"concurrent\" alone");
  std::vector<flow::BenchPlan> plans;
  for (const std::string& name : names) {
    const auto same = [&name](const flow::BenchPlan& plan) { return plan.name == name; };
    if (std::none_of(plans.begin(), plans.end(), same)) plans.push_back(plan_of(name, options));
  }
  return plans;
}

std::string read_text(const std::string& path) {
  const auto text = base::read_file(path, k_max_file);
  if (!text) refuse(path + ": there is no such file");
  return *text;
}

flow::BenchResult read_result(const std::string& path) { return parse_bench_json(read_text(path), path); }

// A file that is written at the end, and whose place is tried at the beginning.
class LateFile {
 public:
  explicit LateFile(const std::string& path) {
    if (!path.empty()) file_ = std::make_unique<DataOutput>(path);
  }
  [[nodiscard]] bool is_wanted() const { return file_ != nullptr; }
  void write(const std::string& text) const {
    file_->write(text);
    file_->finish();
  }

 private:
  std::unique_ptr<DataOutput> file_;
};

class BenchCommand {
 public:
  BenchCommand(const GlobalFlags& globals, const Options& options)
      : globals_(globals), options_(options), save_(options.save), html_(options.html) {
    if (!options.compare.empty()) before_ = read_result(options.compare);
    if (!options.budget.empty()) limits_ = parse_bench_budget(read_text(options.budget), options.budget);
    if (!options.max_regress.empty()) max_regress_ = percent_of(options.max_regress, "--max-regress");
    for (const std::string& file : options.show) shown_.push_back({file, read_result(file)});
    const auto is_relative = [](const flow::BenchLimit& limit) { return limit.relative; };
    if (!before_ && std::any_of(limits_.begin(), limits_.end(), is_relative))
      refuse(options.budget + ": has limits relative to an earlier result: name it with --compare");
  }

  int run() {
    if (shown_.empty()) shown_.push_back({options_.save.empty() ? "now" : options_.save, measure()});
    const flow::BenchResult& result = shown_.front().result;
    const std::vector<flow::BenchVerdict> verdicts = judge(result);
    if (save_.is_wanted()) save_.write(bench_json(result, {}));
    if (html_.is_wanted()) {
      std::vector<LabelledResult> all = shown_;
      if (before_) all.push_back({options_.compare, *before_});
      html_.write(bench_html(all));
    }
    print(verdicts);
    bool past = false;
    for (const flow::BenchVerdict& verdict : verdicts) {
      if (!verdict.past_limit()) continue;
      note(verdict_line(verdict));
      past = true;
    }
    return past ? 1 : 0;
  }

 private:
  [[nodiscard]] flow::BenchResult measure() const {
    const std::vector<flow::BenchPlan> plans = plans_of(options_);
    Session session(globals_);
    const Interruption interruption;
    ProgressLine progress(session.settings().progress, session.settings().quiet);
    flow::BenchOptions options = options_.flow;
    options.stop = interruption.token();
    options.jobs = std::max(1U, std::thread::hardware_concurrency());
    flow::BenchResult result{
        RUNCTL_VERSION,        base::iso_text(now_microseconds() / 1'000'000 * 1'000'000),
        session.store().url(), options.repeat,
        options.seed,          {}};
    flow::BenchPlace place(
        session.store(), [&session](const std::string& prefix) { return session.open_below(prefix); },
        [&progress](const std::string& line) {
          progress.clear();
          note(line);
        });
    for (const flow::BenchPlan& plan : plans) {
      options.progress = [&](std::string_view what, std::uint64_t done, std::uint64_t all) {
        progress.update(done, all, fmt::format("{}: {}", plan.name, what));
      };
      result.scenarios.push_back(flow::run_bench(plan, place, options));
    }
    return result;
  }

  [[nodiscard]] std::vector<flow::BenchVerdict> judge(const flow::BenchResult& result) const {
    std::vector<flow::BenchVerdict> verdicts;
    const flow::BenchResult* const before = before_ ? &*before_ : nullptr;
    if (before != nullptr) {
      verdicts = flow::compare(result, *before, max_regress_);
      if (verdicts.empty()) refuse(options_.compare + ": has no scenario in common with this result");
      tell_unlike(result, *before);
    }
    for (const flow::BenchLimit& limit : limits_) {
      const auto found = flow::apply_limits(result, before, {&limit, 1});
      if (found.empty())
        note(fmt::format("{}: {}, {}: was not measured, so its limit is not judged", options_.budget,
                         limit.scenario, limit.step));
      verdicts.insert(verdicts.end(), found.begin(), found.end());
    }
    if (before == nullptr && !limits_.empty() && verdicts.empty())
      refuse(options_.budget + ": none of its limits is for what was measured");
    return verdicts;
  }

  // What makes a comparison less than it seems.
  void tell_unlike(const flow::BenchResult& now, const flow::BenchResult& before) const {
    const auto scheme = [](const std::string& url) { return url.substr(0, url.find(':')); };
    if (scheme(now.store) != scheme(before.store))
      note(fmt::format("{}: was measured on another kind of store: {}", options_.compare, before.store));
    for (const flow::BenchScenario& scenario : now.scenarios) {
      const flow::BenchScenario* const same = flow::find_scenario(before, scenario.name);
      if (same == nullptr)
        note(fmt::format("{}: has no scenario {}, so it is not compared", options_.compare, scenario.name));
      else if (same->bytes != scenario.bytes)
        note(fmt::format("{}: {} had other runs there: {} of text, not {}", options_.compare, scenario.name,
                         human_bytes(same->bytes), human_bytes(scenario.bytes)));
    }
  }

  void print(const std::vector<flow::BenchVerdict>& verdicts) const {
    DataOutput out("");
    if (globals_.json) {
      out.write(bench_json(shown_.front().result, verdicts));
    } else {
      for (std::size_t i = 0; i < shown_.size(); ++i) {
        if (i > 0) out.write("\n");
        if (shown_.size() > 1) out.write(base::printable(shown_[i].label) + "\n");
        out.write(bench_table(shown_[i].result));
      }
      if (!verdicts.empty()) out.write("\n" + verdict_table(verdicts));
    }
    out.finish();
  }

  const GlobalFlags& globals_;
  const Options& options_;
  std::optional<flow::BenchResult> before_;
  std::vector<flow::BenchLimit> limits_;
  std::optional<double> max_regress_;
  std::vector<LabelledResult> shown_;  // the first is the one that is judged
  LateFile save_;
  LateFile html_;
};

// Writes the runs that would be stored.
int generate(const Options& options) {
  const std::vector<flow::BenchPlan> plans = plans_of(options);
  if (plans.size() != 1 || !plans.front().input.empty() || plans.front().writers > 0)
    refuse("--generate: name one scenario of a fixed size");
  const Interruption interruption;
  DataOutput out(options.generate);
  flow::make_bench_runs(plans.front(), options.flow.seed, [&](std::string_view line) {
    if (interruption.token().stop_requested())
      throw base::Error(base::ErrorKind::interrupted, "interrupted: the file is not written");
    out.write(line);
  });
  out.finish();
  return 0;
}

void check_usage(const Options& options, bool json) {
  if (!options.max_regress.empty() && options.compare.empty())
    refuse("--max-regress: name the earlier result with --compare");
  if (options.show.empty()) return;
  if (!options.scenarios.empty() || !options.input.empty() || options.runs || !options.payload.empty() ||
      !options.save.empty() || !options.generate.empty())
    refuse("--show measures nothing: give no scenario with it, and no --save");
  if (options.show.size() > 1 && (json || !options.compare.empty() || !options.budget.empty()))
    refuse("--show: with --json, --compare and --budget give it once");
}

}  // namespace

void add_bench(Program& program, CLI::App& command) {
  const auto options = std::make_shared<Options>();
  const auto count = [](std::uint64_t least, std::uint64_t most) { return unnamed(CLI::Range(least, most)); };
  command
      .add_option("SCENARIO", options->scenarios,
                  "50x10KB, 200x25KB, 500x10KB (the default), 1000x5KB, 50x100KB, 100x50KB, 10x1MB, or any "
                  "other COUNTxSIZE; small, concurrent, all")
      ->type_name("")
      ->take_all();
  command.add_option("--runs", options->runs, "Make so many runs (500)")
      ->check(count(1, 1'000'000'000))
      ->type_name("N");
  command.add_option("--payload", options->payload, "Give each large field so many bytes (10KB)")
      ->type_name("SIZE");
  command.add_option("--input", options->input, "Take the runs of this file instead")->type_name("FILE");
  command.add_option("--seed", options->flow.seed, "Make other runs of the same size (1)")
      ->check(count(0, std::numeric_limits<std::int64_t>::max()))
      ->type_name("N");
  command.add_option("--repeat", options->flow.repeat, "Do all steps so many times (5)")
      ->check(count(1, 1000))
      ->type_name("N");
  command.add_option("--writers", options->writers, "concurrent: write in so many threads (4)")
      ->check(count(1, 64))
      ->type_name("N");
  command.add_option("--readers", options->readers, "concurrent: read in so many threads (4)")
      ->check(count(0, 64))
      ->type_name("N");
  command.add_option("--save", options->save, "Write the result into this file, for --compare and --show")
      ->type_name("FILE");
  command.add_option("--compare", options->compare, "Compare with a saved result")->type_name("FILE");
  command
      .add_option("--max-regress", options->max_regress,
                  "Exit 1 where a step's median is slower than that of --compare by more than this")
      ->type_name("N%");
  command.add_option("--budget", options->budget, "Exit 1 where a number is past its limit in this file")
      ->type_name("FILE");
  command.add_option("--html", options->html, "Write a page with drawings of the results shown and compared")
      ->type_name("FILE");
  command.add_option("--show", options->show, "Measure nothing; show this saved result; repeatable")
      ->type_name("FILE")
      ->allow_extra_args(false)
      ->take_all();
  command
      .add_option("--generate", options->generate,
                  "Measure nothing; write the runs of the scenario into this file")
      ->type_name("FILE");
  command.callback([&program, options] {
    program.run = [&program, options] {
      check_usage(*options, program.globals.json);
      if (!options->generate.empty()) return generate(*options);
      return BenchCommand(program.globals, *options).run();
    };
  });
}

}  // namespace runctl::cmd
