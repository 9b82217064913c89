#include "ingest_report.hpp"

#include <fmt/format.h>

#include <nlohmann/json.hpp>

#include "json_text.hpp"
#include "output.hpp"
#include "quantity.hpp"

namespace runctl::cmd {

std::string summary_line(const flow::IngestReport& report, double seconds) {
  return fmt::format("read {}, stored {}, duplicate {}, rejected {}{}; {}, {} in, {} stored, {:.2f} s",
                     report.read, report.stored, report.duplicate, report.rejected,
                     report.spooled == 0 ? "" : fmt::format(", spooled {}", report.spooled),
                     counted(report.batches, "batch", "batches"), human_bytes(report.bytes_in),
                     human_bytes(report.bytes_stored), seconds);
}

void print_json_summary(const flow::IngestReport& report, double seconds) {
  const nlohmann::ordered_json summary = {
      {"read", report.read},         {"stored", report.stored},     {"duplicate", report.duplicate},
      {"rejected", report.rejected}, {"spooled", report.spooled},   {"delivered", report.delivered},
      {"batches", report.batches},   {"bytes_in", report.bytes_in}, {"bytes_stored", report.bytes_stored},
      {"seconds", seconds}};
  DataOutput out("");
  out.write(json_text(summary) + "\n");
  out.finish();
}

void tell_delivered(const Settings& settings, const flow::IngestReport& report) {
  if (settings.quiet || settings.json) return;
  note(report.delivered_batches == 0 ? std::string("nothing waits in the spool")
                                     : fmt::format("delivered {} from the spool, with {}",
                                                   counted(report.delivered_batches, "batch", "batches"),
                                                   counted(report.delivered, "new run", "new runs")));
}

void tell_spooled(const flow::IngestReport& report, const std::string& spool_directory) {
  note(fmt::format("{}{} in {} wait in {}; 'runctl ingest --drain' delivers them",
                   report.failure && !report.failure_told ? report.failure->what() + std::string("; ") : "",
                   counted(report.spooled, "run", "runs"),
                   counted(report.spooled_batches, "batch", "batches"), spool_directory));
}

std::string told_lost(const flow::IngestReport& report, const std::string& why) {
  // With what waits in the spool, the store's failure was told.
  const bool told = !report.failure || report.failure_told || report.spooled_batches > 0;
  return fmt::format("{}{}; {} of those read are neither stored nor in the spool",
                     told ? "" : report.failure->what() + std::string("; "), why,
                     counted(report.lost, "run", "runs"));
}

}  // namespace runctl::cmd
