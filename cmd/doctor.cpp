// runctl doctor: check configuration, credentials, clock, store, index and leftovers.
#include <fmt/format.h>

#include <cstdlib>
#include <filesystem>

#include <nlohmann/json.hpp>

#include "base/bytes.hpp"
#include "base/error.hpp"
#include "command.hpp"
#include "flow/bench_place.hpp"
#include "json_text.hpp"
#include "output.hpp"
#include "session.hpp"
#include "store/directory_store.hpp"
#include "sync.hpp"

namespace runctl::cmd {

namespace {

using Json = nlohmann::ordered_json;

// A clock that is further off than this is refused by some servers (S3: 15 minutes), and worth a word before.
constexpr std::int64_t k_clock_warning_seconds = 60;

constexpr std::size_t k_longest_finding = 4000;  // bytes; they repeat what servers and files say

enum class Verdict { ok, warning, failure };

struct Finding {
  std::string what;
  Verdict verdict = Verdict::ok;
  std::string text;
};

const char* name_of(Verdict verdict) {
  switch (verdict) {
    case Verdict::ok:
      return "ok";
    case Verdict::warning:
      return "warning";
    case Verdict::failure:
      return "failed";
  }
  return "";
}

class Doctor {
 public:
  Doctor(const GlobalFlags& globals, bool clear_leftovers) : session_(globals), clear_(clear_leftovers) {}

  int run() {
    configuration();
    if (session_.bucket() != nullptr)
      bucket(*session_.bucket());
    else
      directory();
    index();
    if (has_state_directory()) spool();
    print();
    session_.report_traffic();
    return exit_status_;
  }

 private:
  void say(const std::string& what, Verdict verdict, const std::string& text) {
    findings_.push_back({what, verdict, text});
  }

  // Runs a check; a failure is a finding, and the first one's kind is the exit status.
  template <typename Check>
  bool check(const std::string& what, Check check) {
    try {
      check();
      return true;
    } catch (const base::Error& error) {
      say(what, Verdict::failure, error.what());
      if (exit_status_ == 0) exit_status_ = base::exit_status(error.kind());
      return false;
    }
  }

  void configuration() {
    const Settings& settings = session_.settings();
    say("store", Verdict::ok, fmt::format("{}  ({})", session_.store().url(), settings.store.source));
    say("index file", Verdict::ok, fmt::format("{}  ({})", session_.index_path(), settings.index.source));
    if (session_.bucket() == nullptr) return;
    const store::S3Settings& s3 = session_.bucket()->settings();
    const auto value = [this](const char* what, const store::Setting& setting, const char* otherwise) {
      say(what, Verdict::ok,
          fmt::format("{}  ({})", setting.value.empty() ? otherwise : setting.value,
                      setting.source.empty() ? "default" : setting.source));
    };
    value("endpoint", s3.endpoint_url, "that of AWS for the region");
    value("region", s3.region, "us-east-1");
    value("profile", s3.profile, "default");
    value("addressing", s3.addressing_style, "auto");
    value("authorities", s3.ca_bundle, "those of the system");
  }

  void bucket(store::S3Store& bucket) {
    if (!check("credentials",
               [&] { say("credentials", Verdict::ok, "from " + bucket.credentials_source()); }))
      return;
    const bool readable = check("readable", [&] {
      const std::size_t groups = bucket.list_groups("runs/v1/").size();
      say("readable", Verdict::ok, counted(groups, "group of batches", "groups of batches"));
    });
    if (const auto offset = bucket.clock_offset()) {
      const bool near = std::abs(*offset) <= k_clock_warning_seconds;
      say("clock", near ? Verdict::ok : Verdict::warning,
          near ? fmt::format("{} s from the server's", std::abs(*offset))
               : fmt::format("{} s from the server's: set the clock of this machine (timedatectl)", *offset));
    }
    if (!readable) return;
    check("writable", [&] {
      const bool conditional = bucket.honours_conditional_create();
      say("writable", Verdict::ok, "a small object was put");
      say("conditional create", Verdict::ok,
          conditional ? "honoured: a batch costs one request less"
                      : "not honoured: not used, nothing is lost by it");
      // What an ingest found out earlier may no longer be so.
      if (!session_.index_for_reading()) return;
      index::Index index = session_.index_for_writing();
      Session::remember_conditional_create(index, conditional);
    });
    check("leftovers", [&] { uploads(bucket); });
    check("benchmarks", [this] { benchmarks(); });
  }

  void uploads(store::S3Store& bucket) {
    std::size_t old = 0;
    for (const store::S3Store::Upload& upload : bucket.unfinished_uploads()) {
      if (now_microseconds() - upload.begun_ns / 1000 < store::k_leftover_microseconds) continue;
      ++old;
      if (clear_) bucket.abort_upload(upload);
    }
    leftovers(old, counted(old, "unfinished upload", "unfinished uploads"));
  }

