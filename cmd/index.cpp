// runctl index: the local index against the store.
#include "index/index.hpp"

#include <fmt/format.h>

#include <nlohmann/json.hpp>

#include "base/error.hpp"
#include "base/time.hpp"
#include "command.hpp"
#include "flow/rebuild.hpp"
#include "output.hpp"
#include "progress.hpp"
#include "session.hpp"

namespace runctl::cmd {

namespace {

void print_line(const std::string& line) {
  DataOutput out("");
  out.write(line + "\n");
  out.finish();
}

int status(const GlobalFlags& globals) {
  Session session(globals);
  std::optional<index::Index> index = session.index_for_reading();
  const index::Status status = index ? index->status() : index::Status{};
  const std::string newest =
      status.newest_modified_ns == 0 ? "" : base::iso_text(status.newest_modified_ns / 1000);
  if (session.settings().json) {
    const nlohmann::ordered_json json = {
        {"store", session.store().url()},
        {"index", session.index_path()},
        {"exists", index.has_value()},
        {"runs", status.runs},
        {"batches", status.batches},
        {"bytes_stored", status.stored_bytes},
        {"newest_batch", newest.empty() ? nlohmann::ordered_json() : nlohmann::ordered_json(newest)}};
    print_line(json.dump());
    return 0;
  }
  print_line("store         " + session.store().url());
  print_line("index         " + session.index_path() + (index ? "" : "  (not there yet)"));
  print_line("runs          " + human_count(static_cast<std::uint64_t>(status.runs)));
  print_line(fmt::format("batches       {}  ({})", human_count(static_cast<std::uint64_t>(status.batches)),
                         human_bytes(static_cast<std::uint64_t>(status.stored_bytes))));
  if (!newest.empty()) print_line("newest batch  " + newest);
  return 0;
}

index::Index open_or_replace(const Session& session) {
  try {
    return session.index_for_writing();
  } catch (const base::Error& error) {
    if (error.kind() != base::ErrorKind::corrupt) throw;
    note(std::string(error.what()) + "; it is made anew");
    index::Index::remove(session.index_path());
    return session.index_for_writing();
  }
}

int rebuild(const GlobalFlags& globals) {
  Session session(globals);
  index::Index index = open_or_replace(session);
  ProgressLine progress(session.settings().progress, session.settings().quiet);
  const flow::RebuildReport report =
      flow::rebuild(session.store(), index, [&progress](std::uint64_t done, std::uint64_t all) {
        progress.update(done, all, fmt::format("{} of {} batches", human_count(done), human_count(all)));
      });
  progress.clear();
  for (const std::string& broken : report.broken) note(broken);
  if (session.settings().json) {
    const nlohmann::ordered_json json = {
        {"batches", report.batches}, {"runs", report.runs}, {"broken", report.broken}};
    print_line(json.dump());
  } else if (!session.settings().quiet) {
    note(fmt::format("the index holds {} of {}", counted(report.runs, "run", "runs"),
                     counted(report.batches, "batch", "batches")));
  }
  session.report_traffic();
  return report.broken.empty() ? 0 : base::exit_status(base::ErrorKind::corrupt);
}

}  // namespace

void add_index(Program& program) {
  CLI::App* const command =
      program.app.add_subcommand("index", "The local index: its state, and making it anew");
  command->require_subcommand(1);
  command->add_subcommand("status", "Tell what the index knows, and of which store")->callback([&program] {
    program.run = [&program] { return status(program.globals); };
  });
  command
      ->add_subcommand("rebuild", "Make the index anew from the store, from the footers of its batches alone")
      ->callback([&program] { program.run = [&program] { return rebuild(program.globals); }; });
}

}  // namespace runctl::cmd
