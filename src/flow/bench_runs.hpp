// Runs made up for a benchmark: the same seed, size and number give the same bytes, on every machine.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace runctl::flow {

// Repeatable random numbers (SplitMix64: Steele, Lea, Flood, Fast Splittable Pseudorandom Number Generators,
// 2014). Those of the standard library's distributions differ from one library to the next.
class BenchRandom {
 public:
  explicit BenchRandom(std::uint64_t seed) : state_(seed) {}

  std::uint64_t next() {
    std::uint64_t z = state_ += 0x9E3779B97F4A7C15;
    z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9;
    z = (z ^ (z >> 27)) * 0x94D049BB133111EB;
    return z ^ (z >> 31);
  }
  // 0 up to limit - 1.
  std::uint64_t below(std::uint64_t limit) { return next() % limit; }

 private:
  std::uint64_t state_;
};

inline constexpr std::uint64_t k_min_payload = 64;  // bytes, in which the members of a field fit

// JSON objects with all fields that runctl knows. `inputs`, `outputs` and `metadata` are `payload` bytes
// each: sentences of common words in the frequencies of a language, with numbers and repetitions in between,
// so that batches become about a third as large as the text.
class BenchRuns {
 public:
  // `payload` is at least k_min_payload.
  BenchRuns(std::uint64_t seed, std::uint64_t payload);

  // The run of this number, without a newline; it differs from all others in its id. Runs follow each other
  // in time, and five each are a trace.
  [[nodiscard]] std::string run(std::uint64_t number) const;

 private:
  [[nodiscard]] std::string text(BenchRandom& random, std::size_t length) const;
  [[nodiscard]] std::string sentence(BenchRandom& random) const;
  // A JSON object of exactly payload_ bytes: `head`, a text, `tail`.
  [[nodiscard]] std::string field(BenchRandom& random, std::string_view head, std::string_view tail) const;

  std::uint64_t seed_;
  std::uint64_t payload_;
  std::vector<std::uint64_t> weights_;  // of the words, each added to those before
};

}  // namespace runctl::flow
