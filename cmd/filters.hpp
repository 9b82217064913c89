// The flags that say which runs are meant, for the commands that look for runs.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "command.hpp"
#include "index/query.hpp"

namespace runctl::cmd {

struct Filters {
  std::optional<std::string> trace_id;
  std::optional<std::string> name;
  std::optional<std::string> name_contains;
  std::optional<std::string> name_prefix;
  std::optional<std::string> run_type;
  std::vector<std::string> tags;
  std::vector<std::string> metadata;
  bool error = false;
  bool no_error = false;
  std::optional<std::string> since;
  std::optional<std::string> until;
  std::optional<std::string> min_latency;
  std::optional<std::string> max_latency;
};

// `filters` must live as long as the command.
void add_filters(CLI::App& command, Filters& filters);

// Whether any is given.
bool is_filtered(const Filters& filters);

// The filters as a query without limit. `now`, in microseconds since 1970, is what "2h" is counted back from.
// Throws base::Error(usage) naming the flag.
index::Query query_of(const Filters& filters, std::int64_t now);

}  // namespace runctl::cmd
