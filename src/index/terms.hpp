// What can be searched for without looking at rows: each is a key of the term postings, in which the runs
// that have it stand in the order of their start times.
#pragma once

#include <cstdint>
#include <string_view>

#include "run/id.hpp"

namespace runctl::index {

// Stored in keys: never change one.
enum class TermKind : char {
  all = '*',    // every run
  trace = 't',  // the 16 bytes of a trace id; not of runs whose trace is their own id
  name = 'n',   // the text, as are the next three
  run_type = 'y',
  tag = 'g',
  metadata = 'm',  // "KEY=VALUE"
  error = 'e',     // every run with an error
};

// XXH3-64 of the kind and the text.
std::uint64_t term_key(TermKind kind, std::string_view text);

// The key of a run's id among the id postings. Time-ordered ids keep their order, so that segments of
// different times do not overlap; the rest is a hash, since ids of one millisecond, or of a program that
// counts them up, have equal halves.
std::uint64_t id_key(const run::Id& id);

// The order of a start time, in microseconds since 1970; runs without one come first, with the order 0.
std::uint64_t order_of(std::int64_t start);

inline std::string_view bytes_of(const run::Id& id) {
  return {reinterpret_cast<const char*>(id.bytes.data()), id.bytes.size()};
}

}  // namespace runctl::index
