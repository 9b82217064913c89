// What the index knows of one run.
#pragma once

#include <cstdint>
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

}  // namespace runctl::run
