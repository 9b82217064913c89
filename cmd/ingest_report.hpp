// What an ingest says of itself at its end.
#pragma once

#include <string>

#include "flow/ingest.hpp"
#include "settings.hpp"

namespace runctl::cmd {

// "read 3, stored 2, duplicate 1, ...".
std::string summary_line(const flow::IngestReport& report, double seconds);
// The same as one JSON object, on standard output.
void print_json_summary(const flow::IngestReport& report, double seconds);

// On standard error: what came out of the spool, and what went there.
void tell_delivered(const Settings& settings, const flow::IngestReport& report);
void tell_spooled(const flow::IngestReport& report, const std::string& spool_directory);
// Why the ingest failed, and how many runs that has cost.
std::string told_lost(const flow::IngestReport& report, const std::string& why);

}  // namespace runctl::cmd
