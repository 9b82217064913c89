// Turns text into runs and line errors: NDJSON, arrays, concatenated and pretty-printed objects, told apart
// by what is there. Works block by block, so memory does not grow with the input.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "base/text.hpp"
#include "run/json.hpp"
#include "run/record.hpp"

namespace runctl::run {

// Where in the grammar of an input a block starts. Blocks of NDJSON all start in the default state but for
// the first, so they can be read in any order.
struct ReadState {
  enum class Place {
    input_start,    // nothing has been read yet: a byte order mark may stand here
    between,        // outside of an array
    array_begin,    // behind '[': a value or ']'
    array_comma,    // behind ',': a value
    array_value,    // behind a value: ',' or ']'
    skipping_line,  // inside a record that is too long: up to the end of its line
    lost,           // nothing more of this input can be told apart
  };
  Place place = Place::between;
  std::uint64_t column = 0;     // bytes since the last newline, at the block's start
  std::uint64_t nul_bytes = 0;  // zero bytes passed over directly before this place

  friend bool operator==(const ReadState&, const ReadState&) = default;
};

// A record that is not a run.
struct Reject {
  std::uint64_t line = 0;    // newlines between the block's start and the fault
  std::uint64_t column = 0;  // in bytes, from 1; 0 where the fault is the whole record's
  std::string reason;
  // What was rejected, exactly as it was read; with the blanks before it on its line, where they are in the
  // same block.
  std::string_view bytes;
  std::size_t position = 0;   // how many records of the block come before it
  bool continuation = false;  // more bytes of the reject before: counts and says nothing by itself
};

// A piece of an input and what was found in it.
struct Block {
  base::Text text;
  Arena arena;
  std::vector<Record> records;
  std::vector<Reject> rejects;
  std::uint64_t lines = 0;  // newlines in the part that this reading consumed
  std::size_t consumed =
      0;              // bytes of `text`; the rest must be read again, with more text behind it unless full
  bool full = false;  // reading stopped at the limit of what a block may hold: read on from here
  ReadState end;      // the state behind the consumed part
};

class BlockReader {
 public:
  // Runs of more than `max_run_bytes` are rejected. A block is full with `max_found` records and rejects:
  // what is kept of a record of two bytes is far larger than it.
  BlockReader(RecordOptions options, std::size_t max_run_bytes, std::size_t max_found = std::string::npos)
      : records_(options), max_run_bytes_(max_run_bytes), max_found_(max_found) {}

  // Reads block.text behind what is consumed of it, where `state` is, and fills the rest of `block` anew.
  // With `last`, no text follows, and all of it is consumed unless the block is full.
  void read(Block& block, const ReadState& state, bool last);

 private:
  class Walk;
  JsonScanner scanner_{RecordReader::k_opened};
  RecordReader records_;
  std::size_t max_run_bytes_;
  std::size_t max_found_;
};

}  // namespace runctl::run
