// Those who ask: get, get --trace, search page by page. Whatever else goes on, they get the truth, or word
// that they cannot have it.
#include <fmt/format.h>

#include <algorithm>
#include <limits>
#include <memory>
#include <tuple>

#include "base/error.hpp"
#include "base/time.hpp"
#include "flow/fetch.hpp"
#include "flow/sync.hpp"
#include "scene.hpp"

namespace runctl::sim {

namespace {

using Access = index::Index::Access;

struct Answer {
  enum class Kind { bytes, not_found, broken };
  Kind kind = Kind::bytes;
  std::string bytes;
};

// What one command printed, in its order.
class Answers {
 public:
  flow::FetchEvents events() {
    flow::FetchEvents events;
    events.bytes = [this](std::string_view bytes, bool last) {
      piece_ += bytes;
      if (!last) return;
      list.push_back({Answer::Kind::bytes, piece_});
      piece_.clear();
    };
    events.not_found = [this](std::string_view) { list.push_back({Answer::Kind::not_found, ""}); };
    events.field_not_found = [this](std::optional<std::string_view>, std::string_view) {
      list.push_back({Answer::Kind::not_found, ""});
    };
    events.broken = [this](std::optional<std::string_view>, const std::string& why) {
      list.push_back({Answer::Kind::broken, why});
    };
    return events;
  }

  std::vector<Answer> list;

