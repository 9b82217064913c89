// One history from its seed: a busy time in which everything may fail, a quiet one in which nothing does, and
// then the check of what was promised.
#pragma once

#include <cstdint>
#include <string>

#include "scene.hpp"

namespace runctl::sim {

struct Outcome {
  std::string failure;  // the promise that was broken; empty where none was
  std::string trace;    // what happened, where that was asked for
  Counts counts;
  std::uint64_t steps = 0;
  std::uint64_t faults = 0;
};

enum class Traced { no, yes };

// `directory` is this thread's own; what earlier histories left in it is removed.
Outcome run_history(std::uint64_t seed, const std::string& directory, Traced traced);

}  // namespace runctl::sim
