#include "flow/bench_steps.hpp"

#include <fcntl.h>
#include <fmt/format.h>

#include <cerrno>
#include <string_view>

#include "base/error.hpp"
#include "base/file.hpp"

namespace runctl::flow {

using base::Error;
using base::ErrorKind;

std::vector<BenchTarget> choose_targets(index::Index& index, std::size_t count, BenchRandom& random) {
  // Reservoir sampling (Vitter, algorithm R, 1985).
  std::vector<BenchTarget> chosen;
  std::uint64_t seen = 0;
  index::Query query;
  query.limit = 0;
  index.search(query, [&](const index::Hit& hit) {
    ++seen;
    const std::uint64_t at = seen <= count ? chosen.size() : random.below(seen);
    if (at >= count) return;
    if (at == chosen.size()) chosen.emplace_back();
    chosen[at] = {run::uuid_text(hit.facts.id), hit.location, hit.facts};
  });
  shuffle(chosen, random);
  return chosen;
}

BenchGetter::BenchGetter(FrameReader& frames, index::Index& index)
    : fetcher_(frames, index, FetchOptions{}, events()) {}

FetchEvents BenchGetter::events() {
  FetchEvents events;
  events.bytes = [this](std::string_view bytes, bool last) {
    bytes_ += bytes.size();
    if (last) ++runs_;
  };
  events.not_found = [](std::string_view id) {
    throw Error(ErrorKind::corrupt, fmt::format("{}: was stored, and is not found", id));
  };
  events.broken = [](std::optional<std::string_view> id, const std::string& why) {
    throw Error(ErrorKind::corrupt, fmt::format("{}: {}", id.value_or("a run"), why));
  };
  return events;
}

void check_stop(const BenchOptions& options) {
  if (options.stop.stop_requested())
    throw Error(ErrorKind::interrupted, "interrupted: nothing of the benchmark is kept");
}

void write_bench_input(const BenchPlan& plan, const BenchOptions& options, const std::string& path,
                       std::uint64_t first, std::uint64_t count) {
  constexpr std::size_t k_buffer = 1U << 20;
  const base::FileDescriptor file(::open(path.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600));
  if (!file) base::throw_errno(path, errno);
  const BenchRuns runs(options.seed, plan.payload);
  std::string buffer;
  for (std::uint64_t i = 0; i < count; ++i) {
    buffer += runs.run(first + i);
    buffer += '\n';
    if (buffer.size() < k_buffer) continue;
    check_stop(options);
    options.progress("making runs", i, count);
    base::write_all(file.get(), buffer, path);
    buffer.clear();
  }
  base::write_all(file.get(), buffer, path);
}

void make_bench_runs(const BenchPlan& plan, std::uint64_t seed,
                     const std::function<void(std::string_view line)>& line) {
  const BenchRuns runs(seed, plan.payload);
  for (std::uint64_t i = 0; i < plan.runs; ++i) line(runs.run(i) + '\n');
}

IngestReport ingest_file(const std::string& path, store::ObjectStore& store, const OpenIndex& open_index,
                         const BenchOptions& options) {
  IngestOptions ingest_options;
  ingest_options.jobs = options.jobs;
  ingest_options.stop = options.stop;
  std::vector<Input> inputs;
  inputs.emplace_back(path);
  IngestReport report = ingest(std::move(inputs), store, open_index, ingest_options, {});
  check_stop(options);
  if (report.stored == 0) throw Error(ErrorKind::input, path + ": there is no run in it");
  return report;
}

}  // namespace runctl::flow
