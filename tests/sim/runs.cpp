#include "runs.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <unordered_map>

#include "base/hash.hpp"
#include "base/time.hpp"
#include "run/facts.hpp"
#include "run/reader.hpp"
#include "world.hpp"

namespace runctl::sim {

namespace {

constexpr std::array k_names = {"agent", "lookup_order", "llm", "lookup_user", "plan"};
constexpr std::array k_types = {"chain", "tool", "llm"};
constexpr std::array k_tags = {"prod", "eu", "slow"};
// 2024-07-12T23:59:00Z: runs start around midnight, many at the same time.
constexpr std::int64_t k_first_start = 1'720'828'740'000'000;
constexpr std::int64_t k_minute = 60'000'000;

// Ids are of three kinds: UUIDs, other texts, and none.
enum class IdKind { uuid, text, none };
IdKind kind_of(std::size_t id) {
  return id % 5 == 0 ? IdKind::none : id % 5 < 3 ? IdKind::uuid : IdKind::text;
}

// Letters that do not compress well.
std::string noise(tests::Random& random, std::size_t length) {
  std::string text;
  for (std::size_t i = 0; i < length; ++i) text += static_cast<char>('a' + random.below(26));
  return text;
}

Run make_run(std::size_t id, std::size_t version, tests::Random& random) {
  Run run;
  std::string members;
  const auto add = [&members](const std::string& name, const std::string& value) {
    members += fmt::format("{}\"{}\":{}", members.empty() ? "" : ",", name, value);
  };
  if (kind_of(id) == IdKind::uuid)
    add("id", fmt::format("\"0190a6c5-7e11-7a02-8d55-{:012x}\"", id * 7919));
  else if (kind_of(id) == IdKind::text)
    add("id", fmt::format("\"order {}\"", id));
  if (random.below(4) > 0) add("trace_id", "\"" + trace_text(random.below(k_traces)) + "\"");
  if (random.below(5) > 0) {
    run.name = k_names[random.below(k_names.size())];
    add("name", "\"" + run.name + "\"");
  }
  if (random.below(5) > 0) {
    run.run_type = k_types[random.below(k_types.size())];
    add("run_type", "\"" + run.run_type + "\"");
  }
  run.start = random.below(6) == 0
                  ? base::k_no_time
                  : k_first_start + static_cast<std::int64_t>(random.below(4)) * k_minute / 2;
  if (run.start != base::k_no_time) add("start_time", "\"" + base::iso_text(run.start) + "\"");
  run.end = random.below(3) == 0
                ? base::k_no_time
                : k_first_start + static_cast<std::int64_t>(random.below(1000)) * k_minute / 10;
  if (run.end != base::k_no_time) add("end_time", "\"" + base::iso_text(run.end) + "\"");
  run.error = random.below(4) == 0;
  if (run.error) add("error", "\"timed out\"");
  std::string tags;
  for (const char* const tag : k_tags) {
    if (random.below(3) > 0) continue;
    run.tags.emplace_back(tag);
    tags += fmt::format("{}\"{}\"", tags.empty() ? "" : ",", tag);
  }
  if (!tags.empty()) add("tags", "[" + tags + "]");
  run.inputs = fmt::format("{{\"v\":{}.0,\"big\":18446744073709551617,\"t\":\"{}\"}}", version,
                           noise(random, random.below(20) == 0 ? 3000 : random.below(200)));
  add("inputs", run.inputs);
  if (random.below(3) == 0) {
    run.metadata.push_back(fmt::format("attempt={}", random.below(2)));
    add("metadata", fmt::format("{{\"attempt\":{}}}", run.metadata.back().substr(8)));
  }
  run.text = "{" + members + "}";
  return run;
}

// What the house makes of it: the id of a run that has none follows from its content.
void read_run(Run& run) {
  run::BlockReader reader({}, 1U << 20);
  run::Block block;
  block.text = base::Text(run.text + "\n");
  run::ReadState state;
  state.place = run::ReadState::Place::input_start;
  reader.read(block, state, true);
  const run::Record& record = block.records.at(0);
  run.json = record.json;
  run.id_text = record.id_text;
  run.id = record.id;
  run.trace = record.trace_id;
  run.fingerprint = base::xxh3_64(run.json);
}

std::vector<Run> make_runs() {
  tests::Random random(1);
  std::vector<Run> runs;
  for (std::size_t id = 0; id < k_ids; ++id) {
    for (std::size_t version = 0; version < k_versions; ++version) {
      runs.push_back(make_run(id, version, random));
      read_run(runs.back());
    }
  }
  return runs;
}

}  // namespace

std::string trace_text(std::size_t trace) { return fmt::format("0190a6c5-7d2e-7c3a-9f41-{:012x}", trace); }

const std::vector<Run>& all_runs() {
  static const std::vector<Run> runs = make_runs();
  return runs;
}

std::optional<std::size_t> find_run(std::string_view json) {
  static const std::unordered_map<std::string_view, std::size_t> numbers = [] {
    std::unordered_map<std::string_view, std::size_t> all;
    for (std::size_t i = 0; i < all_runs().size(); ++i) all.emplace(all_runs()[i].json, i);
    return all;
  }();
  const auto found = numbers.find(json);
  return found == numbers.end() ? std::nullopt : std::optional(found->second);
}

bool Run::matches(const index::Query& query) const {
  const auto has = [](const std::vector<std::string>& all, const std::string& one) {
    return std::find(all.begin(), all.end(), one) != all.end();
  };
  if (query.trace && trace != *query.trace) return false;
  if (query.name && name != *query.name) return false;
  if (query.name_contains && name.find(*query.name_contains) == std::string::npos) return false;
  if (query.name_prefix && !name.starts_with(*query.name_prefix)) return false;
  if (query.run_type && run_type != *query.run_type) return false;
  for (const std::string& tag : query.tags) {
    if (!has(tags, tag)) return false;
  }
  for (const std::string& entry : query.metadata) {
    if (!has(metadata, entry)) return false;
  }
  if (query.error && error != *query.error) return false;
  if ((query.since || query.until) && start == base::k_no_time) return false;
  if (query.since && start < *query.since) return false;
  if (query.until && start >= *query.until) return false;
  if (!query.min_latency && !query.max_latency) return true;
  const auto latency = run::latency(start, end);
  return latency && (!query.min_latency || *latency >= *query.min_latency) &&
         (!query.max_latency || *latency <= *query.max_latency);
}

index::Query random_query(World& world) {
  index::Query query;
  if (world.chance(0.5)) query.order = index::Query::Order::oldest;
  if (world.chance(0.15)) query.trace = run::id_of_text(trace_text(world.below(k_traces)));
  if (world.chance(0.15)) query.name = k_names[world.below(k_names.size())];
  if (world.chance(0.15)) query.name_contains = "lookup";
  if (world.chance(0.1)) query.name_prefix = "l";
  if (world.chance(0.15)) query.run_type = k_types[world.below(k_types.size())];
  if (world.chance(0.15)) query.tags.emplace_back(k_tags[world.below(k_tags.size())]);
  if (world.chance(0.1)) query.metadata.emplace_back("attempt=1");
  if (world.chance(0.15)) query.error = world.chance(0.5);
  if (world.chance(0.15)) query.since = k_first_start + k_minute / 2;
  if (world.chance(0.15)) query.until = k_first_start + k_minute;
  if (world.chance(0.1)) query.min_latency = 10 * k_minute;
  if (world.chance(0.1)) query.max_latency = 50 * k_minute;
  return query;
}

}  // namespace runctl::sim
