#include "model.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <tuple>

#include "base/bytes.hpp"
#include "base/hash.hpp"
#include "base/time.hpp"
#include "batch/format.hpp"
#include "batch/frame.hpp"
#include "batch/reader.hpp"
#include "index/terms.hpp"

namespace runctl::sim {

namespace {

std::string day_of(const std::vector<Placed>& runs) {
  std::string day;
  for (const Placed& placed : runs) {
    const Run& run = all_runs()[placed.run];
    const std::string its = run.start == base::k_no_time ? "mixed" : base::day_text(run.start);
    if (!day.empty() && day != its) return "mixed";
    day = its;
  }
  return day;
}

}  // namespace

bool Expectation::has(const Run& run) const {
  const auto& all = of(run.id);
  return std::any_of(all.begin(), all.end(), [&run](const ExpectedVersion& version) {
    return all_runs()[version.run].fingerprint == run.fingerprint;
  });
}

const std::vector<ExpectedVersion>& Expectation::of(const run::Id& id) const {
  static const std::vector<ExpectedVersion> none;
  const auto found = versions.find(id);
  return found == versions.end() ? none : found->second;
}

std::vector<std::string> Model::all_keys() const {
  std::vector<std::string> keys;
  for (const auto& [key, object] : bucket_.objects()) {
    if (batch::is_batch_key(key)) keys.push_back(key);
  }
  return keys;
}

// The object must be what its name says, and hold runs that somebody wrote, byte for byte.
std::vector<Placed> Model::read_batch(const std::string& key, const std::string& bytes) {
  const std::string hash = base::to_hex(base::as_bytes(base::sha256(bytes)));
  if (key.find("/" + hash + std::string(batch::k_batch_suffix)) == std::string::npos)
    world_.fail("promise 3: " + key + " is not named by the hash of its bytes");
  const run::Table table = batch::read_table(
      bytes.size(),
      [&bytes](std::uint64_t offset, std::uint64_t length) { return bytes.substr(offset, length); });
  std::string raw;
  for (const run::Frame& frame : table.frames)
    raw += batch::decompress_frame(std::string_view(bytes).substr(frame.offset, frame.stored), frame.raw);
  std::vector<Placed> runs;
  std::uint64_t offset = 0;
  for (std::size_t i = 0; i < table.size(); ++i) {
    const std::size_t end = raw.find('\n', offset);
    if (end == std::string::npos) world_.fail("promise 3: " + key + " has fewer lines than its footer runs");
    const auto run = find_run(std::string_view(raw).substr(offset, end - offset));
    if (!run) world_.fail("promise 2: " + key + " holds a run that nobody wrote");
    if (all_runs()[*run].id != table.ids[i] || all_runs()[*run].fingerprint != table.fingerprints[i] ||
        table.lengths[i] != end - offset)
      world_.fail("promise 3: the footer of " + key + " does not name its runs");
    runs.push_back({*run, offset});
    offset = end + 1;
  }
  if (offset != raw.size() || runs.empty())
    world_.fail("promise 3: " + key + " holds more than its footer says");
  if (!key.starts_with(std::string(batch::k_batch_prefix) + day_of(runs) + "/"))
    world_.fail("promise 3: " + key + " lies under the wrong day");
  return runs;
}

const std::vector<Placed>& Model::runs_of(const std::string& key) {
  const auto found = batches_.find(key);
  if (found != batches_.end()) return found->second;
  const auto object = bucket_.objects().find(key);
  if (object == bucket_.objects().end())
    world_.fail("promise 1: an index names " + key + ", the store has it not");
  return batches_.emplace(key, read_batch(key, object->second.bytes)).first->second;
}

Expectation Model::expect(const std::vector<std::string>& keys) {
  Expectation expected;
  expected.batches = keys.size();
  const auto age = [](const ExpectedVersion& version) {
    return std::tie(version.modified_ns, version.key, version.raw_offset);
  };
  for (const std::string& key : keys) {
    const std::vector<Placed>& runs = runs_of(key);
    const Bucket::Object& object = bucket_.objects().at(key);
    for (const Placed& placed : runs) {
      const Run& run = all_runs()[placed.run];
      if (object.overwritten) expected.unsure.insert(run.id);
      const ExpectedVersion version{placed.run, object.modified_ns, key, placed.raw_offset};
      std::vector<ExpectedVersion>& all = expected.versions[run.id];
      const auto same = std::find_if(all.begin(), all.end(),
                                     [&placed](const ExpectedVersion& v) { return v.run == placed.run; });
      if (same == all.end())
        all.push_back(version);
      else if (age(version) < age(*same))
        *same = version;  // a run is as old as its oldest copy
    }
  }
  for (auto& [id, all] : expected.versions) {
    std::sort(all.begin(), all.end(),
              [&age](const ExpectedVersion& a, const ExpectedVersion& b) { return age(a) > age(b); });
  }
  return expected;
}

void Model::check_versions(index::Index& index, const run::Id& id, const Expectation& expected,
                           const std::string& of) {
  const std::vector<index::Location> found = index.find(id);
  const std::vector<ExpectedVersion>& all = expected.of(id);
  const std::string name = run::uuid_text(id);
  if (found.size() != all.size()) {
    world_.fail(fmt::format("promise 1: {} has {} versions of {}, and should have {}", of, found.size(), name,
                            all.size()));
  }
  if (!expected.is_sure(id)) return;
  for (std::size_t i = 0; i < all.size(); ++i) {
    if (found[i].fingerprint != all_runs()[all[i].run].fingerprint)
      world_.fail(
          fmt::format("promise 3: {} has the versions of {} in another order than the store", of, name));
    if (index.batch(found[i].batch).key != all[i].key || found[i].raw_offset != all[i].raw_offset)
      world_.fail(fmt::format("promise 3: {} looks for {} elsewhere than at its oldest copy", of, name));
  }
}

std::vector<Model::ExpectedHit> Model::expect_hits(index::Index& index, const Expectation& expected,
                                                   const index::Query& query) {
  std::vector<ExpectedHit> hits;
  for (const auto& [id, all] : expected.versions) {
    const std::vector<index::Location> found = index.find(id);
    if (found.empty()) world_.fail("promise 1: the index lost " + run::uuid_text(id));
    // Where the order is not sure, the index is believed: what it answers must at least be consistent.
    const auto latest = std::find_if(all.begin(), all.end(), [&found](const ExpectedVersion& version) {
      return all_runs()[version.run].fingerprint == found.front().fingerprint;
    });
    if (latest == all.end()) world_.fail("promise 2: the index has a version that nobody wrote");
    if (expected.is_sure(id) && latest != all.begin())
      world_.fail("promise 3: the index has another latest version");
    const Run& run = all_runs()[latest->run];
    if (!run.matches(query)) continue;
    hits.push_back({index::order_of(run.start), static_cast<std::uint32_t>(found.front().run), latest->run});
  }
  std::sort(hits.begin(), hits.end(),
            [](const ExpectedHit& a, const ExpectedHit& b) { return a.position() < b.position(); });
  if (query.order == index::Query::Order::newest) std::reverse(hits.begin(), hits.end());
  return hits;
}

void Model::check_index(index::Index& index, const Expectation& expected, const std::string& of) {
  std::size_t versions = 0;
  for (const auto& [id, all] : expected.versions) {
    check_versions(index, id, expected, of);
    versions += all.size();
  }
  const index::Status status = index.status();
  if (status.runs != static_cast<std::int64_t>(versions) ||
      status.batches != static_cast<std::int64_t>(expected.batches)) {
    world_.fail(fmt::format("promise 1: {} has {} runs of {} batches, and should have {} of {}", of,
                            status.runs, status.batches, versions, expected.batches));
  }
  index::Query query = world_.chance(0.5) ? index::Query{} : random_query(world_);
  query.limit = 0;
  const std::vector<ExpectedHit> hits = expect_hits(index, expected, query);
  std::vector<std::uint32_t> rows;
  index.search(query,
               [&](const index::Hit& hit) { rows.push_back(static_cast<std::uint32_t>(hit.location.run)); });
  const bool same = std::equal(rows.begin(), rows.end(), hits.begin(), hits.end(),
                               [](std::uint32_t row, const ExpectedHit& hit) { return row == hit.row; });
  if (!same)
    world_.fail(fmt::format("promise 1: a search of {} finds {} runs, not the {} that match", of, rows.size(),
                            hits.size()));
  if (index.count(query) != static_cast<std::int64_t>(hits.size()))
    world_.fail(fmt::format("promise 1: {} counts other runs than it finds", of));
}

}  // namespace runctl::sim
