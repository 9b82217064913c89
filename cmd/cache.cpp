// runctl cache: what was read from the store once and is kept on the local disk.
#include <fmt/format.h>

#include <iostream>

#include <nlohmann/json.hpp>

#include "base/error.hpp"
#include "base/time.hpp"
#include "cache/upkeep.hpp"
#include "command.hpp"
#include "filters.hpp"
#include "flow/warm.hpp"
#include "ids.hpp"
#include "json_text.hpp"
#include "output.hpp"
#include "quantity.hpp"
#include "session.hpp"
#include "sync.hpp"

namespace runctl::cmd {

namespace {

using Json = nlohmann::ordered_json;

// For cron: what is left to do then, the next call does.
constexpr std::chrono::seconds k_clean_time{60};
// Ids are looked up, and their runs' frames fetched, so many at a time.
constexpr std::size_t k_ids_together = 1024;

struct CleanOptions {
  std::optional<std::string> max_size;
  std::optional<std::string> older_than;
  bool dry_run = false;
};

struct WarmOptions {
  std::vector<std::string> ids;
  std::string trace;
  Filters filters;
  bool no_sync = false;
};

// For the commands that need no store.
Settings cache_settings(const GlobalFlags& globals) {
  Settings settings = resolve(globals);
  apply_color(settings);
  if (settings.cache.directory.value.empty())
    throw base::Error(base::ErrorKind::usage,
                      "neither XDG_CACHE_HOME nor HOME is set: name the cache with --cache-dir");
  return settings;
}

void print_line(const std::string& line) {
  DataOutput out("");
  out.write(line + "\n");
  out.finish();
}

// What was done: to standard output as JSON, or to standard error for a person.
void report(const Settings& settings, const Json& json, const std::string& line) {
  if (settings.json)
    print_line(json_text(json));
  else if (!settings.quiet && !line.empty())
    note(line);
}

Json time_or_null(std::int64_t nanoseconds) {
  return nanoseconds == 0 ? Json() : Json(base::iso_text(nanoseconds / 1000));
}

std::string entries_text(std::uint64_t count) { return counted(count, "entry", "entries"); }

int path(const GlobalFlags& globals) {
  const Settings settings = cache_settings(globals);
  print_line(settings.json ? json_text({{"path", settings.cache.directory.value}})
                           : settings.cache.directory.value);
  return 0;
}

int stats(const GlobalFlags& globals) {
  const Settings settings = cache_settings(globals);
  const CacheSettings& cache = settings.cache;
  const cache::Stats stats = cache::stats(cache.directory.value);
  const std::uint64_t asked = stats.hits + stats.misses;
  const double rate = asked == 0 ? 0 : static_cast<double>(stats.hits) / static_cast<double>(asked);
  if (settings.json) {
    const Json json = {{"path", cache.directory.value},
                       {"entries", stats.entries},
                       {"bytes", stats.bytes},
                       {"limit", cache.bytes},
                       {"max_age", cache.max_age ? Json(*cache.max_age / 1'000'000) : Json()},
                       {"hits", stats.hits},
                       {"misses", stats.misses},
                       {"hit_rate", asked == 0 ? Json() : Json(rate)},
                       {"counted_since", time_or_null(stats.counted_since_ns)},
                       {"oldest", time_or_null(stats.oldest_use_ns)}};
    print_line(json_text(json));
    return 0;
  }
  print_line("cache     " + cache.directory.value);
  print_line("entries   " + human_count(stats.entries));
  print_line(fmt::format("bytes     {} of {}", human_bytes(stats.bytes), human_bytes(cache.bytes)));
  print_line("hits      " + human_count(stats.hits));
  print_line("misses    " + human_count(stats.misses));
  print_line("hit rate  " + (asked == 0 ? std::string("nothing was counted yet")
                                        : fmt::format("{:.1f} %  (since {})", rate * 100,
                                                      base::iso_text(stats.counted_since_ns / 1000))));
  print_line("oldest    " + (stats.oldest_use_ns == 0
                                 ? std::string("nothing is kept yet")
                                 : fmt::format("{}  ({})", base::iso_text(stats.oldest_use_ns / 1000),
                                               age_text(stats.oldest_use_ns / 1000, now_microseconds()))));
  return 0;
}

int clean(const GlobalFlags& globals, const CleanOptions& options) {
  Settings settings = cache_settings(globals);
  if (options.max_size) settings.cache.bytes = size_of({*options.max_size, "--max-size"});
  if (options.older_than) settings.cache.max_age = age_of({*options.older_than, "--older-than"});
  const auto dry_run = options.dry_run ? cache::DryRun::yes : cache::DryRun::no;
  const cache::CleanReport done =
      cache::clean(settings.cache.directory.value, limits_of(settings.cache), dry_run, k_clean_time);
  const Json json = {{"dry_run", options.dry_run}, {"removed", done.removed}, {"freed", done.freed},
                     {"entries", done.entries},    {"bytes", done.bytes},     {"finished", done.finished}};
  // With nothing done a cron job has nothing to say.
  const std::string line =
      done.removed == 0 && !options.dry_run
          ? ""
          : fmt::format("{} {}, {} freed; {}, {} left{}", entries_text(done.removed),
                        options.dry_run ? "would be removed" : "removed", human_bytes(done.freed),
                        entries_text(done.entries), human_bytes(done.bytes),
                        done.finished ? "" : "; the time was up, the next clean goes on");
  report(settings, json, line);
  return 0;
}

int clear(const GlobalFlags& globals) {
  const Settings settings = cache_settings(globals);
  const cache::ClearReport done = cache::clear(settings.cache.directory.value);
  report(settings, {{"removed", done.removed}, {"freed", done.freed}},
         fmt::format("{} removed, {} freed", entries_text(done.removed), human_bytes(done.freed)));
  return 0;
}

int verify(const GlobalFlags& globals) {
  const Settings settings = cache_settings(globals);
  const cache::VerifyReport done =
      cache::verify(settings.cache.directory.value, [](const std::string& why) { note(why); });
  report(settings, {{"checked", done.checked}, {"bad", done.bad}},
         fmt::format("{} checked, {} bad", entries_text(done.checked), human_count(done.bad)));
  return done.bad == 0 ? 0 : base::exit_status(base::ErrorKind::corrupt);
}

class WarmCommand {
 public:
  WarmCommand(const GlobalFlags& globals, const WarmOptions& options)
      : options_(options), session_(globals) {}

