// What a search is asked: cursors, times, durations and ids, as people and scripts write them.
#include "base/error.hpp"
#include "base/hash.hpp"
#include "base/time.hpp"
#include "filters.hpp"
#include "fuzz/target.hpp"
#include "ids.hpp"
#include "index/query.hpp"
#include "quantity.hpp"
#include "run/json.hpp"
#include "terminal.hpp"

namespace {

using namespace runctl;
using fuzz::Input;
using fuzz::require;

void check_cursor(const index::Cursor& cursor) {
  const auto again = index::Cursor::parse(cursor.text());
  require(again && again->generation == cursor.generation && again->newest_first == cursor.newest_first &&
              again->start_order == cursor.start_order && again->row == cursor.row,
          "a cursor is read as it was written");
}

void read_cursor(Input input) {
  if (const auto cursor = index::Cursor::parse(input.rest())) check_cursor(*cursor);
  index::Cursor cursor;
  cursor.generation = input.number<std::int64_t>();
  cursor.newest_first = input.below(2) != 0;
  cursor.start_order = input.number<std::uint64_t>();
  cursor.row = input.number<std::uint32_t>();
  check_cursor(cursor);
}

// Times come from runs, footers and index files too, and all of them are shown.
void show_time(std::int64_t time) {
  require(!base::iso_text(time).empty() && !base::day_text(time).empty(), "a time can be shown");
  for (const cmd::TimeForm form : {cmd::TimeForm::seconds, cmd::TimeForm::minutes, cmd::TimeForm::brief})
    fuzz::require_printable(cmd::local_time_text(time, form, 1'700'000'000'000'000));
  fuzz::require_printable(cmd::duration_text(time));
}

void read_time(std::string_view text) {
  for (const auto& each : {base::parse_iso_time(text), base::parse_epoch_number(text)}) {
    if (each) show_time(*each);
  }
  // Leap seconds, zones and 24:00 lead beyond the years of four digits.
  constexpr std::int64_t k_first = -62'167'219'200'000'000;
  constexpr std::int64_t k_end = 253'402'300'800'000'000;
  const auto time = base::parse_iso_time(text);
  if (time && *time >= k_first && *time < k_end)
    require(base::parse_iso_time(base::iso_text(*time)) == time, "a time is read as it is shown");
  if (const auto duration = cmd::duration_of(std::string(text)))
    require(*duration >= 0, "a duration is not negative");
}

void read_filters(Input input) {
  cmd::Filters filters;
  for (std::optional<std::string>* const text :
       {&filters.since, &filters.until, &filters.min_latency, &filters.max_latency, &filters.trace_id,
        &filters.name, &filters.run_type})
    *text = std::string(input.until('\x1E'));
  filters.tags.emplace_back(input.until('\x1E'));
  filters.metadata.emplace_back(input.rest());
  const index::Query query = cmd::query_of(filters, 1'700'000'000'000'000);
  require(!query.min_latency || *query.min_latency >= 0, "a latency is not negative");
}

// Ids, one a line, are read as they are printed.
void read_id(std::string_view text) {
  std::string id = cmd::id_of_line(text);
  run::id_of_text(id);
  const std::string line = cmd::id_line(text);
  for (const char c : line)
    require(static_cast<unsigned char>(c) >= 0x20 && c != 0x7F, "an id is one plain line");
  const std::string quoted = run::quote(text);
  // Ids come from JSON strings; no other text is one.
  if (run::unescape(std::string_view(quoted).substr(1, quoted.size() - 2)) == text)
    require(cmd::id_of_line(line) == text, "an id is read as it is printed");
}

void show_text(std::string_view text) {
  cmd::Screen screen;
  fuzz::require_printable(cmd::show(text, 1 + text.size() % 40, screen).text);
  fuzz::require_printable(base::printable(text, 64));
  run::JsonScanner scanner;
  const std::string quoted = run::quote(text);
  const run::Scan scan = scanner.scan(quoted);
  require(scan.verdict == run::Verdict::valid && scan.end == quoted.size(), "quoted text is JSON");
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  Input input(fuzz::bytes_of(data, size));
  try {
    switch (input.below(7)) {
      case 0:
        read_cursor(input);
        break;
      case 1:
        read_time(input.rest());
        break;
      case 2:
        show_time(input.number<std::int64_t>());
        break;
      case 3:
        read_filters(input);
        break;
      case 4:
        read_id(input.rest());
        break;
      case 5:
        cmd::size_of({std::string(input.rest()), "--size"});
        break;
      default:
        show_text(input.rest());
    }
  } catch (const base::Error& error) {
    require(error.kind() == base::ErrorKind::usage, "a fault of the question is told as one");
  }
  return 0;
}
