// runctl ingest: read runs, pack them into batches, store them, record them in the index.
#include "flow/ingest.hpp"

#include <fmt/format.h>
#include <malloc.h>

#include <chrono>
#include <stop_token>
#include <thread>
#include <utility>

#include "base/error.hpp"
#include "batch/frame.hpp"
#include "command.hpp"
#include "flow/delivery.hpp"
#include "follow_state.hpp"
#include "ids.hpp"
#include "ingest_report.hpp"
#include "interrupt.hpp"
#include "output.hpp"
#include "progress.hpp"
#include "quantity.hpp"
#include "session.hpp"
#include "sync.hpp"

namespace runctl::cmd {

namespace {

struct Options {
  std::vector<std::string> files;
  std::string rejects;
  std::string on_error = "continue";
  std::optional<std::int64_t> expect_count;
  bool print_ids = false;
  bool new_ids = false;
  bool no_sync = false;
  bool follow = false;
  bool drain = false;
  std::string spool_max = "1GiB";
  std::string flush_interval = "5s";
  flow::IngestOptions flow;
};

// "5s", "500ms", or "0".
std::chrono::milliseconds interval_of(const std::string& text) {
  const std::optional<std::int64_t> duration = text == "0" ? 0 : duration_of(text);
  constexpr std::int64_t k_day = std::int64_t{86'400} * 1'000'000;
  if (!duration || *duration < 0 || *duration > k_day || (*duration > 0 && *duration < 1000)) {
    throw base::Error(base::ErrorKind::usage,
                      fmt::format("--flush-interval: \"{}\" is no time; give one of 1ms to 1d, or 0", text));
  }
  return std::chrono::milliseconds(*duration / 1000);
}

void check_usage(const Options& options, bool json) {
  const auto refuse = [](const char* why) { throw base::Error(base::ErrorKind::usage, why); };
  if (options.print_ids && json)
    refuse("--print-ids and --json both write to standard output: give one of them");
  if (options.drain && !options.files.empty()) refuse("--drain reads nothing: give no FILE with it");
  if (options.drain && options.flow.dry_run) refuse("--drain and --dry-run: give one of them");
  if (!options.follow) return;
  if (options.drain) refuse("--follow and --drain: give one of them");
  if (options.files.size() != 1 || options.files.front() == "-")
    refuse("--follow: name one FILE; what comes through a pipe is read as it comes");
  if (options.flow.dry_run) refuse("--follow and --dry-run: give one of them");
  // What is read again after a crash must be known again.
  if (options.new_ids) refuse("--follow and --new-ids: a run that is read twice would be stored twice");
}

class IngestCommand {
 public:
  IngestCommand(const GlobalFlags& globals, const Options& options)
      : options_(options),
        session_(globals),
        progress_(session_.settings().progress, session_.settings().quiet) {
    const std::uint64_t spool_max = size_of({options.spool_max, "--spool-max"});
    if (spool_max > 0 && has_state_directory()) spool_.emplace(session_.spool(spool_max));
    if (options.follow) follow_state_.emplace(session_.store().url(), options.files.front());
  }

  ~IngestCommand() {
    if (!options_.flow.dry_run) session_.metrics().add(report_);
  }
  IngestCommand(const IngestCommand&) = delete;
  IngestCommand& operator=(const IngestCommand&) = delete;

  // Delivers what waits in the spool, and nothing else.
  int drain() {
    const Metrics::Phase phase(session_.metrics(), "deliver");
    const auto started = std::chrono::steady_clock::now();
    index::Index index = session_.index_for_writing();
    session_.prepare_to_store(index);
    flow::Delivery delivery(session_.store(), index, base::system_clock());
    flow::IngestReport& report = report_;
    std::optional<base::ErrorKind> broken;
    const bool done = delivery.drain(
        session_.spool(0),
        [&report](const flow::SpooledBatch& batch, std::size_t added) {
          report.delivered += added;
          ++report.delivered_batches;
          report.bytes_stored += batch.size;
        },
        [&broken](const flow::SpooledBatch& /*batch*/, const base::Error& why) {
          note(why.what());
          if (!broken || why.kind() == base::ErrorKind::corrupt) broken = why.kind();
        },
        {});
    const std::chrono::duration<double> seconds = std::chrono::steady_clock::now() - started;
    if (session_.settings().json)
      print_json_summary(report, seconds.count());
    else if (!broken || report.delivered_batches > 0)
      tell_delivered(session_.settings(), report);
    if (!done) {
      throw base::Error(base::ErrorKind::io,
                        session_.spool(0).directory() + ": another process is delivering it");
    }
    return broken ? base::exit_status(*broken) : 0;
  }

  int run() {
    // Each arena of glibc keeps what its threads have freed: a tenth of the memory of a long ingest.
    ::mallopt(M_ARENA_MAX, 2);
    // Each batch needs again what the one before has freed: giving it back meanwhile, and being given it page
    // by page, was a third of the page faults.
    ::mallopt(M_MMAP_THRESHOLD, 32 << 20);
    ::mallopt(M_TRIM_THRESHOLD, 64 << 20);
    std::vector<flow::Input> inputs = open_inputs();
    std::optional<Interruption> interruption(std::in_place);
    if (!options_.rejects.empty()) {
      // A file that is followed is not read again from its beginning: what was rejected earlier stays.
      rejects_ =
          std::make_unique<DataOutput>(options_.rejects, options_.follow ? DataOutput::Existing::extended
                                                                         : DataOutput::Existing::replaced);
    }
    const auto started = std::chrono::steady_clock::now();
    ingest(std::move(inputs), interruption->token());
    interruption.reset();
    const flow::IngestReport& report = report_;
    progress_.clear();
    ids_.finish();
    if (rejects_) {
      if (rejects_open_) rejects_->write("\n");
      rejects_->finish();
    }
    const std::chrono::duration<double> seconds = std::chrono::steady_clock::now() - started;
    if (session_.settings().json)
      print_json_summary(report, seconds.count());
    else if (!session_.settings().quiet && signal_ == 0)
      note(summary_line(report, seconds.count()));
    if (report.delivered_batches > 0) tell_delivered(session_.settings(), report);
    session_.report_traffic();
    if (report.spooled_batches > 0) tell_spooled(report, spool_->directory());
    if (signal_ == 0) return exit_status(report);
    note(fmt::format("interrupted: {}; run the same command again to go on",
                     summary_line(report, seconds.count())));
    return 128 + signal_;
  }

 private:
  void ingest(std::vector<flow::Input> inputs, std::stop_token stop) {
    flow::IngestOptions options = options_.flow;
    options.stop = std::move(stop);
    if (spool_) options.spool = &*spool_;
    bool prepared = false;
    std::optional<Metrics::Phase> phase;
    const flow::OpenIndex open_index = [this, &prepared, &phase] {
      std::optional<index::Index> index;
      if (options_.flow.dry_run)
        index = session_.index_for_reading();
      else
        index = session_.index_for_writing();
      if (!prepared) {
        if (!options_.flow.dry_run) prepare(*index);
        prepared = true;
        phase.emplace(session_.metrics(), "ingest");
      }
      return index;
    };
    try {
      report_ = flow::ingest(std::move(inputs), session_.store(), open_index, options, events());
      signal_ = Interruption::signal();
    } catch (const base::Error& error) {
      progress_.clear();
      if (report_.spooled_batches > 0) tell_spooled(report_, spool_->directory());
      if (report_.lost > 0) throw base::Error(error.kind(), told_lost(report_, error.what()));
      if (error.kind() != base::ErrorKind::interrupted || !prepared) throw;
      throw base::Error(error.kind(),
                        "interrupted: the store did not answer in time; what was stored until then is "
                        "recorded; run the same command again to go on");
    }
  }

  // Asks the store for what must be known before batches go there.
  void prepare(index::Index& index) {
    const bool streams = !size_;
    try {
      if (!options_.no_sync && first_sync_is_due(index)) first_sync(index);
      session_.prepare_to_store(index);
    } catch (const base::Error& error) {
      // What comes through a pipe may not come again: it is read, and waits in the spool if it cannot be
      // stored. Of what the store holds already a run may be stored again; it counts once.
      if (!spool_ || !streams || !flow::may_pass(error)) throw;
    }
  }

  // A new index knows nothing of what the store holds already: without that, every run would be new to it.
  void first_sync(index::Index& index) {
    try {
      sync_index(session_, index, {});
    } catch (const base::Error& error) {
      if (error.kind() != base::ErrorKind::not_found) throw;
      index.set_setting(k_first_sync, "done");  // the first ingest makes the store
    }
  }

  // Every input is opened before the first is read: a misspelt name must not be found out half-way.
  std::vector<flow::Input> open_inputs() {
    std::uint64_t sum = 0;
    bool all_known = true;
    std::vector<flow::Input> inputs;
    for (const std::string& file : options_.files) {
      const flow::Input& input =
          options_.follow ? inputs.emplace_back(file, follow(file)) : inputs.emplace_back(file);
      all_known = all_known && input.size();
      sum += input.size().value_or(0);
      // The rejects replace the file of their name at the end.
      if (!options_.rejects.empty() && input.is_file(options_.rejects)) {
        throw base::Error(base::ErrorKind::usage,
                          "--rejects: " + options_.rejects + ": is an input; name another file");
      }
    }
    if (all_known) size_ = sum;
    return inputs;
  }

  std::unique_ptr<flow::FollowedFile> follow(const std::string& file) {
    return std::make_unique<flow::FollowedFile>(file, follow_state_->load(), [this](const std::string& line) {
      progress_.clear();
      note(line);
    });
  }

  flow::IngestEvents events() {
    flow::IngestEvents events;
    events.trouble = [](const std::string& line) { note(line); };
    if (follow_state_) events.reached = [this](const flow::FilePlace& place) { follow_state_->save(place); };
    events.rejected = [this](const flow::RejectedRecord& record) { rejected(record); };
    events.failed = [this](const flow::IngestReport& report) { report_ = report; };
    events.empty_input = [this](std::size_t input) {
      progress_.clear();
      note(options_.files[input] + ": is empty: no run was read");
    };
    events.progress = [this](const flow::Progress& progress) { show(progress); };
    if (options_.print_ids) {
      events.stored = [this](const std::vector<std::string>& ids) {
        for (const std::string& id : ids) ids_.write(id_line(id) + "\n");
      };
    }
    return events;
  }

  void rejected(const flow::RejectedRecord& record) {
    if (!record.reason.empty()) {
      progress_.clear();
      const std::string column = record.column == 0 ? "" : fmt::format("{}:", record.column);
      note(fmt::format("{}:{}:{} {}", options_.files[record.input], record.line, column, record.reason));
      if (rejects_ && rejects_open_) rejects_->write("\n");
      rejects_open_ = false;
    }
    if (rejects_ && !record.bytes.empty()) {
      rejects_->write(record.bytes);
      rejects_open_ = true;
    }
    if (rejects_ && options_.follow) rejects_->flush();  // before the place behind it is saved
  }

  void show(const flow::Progress& progress) {
    const std::chrono::duration<double> elapsed = std::chrono::steady_clock::now() - started_;
    const auto rate =
        static_cast<std::uint64_t>(static_cast<double>(progress.text_bytes) / (elapsed.count() + 1e-6));
    progress_.update(progress.file_bytes, size_,
                     fmt::format("{}  {} runs  {}/s", human_bytes(progress.text_bytes),
                                 human_count(progress.runs), human_bytes(rate)));
  }

  int exit_status(const flow::IngestReport& report) {
    const bool expected =
        !options_.expect_count || *options_.expect_count == static_cast<std::int64_t>(report.read);
    if (!expected) {
      note(fmt::format("--expect-count: {} records were expected, {} were read", *options_.expect_count,
                       report.read));
    }
    if (report.spooled_batches > 0)
      return base::exit_status(report.failure ? report.failure->kind() : base::ErrorKind::remote);
    return report.rejected == 0 && expected ? 0 : base::exit_status(base::ErrorKind::input);
  }

  const Options& options_;
  Session session_;
  std::optional<flow::Spool> spool_;
  std::optional<FollowState> follow_state_;
  ProgressLine progress_;
  DataOutput ids_{""};
  std::unique_ptr<DataOutput> rejects_;
  bool rejects_open_ = false;  // the last reject's bytes have no newline behind them yet
  flow::IngestReport report_;
  std::optional<std::uint64_t> size_;
  int signal_ = 0;  // that asked to stop
  std::chrono::steady_clock::time_point started_ = std::chrono::steady_clock::now();
};

}  // namespace

void add_ingest(Program& program, CLI::App& command) {
  const CLI::Validator non_negative(
      [](const std::string& text) {
        return text.starts_with('-') ? "must not be negative: " + text : std::string();
      },
      "");
  auto options = std::make_shared<Options>();
  options->flow.jobs = std::max(1U, std::thread::hardware_concurrency());
  command.add_option("FILE", options->files, "Files of runs; - is standard input, and the default")
      ->type_name("")
      ->take_all();
  command.add_option("--rejects", options->rejects, "Write the exact bytes of rejected records here")
      ->type_name("FILE");
  command.add_option("--on-error", options->on_error, "What to do at a rejected record: continue or stop")
      ->check(unnamed(CLI::IsMember({"continue", "stop"})))
      ->type_name("continue|stop");
  command.add_option("--expect-count", options->expect_count, "Exit 3 unless exactly N records were read")
      ->check(non_negative)
      ->type_name("N");
  command.add_flag("--dry-run", options->flow.dry_run, "Read and check everything, store nothing");
  command.add_flag("--follow", options->follow,
                   "Go on reading FILE as it grows, across rotation and truncation, from where it stopped");
  command
      .add_option("--spool-max", options->spool_max,
                  "Let so many bytes that came through a pipe wait for a store that is away (1GiB); 0: none")
      ->type_name("SIZE");
  command.add_flag("--drain", options->drain, "Deliver what waits in the spool; read nothing");
  command.add_flag("--no-sync", options->no_sync,
                   "Do not look first, with a new index, what the store holds already");
  command.add_flag("--print-ids", options->print_ids, "Print the id of every stored run, in input order");
  command.add_flag("--new-ids", options->new_ids,
                   "Give runs without an id a fresh UUIDv7, not one made from their content");
  command
      .add_option("--batch-bytes", options->flow.batch_bytes,
                  "Bytes of runs in a batch, uncompressed (32MiB)")
      ->transform(unnamed(CLI::AsSizeValue(false)))
      ->check(unnamed(CLI::Range(std::uint64_t{1}, std::uint64_t{1} << 30)))
      ->type_name("SIZE");
  command
      .add_option("--flush-interval", options->flush_interval,
                  "Store what came through a pipe at the latest so long after (5s); 0: full batches only")
      ->type_name("DURATION");
  command
      .add_option("--metadata-entries", options->flow.records.metadata_entries,
                  "Make so many scalar entries of each run's metadata searchable (32; 0: none)")
      ->check(unnamed(CLI::Range(std::size_t{0}, run::k_max_metadata_entries)))
      ->type_name("N");
  command.add_option("--max-run-bytes", options->flow.max_run_bytes, "Reject longer runs (256MiB)")
      ->transform(unnamed(CLI::AsSizeValue(false)))
      ->check(unnamed(CLI::Range(std::uint64_t{1}, std::uint64_t{1} << 30)))
      ->type_name("SIZE");
  command.add_option("--level", options->flow.level, "zstd compression level, 1 to 22 (3)")
      ->check(unnamed(CLI::Range(batch::k_min_level, batch::k_max_level)))
      ->type_name("N");
  command.add_option("--jobs", options->flow.jobs, "Threads that parse and compress (one for each core)")
      ->check(unnamed(CLI::Range(std::size_t{1}, std::size_t{256})))
      ->type_name("N");
  command.callback([&program, options] {
    program.run = [&program, options] {
      if (options->files.empty() && !options->drain && !options->follow) options->files.push_back("-");
      options->flow.flush_interval = interval_of(options->flush_interval);
      options->flow.stop_at_first_reject = options->on_error == "stop";
      if (options->new_ids) options->flow.records.id_policy = run::IdPolicy::fresh;
      check_usage(*options, program.globals.json);
      if (options->drain) return IngestCommand(program.globals, *options).drain();
      return IngestCommand(program.globals, *options).run();
    };
  });
}

}  // namespace runctl::cmd
