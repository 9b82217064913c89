// The drawing of a trace: the tree of its runs, and their durations as bars on one time axis.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "run/facts.hpp"
#include "terminal.hpp"
#include "trace_tree.hpp"

namespace runctl::cmd {

// Lines, each with its newline and none wider than the screen. `trace` is its id as the user wrote it.
//
// First what is to know of the whole: the id; start (the user's zone), duration, runs, errors; then, where
// there are any, how many runs have a missing parent, are their own ancestor, or share a line. Then the lines
// of `arrange`: the tree with the name, the mark of an error, the type (from 80 columns on), the latency, the
// bar (from 40 columns on). A bar takes at least one cell; of a run without an end it is one. Below a depth
// that depends on the width, a line says its depth as a number instead of moving further to the right.
std::string draw_trace(const std::vector<run::Facts>& runs, std::string_view trace, Collapse collapse,
                       const Screen& screen);

}  // namespace runctl::cmd
