// What a command did, for a machine: the Prometheus text exposition format, version 0.0.4, in a file that the
// textfile collector of a node exporter reads.
// https://prometheus.io/docs/instrumenting/exposition_formats/
#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <string_view>
#include <utility>

#include "base/clock.hpp"
#include "store/object_store.hpp"

namespace runctl::flow {
struct IngestReport;
}

namespace runctl::cmd {

// What is counted. A file's counts go on from one command to the next, as those of any counter do.
enum class Count {
  runs_read,
  runs_stored,
  runs_duplicate,
  runs_rejected,
  runs_spooled,
  runs_delivered,
  runs_returned,
  batches_stored,
  input_bytes,
  stored_bytes,
  output_bytes,
  requests,
  retries,
  store_read_bytes,
  store_written_bytes,
  cache_hits,
  cache_misses,
};

// For one thread.
class Metrics {
 public:
  // `command`: its words, as "index sync". Its time runs from now.
  explicit Metrics(std::string command, base::Clock& clock = base::system_clock());

  // Adds; with 0 it is known at least that there was none.
  void add(Count count, std::uint64_t more) { counts_[{count, ""}] += more; }
  void add(const store::Traffic& traffic);
  void add(const flow::IngestReport& report);

  // The time for which it lives is added to that of the phase.
  class Phase {
   public:
    Phase(Metrics& metrics, const char* name)
        : metrics_(metrics), name_(name), began_(metrics.clock_.steady()) {}
    ~Phase() { metrics_.phases_[name_] += metrics_.clock_.steady() - began_; }
    Phase(const Phase&) = delete;
    Phase& operator=(const Phase&) = delete;

   private:
    Metrics& metrics_;
    const char* const name_;
    const base::Clock::Time began_;
  };

  // The content of the file `name` (without its directory) after a command that has ended with `status`,
  // where `earlier` was in it before: the counts and the last success are taken from there, if they are those
  // of this command.
  [[nodiscard]] std::string text(const std::string& name, int status, std::string_view earlier) const;

  // Throws base::Error(usage) where something other than such a file, or an empty one, is in the way.
  static void require_own(const std::string& path);

  // Replaces the file, at once, by one that all may read. Throws base::Error, and leaves what is no such
  // file.
  void write(const std::string& path, int status) const;

 private:
  using Labels = std::string;  // as they stand behind the first two: `,kind="get",status="200"`

  const std::string command_;
  base::Clock& clock_;
  const base::Clock::Time began_;
  std::map<std::pair<Count, Labels>, std::uint64_t> counts_;
  std::map<std::string, base::Clock::Time> phases_;
};

}  // namespace runctl::cmd
