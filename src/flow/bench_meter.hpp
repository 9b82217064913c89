// Time, requests and memory of the steps of a benchmark.
#pragma once

#include <chrono>
#include <cstdint>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "flow/bench_result.hpp"
#include "store/object_store.hpp"

namespace runctl::flow {

// Lets the kernel forget the largest resident set of this process so far; false where it does not.
bool forget_peak_memory();
// The largest since, or since the process began, in bytes; 0 where the kernel does not say.
std::uint64_t peak_memory();

// What the store was asked for from `before` to `after`, in all.
store::Traffic traffic_between(const store::Traffic& before, const store::Traffic& after);

// One step, over all repetitions.
class StepMeter {
 public:
  explicit StepMeter(std::string_view name) { step_.name = name; }

  // A repetition begins.
  void begin();
  // It ends, and has cost this; its operations are those that were timed since.
  void end(const store::Traffic& spent);

  template <typename Operation>
  void time(Operation operation) {
    const auto started = Clock::now();
    operation();
    add(Clock::now() - started);
  }
  using Clock = std::chrono::steady_clock;
  // An operation that was timed elsewhere.
  void add(Clock::duration time);

  // What the operations have handled.
  void count(std::uint64_t runs, std::uint64_t bytes) {
    step_.runs += runs;
    step_.bytes += bytes;
  }

  // The operations went side by side, and together they took this long.
  void set_seconds(double seconds) { side_by_side_ += seconds; }

  [[nodiscard]] BenchStep result() const;

 private:
  BenchStep step_;
  std::vector<double> samples_;
  std::size_t begun_at_ = 0;  // among the samples
  std::vector<double> medians_;
  double side_by_side_ = 0;
};

}  // namespace runctl::flow
