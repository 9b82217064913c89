// What the runs of one table can be found by, sorted as segments hold it. It follows from the table alone, so
// that it can be worked out before an index is at hand, while that records other batches.
#pragma once

#include <cstdint>
#include <vector>

#include "index/postings.hpp"
#include "run/table.hpp"

namespace runctl::index {

// Runs are named by their positions in the table.
struct TableKeys {
  // The runs that a key stands for: positions[begin] up to positions[end].
  struct Term {
    std::uint64_t key = 0;
    std::uint32_t begin = 0;
    std::uint32_t end = 0;
  };

  std::vector<Posting> ids;  // ascending; `row` is the run
  std::vector<Term> terms;   // by key, which no two share
  // Those of a term in the order of start times, then of the table. What lies between two terms is unused.
  std::vector<std::uint32_t> positions;
};

TableKeys keys_of(const run::Table& table);

// The keys of ids, ascending; the row of each is the id's place in `ids`.
std::vector<Posting> postings_of(const std::vector<run::Id>& ids);

}  // namespace runctl::index
