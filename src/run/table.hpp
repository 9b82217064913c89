// What is known of the runs of one batch, column by column: what its footer says and the index repeats.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "run/id.hpp"
#include "run/record.hpp"

namespace runctl::run {

// Distinct texts in order of first use, numbered from 1; 0 is the empty text.
class TextTable {
 public:
  // The number of `text`, which is added where it is new. `guess` is the number that it probably has.
  std::uint32_t number_of(std::string_view text, std::uint32_t guess = 0);
  // The same of a text that is not empty in two steps, between which the memory that is looked at comes near.
  [[nodiscard]] std::uint32_t prepare(std::string_view text) const;
  std::uint32_t number_of_prepared(std::string_view text, std::uint32_t hash);

  // Valid until a text is added.
  [[nodiscard]] std::string_view text(std::uint32_t number) const {
    if (number == 0) return {};
    const std::size_t begin = number == 1 ? 0 : ends_[number - 2];
    return std::string_view(bytes_).substr(begin, ends_[number - 1] - begin);
  }
  [[nodiscard]] std::size_t size() const { return ends_.size(); }
  // The sum of the texts' sizes.
  [[nodiscard]] std::size_t bytes() const { return bytes_.size(); }

 private:
  struct Slot {
    std::uint32_t hash = 0;
    std::uint32_t number = 0;  // 0 where the slot is free
  };
  // Where a text of this hash is, or belongs.
  Slot& slot_of(std::string_view text, std::uint32_t hash);
  void grow();

  std::string bytes_;              // the texts, one behind the other
  std::vector<std::size_t> ends_;  // of each in bytes_
  std::vector<Slot> slots_;        // open addressing; at most half are used
};

// What a table keeps of one run is bounded: texts are cut behind this many bytes, and further tags are left
// out. The run itself is always whole.
inline constexpr std::size_t k_max_text = 64U << 10;
inline constexpr std::uint32_t k_max_tags = 256;

// Where a top-level field of a run that is split over several frames lies.
struct FieldSpan {
  std::uint32_t run = 0;     // position in the table
  std::uint32_t name = 0;    // in texts
  std::uint32_t offset = 0;  // of the value, in bytes from the run's first
  std::uint32_t length = 0;
};

// One frame of the batch. The frames, in order and decompressed, are the batch's NDJSON: the runs in order,
// each with a newline behind it.
struct Frame {
  std::uint64_t offset = 0;      // of the frame in the object
  std::uint32_t stored = 0;      // its size there
  std::uint64_t raw_offset = 0;  // of its content in the NDJSON
  std::uint32_t raw = 0;         // its content's size
};

// All vectors but `tags`, `metadata`, `fields` and `frames` have one entry a run.
struct Table {
  std::vector<Id> ids;
  std::vector<std::uint64_t> fingerprints;
  std::vector<std::uint32_t> lengths;  // bytes, without the newline
  std::vector<Id> traces;
  std::vector<Id> parents;           // the run's own id where it names none
  std::vector<std::uint32_t> names;  // numbers in texts, as are run_types and statuses
  std::vector<std::uint32_t> run_types;
  std::vector<std::uint32_t> statuses;
  std::vector<std::int64_t> starts;  // microseconds since 1970, or base::k_no_time
  std::vector<std::int64_t> ends;
  std::vector<std::uint8_t> errors;          // 1 where the run has an error
  std::vector<std::uint32_t> tag_ends;       // run i has the tags tags[tag_ends[i-1]] up to tags[tag_ends[i]]
  std::vector<std::uint32_t> tags;           // numbers in texts
  std::vector<std::uint32_t> metadata_ends;  // as tag_ends
  std::vector<std::uint32_t> metadata;       // numbers in texts, each of a "KEY=VALUE"
  std::vector<FieldSpan> fields;             // ascending by run
  std::vector<Frame> frames;
  TextTable texts;

  [[nodiscard]] std::size_t size() const { return ids.size(); }
  void append(const Record& record, const Arena& arena);

 private:
  // None of the entries is empty.
  void append_metadata(std::span<const std::string_view> entries);
};

}  // namespace runctl::run
