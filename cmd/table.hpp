// The table of `search`: one line a run, under a header.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "run/facts.hpp"
#include "terminal.hpp"

namespace runctl::cmd {

// Columns, left to right: START (the user's zone), LATENCY, the mark of an error, TYPE, ID, NAME. The name
// comes last: it is the one text of any length, and where a terminal draws it wider or narrower than expected
// nothing behind it moves.
//
// On a terminal every line fits the screen's width. As it gets narrower, these go, in this order: the type,
// the seconds, the year, the second blank between columns, the latency, the start; the name is cut as far as
// is needed. The id is never cut, since one copies it: where even that does not fit, lines are the id alone.
// Elsewhere (a pipe, a file) nothing is left out or cut.
class SearchTable {
 public:
  // `now`, in microseconds since 1970, tells which year need not be said.
  SearchTable(const Screen& screen, std::int64_t now) : screen_(screen), now_(now) {}

  // These runs as lines, each with its newline; the first time, the header line before them. The first page
  // that has runs decides the widths, and later ones keep them.
  std::string page(const std::vector<run::Facts>& runs);

 private:
  // How a line is put together; widths in columns, 0 for a column that is left out.
  struct Layout {
    TimeForm form = TimeForm::seconds;
    std::size_t start = 0;
    std::size_t latency = 0;
    std::size_t mark = 1;
    std::size_t type = 0;
    std::size_t gap = 2;
    std::size_t name = k_unlimited;  // at most
  };

  [[nodiscard]] Layout layout_for(const std::vector<run::Facts>& runs) const;
  [[nodiscard]] std::string header() const;
  void append_line(std::string& out, const run::Facts& run) const;

  Screen screen_;
  std::int64_t now_;
  bool begun_ = false;
  Layout layout_;
};

}  // namespace runctl::cmd
