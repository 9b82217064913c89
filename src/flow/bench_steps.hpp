// What the scenarios of a benchmark are made of.
#pragma once

#include <cstdint>
#include <functional>
#include <string>
#include <vector>

#include "flow/bench_meter.hpp"
#include "flow/bench_runs.hpp"
#include "flow/bench_scenario.hpp"
#include "flow/fetch.hpp"
#include "flow/ingest.hpp"
#include "index/index.hpp"

namespace runctl::flow {

// A run that is going to be got or looked for.
struct BenchTarget {
  std::string id;
  index::Location location;
  run::Facts facts;
};

// So many runs of the index, chosen at random, in random order; all of them where there are no more.
std::vector<BenchTarget> choose_targets(index::Index& index, std::size_t count, BenchRandom& random);

// In an order that `random` decides.
template <typename Item>
void shuffle(std::vector<Item>& items, BenchRandom& random) {
  for (std::size_t i = items.size(); i > 1; --i) std::swap(items[i - 1], items[random.below(i)]);
}

// Gets runs as the command does, and throws Error(corrupt) where one does not come.
class BenchGetter {
 public:
  BenchGetter(FrameReader& frames, index::Index& index);

  void get(const std::vector<std::string>& ids) { fetcher_.get(ids); }
  [[nodiscard]] std::uint64_t runs() const { return runs_; }
  [[nodiscard]] std::uint64_t bytes() const { return bytes_; }

 private:
  FetchEvents events();

  std::uint64_t runs_ = 0;
  std::uint64_t bytes_ = 0;
  Fetcher fetcher_;  // last: its events fill the others
};

// Throws Error(interrupted) when the benchmark was asked to stop.
void check_stop(const BenchOptions& options);

// Writes runs number `first` and following of the plan into a file.
void write_bench_input(const BenchPlan& plan, const BenchOptions& options, const std::string& path,
                       std::uint64_t first, std::uint64_t count);

// Stores a file. Throws Error(input) where nothing in it is a run.
IngestReport ingest_file(const std::string& path, store::ObjectStore& store, const OpenIndex& open_index,
                         const BenchOptions& options);

// Writers and readers at once.
BenchScenario run_concurrent_bench(const BenchPlan& plan, BenchPlace& place, const BenchOptions& options);

}  // namespace runctl::flow
