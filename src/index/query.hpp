// What can be asked of the index, and what it answers.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "run/facts.hpp"

namespace runctl::index {

// Where the bytes of one run lie.
struct Location {
  std::int64_t run = 0;           // its row
  std::int64_t batch = 0;         // the batch's row
  std::uint64_t raw_offset = 0;   // in the batch's NDJSON
  std::uint32_t length = 0;       // without the newline
  std::uint64_t fingerprint = 0;  // XXH3-64 of the run's bytes
};

// A place in the answer of a query, behind one run: what is asked for after it stays right while others
// record runs, since these do not change the order of those that are there.
struct Cursor {
  std::int64_t generation = 0;  // of the index: a rebuild numbers its rows anew
  bool newest_first = true;
  std::uint64_t start_order = 0;
  std::uint32_t row = 0;

  // 44 characters of [0-9a-f], or an empty optional where `text` is none.
  [[nodiscard]] std::string text() const;
  static std::optional<Cursor> parse(std::string_view text);
};

// All that is set must hold.
struct Query {
  enum class Order { newest, oldest };  // by start time; runs without one count as oldest of all

  std::optional<run::Id> trace;
  std::optional<std::string> name;
  std::optional<std::string> name_contains;
  std::optional<std::string> name_prefix;
  std::optional<std::string> run_type;
  std::vector<std::string> tags;
  std::vector<std::string> metadata;  // "KEY=VALUE"
  std::optional<bool> error;
  std::optional<std::int64_t> since;        // start >= since, in microseconds since 1970
  std::optional<std::int64_t> until;        // start < until
  std::optional<std::int64_t> min_latency;  // microseconds; runs without an end have none
  std::optional<std::int64_t> max_latency;
  Order order = Order::newest;
  std::size_t limit = 50;  // 0: all
  std::optional<Cursor> after;
};

struct Hit {
  Location location;
  run::Facts facts;
  Cursor cursor;
};

}  // namespace runctl::index
