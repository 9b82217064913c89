// runctl get: print runs by id, in the order asked for.
#include <fmt/format.h>

#include <algorithm>
#include <iostream>
#include <set>

#include <nlohmann/json.hpp>

#include "base/error.hpp"
#include "base/time.hpp"
#include "command.hpp"
#include "flow/fetch.hpp"
#include "ids.hpp"
#include "json_text.hpp"
#include "output.hpp"
#include "run/json.hpp"
#include "session.hpp"
#include "sync.hpp"
#include "terminal.hpp"
#include "tree.hpp"

namespace runctl::cmd {

namespace {

// Ids from standard input are looked up so many at a time: runs near each other share requests.
constexpr std::size_t k_ids_together = 1024;

struct Options {
  std::vector<std::string> ids;
  std::vector<std::string> fields;
  std::string trace;
  std::string output;
  bool pretty = false;
  bool all_versions = false;
  bool no_sync = false;
  std::string format = "json";  // or "tree"
  bool all_runs = false;
};

class GetCommand {
 public:
  GetCommand(const GlobalFlags& globals, const Options& options)
      : options_(options), session_(globals), out_(options.output) {}
  ~GetCommand() {
    // A run has one answer, or one for each field: its value, or word that there is none.
    session_.metrics().add(Count::runs_returned,
                           drawn_ + answers_ / std::max<std::size_t>(1, options_.fields.size()));
    session_.metrics().add(Count::output_bytes, out_.written());
  }
  GetCommand(const GetCommand&) = delete;
  GetCommand& operator=(const GetCommand&) = delete;

  int run() {
    index_ = session_.index_for_reading();
    if (!index_) {
      if (options_.no_sync) {
        throw base::Error(base::ErrorKind::not_found,
                          session_.index_path() + ": there is no index of " + session_.store().url() +
                              " yet; 'runctl index sync' makes it from the store");
      }
      sync({});
    }
    flow::Fetcher fetcher(session_.frames(), *index_, {options_.fields, options_.all_versions}, events());
    if (!options_.trace.empty()) {
      if (is_unknown_trace(options_.trace)) sync({});
      const Metrics::Phase phase(session_.metrics(), "fetch");
      if (options_.format == "tree")
        draw(options_.trace);
      else
        fetcher.get_trace(options_.trace);
    }
    std::vector<std::string> ids;
    for (const std::string& id : options_.ids) {
      if (id == "-")
        read_ids(fetcher, ids);
      else
        ids.push_back(id);
    }
    get(fetcher, ids);
    out_.finish();
    report_traffic();
    if (sync_status_ != 0) return sync_status_;
    if (!all_whole_ || (broken_store_ && !all_found_)) return base::exit_status(base::ErrorKind::corrupt);
    return all_found_ ? 0 : base::exit_status(base::ErrorKind::not_found);
  }

 private:
  // Before an id is said to be missing, the index is made to agree with the store: first the day that a
  // time-ordered id tells, then, once, all of it.
  void get(flow::Fetcher& fetcher, const std::vector<std::string>& ids) {
    std::vector<flow::Fetcher::Wanted> wanted = locate(fetcher, ids);
    std::vector<std::string> unknown = unknown_of(wanted);
    std::set<std::string> days;
    for (const std::string& id : unknown) {
      const auto milliseconds = run::uuid_v7_milliseconds(run::id_of_text(id));
      if (milliseconds) days.insert(base::day_text(*milliseconds * 1000));
    }
    bool knows_more = false;
    if (days.size() == 1) {
      flow::SyncScope scope;
      scope.only = *days.begin();
      knows_more = sync(scope);
      if (knows_more) unknown = unknown_of(locate(fetcher, unknown));
    }
    if (!unknown.empty() && sync({})) knows_more = true;
    if (knows_more) wanted = locate(fetcher, ids);
    const Metrics::Phase phase(session_.metrics(), "fetch");
    fetcher.get(wanted);
  }

  bool is_unknown_trace(const std::string& trace) {
    const Metrics::Phase phase(session_.metrics(), "lookup");
    return index_->find_trace(run::id_of_text(trace)).empty();
  }

  std::vector<flow::Fetcher::Wanted> locate(flow::Fetcher& fetcher, const std::vector<std::string>& ids) {
    const Metrics::Phase phase(session_.metrics(), "lookup");
    return fetcher.locate(ids);
  }

  static std::vector<std::string> unknown_of(const std::vector<flow::Fetcher::Wanted>& wanted) {
    std::vector<std::string> unknown;
    for (const flow::Fetcher::Wanted& run : wanted) {
      if (run.versions.empty()) unknown.push_back(*run.id);
    }
    return unknown;
  }

  // True where the index may know more than before.
  bool sync(const flow::SyncScope& scope) {
    if (options_.no_sync || synced_) return false;
    index::Index index = session_.index_for_writing();
    try {
      const flow::SyncReport report = sync_index(session_, index, scope);
      broken_store_ = broken_store_ || !report.broken.empty();
      synced_ = !scope.only;
    } catch (const base::Error& error) {
      // What the index knows is printed all the same; of the rest it cannot be said that it is not there.
      synced_ = true;
      if (error.kind() != base::ErrorKind::not_found) {  // a store that is not there has no runs
        note(error.what());
        sync_status_ = base::exit_status(error.kind());
      }
    }
    if (!index_) index_ = session_.index_for_reading();
    return true;
  }

