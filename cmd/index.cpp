// runctl index: the local index against the store.
#include "index/index.hpp"

#include <fmt/format.h>

#include <charconv>

#include <nlohmann/json.hpp>

#include "base/error.hpp"
#include "base/time.hpp"
#include "command.hpp"
#include "json_text.hpp"
#include "output.hpp"
#include "progress.hpp"
#include "session.hpp"
#include "sync.hpp"

namespace runctl::cmd {

namespace {

using Json = nlohmann::ordered_json;

void print_line(const std::string& line) {
  DataOutput out("");
  out.write(line + "\n");
  out.finish();
}

// When the index last agreed with the whole store, in microseconds since 1970; 0 where it never did.
std::int64_t synced_at(index::Index& index) {
  const std::string text = index.setting(k_synced).value_or("0");
  std::int64_t time = 0;
  std::from_chars(text.data(), text.data() + text.size(), time);
  return time;
}

int status(const GlobalFlags& globals) {
  Session session(globals);
  std::optional<index::Index> index = session.index_for_reading();
  const index::Status status = index ? index->status() : index::Status{};
  const std::int64_t synced = index ? synced_at(*index) : 0;
  const std::string newest =
      status.newest_modified_ns == 0 ? "" : base::iso_text(status.newest_modified_ns / 1000);
  if (session.settings().json) {
    const Json json = {{"store", session.store().url()},
                       {"index", session.index_path()},
                       {"exists", index.has_value()},
                       {"runs", status.runs},
                       {"batches", status.batches},
                       {"bytes_stored", status.stored_bytes},
                       {"newest_batch", newest.empty() ? Json() : Json(newest)},
                       {"synced", synced != 0 ? Json(base::iso_text(synced)) : Json()}};
    print_line(json_text(json));
    return 0;
  }
  print_line("store         " + session.store().url());
  print_line("index         " + session.index_path() + (index ? "" : "  (not there yet)"));
  print_line("runs          " + human_count(static_cast<std::uint64_t>(status.runs)));
  print_line(fmt::format("batches       {}  ({})", human_count(static_cast<std::uint64_t>(status.batches)),
                         human_bytes(static_cast<std::uint64_t>(status.stored_bytes))));
  if (!newest.empty()) print_line("newest batch  " + newest);
  print_line("synced        " + (synced == 0 ? std::string("never: it knows what was ingested here")
                                             : fmt::format("{}  ({})", base::iso_text(synced),
                                                           age_text(synced, now_microseconds()))));
  return 0;
}

// How a sync or rebuild ended, on standard output or standard error, and as an exit status.
int report_end(const Session& session, const flow::SyncReport& report, const std::string& line) {
  if (session.settings().json) {
    const Json json = {{"batches", report.batches}, {"runs", report.runs}, {"broken", report.broken}};
    print_line(json_text(json));
  } else if (!session.settings().quiet) {
    note(line);
  }
  session.report_traffic();
  return report.broken.empty() ? 0 : base::exit_status(base::ErrorKind::corrupt);
}

// "2024-05-05", or "7d" and "12h" before now, as a UTC day.
std::string day_of(const std::string& since) {
  std::int64_t count = 0;
  const auto [end, failure] = std::from_chars(since.data(), since.data() + since.size(), count);
  const std::string unit(end, since.data() + since.size());
  if (failure == std::errc() && count >= 0 && count < 100'000 && (unit == "d" || unit == "h")) {
    const std::int64_t hours = unit == "d" ? count * 24 : count;
    return base::day_text(now_microseconds() - hours * 3'600'000'000);
  }
  const auto time = base::parse_iso_time(since);
  if (!time) {
    throw base::Error(base::ErrorKind::usage,
                      fmt::format("--since: \"{}\" is no day; give one as 2024-05-05, or 7d or 12h", since));
  }
  return base::day_text(*time);
}

int sync(const GlobalFlags& globals, const std::string& since) {
  Session session(globals);
  flow::SyncScope scope;
  if (!since.empty()) scope.since = day_of(since);
  index::Index index = session.index_for_writing();
  const flow::SyncReport report = sync_index(session, index, scope);
  return report_end(session, report,
                    fmt::format("{} of {} were new", counted(report.runs, "run", "runs"),
                                counted(report.batches, "batch", "batches")));
}

index::Index replace(const Session& session, const base::Error& why) {
  note(std::string(why.what()) + "; it is made anew now");
  index::Index::remove(session.index_path());
  return session.index_for_writing();
}

index::Index open_or_replace(const Session& session) {
  try {
    return session.index_for_writing();
  } catch (const base::Error& error) {
    if (error.kind() != base::ErrorKind::corrupt) throw;
    return replace(session, error);
  }
}

flow::SyncReport rebuild(const Session& session, index::Index& index) {
  const Metrics::Phase phase(session.metrics(), "rebuild");
  ProgressLine progress(session.settings().progress, session.settings().quiet);
  return flow::rebuild(session.store(), index, [&progress](std::uint64_t done, std::uint64_t all) {
    progress.update(done, all, fmt::format("{} of {} batches", human_count(done), human_count(all)));
  });
}

int rebuild(const GlobalFlags& globals) {
  Session session(globals);
  const std::int64_t started = now_microseconds();
  flow::SyncReport report;
  std::optional<index::Index> index = open_or_replace(session);
  try {
    report = rebuild(session, *index);
  } catch (const base::Error& error) {
    // Broken batches are reported, not thrown: it is the index that is broken, further in than opening it
    // shows.
    if (error.kind() != base::ErrorKind::corrupt) throw;
    index.reset();
    index = replace(session, error);
    report = rebuild(session, *index);
  }
  for (const std::string& broken : report.broken) note(broken);
  index->set_setting(k_first_sync, "done");
  if (report.broken.empty()) index->set_setting(k_synced, std::to_string(started));
  return report_end(session, report,
                    fmt::format("the index holds {} of {}", counted(report.runs, "run", "runs"),
                                counted(report.batches, "batch", "batches")));
}

}  // namespace

void add_index(Program& program, CLI::App& command) {
  auto since = std::make_shared<std::string>();
  command.require_subcommand(1);
  command.add_subcommand("status", "Tell what the index knows, of which store, and how old that is")
      ->callback([&program] { program.run = [&program] { return status(program.globals); }; });
  CLI::App* const sync_command = command.add_subcommand("sync", "Add the batches that others have stored");
  sync_command
      ->add_option("--since", *since,
                   "Look only at the days since then (2024-05-05, 7d, 12h), and at mixed ones")
      ->type_name("DAY");
  sync_command->callback(
      [&program, since] { program.run = [&program, since] { return sync(program.globals, *since); }; });
  command
      .add_subcommand("rebuild", "Make the index anew from the store, from the footers of its batches alone")
      ->callback([&program] { program.run = [&program] { return rebuild(program.globals); }; });
}

}  // namespace runctl::cmd
