// simulate: histories by seed, and what they broke. See scripts/simulate.
#include <fmt/format.h>
#include <malloc.h>
#include <sqlite3.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <condition_variable>
#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <mutex>
#include <sstream>
#include <thread>

#include <CLI/CLI.hpp>

#include "history.hpp"
#include "memory_files.hpp"

namespace runctl::sim {

namespace {

namespace fs = std::filesystem;

struct Options {
  std::uint64_t seed = 1;
  std::uint64_t histories = 0;  // 0: the one of the seed
  std::size_t threads = 1;
  bool trace = false;
  std::uint64_t max_failures = 10;
  std::string regressions = RUNCTL_SIM_REGRESSIONS;
};

// One history in so many is run twice, to see that its seed decides everything: first with connections of its
// own to each index, then, like all others, with those of earlier histories.
constexpr std::uint64_t k_repeated = 100;
// Seconds; a history takes milliseconds.
constexpr int k_hang = 120;

// In memory where that can be: an index is written and synced hundreds of times a second.
std::string make_directory() {
  std::string pattern = fs::exists("/dev/shm") ? "/dev/shm/runctl_sim_XXXXXX"
                                               : (fs::temp_directory_path() / "runctl_sim_XXXXXX").string();
  if (::mkdtemp(pattern.data()) == nullptr) throw std::runtime_error(pattern + ": cannot be made");
  return pattern;
}

std::vector<std::uint64_t> read_regressions(const std::string& path) {
  std::vector<std::uint64_t> seeds;
  std::ifstream file(path);
  if (!file) throw std::runtime_error(path + ": cannot be read");
  for (std::string line; std::getline(file, line);) {
    std::istringstream words(line);
    if (std::uint64_t seed = 0; words >> seed) seeds.push_back(seed);
  }
  return seeds;
}

class Simulation {
 public:
  explicit Simulation(const Options& options)
      : options_(options), seeds_(read_regressions(options.regressions)) {}

  int run() {
    const auto begin = std::chrono::steady_clock::now();
    fs::create_directories(directory_);
    std::thread watch([this] { look_for_hangs(); });
    std::vector<std::thread> threads;
    for (std::size_t i = 0; i < options_.threads; ++i) threads.emplace_back([this, i] { work(i); });
    for (std::thread& thread : threads) thread.join();
    {
      const std::lock_guard lock(mutex_);
      over_ = true;
    }
    changed_.notify_all();
    watch.join();
    fs::remove_all(directory_);
    const std::chrono::duration<double> seconds = std::chrono::steady_clock::now() - begin;
    fmt::print(
        "{} histories from seed {} on and {} regressions in {:.1f} s: {} steps; {} commands, of which {} "
        "failed and {} "
        "were killed; {} faults; {} rebuilds, {} pages, {} gets, {} orphans adopted\n",
        done_ - std::min<std::uint64_t>(done_, seeds_.size()), options_.seed, seeds_.size(), seconds.count(),
        steps_, counts_.commands, counts_.failed, counts_.killed, faults_, counts_.rebuilds, counts_.pages,
        counts_.gets, counts_.adopted);
    fmt::print("{}\n",
               failures_ == 0 ? "no promise broken" : fmt::format("{} seeds broke a promise", failures_));
    return failures_ == 0 ? 0 : 1;
  }

 private:
  // The seed that each thread is at, and since when.
  struct Place {
    std::uint64_t seed = 0;
    std::chrono::steady_clock::time_point since;
    bool busy = false;
  };

  [[nodiscard]] std::uint64_t seed_of(std::uint64_t number) const {
    return number < seeds_.size() ? seeds_[number] : options_.seed + number - seeds_.size();
  }

  void work(std::size_t thread) {
    Workplace place(fmt::format("{}/{}", directory_, thread));
    while (failures_ < options_.max_failures) {
      const std::uint64_t number = next_++;
      if (number >= seeds_.size() + options_.histories) break;
      const std::uint64_t seed = seed_of(number);
      enter(thread, seed);
      const bool repeated = number % k_repeated == 0;
      const Outcome outcome = repeated ? run_history(seed, place, Connections::fresh, Traced::yes)
                                       : run_history(seed, place, Connections::kept, Traced::no);
      add(seed, outcome);
      if (repeated && outcome.failure.empty() &&
          run_history(seed, place, Connections::kept, Traced::yes).trace != outcome.trace)
        report(seed, "the same seed gave another history");
      leave(thread);
    }
  }

