// One history from its seed: a busy time in which everything may fail, a quiet one in which nothing does, and
// then the check of what was promised.
#pragma once

#include <cstdint>
#include <string>

#include "scene.hpp"
#include "workplace.hpp"

namespace runctl::sim {

struct Outcome {
  std::string failure;  // the promise that was broken; empty where none was
  std::string trace;    // what happened, where that was asked for
  Counts counts;
  std::uint64_t steps = 0;
  std::uint64_t faults = 0;
};

enum class Traced { no, yes };

// `place` is this thread's own; what earlier histories left in it is removed.
Outcome run_history(std::uint64_t seed, Workplace& place, Connections connections, Traced traced);

}  // namespace runctl::sim
