// Fills an index with generated runs, for scripts/bench-index: batches as an ingest of small runs makes them,
// with ids that are random (UUIDv4) or ordered by time (UUIDv7). usage: fill_index INDEX STORE_URL v4|v7
// RUNS[,RUNS...] Prints a line of JSON each time the index has grown to one of the sizes: runs, the rate of
// the last half of it in runs a second, and the file's size.
#include <fmt/format.h>
#include <sys/stat.h>

#include <algorithm>
#include <chrono>
#include <cstdio>
#include <random>
#include <string_view>

#include "base/error.hpp"
#include "index/index.hpp"

using namespace runctl;

namespace {

constexpr std::size_t k_batch_runs = 20'000;
constexpr std::size_t k_trace_runs = 8;
constexpr std::size_t k_names = 2'000;
constexpr std::int64_t k_first_start = 1'704'067'200'000'000;  // 2024-01-01
constexpr std::int64_t k_step = 259'200;  // microseconds: ten million runs in thirty days

run::Id random_id(std::mt19937_64& random, bool time_ordered, std::int64_t start) {
  run::Id id;
  const std::uint64_t halves[2] = {random(), random()};
  std::memcpy(id.bytes.data(), halves, sizeof halves);
  if (time_ordered) return run::new_uuid_v7(start / 1000, id.bytes);
  id.bytes[6] = static_cast<std::uint8_t>((id.bytes[6] & 0x0F) | 0x40);
  id.bytes[8] = static_cast<std::uint8_t>((id.bytes[8] & 0x3F) | 0x80);
  return id;
}

// Runs number `first` and on. Traces of eight: a root and its children; every hundredth run has an error,
// every second one of a thousand users.
run::Table make_batch(std::mt19937_64& random, bool time_ordered, std::size_t first, std::size_t count) {
  run::Table table;
  run::Id root;
  std::uint32_t raw = 0;
  for (std::size_t i = first; i < first + count; ++i) {
    run::Arena arena;
    run::Record record;
    record.json = std::string_view("{}");
    record.start_time = k_first_start + static_cast<std::int64_t>(i) * k_step;
    record.end_time = record.start_time + static_cast<std::int64_t>(random() % 5'000'000);
    record.id = random_id(random, time_ordered, record.start_time);
    if (i % k_trace_runs == 0) root = record.id;
    record.trace_id = root;
    record.parent_id = root;
    record.fingerprint = random();
    const std::string name = fmt::format("step-{:04}", random() % k_names);
    record.name = name;
    record.run_type = i % 2 == 0 ? "llm" : "tool";
    record.has_error = random() % 100 == 0;
    arena.metadata.push_back(arena.texts.emplace_back(random() % 10 == 0 ? "env=test" : "env=prod"));
    if (random() % 2 == 0) {
      arena.metadata.push_back(arena.texts.emplace_back(fmt::format("user=u{}", random() % 1'000)));
    }
    record.metadata_end = static_cast<std::uint32_t>(arena.metadata.size());
    table.append(record, arena);
    raw += 3;
  }
  table.frames.push_back({0, raw, 0, raw});
  return table;
}

std::int64_t size_of(const std::string& path) {
  struct stat status {};
  return ::stat(path.c_str(), &status) == 0 ? status.st_size : 0;
}

void fill(const std::string& path, const std::string& store, bool time_ordered,
          std::vector<std::size_t> sizes) {
  std::sort(sizes.begin(), sizes.end());
  index::Index index = std::move(*index::Index::open(path, store, index::Index::Access::write));
  std::mt19937_64 random(time_ordered ? 7 : 4);
  std::size_t runs = 0;
  for (const std::size_t size : sizes) {
    double seconds = 0;  // of Index::add alone
    const std::size_t half = runs + (size - runs) / 2;
    std::size_t timed = 0;
    while (runs < size) {
      const std::size_t count = std::min(k_batch_runs, size - runs);
      const run::Table table = make_batch(random, time_ordered, runs, count);
      const auto begin = std::chrono::steady_clock::now();
      index.add(
          {fmt::format("runs/v1/mixed/{:064x}.ndjson.zst", runs), 1, static_cast<std::int64_t>(runs) + 1},
          table);
      if (runs >= half) {
        seconds += std::chrono::duration<double>(std::chrono::steady_clock::now() - begin).count();
        timed += count;
      }
      runs += count;
    }
    fmt::print("{{\"runs\": {}, \"rate\": {:.0f}, \"bytes\": {}}}\n", runs,
               static_cast<double>(timed) / seconds, size_of(path));
    std::fflush(stdout);
  }
}

}  // namespace

int main(int argc, char** argv) {
  if (argc != 5) {
    fmt::print(stderr, "usage: fill_index INDEX STORE_URL v4|v7 RUNS[,RUNS...]\n");
    return 2;
  }
  std::vector<std::size_t> sizes;
  for (char* at = argv[4]; *at != '\0'; at += *at == ',' ? 1 : 0) sizes.push_back(std::strtoull(at, &at, 10));
  try {
    fill(argv[1], argv[2], std::string_view(argv[3]) == "v7", std::move(sizes));
  } catch (const base::Error& error) {
    fmt::print(stderr, "{}\n", error.what());
    return 1;
  }
  return 0;
}