  int run() {
    if (session_.cache() == nullptr)
      throw base::Error(base::ErrorKind::usage, session_.store().url() + ": the cache is off: " + why_off());
    index_ = session_.index_for_reading();
    if (!index_) sync();
    if (!options_.trace.empty()) warm_trace();
    if (is_filtered(options_.filters)) warm_found();
    std::vector<std::string> ids;
    const auto add = [&](std::string id) {
      ids.push_back(std::move(id));
      if (ids.size() < k_ids_together) return;
      warm_ids(ids);
      ids.clear();
    };
    for (const std::string& id : options_.ids) {
      if (id == "-")
        for_each_id(std::cin, add);
      else
        add(id);
    }
    warm_ids(ids);
    return finish();
  }

 private:
  // Before an id is said to be missing, the index is made to agree with the store, once.
  void sync() {
    if (options_.no_sync || synced_) return;
    index::Index index = session_.index_for_writing();
    sync_index(session_, index, {});
    synced_ = true;
    if (!index_) index_ = session_.index_for_reading();
  }

  [[nodiscard]] std::string why_off() const {
    const CacheSettings& cache = session_.settings().cache;
    if (cache.refused) return "--no-cache says so";
    if (cache.bytes == 0) return "its size is set to 0";
    return "a directory has one where --cache-dir names it";
  }

  void not_found(const std::string& id) {
    note(id_line(id) + ": not found");
    ++not_found_;
  }

  std::vector<index::Location> find(const std::string& id) {
    return index_ ? index_->find(run::id_of_text(id)) : std::vector<index::Location>{};
  }

  void warm_ids(const std::vector<std::string>& ids) {
    std::vector<index::Location> locations;
    for (const std::string& id : ids) {
      std::vector<index::Location> versions = find(id);
      if (versions.empty()) {
        sync();
        versions = find(id);
      }
      if (versions.empty())
        not_found(id);
      else
        locations.push_back(versions.front());
    }
    warm(locations);
  }

