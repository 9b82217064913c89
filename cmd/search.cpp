// runctl search: find runs in the index.
#include <fmt/format.h>

#include <algorithm>

#include <nlohmann/json.hpp>

#include "base/bytes.hpp"
#include "base/error.hpp"
#include "command.hpp"
#include "filters.hpp"
#include "flow/fetch.hpp"
#include "output.hpp"
#include "run/json.hpp"
#include "session.hpp"
#include "sync.hpp"
#include "table.hpp"
#include "terminal.hpp"

namespace runctl::cmd {

namespace {

// Runs are printed, and fetched, so many at a time.
constexpr std::size_t k_page = 1000;
// More than an index holds. Without a limit, the parser would take -1 for the greatest number.
constexpr std::size_t k_most_runs = 0xFFFFFFFF;

struct Options {
  Filters filters;
  std::size_t limit = 50;
  std::string order = "newest";
  std::string after;
  std::string format;
  bool count = false;
  bool full = false;
  bool no_sync = false;
};

// In seconds.
std::string latency_text(const run::Facts& facts, const char* none) {
  const auto latency = run::latency(facts.start, facts.end);
  if (!latency) return none;
  const std::uint64_t size =
      *latency < 0 ? 0 - static_cast<std::uint64_t>(*latency) : static_cast<std::uint64_t>(*latency);
  return fmt::format("{}{}.{:06}", *latency < 0 ? "-" : "", size / 1'000'000, size % 1'000'000);
}

// One run as a line of JSON. What a run has not is null.
std::string json_line(const index::Hit& hit) {
  const run::Facts& facts = hit.facts;
  const auto text = [](const std::string& value) { return value.empty() ? "null" : run::quote(value); };
  const auto time = [](std::int64_t value) {
    return value == base::k_no_time ? "null" : '"' + base::iso_text(value) + '"';
  };
  return fmt::format(
      R"({{"id":"{}","trace_id":"{}","parent_run_id":{},"name":{},"run_type":{},"status":{},"start_time":{},)"
      R"("end_time":{},"latency":{},"error":{},"cursor":"{}"}})"
      "\n",
      run::uuid_text(facts.id), run::uuid_text(facts.trace),
      facts.parent ? '"' + run::uuid_text(*facts.parent) + '"' : "null", text(facts.name),
      text(facts.run_type), text(facts.status), time(facts.start), time(facts.end),
      latency_text(facts, "null"), facts.error, hit.cursor.text());
}

// A line as a terminal may have it: foreign text must not steer it, whatever the format would have.
std::string harmless(std::string_view line) {
  line.remove_suffix(1);
  return base::printable(line, line.size()) + "\n";
}

// RFC 4180, with the line ends of this system.
std::string csv_field(std::string_view text) {
  if (text.find_first_of(",\"\r\n") == std::string_view::npos) return std::string(text);
  std::string quoted = "\"";
  for (const char c : text) quoted.append(c == '"' ? 2 : 1, c);
  return quoted + '"';
}

constexpr const char* k_csv_header =
    "id,trace_id,parent_run_id,name,run_type,status,start_time,end_time,latency,error,cursor\n";

std::string csv_line(const index::Hit& hit) {
  const run::Facts& facts = hit.facts;
  const auto time = [](std::int64_t value) { return value == base::k_no_time ? "" : base::iso_text(value); };
  return fmt::format("{},{},{},{},{},{},{},{},{},{},{}\n", run::uuid_text(facts.id),
                     run::uuid_text(facts.trace), facts.parent ? run::uuid_text(*facts.parent) : "",
                     csv_field(facts.name), csv_field(facts.run_type), csv_field(facts.status),
                     time(facts.start), time(facts.end), latency_text(facts, ""),
                     facts.error ? "true" : "false", hit.cursor.text());
}

class SearchCommand {
 public:
  SearchCommand(const GlobalFlags& globals, const Options& options)
      : options_(options),
        query_(query_of(options.filters, now_microseconds())),
        session_(globals),
        out_(""),
        screen_(screen_of_stdout(session_.settings().color)),
        table_(screen_, now_microseconds()) {
    query_.order = options.order == "oldest" ? index::Query::Order::oldest : index::Query::Order::newest;
    if (!options.after.empty()) {
      query_.after = index::Cursor::parse(options.after);
      if (!query_.after) {
        throw base::Error(base::ErrorKind::usage,
                          "--after: is no cursor; give one that a search has printed, whole");
      }
    }
    format_ = options.format;
    if (format_.empty()) format_ = screen_.terminal && !session_.settings().json ? "table" : "ndjson";
  }

  ~SearchCommand() {
    session_.metrics().add(Count::runs_returned, returned_);
    session_.metrics().add(Count::output_bytes, out_.written());
  }
  SearchCommand(const SearchCommand&) = delete;
  SearchCommand& operator=(const SearchCommand&) = delete;

  int run() {
    index_ = session_.index_for_reading();
    // Where an earlier command could not ask the store, there is an index that knows nothing.
    if (!index_ || (first_sync_is_due(*index_) && !options_.no_sync && index_->status().batches == 0))
      make_index();
    search();
    out_.finish();
    if (options_.full) session_.report_traffic();
    return all_whole_ ? 0 : base::exit_status(base::ErrorKind::corrupt);
  }

