// A run as it is read: its bytes, and what the house needs to know of them.
#pragma once

#include <array>
#include <cstdint>
#include <deque>
#include <initializer_list>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "base/time.hpp"
#include "run/id.hpp"
#include "run/json.hpp"

namespace runctl::run {

// Views point into the text that was read or into the Arena that was given; they live as long as both.
struct Record {
  std::string_view json;     // the run's bytes as they are stored: one JSON object, no newline in it
  std::string_view id_text;  // the id as a person wrote it
  Id id;
  Id trace_id;                    // the id where the run names none
  Id parent_id;                   // the id where the run names none
  std::uint64_t fingerprint = 0;  // XXH3-64 of `json`
  std::string_view name;          // decoded; empty where absent
  std::string_view run_type;
  std::string_view status;
  std::int64_t start_time = base::k_no_time;  // microseconds since 1970
  std::int64_t end_time = base::k_no_time;
  bool has_error = false;
  std::uint32_t tags_begin = 0;  // positions in Arena::tags
  std::uint32_t tags_end = 0;
  std::uint32_t metadata_begin = 0;  // positions in Arena::metadata
  std::uint32_t metadata_end = 0;
};

// Short texts end to end in blocks: what was added stays where it is.
class TextBlocks {
 public:
  // The parts, joined.
  std::string_view add(std::initializer_list<std::string_view> parts);

 private:
  std::vector<std::unique_ptr<char[]>> blocks_;
  std::size_t used_ = 0;  // bytes of the last block,
  std::size_t size_ = 0;  // which has so many
};

// Owns what records cannot borrow from the text they were read from.
struct Arena {
  std::deque<std::string> texts;
  TextBlocks short_texts;
  std::vector<std::string_view> tags;
  std::vector<std::string_view> metadata;  // "KEY=VALUE", see k_max_metadata_text
};

// What a record without an id gets.
enum class IdPolicy {
  derived,  // an id made from the content: the same line sent twice is one run
  fresh,    // a new UUIDv7
};

// What of a run's metadata can be searched: scalar entries, as "KEY=VALUE" with the keys of nested objects
// joined by dots and strings decoded. Longer entries and those nested deeper are left out, as is null.
inline constexpr std::size_t k_max_metadata_text = 256;  // bytes
inline constexpr std::size_t k_max_metadata_depth = 8;
inline constexpr std::size_t k_max_metadata_entries = 256;
inline constexpr std::size_t k_default_metadata_entries = 32;

struct RecordOptions {
  IdPolicy id_policy = IdPolicy::derived;
  std::size_t metadata_entries = k_default_metadata_entries;  // of one run at most, the first ones
};

// Reads the known fields of one run (runctl(1), RUNS) from a valid JSON object.
class RecordReader {
 public:
  explicit RecordReader(RecordOptions options) : options_(options) {}

  // Members of a run into which its reader looks: see JsonScanner.
  static constexpr std::array<std::string_view, 2> k_opened = {"metadata", "extra"};

  // `json` is a valid object of one line, `members` what a JsonScanner of k_opened found in it. Returns an
  // empty text and fills `record`, or returns why the object is not a run.
  std::string read(std::string_view json, std::span<const Member> members, Arena& arena, Record& record);

 private:
  void read_metadata(std::span<const Member> members, std::size_t object, Arena& arena, const Record& record);

  RecordOptions options_;
  std::string entry_;  // "KEY.KEY.", up to the object that is being read, or a whole entry
  std::array<std::size_t, k_max_metadata_depth + 1>
      prefixes_{};  // of it, of each depth the length of "KEY.KEY."
};

}  // namespace runctl::run