  void directory() {
    std::error_code failure;
    const std::string root = store::directory_of(session_.store().url());
    if (!std::filesystem::exists(root, failure) && !failure) {
      say("readable", Verdict::warning, "there is no such directory yet; the first ingest makes it");
      return;
    }
    check("readable", [this] {
      const std::size_t groups = session_.store().list_groups("runs/v1/").size();
      say("readable", Verdict::ok, counted(groups, "group of batches", "groups of batches"));
    });
    check("writable", [this] {
      const std::string key = "runs/v1/.probe";
      const std::string_view part = "runctl asks whether it can write here; this file may be removed\n";
      session_.store().put(key, {&part, 1}, {});
      session_.store().remove(key);
      say("writable", Verdict::ok, "a file was written and removed");
    });
    check("leftovers", [this, &root] {
      const std::vector<std::string> old = store::directory_leftovers(root, store::k_leftover_microseconds);
      if (clear_) store::remove_leftovers(old);
      leftovers(old.size(), counted(old.size(), "half-written file", "half-written files"));
    });
    check("benchmarks", [this] { benchmarks(); });
  }

  // Silent where there is nothing: few stores were ever measured.
  void benchmarks() {
    store::ObjectStore& store = session_.store();
    for (const std::string& prefix : flow::bench_leftovers(store, store::k_leftover_microseconds)) {
      if (clear_) flow::remove_bench_leftover(store, prefix);
      say("benchmarks", clear_ ? Verdict::ok : Verdict::warning,
          clear_ ? prefix + "/ removed"
                 : prefix +
                       "/ is of a 'runctl bench' that was killed; 'runctl doctor --clear-leftovers' "
                       "removes it");
    }
  }

  void leftovers(std::size_t count, const std::string& what) {
    if (count == 0)
      say("leftovers", Verdict::ok, "none");
    else if (clear_)
      say("leftovers", Verdict::ok, what + " removed");
    else
      say("leftovers", Verdict::warning,
          what + " of interrupted commands; 'runctl doctor --clear-leftovers' removes them");
  }

  void index() {
    check("index", [this] {
      std::optional<index::Index> index = session_.index_for_reading();
      if (!index) {
        say("index", Verdict::warning, "not there yet; 'runctl index sync' makes it from the store");
        return;
      }
      const index::Status status = index->status();
      const auto synced = index->setting(k_synced);
      say("index", Verdict::ok,
          fmt::format(
              "{} in {}; {}", counted(static_cast<std::uint64_t>(status.runs), "run", "runs"),
              counted(static_cast<std::uint64_t>(status.batches), "batch", "batches"),
              synced ? "synced " + age_text(std::strtoll(synced->c_str(), nullptr, 10), now_microseconds())
                     : "never synced"));
    });
  }

  void spool() {
    check("spool", [this] {
      std::uint64_t bytes = 0;
      const std::vector<flow::SpooledBatch> waiting = session_.spool(0).waiting();
      for (const flow::SpooledBatch& batch : waiting) bytes += batch.size;
      if (waiting.empty()) return say("spool", Verdict::ok, "nothing waits for the store");
      say("spool", Verdict::warning,
          fmt::format("{} with {} wait for the store; 'runctl ingest --drain' delivers them",
                      counted(waiting.size(), "batch", "batches"), human_bytes(bytes)));
    });
  }

  void print() {
    DataOutput out("");
    if (session_.settings().json) {
      Json all = Json::array();
      for (const Finding& finding : findings_) {
        all.push_back(
            {{"check", finding.what}, {"verdict", name_of(finding.verdict)}, {"text", finding.text}});
      }
      out.write(json_text({{"findings", all}}) + "\n");
    } else {
      for (const Finding& finding : findings_) {
        out.write(fmt::format("{:<8} {:<19} {}\n", name_of(finding.verdict), finding.what,
                              base::printable(finding.text, k_longest_finding)));
      }
    }
    out.finish();
  }

  Session session_;
  const bool clear_;
  std::vector<Finding> findings_;
  int exit_status_ = 0;
};

}  // namespace

void add_doctor(Program& program, CLI::App& command) {
  auto clear = std::make_shared<bool>(false);
  command.add_flag("--clear-leftovers", *clear,
                   "Remove half-written files, unfinished uploads and benchmarks older than an hour");
  command.callback([&program, clear] {
    program.run = [&program, clear] { return Doctor(program.globals, *clear).run(); };
  });
}

}  // namespace runctl::cmd
