// A page that shows results of benchmarks beside each other.
#pragma once

#include <string>
#include <vector>

#include "flow/bench_result.hpp"

namespace runctl::cmd {

struct LabelledResult {
  std::string label;
  flow::BenchResult result;
};

// One HTML document with its drawings (SVG) in it: it needs neither network nor scripts, follows the reader's
// choice of light or dark, and fits screens from that of a telephone upwards.
std::string bench_html(const std::vector<LabelledResult>& results);

}  // namespace runctl::cmd
