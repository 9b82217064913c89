// Those who change store or index: ingest, sync, rebuild, verify --repair, and the cleaning of caches.
#include <fmt/format.h>
#include <sys/stat.h>

#include <algorithm>
#include <filesystem>
#include <fstream>

#include "base/error.hpp"
#include "batch/format.hpp"
#include "cache/cleaning.hpp"
#include "cache/upkeep.hpp"
#include "flow/ingest.hpp"
#include "flow/sync.hpp"
#include "flow/verify.hpp"
#include "scene.hpp"

namespace runctl::sim {

namespace {

using Access = index::Index::Access;
using Keys = std::set<std::string>;

Keys keys_of(index::Index& index) {
  const std::vector<std::string> keys = index.batch_keys();
  return {keys.begin(), keys.end()};
}

bool includes(const Keys& all, const Keys& some) {
  return std::includes(all.begin(), all.end(), some.begin(), some.end());
}

// What a finished ingest has promised: every run in the store, and where the index can find it.
void check_stored(Scene& scene, Machine& machine, const Input& input) {
  const Expectation in_store = scene.model.expect_all();
  const Expectation in_index = scene.expect(*scene.eye(machine));
  for (const std::size_t number : input.runs) {
    const Run& run = all_runs()[number];
    if (!in_store.has(run))
      scene.world.fail("promise 1: an ingest is done, and the store has not " + run.id_text);
    if (machine.left_out.empty() && !in_index.has(run))
      scene.world.fail("promise 1: an ingest is done, and the index has not " + run.id_text);
  }
}

void check_report(Scene& scene, const Input& input, const flow::IngestReport& report) {
  if (report.read != input.runs.size() + input.rejects || report.rejected != input.rejects ||
      report.read != report.stored + report.duplicate + report.rejected ||
      report.stored > input.runs.size()) {
    scene.world.fail(fmt::format(
        "promise 1: an ingest of {} runs and {} rejects says read {}, stored {}, "
        "duplicate {}, rejected {}",
        input.runs.size(), input.rejects, report.read, report.stored, report.duplicate, report.rejected));
  }
}

bool index_exists(const Machine& machine) {
  struct stat status {};
  return ::stat(machine.index_path.c_str(), &status) == 0;
}

void forget_found(Scene& scene, Machine& machine) {
  const Keys known = keys_of(*scene.eye(machine));
  std::erase_if(machine.left_out, [&known](const std::string& key) { return known.contains(key); });
}

flow::SyncReport sync_index(Scene& scene, Process& process, Machine& machine, index::Index& index) {
  SimulatedStore store(scene.bucket, process);
  const std::vector<std::string> before = scene.model.all_keys();
  const std::uint64_t rebuilds = machine.rebuilds;
  flow::SyncReport report = flow::sync(store, index, {}, [&process](std::uint64_t, std::uint64_t) {
    process.step(Process::Next::write_index);
  });
  forget_found(scene, machine);
  if (!report.broken.empty() && !process.met_corruption)
    scene.world.fail("promise 3: a sync found broken what is whole: " + report.broken.front());
  Keys now = keys_of(*scene.eye(machine));
  // What a rebuild that came between could not read the next sync finds.
  if (machine.rebuilds != rebuilds) now.insert(machine.left_out.begin(), machine.left_out.end());
  if (report.broken.empty() && scene.bucket.faults.list_short == 0 &&
      !includes(now, {before.begin(), before.end()}))
    scene.world.fail("promise 1: a sync is done, and the index has not all batches");
  return report;
}

}  // namespace

void ingest(Scene& scene, Process& process, Machine& machine, Input& input) {
  SimulatedStore store(scene.bucket, process);
  if (!index_exists(machine)) {
    // A new index knows nothing of what the store holds already.
    auto index = Scene::open(machine, Access::write);
    sync_index(scene, process, machine, *index);
  }
  constexpr std::array<std::uint64_t, 4> k_batch_bytes = {1, 500, 2000, 32U << 20};
  const flow::IngestOptions options{.records = {},
                                    .batch_bytes = k_batch_bytes[scene.world.below(k_batch_bytes.size())],
                                    .level = 1,
                                    .jobs = 0,
                                    .clock = process};
  flow::IngestEvents events;
  events.stored = [&](const std::vector<std::string>& ids) {
    process.log(fmt::format("stored {} runs", ids.size()));
    for (const std::string& id : ids) {
      if (scene.eye(machine)->find(run::id_of_text(id)).empty() && machine.left_out.empty())
        scene.world.fail("promise 1: an ingest names " + id + " as stored, the index has it not");
    }
    process.step(Process::Next::write_index);
  };
  std::vector<flow::Input> inputs;
  inputs.emplace_back(input.path);
  const flow::IngestReport report = flow::ingest(
      std::move(inputs), store, [&machine] { return Scene::open(machine, Access::write); }, options, events);
  process.log(fmt::format("read {}, stored {}, duplicate {}, rejected {}", report.read, report.stored,
                          report.duplicate, report.rejected));
  check_report(scene, input, report);
  check_stored(scene, machine, input);
  // Once stored, for ever a duplicate, as long as the index knows it.
  if (input.stored && machine.left_out.empty() && machine.rebuilds == 0 && scene.machines.size() == 1 &&
      report.stored != 0)
    scene.world.fail("promise 1: the same command again stored runs twice");
  input.stored = true;
}

void sync(Scene& scene, Process& process, Machine& machine) {
  auto index = Scene::open(machine, Access::write);
  const flow::SyncReport report = sync_index(scene, process, machine, *index);
  process.log(
      fmt::format("{} batches, {} runs, {} broken", report.batches, report.runs, report.broken.size()));
}

void rebuild(Scene& scene, Process& process, Machine& machine) {
  auto index = Scene::open(machine, Access::write);
  const Process::Locked locked(process);
  SimulatedStore store(scene.bucket, process);
  const Keys before = keys_of(*index);
  flow::SyncReport report;
  const auto check_unchanged = [&] {
    if (keys_of(*scene.eye(machine)) != before)
      scene.world.fail("promise 3: a rebuild failed, and the index is not what it was");
  };
  try {
    report = flow::rebuild(store, *index, [&process](std::uint64_t, std::uint64_t) {
      process.step(Process::Next::anything_else);
    });
  } catch (const base::Error&) {
    check_unchanged();
    throw;
  } catch (const Died&) {
    check_unchanged();
    throw;
  }
  ++machine.rebuilds;
  ++scene.counts.rebuilds;
  if (!report.broken.empty() && !process.met_corruption)
    scene.world.fail("promise 3: a rebuild found broken what is whole: " + report.broken.front());
  machine.left_out.clear();
  for (const std::string& broken : report.broken) machine.left_out.insert(broken.substr(0, broken.find(':')));
  process.log(
      fmt::format("{} batches, {} runs, {} broken", report.batches, report.runs, report.broken.size()));
  Keys now = keys_of(*scene.eye(machine));
  now.insert(machine.left_out.begin(), machine.left_out.end());
  if (!includes(now, before)) scene.world.fail("promise 1: a rebuild forgot a batch that the index knew");
}

void verify(Scene& scene, Process& process, Machine& machine, bool repair) {
  auto index = Scene::open(machine, repair ? Access::write : Access::read);
  if (!index) return;
  SimulatedStore store(scene.bucket, process);
  const Keys known = keys_of(*index);
  const std::uint64_t rebuilds = machine.rebuilds;
  Keys in_store;
  for (const std::string& key : scene.model.all_keys()) in_store.insert(key);
  Keys orphans;
  flow::VerifyEvents events;
  events.fault = [&](const flow::Fault& fault) {
    process.log(fmt::format("fault {}: {} {}", static_cast<int>(fault.kind), fault.key, fault.why));
    switch (fault.kind) {
      case flow::FaultKind::adopted:
        ++scene.counts.adopted;
        [[fallthrough]];
      case flow::FaultKind::orphan:
        orphans.insert(fault.key);
        if (known.contains(fault.key) && machine.rebuilds == rebuilds)
          scene.world.fail("promise 3: verify calls an orphan what the index knows: " + fault.key);
        return;
      case flow::FaultKind::foreign:
        if (scene.foreign_object) return;
        break;
      case flow::FaultKind::broken:
        if (process.met_corruption) return;
        break;
      default:
        break;
    }
    scene.world.fail(
        fmt::format("promise 3: verify finds fault with what is whole: {} {}", fault.key, fault.why));
  };
  events.progress = [&process](std::uint64_t, std::uint64_t) { process.step(Process::Next::anything_else); };
  const flow::VerifyOptions options{{scene.world.chance(0.5) ? 1.0 : 0.0, 1}, repair};
  flow::verify(store, &*index, options, events);
  forget_found(scene, machine);
  if (scene.bucket.faults.list_short > 0 || process.met_corruption) return;
  const Keys now = keys_of(*scene.eye(machine));
  for (const std::string& key : in_store) {
    // What others recorded meanwhile was none when it was looked at.
    if (!known.contains(key) && !orphans.contains(key) && !now.contains(key))
      scene.world.fail("promise 3: verify does not name the orphan " + key);
    if (repair && !now.contains(key) && machine.rebuilds == rebuilds)
      scene.world.fail("promise 3: verify --repair left the orphan " + key);
  }
}

void clean_cache(Scene& scene, Process& process, const Machine& machine) {
  namespace fs = std::filesystem;
  if (machine.cache_path.empty() || !fs::exists(machine.cache_path)) return;
  switch (scene.world.below(4)) {
    case 0:
      cache::clean(machine.cache_path, {.bytes = 0}, cache::DryRun::no, std::chrono::seconds(60));
      break;
    case 1:
      cache::clear(machine.cache_path);
      break;
    case 2:
      cache::verify(machine.cache_path, [&scene](const std::string& why) {
        if (!scene.tampered)
          scene.world.fail("promise 2: the cache has a bad entry that nobody spoilt: " + why);
      });
      break;
    default: {
      // Somebody spoils an entry.
      std::vector<std::string> files;
      for (const fs::directory_entry& entry : fs::recursive_directory_iterator(machine.cache_path)) {
        if (entry.is_regular_file() && entry.path().filename().string().size() > 20 && entry.file_size() > 64)
          files.push_back(entry.path().string());
      }
      if (files.empty()) break;
      std::sort(files.begin(), files.end());
      std::fstream file(files[scene.world.below(files.size())]);
      file.seekp(40);
      file.put('\x55');
      scene.tampered = true;
    }
  }
  process.step(Process::Next::anything_else);
}

}  // namespace runctl::sim
