// One scenario of a benchmark: runs are made, stored, got, looked for, and the index is made anew; again and
// again, each time from nothing.
#pragma once

#include <cstdint>
#include <functional>
#include <stop_token>
#include <string>
#include <string_view>

#include "flow/bench_place.hpp"
#include "flow/bench_result.hpp"

namespace runctl::flow {

struct BenchPlan {
  std::string name;
  std::uint64_t runs = 0;     // that are made; with writers, for each of them
  std::uint64_t payload = 0;  // bytes of each large field; at least k_min_payload
  std::string input;          // a file of runs that is taken instead
  // Where there are any, they store and get at once, and nothing else is measured.
  std::uint64_t writers = 0;
  std::uint64_t readers = 0;
};

struct BenchOptions {
  std::uint64_t repeat = 5;
  std::uint64_t seed = 1;
  std::size_t jobs = 1;  // threads that parse and compress, as in IngestOptions
  std::stop_token stop{};
  // What is being done, and how far it is.
  std::function<void(std::string_view what, std::uint64_t done, std::uint64_t all)> progress;
};

// Throws base::Error where the store, the index or the input fails, and Error(interrupted) when it was asked
// to stop.
BenchScenario run_bench(const BenchPlan& plan, BenchPlace& place, const BenchOptions& options);

// Calls `line` with each run that the plan makes, in order, its newline included.
void make_bench_runs(const BenchPlan& plan, std::uint64_t seed,
                     const std::function<void(std::string_view line)>& line);

}  // namespace runctl::flow