  void enter(std::size_t thread, std::uint64_t seed) {
    const std::lock_guard lock(mutex_);
    places_[thread] = {seed, std::chrono::steady_clock::now(), true};
  }
  void leave(std::size_t thread) {
    const std::lock_guard lock(mutex_);
    places_[thread].busy = false;
  }

  void add(std::uint64_t seed, const Outcome& outcome) {
    if (!outcome.failure.empty()) report(seed, outcome.failure);
    const std::lock_guard lock(mutex_);
    ++done_;
    steps_ += outcome.steps;
    faults_ += outcome.faults;
    counts_.commands += outcome.counts.commands;
    counts_.failed += outcome.counts.failed;
    counts_.killed += outcome.counts.killed;
    counts_.pages += outcome.counts.pages;
    counts_.gets += outcome.counts.gets;
    counts_.rebuilds += outcome.counts.rebuilds;
    counts_.adopted += outcome.counts.adopted;
  }

  void report(std::uint64_t seed, const std::string& failure) {
    const std::lock_guard lock(mutex_);
    ++failures_;
    fmt::print("seed {}: {}\n  again: simulate --seed {} --trace\n", seed, failure, seed);
    std::fflush(stdout);
  }

  // A history that does not end would end the whole run: whoever waits for what nobody gives, waits for ever.
  void look_for_hangs() {
    std::unique_lock lock(mutex_);
    while (!changed_.wait_for(lock, std::chrono::seconds(1), [this] { return over_; })) {
      for (const Place& place : places_) {
        if (!place.busy || std::chrono::steady_clock::now() - place.since < std::chrono::seconds(k_hang))
          continue;
        fmt::print("seed {}: hangs\n", place.seed);
        std::fflush(stdout);
        fs::remove_all(directory_);
        std::_Exit(1);
      }
    }
  }

  const Options options_;
  const std::vector<std::uint64_t> seeds_;  // that failed once; they come first
  const std::string directory_ = make_directory();
  std::atomic<std::uint64_t> next_{0};
  std::atomic<std::uint64_t> failures_{0};
  std::mutex mutex_;
  std::condition_variable changed_;
  bool over_ = false;
  std::vector<Place> places_ = std::vector<Place>(options_.threads);
  std::uint64_t done_ = 0;
  std::uint64_t steps_ = 0;
  std::uint64_t faults_ = 0;
  Counts counts_;
};

int trace_one(std::uint64_t seed) {
  const std::string directory = make_directory();
  Outcome outcome;
  {
    Workplace place(directory);
    outcome = run_history(seed, place, Connections::fresh, Traced::yes);
  }
  fs::remove_all(directory);
  fmt::print("{}{}\n", outcome.trace, outcome.failure.empty() ? "no promise broken" : outcome.failure);
  return outcome.failure.empty() ? 0 : 1;
}

int run(int count, char** arguments) {
  Options options;
  options.threads = std::max(1U, std::thread::hardware_concurrency());
  CLI::App app(
      "Simulated histories of writers, readers and failing stores, checked against what runctl promises");
  app.add_option("--seed", options.seed, "The first seed (1)");
  app.add_option("--histories", options.histories,
                 "How many seeds from there on, after those that failed once");
  app.add_option("--threads", options.threads, "One for each core")->check(CLI::Range(1, 256));
  app.add_flag("--trace", options.trace, "Print what happens in the history of the seed");
  app.add_option("--max-failures", options.max_failures,
                 "Stop after so many seeds that broke a promise (10)");
  app.add_option("--regressions", options.regressions, "File of seeds that failed once");
  CLI11_PARSE(app, count, arguments);
  // Blocks of a megabyte are taken and given back all the time, and must not go to the kernel each time.
  ::mallopt(M_MMAP_THRESHOLD, 256 << 20);
  ::mallopt(M_TRIM_THRESHOLD, 256 << 20);
  // Indexes are opened all the time, and most of a history is the preparing of statements.
  ::sqlite3_config(SQLITE_CONFIG_MEMSTATUS, 0);
  ::sqlite3_config(SQLITE_CONFIG_LOOKASIDE, 512, 400);
  keep_files_in_memory();
  if (options.trace) return trace_one(options.seed);
  if (options.histories == 0) options.histories = 1;
  return Simulation(options).run();
}

}  // namespace

}  // namespace runctl::sim

int main(int count, char** arguments) {
  try {
    return runctl::sim::run(count, arguments);
  } catch (const std::exception& error) {
    fmt::print(stderr, "simulate: {}\n", error.what());
    return 2;
  }
}
