// The runs of one trace as a tree of parent and child, line by line: what is drawn where, not how.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

#include "run/facts.hpp"

namespace runctl::cmd {

// Why a run stands at the top.
enum class Root {
  no_parent,
  parent_missing,  // it names a parent that is not among the runs
  cycle,           // it is its own ancestor: the chain is cut open at its earliest run
};

struct TreeLine {
  std::size_t run = 0;  // position among the runs; of a line that stands for several siblings, their first
  std::size_t siblings = 1;  // how many it stands for: more than 1 in a collapsed line
  std::size_t runs = 1;      // the same with all runs below the collapsed siblings
  std::size_t names = 1;     // different names among the siblings
  std::size_t depth = 0;     // of a root, 0
  bool last = false;         // of its siblings' lines
  Root root = Root::no_parent;
  std::int64_t start = base::k_no_time;  // the earliest start and latest end of its runs
  std::int64_t end = base::k_no_time;
};

struct TraceTree {
  std::vector<TreeLine>
      lines;  // a parent before its children, siblings by start time, those without one last
  std::size_t errors = 0;
  std::size_t parents_missing = 0;       // runs of this kind of root
  std::size_t cycles = 0;                // likewise
  std::size_t collapsed = 0;             // runs that have no line of their own
  std::int64_t start = base::k_no_time;  // the earliest start
  std::int64_t end = base::k_no_time;    // the latest end or start
};

enum class Collapse { yes, no };

// Every run has one line, whatever its parents say: of runs with the same id, the earliest is the parent of
// those that name it. With Collapse::yes, siblings with no error in or below them share a line
// - where more than 10 in a row have the same name and type, and no children;
// - where they would take more than 200 lines in a row: all that follow the first 20 lines.
// Takes O(n log n) time, and memory O(n) at any depth.
TraceTree arrange(const std::vector<run::Facts>& runs, Collapse collapse);

}  // namespace runctl::cmd