 private:
  // The first search of a store that others have filled.
  void make_index() {
    if (options_.no_sync) {
      throw base::Error(base::ErrorKind::not_found, session_.index_path() + ": there is no index of " +
                                                        session_.store().url() +
                                                        " yet; 'runctl index sync' makes it from the store");
    }
    index::Index index = session_.index_for_writing();
    if (!sync_index(session_, index, {}).broken.empty()) all_whole_ = false;
    index_ = session_.index_for_reading();
  }

  void search() {
    const Metrics::Phase phase(session_.metrics(), "search");
    if (options_.count)
      print_count();
    else
      print_runs();
  }

  void print_count() {
    const std::int64_t count = index_->count(query_);
    out_.write(session_.settings().json ? fmt::format("{{\"count\":{}}}\n", count)
                                        : fmt::format("{}\n", count));
  }

  void print_runs() {
    // One more than is asked for tells whether that is all.
    query_.limit = options_.limit == 0 ? 0 : options_.limit + 1;
    if (format_ == "csv") out_.write(k_csv_header);
    std::size_t found = 0;
    bool more = false;
    index::Cursor last;
    index_->search(query_, [&](const index::Hit& hit) {
      if (found == options_.limit && options_.limit != 0) {
        more = true;
        return;
      }
      ++found;
      last = hit.cursor;
      page_.push_back(hit);
      if (page_.size() == k_page) print_page();
    });
    print_page();
    if (found == 0 && format_ == "table" && !session_.settings().quiet) note("no run matches");
    if (!more || format_ != "table" || session_.settings().quiet) return;
    out_.finish();
    note("there are more; for the next ones: --after " + last.text());
  }

  void print_page() {
    if (options_.full) {
      std::vector<index::Location> locations;
      for (const index::Hit& hit : page_) locations.push_back(hit.location);
      fetcher().get_located(locations);
    } else if (format_ == "table") {
      std::vector<run::Facts> facts;
      for (const index::Hit& hit : page_) facts.push_back(hit.facts);
      if (!facts.empty()) out_.write(table_.page(facts));
      returned_ += facts.size();
    } else {
      for (const index::Hit& hit : page_) {
        const std::string line = format_ == "ids"   ? run::uuid_text(hit.facts.id) + "\n"
                                 : format_ == "csv" ? csv_line(hit)
                                                    : json_line(hit);
        out_.write(screen_.terminal ? harmless(line) : line);
        ++returned_;
      }
    }
    page_.clear();
  }

  flow::Fetcher& fetcher() {
    if (!fetcher_) {
      flow::FetchEvents events;
      events.bytes = [this](std::string_view bytes, bool last) {
        out_.write(bytes);
        if (!last) return;
        out_.write("\n");
        ++returned_;
      };
      events.broken = [this](std::optional<std::string_view>, const std::string& why) {
        note(why);
        all_whole_ = false;
      };
      // Fetching reads the index too, in the middle of the search.
      fetch_index_ = session_.index_for_reading();
      fetcher_.emplace(session_.frames(), *fetch_index_, flow::FetchOptions{}, std::move(events));
    }
    return *fetcher_;
  }

  const Options& options_;
  index::Query query_;
  Session session_;
  std::optional<index::Index> index_;
  std::optional<index::Index> fetch_index_;
  std::optional<flow::Fetcher> fetcher_;
  DataOutput out_;
  Screen screen_;
  SearchTable table_;
  std::string format_;
  std::vector<index::Hit> page_;
  std::size_t returned_ = 0;
  bool all_whole_ = true;
};

}  // namespace

void add_search(Program& program, CLI::App& command) {
  const auto options = std::make_shared<Options>();
  add_filters(command, options->filters);
  command.add_option("--limit", options->limit, "Print at most so many runs (50; 0: all)")
      ->check(unnamed(CLI::Range(std::size_t{0}, k_most_runs)))
      ->type_name("N");
  command.add_option("--order", options->order, "newest (the default) or oldest first, by start time")
      ->check(unnamed(CLI::IsMember({"newest", "oldest"})))
      ->type_name("ORDER");
  command.add_option("--after", options->after, "Go on behind the run that has this cursor")
      ->type_name("CURSOR");
  command.add_flag("--count", options->count, "Print the number of runs alone");
  command
      .add_option("--format", options->format,
                  "table, ndjson, csv or ids (a table on a terminal, else ndjson)")
      ->check(unnamed(CLI::IsMember({"table", "ndjson", "csv", "ids"})))
      ->type_name("FORMAT");
  command.add_flag("--full", options->full, "Print the runs themselves, as they were stored");
  command.add_flag("--no-sync", options->no_sync, "Do not make the index from the store where there is none");
  command.callback([&program, options] {
    program.run = [&program, options] {
      if (options->full && (options->count || !options->format.empty())) {
        throw base::Error(base::ErrorKind::usage,
                          "--full prints whole runs: it goes without --count and --format");
      }
      return SearchCommand(program.globals, *options).run();
    };
  });
}

}  // namespace runctl::cmd
