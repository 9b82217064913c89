// What the index knows of one run, without its bytes: what a person is shown of it.
#pragma once

#include <cstdint>
#include <limits>
#include <optional>
#include <string>

#include "base/time.hpp"
#include "run/id.hpp"

namespace runctl::run {

struct Facts {
  Id id;
  Id trace;
  std::optional<Id> parent;
  std::string name;  // decoded, as are run_type and status; empty where absent
  std::string run_type;
  std::string status;
  std::int64_t start = base::k_no_time;  // microseconds since 1970
  std::int64_t end = base::k_no_time;
  bool error = false;
};

// Microseconds from start to end, below 0 where clocks disagreed; absent where either time is.
inline std::optional<std::int64_t> latency(std::int64_t start, std::int64_t end) {
  if (start == base::k_no_time || end == base::k_no_time) return std::nullopt;
  // Foreign times may lie further apart than the number reaches.
  std::int64_t difference = 0;
  if (__builtin_sub_overflow(end, start, &difference)) {
    return end > start ? std::numeric_limits<std::int64_t>::max() : std::numeric_limits<std::int64_t>::min();
  }
  return difference;
}

}  // namespace runctl::run
