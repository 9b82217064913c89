// What a benchmark has found out.
#pragma once

#include <array>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "flow/bench_statistics.hpp"

namespace runctl::flow {

// In the order in which they are measured.
inline constexpr std::array<std::string_view, 6> k_bench_steps = {"ingest",    "cold get", "cached get",
                                                                  "batch get", "search",   "rebuild"};
inline constexpr std::array<unsigned, 5> k_bench_hit_rates = {0, 25, 50, 75, 90};  // per cent

// Of all repetitions together.
struct BenchStep {
  std::string name;              // one of k_bench_steps
  std::uint64_t operations = 0;  // that were timed
  std::uint64_t runs = 0;        // stored, got, found or recorded by them
  std::uint64_t bytes = 0;       // of these runs' text; 0 where none is handled
  double seconds = 0;            // that they took
  BenchSummary time;             // of one operation, in seconds
  std::optional<double> noise;   // see noise_of()
  std::uint64_t requests = 0;
  std::uint64_t bytes_read = 0;     // from the store
  std::uint64_t bytes_written = 0;  // to it
  std::uint64_t retries = 0;
  std::uint64_t peak_memory = 0;  // bytes: the largest resident set of the process meanwhile; 0: unknown

  [[nodiscard]] double runs_per_second() const {
    return seconds > 0 ? static_cast<double>(runs) / seconds : 0;
  }
  // Of 1,000,000 bytes.
  [[nodiscard]] double megabytes_per_second() const {
    return seconds > 0 ? static_cast<double>(bytes) / 1e6 / seconds : 0;
  }
};

// Single gets, of which a part finds its frames in the cache.
struct BenchHitRate {
  unsigned rate = 0;  // per cent of the gets
  std::uint64_t gets = 0;
  std::uint64_t hits = 0;
  std::uint64_t requests = 0;
  BenchSummary time;  // of one get, in seconds
};

struct BenchScenario {
  std::string name;
  std::uint64_t runs = 0;          // that each repetition stores
  std::uint64_t bytes = 0;         // of their text
  std::uint64_t stored_bytes = 0;  // of their batches
  std::vector<BenchStep> steps;
  std::vector<BenchHitRate> hit_rates;
};

struct BenchResult {
  std::string version;  // of the program
  std::string time;     // when it was begun, ISO 8601
  std::string store;    // its URL, without secrets
  std::uint64_t repeat = 0;
  std::uint64_t seed = 0;
  std::vector<BenchScenario> scenarios;
};

}  // namespace runctl::flow