 private:
  std::string piece_;
};

enum class Part { run, inputs };

// One of the runs that may be printed at one place; none: it must not be found.
using Allowed = std::vector<std::size_t>;

void check_answers(Scene& scene, const Process& process, const std::vector<Answer>& answers,
                   const std::vector<Allowed>& allowed, Part part, bool overtaken, const std::string& what) {
  if (answers.size() != allowed.size()) {
    scene.world.fail(
        fmt::format("promise 2: {} gave {} answers, not {}", what, answers.size(), allowed.size()));
  }
  for (std::size_t i = 0; i < answers.size(); ++i) {
    const Answer& answer = answers[i];
    if (answer.kind == Answer::Kind::broken) {
      // Whoever remembers a batch over a rebuild is told to run the command again.
      const bool told = overtaken && answer.bytes.find("made anew meanwhile") != std::string::npos;
      if (!process.met_corruption && !told)
        scene.world.fail("promise 2: " + what + " calls broken what is whole: " + answer.bytes);
      continue;
    }
    if ((answer.kind == Answer::Kind::not_found) != allowed[i].empty())
      scene.world.fail(
          "promise 1: " + what +
          (allowed[i].empty() ? " finds what is not there" : " does not find what the index has"));
    const bool right =
        allowed[i].empty() || std::any_of(allowed[i].begin(), allowed[i].end(), [&](std::size_t number) {
          const Run& run = all_runs()[number];
          return answer.bytes == (part == Part::run ? run.json : run.inputs);
        });
    if (!right) scene.world.fail("promise 2: " + what + " printed other bytes: " + answer.bytes);
  }
}

// Null where the machine has none.
std::unique_ptr<cache::FrameCache> open_cache(const Machine& machine) {
  if (machine.cache_path.empty()) return nullptr;
  return std::make_unique<cache::FrameCache>(machine.cache_path, "sim://bucket", cache::Limits{},
                                             [](const std::string&) {});
}

// As `get` does it: before a run is said to be missing, the index is made to agree with the store.
void sync_before_get(Scene& scene, Process& process, const Machine& machine) {
  auto index = Scene::open(machine, Access::write);
  SimulatedStore store(scene.bucket, process);
  try {
    flow::sync(store, *index, {}, {});
  } catch (const base::Error&) {
    process.log("sync failed");
  }
}

void check_facts(Scene& scene, const index::Hit& hit, const Run& run) {
  if (hit.facts.id != run.id || hit.facts.trace != run.trace || hit.facts.name != run.name ||
      hit.facts.run_type != run.run_type || hit.facts.start != run.start || hit.facts.error != run.error)
    scene.world.fail("promise 3: a search says other things of " + run.id_text + " than were stored");
}

}  // namespace

void get(Scene& scene, Process& process, Machine& machine) {
  auto index = Scene::open(machine, Access::read);
  if (!index) return;
  const std::uint64_t rebuilds = machine.rebuilds;
  std::vector<std::string> ids;
  bool unknown = false;
  for (std::size_t i = 0, count = 1 + scene.world.below(4); i < count; ++i) {
    const Run& run = all_runs()[scene.ids[scene.world.below(scene.ids.size())] * k_versions];
    // As a search prints it, or in another case.
    ids.push_back(scene.world.chance(0.2) ? run::uuid_text(run.id) : run.id_text);
    unknown = unknown || index->find(run.id).empty();
  }
  if (unknown) sync_before_get(scene, process, machine);
  const Expectation expected = scene.expect(*index);
  const bool all_versions = scene.world.chance(0.3);
  const Part part = scene.world.chance(0.2) ? Part::inputs : Part::run;
  std::vector<Allowed> allowed;
  for (const std::string& id : ids) {
    const std::vector<ExpectedVersion>& versions = expected.of(run::id_of_text(id));
    Allowed all;
    for (const ExpectedVersion& version : versions) all.push_back(version.run);
    const bool sure = expected.is_sure(run::id_of_text(id));
    const std::size_t answers = all_versions ? std::max<std::size_t>(1, all.size()) : 1;
    for (std::size_t i = 0; i < answers; ++i) allowed.push_back(sure && !all.empty() ? Allowed{all[i]} : all);
  }
  const auto cache = open_cache(machine);
  SimulatedStore store(scene.bucket, process);
  flow::FrameReader frames(store, cache.get());
  Answers answers;
  flow::Fetcher fetcher(
      frames, *index,
      {part == Part::run ? std::vector<std::string>{} : std::vector<std::string>{"inputs"}, all_versions},
      answers.events());
  fetcher.get(ids);
  check_answers(scene, process, answers.list, allowed, part, machine.rebuilds != rebuilds, "get");
  scene.counts.gets += ids.size();
}

void get_trace(Scene& scene, Process& process, Machine& machine) {
  auto index = Scene::open(machine, Access::read);
  if (!index) return;
  const std::uint64_t rebuilds = machine.rebuilds;
  const std::string trace = trace_text(scene.world.below(k_traces));
  const Expectation expected = scene.expect(*index);
  index::Query query;
  query.trace = run::id_of_text(trace);
  const auto hits = scene.model.expect_hits(*index, expected, query);
  // Runs that start together come in the order in which the store took them.
  using Place = std::tuple<std::int64_t, std::int64_t, std::string, std::uint64_t>;
  std::vector<std::pair<Place, std::size_t>> places;
  bool sure = true;
  Allowed any;
  for (const auto& hit : hits) {
    const Run& run = all_runs()[hit.run];
    sure = sure && expected.is_sure(run.id);
    const auto& all = expected.of(run.id);
    const auto version =
        std::find_if(all.begin(), all.end(), [&hit](const auto& v) { return v.run == hit.run; });
    const std::int64_t start =
        run.start == base::k_no_time ? std::numeric_limits<std::int64_t>::max() : run.start;
    places.push_back({{start, version->modified_ns, version->key, version->raw_offset}, hit.run});
    any.push_back(hit.run);
  }
  std::sort(places.begin(), places.end());
  std::vector<Allowed> allowed;
  for (const auto& place : places) allowed.push_back(sure ? Allowed{place.second} : any);
  if (allowed.empty()) allowed.emplace_back();
  const auto cache = open_cache(machine);
  SimulatedStore store(scene.bucket, process);
  flow::FrameReader frames(store, cache.get());
  Answers answers;
  flow::Fetcher(frames, *index, {}, answers.events()).get_trace(trace);
  check_answers(scene, process, answers.list, allowed, Part::run, machine.rebuilds != rebuilds,
                "get --trace");
}

// Pages put together are the whole: what matches all the time is found once, and each page is what follows
// the last one at its time.
void search(Scene& scene, Process& process, Machine& machine) {
  auto index = Scene::open(machine, Access::read);
  if (!index) return;
  index::Query query = random_query(scene.world);
  const bool newest = query.order == index::Query::Order::newest;
  const std::uint64_t rebuilds = machine.rebuilds;
  std::set<std::uint32_t> seen;
  std::optional<std::set<std::uint32_t>> always;
  std::optional<std::pair<std::uint64_t, std::uint32_t>> last;
  while (true) {
    query.limit = 1 + scene.world.below(3);
    auto hits = scene.model.expect_hits(*index, scene.expect(*index), query);
    std::set<std::uint32_t> rows;
    for (const auto& hit : hits) rows.insert(hit.row);
    if (always) {
      std::erase_if(*always, [&rows](std::uint32_t row) { return !rows.contains(row); });
    } else {
      always = rows;
    }
    if (last)
      std::erase_if(
          hits, [&](const auto& hit) { return newest ? hit.position() >= *last : hit.position() <= *last; });
    hits.resize(std::min(hits.size(), query.limit));
    if (machine.rebuilds != rebuilds) {
      process.log("the index was made anew");
      try {
        if (query.after) index->search(query, [](const index::Hit&) {});
      } catch (const base::Error& error) {
        if (error.kind() == base::ErrorKind::usage) return;
        throw;
      }
      if (query.after) scene.world.fail("promise 5: a cursor of before a rebuild was taken");
      return;
    }
    std::size_t found = 0;
    index->search(query, [&](const index::Hit& hit) {
      if (found >= hits.size() || static_cast<std::uint32_t>(hit.location.run) != hits[found].row)
        scene.world.fail("promise 1: a page does not go on where the last one ended");
      check_facts(scene, hit, all_runs()[hits[found].run]);
      if (!seen.insert(hits[found].row).second) scene.world.fail("promise 1: two pages show one run");
      last = hits[found].position();
      query.after = hit.cursor;
      ++found;
      process.step(Process::Next::anything_else);
    });
    if (found != hits.size()) scene.world.fail("promise 1: a page leaves out runs that match");
    ++scene.counts.pages;
    process.log(fmt::format("page of {}", found));
    if (found < query.limit) break;
    query.after = index::Cursor::parse(query.after->text());
    process.step(Process::Next::anything_else);
  }
  if (!std::includes(seen.begin(), seen.end(), always->begin(), always->end()))
    scene.world.fail("promise 1: the pages together leave out runs that matched all the time");
}

void check_requests(Scene& scene, Process& process, Machine& machine) {
  auto index = Scene::open(machine, Access::read);
  const Expectation expected = scene.expect(*index);
  if (expected.versions.empty()) return;
  auto entry = expected.versions.begin();
  std::advance(entry, static_cast<std::ptrdiff_t>(scene.world.below(expected.versions.size())));
  const Run& run = all_runs()[entry->second.front().run];
  const auto cache = open_cache(machine);
  for (const std::uint64_t limit : {std::uint64_t{1}, std::uint64_t{cache ? 0U : 1U}}) {
    SimulatedStore store(scene.bucket, process);
    flow::FrameReader frames(store, cache.get());
    Answers answers;
    flow::Fetcher(frames, *index, {}, answers.events()).get({run.id_text});
    if (store.traffic().requests > limit)
      scene.world.fail(fmt::format("promise 4: a get took {} requests", store.traffic().requests));
  }
}

}  // namespace runctl::sim
