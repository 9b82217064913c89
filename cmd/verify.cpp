// runctl verify: prove that the store is whole, and that the index agrees with it.
#include "flow/verify.hpp"

#include <fmt/format.h>

#include <charconv>
#include <chrono>
#include <random>

#include <nlohmann/json.hpp>

#include "base/error.hpp"
#include "command.hpp"
#include "json_text.hpp"
#include "output.hpp"
#include "progress.hpp"
#include "session.hpp"

namespace runctl::cmd {

namespace {

using Json = nlohmann::ordered_json;

struct Options {
  std::string read_data;  // "N%", or empty for all
  flow::VerifyOptions flow;
};

struct FaultName {
  const char* name;    // in JSON
  const char* advice;  // behind the fault, for a person
};

FaultName name_of(flow::FaultKind kind) {
  switch (kind) {
    case flow::FaultKind::missing:
      return {"missing", "put it back from a copy, or forget it with 'runctl index rebuild'"};
    case flow::FaultKind::size:
      return {"size", ""};
    case flow::FaultKind::broken:
      return {"broken", ""};
    case flow::FaultKind::index:
      return {"index", "'runctl index rebuild' makes it agree"};
    case flow::FaultKind::orphan:
      return {"orphan", "'runctl verify --repair' adds it"};
    case flow::FaultKind::adopted:
      return {"adopted", ""};
    case flow::FaultKind::foreign:
      return {"foreign", ""};
  }
  return {"", ""};
}

// "10%" as 0.1.
double part_of(const std::string& text) {
  if (text.empty()) return 1;
  double percent = 0;
  const auto [end, failure] = std::from_chars(text.data(), text.data() + text.size(), percent);
  const bool whole = failure == std::errc() && std::string_view(end, text.data() + text.size()) == "%";
  if (!whole || !(percent > 0) || percent > 100) {
    throw base::Error(
        base::ErrorKind::usage,
        fmt::format("--read-data: \"{}\" is no part of the frames; give more than 0% and up to 100%", text));
  }
  return percent / 100;
}

class VerifyCommand {
 public:
  VerifyCommand(const GlobalFlags& globals, const Options& options)
      : options_(options),
        session_(globals),
        progress_(session_.settings().progress, session_.settings().quiet) {}

  int run() {
    const Metrics::Phase phase(session_.metrics(), "verify");
    const auto started = std::chrono::steady_clock::now();
    std::optional<index::Index> index =
        options_.flow.repair ? session_.index_for_writing() : session_.index_for_reading();
    if (!index) note(session_.index_path() + ": there is no index yet; the store alone is verified");
    flow::VerifyEvents events;
    events.fault = [this](const flow::Fault& fault) { tell(fault); };
    events.progress = [this](std::uint64_t done, std::uint64_t all) {
      progress_.update(done, all, fmt::format("{} of {}", human_bytes(done), human_bytes(all)));
    };
    const flow::VerifyReport report =
        flow::verify(session_.store(), index ? &*index : nullptr, options_.flow, events);
    progress_.clear();
    const std::chrono::duration<double> seconds = std::chrono::steady_clock::now() - started;
    if (session_.settings().json)
      print_json(report, index.has_value(), seconds.count());
    else if (!session_.settings().quiet)
      note(summary_line(report, seconds.count()));
    session_.report_traffic();
    if (corrupt_ > 0) return base::exit_status(base::ErrorKind::corrupt);
    return orphans_ > 0 ? base::exit_status(base::ErrorKind::not_found) : 0;
  }

 private:
  void tell(const flow::Fault& fault) {
    const auto [name, advice] = name_of(fault.kind);
    Json ids = Json::array();
    std::string line = (fault.key.empty() ? session_.index_path() : fault.key) + ": " + fault.why;
    if (fault.runs > 0) line += "; " + counted(fault.runs, "run", "runs");
    for (const run::Id& id : fault.first) {
      line += (ids.empty() ? ": " : ", ") + run::uuid_text(id);
      ids.push_back(run::uuid_text(id));
    }
    if (fault.runs > ids.size() && !ids.empty()) line += ", ...";
    if (*advice != '\0') line += fmt::format("; {}", advice);
    progress_.clear();
    note(line);
    faults_.push_back(
        {{"fault", name}, {"key", fault.key}, {"why", fault.why}, {"runs", fault.runs}, {"ids", ids}});
    count(fault.kind);
  }

  void count(flow::FaultKind kind) {
    if (kind == flow::FaultKind::orphan)
      ++orphans_;
    else if (kind == flow::FaultKind::adopted)
      ++adopted_;
    else if (kind != flow::FaultKind::foreign)
      ++corrupt_;
  }

  [[nodiscard]] std::string summary_line(const flow::VerifyReport& report, double seconds) const {
    std::string line = fmt::format("verified {} of {}, {}", counted(report.runs, "run", "runs"),
                                   counted(report.batches, "batch", "batches"), human_bytes(report.bytes));
    if (options_.flow.read.part > 0) {
      line += fmt::format("; {} of {} read", human_count(report.frames_read),
                          counted(report.frames, "frame", "frames"));
    }
    if (adopted_ > 0) line += fmt::format("; {} added to the index", counted(adopted_, "orphan", "orphans"));
    if (orphans_ > 0) line += fmt::format("; {}", counted(orphans_, "orphan", "orphans"));
    line += corrupt_ > 0 ? "; " + counted(corrupt_, "fault", "faults") : "; no fault";
    return line + fmt::format("; {:.2f} s", seconds);
  }

  void print_json(const flow::VerifyReport& report, bool with_index, double seconds) const {
    const Json json = {{"store", session_.store().url()},
                       {"index", with_index ? Json(session_.index_path()) : Json()},
                       {"batches", report.batches},
                       {"bytes", report.bytes},
                       {"runs", report.runs},
                       {"frames", report.frames},
                       {"frames_read", report.frames_read},
                       {"bytes_read", report.bytes_read},
                       {"corrupt", corrupt_},
                       {"orphans", orphans_},
                       {"adopted", adopted_},
                       {"faults", faults_},
                       {"seconds", seconds}};
    DataOutput out("");
    out.write(json_text(json) + "\n");
    out.finish();
  }

  const Options& options_;
  Session session_;
  ProgressLine progress_;
  Json faults_ = Json::array();
  std::uint64_t corrupt_ = 0;
  std::uint64_t orphans_ = 0;
  std::uint64_t adopted_ = 0;
};

}  // namespace

void add_verify(Program& program, CLI::App& command) {
  auto options = std::make_shared<Options>();
  const CLI::Option* const read_data =
      command
          .add_option("--read-data", options->read_data,
                      "Read the runs too: all of them, or N% of the frames, chosen at random")
          ->expected(0, 1)
          ->type_name("[N%]");
  command.add_flag("--repair", options->flow.repair,
                   "Add to the index what only the store has; the store is never changed");
  command.callback([&program, options, read_data] {
    program.run = [&program, options, read_data] {
      if (read_data->count() > 0) options->flow.read.part = part_of(options->read_data);
      options->flow.read.seed = std::random_device{}();
      return VerifyCommand(program.globals, *options).run();
    };
  });
}

}  // namespace runctl::cmd
