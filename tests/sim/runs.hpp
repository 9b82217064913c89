// The runs that simulated writers store: of each id a few versions, with all that can be searched for, as a
// writer reads them and as the store must hold them.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "index/query.hpp"
#include "run/id.hpp"

namespace runctl::sim {

struct Run {
  std::string text;     // as it is read
  std::string json;     // as it is stored: with an id, where it had none
  std::string inputs;   // the field's bytes
  std::string id_text;  // as a person asks for it
  run::Id id;
  run::Id trace;
  std::uint64_t fingerprint = 0;
  std::string name;
  std::string run_type;
  std::int64_t start = 0;  // microseconds since 1970, or base::k_no_time
  std::int64_t end = 0;
  bool error = false;
  std::vector<std::string> tags;
  std::vector<std::string> metadata;  // "KEY=VALUE"

  [[nodiscard]] bool matches(const index::Query& query) const;
};

inline constexpr std::size_t k_ids = 256;
inline constexpr std::size_t k_versions = 3;
inline constexpr std::size_t k_traces = 8;

// The same in every process: version v of id i is at i * k_versions + v. Runs without an id of their own have
// one version for each id.
const std::vector<Run>& all_runs();
// The run of these bytes; absent where nobody wrote it.
std::optional<std::size_t> find_run(std::string_view json);
std::string trace_text(std::size_t trace);

// A search for some of them.
class World;
index::Query random_query(World& world);

}  // namespace runctl::sim
