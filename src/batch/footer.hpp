// What stands behind the frames of a batch about its runs: pure functions between bytes and their meaning.
#pragma once

#include <cstddef>
#include <string>
#include <string_view>

#include "batch/seek_table.hpp"
#include "run/table.hpp"

namespace runctl::batch {

// The columns of a footer that tell of runs: all that can be encoded while the frames are still in work.
struct RunColumns {
  std::string bytes;
  std::size_t count = 0;        // of columns
  std::size_t foreign_ids = 0;  // that runs refer to and that are not in the batch
};
RunColumns encode_runs(const run::Table& table);

// The footer, as a skippable frame, for the frames of `table` and its runs, whose columns are given.
std::string encode_footer(const run::Table& table, RunColumns runs);
inline std::string encode_footer(const run::Table& table) { return encode_footer(table, encode_runs(table)); }

// Reads a footer, which must agree with the layout. Throws Error(corrupt).
run::Table decode_footer(std::string_view footer, const Layout& layout);

}  // namespace runctl::batch
