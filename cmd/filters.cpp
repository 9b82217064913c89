#include "filters.hpp"

#include <fmt/format.h>

#include "base/bytes.hpp"
#include "base/error.hpp"
#include "base/time.hpp"
#include "quantity.hpp"

namespace runctl::cmd {

namespace {

using base::Error;
using base::ErrorKind;

std::int64_t time_of(const std::string& text, const char* flag, std::int64_t now) {
  if (const auto time = base::parse_iso_time(text)) return *time;
  if (const auto age = duration_of(text)) return now - *age;
  throw Error(ErrorKind::usage,
              fmt::format("{}: \"{}\" is no time: give one as 2024-05-05, 2024-05-05T23:43:00Z, or how long ago: 90s, "
                          "30m, 2h, 7d",
                          flag, text));
}

std::int64_t latency_of(const std::string& text, const char* flag) {
  if (const auto duration = duration_of(text)) return *duration;
  throw Error(ErrorKind::usage,
              fmt::format("{}: \"{}\" is no duration: give one as 250ms, 1.5s, 2m or 1h", flag, text));
}

}  // namespace

void add_filters(CLI::App& command, Filters& filters) {
  const auto text = [&command](const char* flag, auto& target, const char* help, const char* type) {
    command.add_option(flag, target, help)->type_name(type);
  };
  text("--trace-id", filters.trace_id, "Runs of this trace", "ID");
  text("--name", filters.name, "Runs of this name", "NAME");
  text("--name-contains", filters.name_contains, "Runs whose name has this text in it", "TEXT");
  text("--name-prefix", filters.name_prefix, "Runs whose name begins with this text", "TEXT");
  text("--run-type", filters.run_type, "Runs of this type", "TYPE");
  command.add_option("--tag", filters.tags, "Runs with this tag (repeatable: with all of them)")
      ->type_name("TAG")
      ->allow_extra_args(false)
      ->multi_option_policy(CLI::MultiOptionPolicy::TakeAll);
  command
      .add_option("--metadata", filters.metadata,
                  "Runs with this entry in their metadata; KEY of nested ones with dots (repeatable)")
      ->type_name("KEY=VALUE")
      ->allow_extra_args(false)
      ->multi_option_policy(CLI::MultiOptionPolicy::TakeAll);
  CLI::Option* const error = command.add_flag("--error", filters.error, "Runs with an error");
  command.add_flag("--no-error", filters.no_error, "Runs without an error")->excludes(error);
  text("--since", filters.since, "Runs that started then or later: an ISO time, or 2h, 7d ago", "TIME");
  text("--until", filters.until, "Runs that started before then", "TIME");
  text("--min-latency", filters.min_latency, "Runs that took as long or longer: 250ms, 1.5s, 2m", "DURATION");
  text("--max-latency", filters.max_latency, "Runs that took no longer", "DURATION");
}

bool is_filtered(const Filters& filters) {
  return filters.trace_id || filters.name || filters.name_contains || filters.name_prefix || filters.run_type ||
         !filters.tags.empty() || !filters.metadata.empty() || filters.error || filters.no_error || filters.since ||
         filters.until || filters.min_latency || filters.max_latency;
}

index::Query query_of(const Filters& filters, std::int64_t now) {
  index::Query query;
  if (filters.trace_id) query.trace = run::id_of_text(*filters.trace_id);
  query.name = filters.name;
  query.name_contains = filters.name_contains;
  query.name_prefix = filters.name_prefix;
  query.run_type = filters.run_type;
  query.tags = filters.tags;
  for (const std::string& entry : filters.metadata) {
    if (entry.find('=') == std::string::npos) {
      throw Error(ErrorKind::usage,
                  fmt::format("--metadata: \"{}\" must be KEY=VALUE", base::printable(entry, 60)));
    }
    query.metadata.push_back(entry);
  }
  if (filters.error) query.error = true;
  if (filters.no_error) query.error = false;
  if (filters.since) query.since = time_of(*filters.since, "--since", now);
  if (filters.until) query.until = time_of(*filters.until, "--until", now);
  if (filters.min_latency) query.min_latency = latency_of(*filters.min_latency, "--min-latency");
  if (filters.max_latency) query.max_latency = latency_of(*filters.max_latency, "--max-latency");
  query.limit = 0;
  return query;
}

}  // namespace runctl::cmd