  void warm_trace() {
    const run::Id trace = run::id_of_text(options_.trace);
    auto locations = index_ ? index_->find_trace(trace) : std::vector<index::Location>{};
    if (locations.empty()) {
      sync();
      if (index_) locations = index_->find_trace(trace);
    }
    if (locations.empty()) not_found(options_.trace);
    warm(locations);
  }

  // All runs that the filters of a search find in the index.
  void warm_found() {
    if (!index_) return;
    std::vector<index::Location> locations;
    index_->search(query_of(options_.filters, now_microseconds()),
                   [&](const index::Hit& hit) { locations.push_back(hit.location); });
    warm(locations);
  }

  void warm(const std::vector<index::Location>& locations) {
    if (locations.empty()) return;
    const flow::WarmReport report = flow::warm(session_.frames(), *session_.cache(), *index_, locations,
                                               [](const std::string& why) { note(why); });
    total_.runs += report.runs;
    total_.fetched += report.fetched;
    total_.there += report.there;
    total_.broken += report.broken;
  }

  int finish() {
    report(session_.settings(),
           {{"runs", total_.runs},
            {"fetched", total_.fetched},
            {"there", total_.there},
            {"broken", total_.broken},
            {"not_found", not_found_}},
           fmt::format("{}: {} fetched, {} were there", counted(total_.runs, "run", "runs"),
                       counted(total_.fetched, "frame", "frames"), human_count(total_.there)));
    session_.report_traffic();
    if (const std::string& fault = session_.cache()->fault(); !fault.empty())
      throw base::Error(base::ErrorKind::io, fault);
    if (total_.broken > 0) return base::exit_status(base::ErrorKind::corrupt);
    return not_found_ == 0 ? 0 : base::exit_status(base::ErrorKind::not_found);
  }

  const WarmOptions& options_;
  Session session_;
  std::optional<index::Index> index_;
  flow::WarmReport total_;
  std::uint64_t not_found_ = 0;
  bool synced_ = false;
};

void add_clean(Program& program, CLI::App& cache) {
  auto options = std::make_shared<CleanOptions>();
  CLI::App* const command = cache.add_subcommand(
      "clean", "Bring the cache within its limits, the least recently used entries first");
  command->add_option("--max-size", options->max_size, "What it may take on disk, instead of --cache-size")
      ->type_name("SIZE");
  command
      ->add_option("--older-than", options->older_than,
                   "Remove what was not used for so long (7d, 12h), instead of --cache-max-age")
      ->type_name("AGE");
  command->add_flag("--dry-run", options->dry_run, "Tell what would be removed, remove nothing");
  command->callback([&program, options] {
    program.run = [&program, options] { return clean(program.globals, *options); };
  });
}

void add_warm(Program& program, CLI::App& cache) {
  auto options = std::make_shared<WarmOptions>();
  CLI::App* const command = cache.add_subcommand("warm", "Fetch runs into the cache, print nothing of them");
  command->add_option("ID", options->ids, "Ids of runs; - reads them from standard input, one a line")
      ->type_name("")
      ->take_all();
  command->add_option("--trace", options->trace, "Fetch all runs of this trace")->type_name("ID");
  add_filters(*command, options->filters);
  command->add_flag("--no-sync", options->no_sync,
                    "Do not look into the store for ids that the index does not know");
  command->callback([&program, options] {
    program.run = [&program, options] {
      if (options->ids.empty() && options->trace.empty() && !is_filtered(options->filters)) {
        throw base::Error(
            base::ErrorKind::usage,
            "cache warm: name at least one ID, or - to read them, --trace ID, or a filter of search");
      }
      return WarmCommand(program.globals, *options).run();
    };
  });
}

}  // namespace

void add_cache(Program& program, CLI::App& command) {
  command.require_subcommand(1);
  const auto add = [&](const char* name, const char* what, int (*run)(const GlobalFlags&)) {
    command.add_subcommand(name, what)->callback([&program, run] {
      program.run = [&program, run] { return run(program.globals); };
    });
  };
  add("stats", "Tell what the cache holds, and how often it helped", stats);
  add_clean(program, command);
  add("clear", "Remove everything from the cache", clear);
  add("verify", "Check every entry, and remove the bad ones", verify);
  add_warm(program, command);
  add("path", "Print the cache's directory", path);
}

}  // namespace runctl::cmd