  // What the index knows is enough: no run is read.
  void draw(const std::string& trace) {
    index::Query query;
    query.trace = run::id_of_text(trace);
    query.limit = 0;
    std::vector<run::Facts> runs;
    index_->search(query, [&runs](const index::Hit& hit) { runs.push_back(hit.facts); });
    if (runs.empty()) {
      events().not_found(trace);
      return;
    }
    drawn_ = runs.size();
    Screen screen = screen_of_stdout(session_.settings().color);
    if (out_.is_elsewhere()) {
      screen.terminal = false;
      screen.color = session_.settings().color == When::always;
    }
    out_.write(draw_trace(runs, trace, options_.all_runs ? Collapse::no : Collapse::yes, screen));
  }

  // On standard error: standard output holds the runs and nothing else.
  void report_traffic() const {
    if (!session_.settings().json) {
      session_.report_traffic();
      return;
    }
    const store::Traffic traffic = session_.store().traffic();
    const cache::FrameCache* const cache = session_.cache();
    const nlohmann::ordered_json json = {{"requests", traffic.requests},
                                         {"bytes_read", traffic.bytes_read},
                                         {"retries", traffic.retries},
                                         {"cache_hits", cache == nullptr ? 0 : cache->hits()},
                                         {"cache_misses", cache == nullptr ? 0 : cache->misses()}};
    print_error_line(json_text(json));
  }

  flow::FetchEvents events() {
    flow::FetchEvents events;
    events.bytes = [this](std::string_view bytes, bool last) {
      print(bytes, last);
      answers_ += last ? 1 : 0;
    };
    events.not_found = [this](std::string_view id) {
      // Where the store could not be asked, nobody can say so.
      if (sync_status_ == 0) note(fmt::format("{}: not found", id_line(id)));
      all_found_ = false;
    };
    const auto of_run = [](std::optional<std::string_view> id, const std::string& what) {
      note(id ? fmt::format("{}: {}", id_line(*id), what) : what);
    };
    events.field_not_found = [this, of_run](std::optional<std::string_view> id, std::string_view field) {
      of_run(id, fmt::format("the run has no field \"{}\"", field));
      all_found_ = false;
      ++answers_;
    };
    events.broken = [this, of_run](std::optional<std::string_view> id, const std::string& why) {
      of_run(id, why);
      all_whole_ = false;
    };
    return events;
  }

  void print(std::string_view bytes, bool last) {
    if (!options_.pretty) {
      out_.write(bytes);
      if (last) out_.write("\n");
      return;
    }
    whole_ += bytes;
    if (!last) return;
    out_.write(run::indent(whole_) + "\n");
    whole_.clear();
  }

  void read_ids(flow::Fetcher& fetcher, std::vector<std::string>& ids) {
    for_each_id(std::cin, [&](std::string id) {
      ids.push_back(std::move(id));
      if (ids.size() < k_ids_together) return;
      get(fetcher, ids);
      ids.clear();
    });
  }

  const Options& options_;
  Session session_;
  std::optional<index::Index> index_;
  DataOutput out_;
  std::string whole_;  // the value that is to be indented
  std::size_t answers_ = 0;
  std::size_t drawn_ = 0;      // runs, in a tree
  bool synced_ = false;        // with the whole store, or in vain
  int sync_status_ = 0;        // of a sync that failed
  bool broken_store_ = false;  // a batch could not be read: what is not found may be in it
  bool all_found_ = true;
  bool all_whole_ = true;
};

void check_format(const Options& options) {
  const auto fail = [](const std::string& why) { throw base::Error(base::ErrorKind::usage, "get: " + why); };
  if (options.format == "json") {
    if (options.all_runs) fail("--all-runs is for --format tree");
    return;
  }
  if (options.format != "tree") fail("--format \"" + options.format + "\": it is json or tree");
  if (options.trace.empty()) fail("--format tree draws a trace; name it with --trace ID");
  if (!options.ids.empty())
    fail("--format tree draws one trace, and no other runs; leave out \"" + options.ids.front() + "\"");
  if (!options.fields.empty() || options.pretty)
    fail("--format tree prints no JSON; leave out --field and --pretty");
}

}  // namespace

void add_get(Program& program, CLI::App& command) {
  auto options = std::make_shared<Options>();
  command.add_option("ID", options->ids, "Ids of runs; - reads them from standard input, one a line")
      ->type_name("")
      ->take_all();
  command
      .add_option("--field", options->fields,
                  "Print only the value of this top-level field, as stored; repeatable")
      ->type_name("NAME")
      ->allow_extra_args(false)
      ->take_all();
  command.add_option("--trace", options->trace, "Print all runs of this trace, by start time")
      ->type_name("ID");
  command
      .add_option("--format", options->format,
                  "json, or tree: with --trace, a drawing of its runs for a person")
      ->type_name("FORMAT");
  command.add_flag("--all-runs", options->all_runs,
                   "In a tree, give runs that are alike a line each, however many they are");
  command.add_flag("--all-versions", options->all_versions,
                   "Print every stored version of a run, the latest first");
  command.add_flag("--no-sync", options->no_sync,
                   "Do not look into the store for ids that the index does not know");
  command.add_flag("--pretty", options->pretty, "Indent the JSON; strings and numbers stay as stored");
  command.add_option("--output", options->output, "Write here instead of to standard output")
      ->type_name("FILE");
  command.callback([&program, options] {
    program.run = [&program, options] {
      check_format(*options);
      if (options->ids.empty() && options->trace.empty()) {
        throw base::Error(base::ErrorKind::usage,
                          "get: name at least one ID, or - to read them, or --trace ID");
      }
      return GetCommand(program.globals, *options).run();
    };
  });
}

}  // namespace runctl::cmd
