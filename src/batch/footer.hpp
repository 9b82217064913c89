// What stands behind the frames of a batch about its runs: pure functions between bytes and their meaning.
#pragma once

#include <string>
#include <string_view>

#include "batch/seek_table.hpp"
#include "run/table.hpp"

namespace runctl::batch {

// The footer, as a skippable frame, for the runs and frames of `table`.
std::string encode_footer(const run::Table& table);

// Reads a footer, which must agree with the layout. Throws Error(corrupt).
run::Table decode_footer(std::string_view footer, const Layout& layout);

}  // namespace runctl::batch
