// The run reader: the same text gives the same runs and rejects wherever it is cut into blocks, every record
// is valid JSON to another parser too, and every byte that is not blank is accounted for.
#include <simdjson.h>

#include <memory>
#include <vector>

#include "fuzz/target.hpp"
#include "run/reader.hpp"

namespace {

using namespace runctl;
using fuzz::Input;
using fuzz::require;

// One record or reject, as a reading tells it.
struct Found {
  bool accepted = false;
  std::string bytes;
  std::string reason;
  run::Id id;
  std::uint64_t fingerprint = 0;

  friend bool operator==(const Found&, const Found&) = default;
};

struct Reading {
  std::vector<Found> found;
  std::uint64_t lines = 0;
  std::size_t records = 0;
  std::size_t rejects = 0;
};

void collect(const run::Block& block, Reading& reading) {
  std::size_t next = 0;
  const auto add_records = [&](std::size_t end) {
    for (; next < end; ++next) {
      const run::Record& record = block.records[next];
      reading.found.push_back({true, std::string(record.json), {}, record.id, record.fingerprint});
    }
  };
  for (const run::Reject& reject : block.rejects) {
    require(reject.position <= block.records.size(), "a reject lies among the records");
    require(reject.line <= block.lines, "a reject lies on a line of the block");
    add_records(reject.position);
    if (reject.continuation && !reading.found.empty()) {
      reading.found.back().bytes += reject.bytes;
      continue;
    }
    // The blanks before a record on its line belong to what is rejected only where one block has both.
    const std::string_view bytes = reject.bytes;
    const std::size_t begin = std::min(bytes.find_first_not_of(" \t\r\n"), bytes.size());
    reading.found.push_back({false, std::string(bytes.substr(begin)), reject.reason, {}, 0});
  }
  add_records(block.records.size());
  reading.records += block.records.size();
  reading.rejects += block.rejects.size();
}

// Gives the text in pieces: as many bytes at a time as `next_piece` says.
template <typename NextPiece>
Reading read(std::string_view text, std::size_t max_run, std::size_t max_found, NextPiece next_piece) {
  run::BlockReader reader({}, max_run, max_found);
  run::ReadState state;
  state.place = run::ReadState::Place::input_start;
  Reading reading;
  std::string rest;
  std::size_t given = 0;
  for (bool last = false; !last;) {
    const std::size_t piece = std::min(std::max<std::size_t>(next_piece(), 1), text.size() - given);
    // A block is read where it lies: what a record borrows from must outlive the reading.
    run::Block block;
    block.text = base::Text(rest + std::string(text.substr(given, piece)));
    given += piece;
    last = given == text.size();
    do {
      const std::size_t before = block.consumed;
      reader.read(block, state, last);
      require(block.consumed >= before && block.consumed <= block.text.size(), "reading goes forward");
      require(!last || block.full || block.consumed == block.text.size(), "the last block is read whole");
      // One step finds at most a few: a reject and what goes on with it.
      const std::size_t found = block.records.size() + block.rejects.size();
      require(found <= 4 || found - 4 <= max_found, "a block holds what it may");
      require(!block.full || block.consumed > before || block.end != state || !block.rejects.empty(),
              "a full block has something in it");
      collect(block, reading);
      reading.lines += block.lines;
      state = block.end;
    } while (block.full);
    rest = block.text.view().substr(block.consumed);
  }
  return reading;
}

// Strict UTF-8 JSON, to a depth that simdjson is built for.
void check_with_other_parser(const Reading& reading) {
  static simdjson::dom::parser parser;
  static const bool k_deep = parser.allocate(1U << 20, run::k_max_depth + 10) == simdjson::SUCCESS;
  require(k_deep, "the other parser reads as deep as ours");
  for (const Found& each : reading.found) {
    if (!each.accepted) continue;
    require(each.bytes.find('\n') == std::string::npos, "a record is one line");
    simdjson::dom::element element;
    const simdjson::error_code error = parser.parse(each.bytes).get(element);
    // Numbers beyond 64 bits and lone surrogate escapes are valid (RFC 8259) and kept, which simdjson does
    // not do.
    if (error == simdjson::NUMBER_ERROR || error == simdjson::STRING_ERROR) continue;
    require(error == simdjson::SUCCESS, "another parser accepts the record");
    require(element.is_object(), "a record is an object");
  }
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  Input input(fuzz::bytes_of(data, size));
  const std::size_t max_run = input.below(4) == 0 ? 64 : 1U << 20;
  const std::size_t max_found = input.below(4) == 0 ? 1 + input.below(8) : std::string::npos;
  const std::size_t seed = input.below(256);
  const std::string_view text = input.rest();

  const Reading whole = read(text, max_run, std::string::npos, [&] { return text.size(); });
  check_with_other_parser(whole);

  std::uint32_t random = static_cast<std::uint32_t>(seed) * 2654435761U + 1;
  const auto pieces = [&]() -> std::size_t {
    random = random * 1664525U + 1013904223U;
    return (random >> 16) % (seed % 2 == 0 ? 7 : 97);
  };
  const Reading cut = read(text, max_run, max_found, pieces);
  require(whole.found == cut.found, "the same text gives the same records wherever it is cut");
  require(whole.lines == cut.lines, "the same text has the same lines wherever it is cut");
  return 0;
}
