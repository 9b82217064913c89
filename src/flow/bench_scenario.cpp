#include "flow/bench_scenario.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <limits>
#include <memory>
#include <optional>

#include "base/error.hpp"
#include "cache/frame_cache.hpp"
#include "flow/bench_steps.hpp"
#include "flow/sync.hpp"
#include "flow/warm.hpp"

namespace runctl::flow {

namespace {

// In each repetition.
constexpr std::size_t k_targets = 200;  // single gets and searches
constexpr std::size_t k_batch_gets = 5;
constexpr std::size_t k_batch_ids = 100;
constexpr std::size_t k_hit_rate_gets = 20;  // for each rate; every rate is a whole number of them

struct HitRateMeter {
  BenchHitRate rate;
  StepMeter meter{"hit rate"};
};

struct Meters {
  StepMeter ingest{k_bench_steps[0]};
  StepMeter cold_get{k_bench_steps[1]};
  StepMeter cached_get{k_bench_steps[2]};
  StepMeter batch_get{k_bench_steps[3]};
  StepMeter search{k_bench_steps[4]};
  StepMeter rebuild{k_bench_steps[5]};
  std::vector<HitRateMeter> hit_rates;
};

// Queries for runs like this one, each of another kind.
index::Query query_for(const BenchTarget& target, std::size_t kind) {
  constexpr std::int64_t k_window = 60'000'000;
  index::Query query;
  const run::Facts& facts = target.facts;
  switch (kind % 6) {
    case 0:
      query.trace = facts.trace;
      break;
    case 1:
      query.name = facts.name;
      break;
    case 2:
      query.name_contains = facts.name.substr(facts.name.size() / 2);
      break;
    case 3:
      query.run_type = facts.run_type;
      query.error = facts.error;
      break;
    case 4:
      if (facts.start != base::k_no_time) {
        query.since = facts.start;
        query.until = facts.start > std::numeric_limits<std::int64_t>::max() - k_window
                          ? facts.start
                          : facts.start + k_window;
      }
      break;
    default:
      query.min_latency = 1'000'000;
      query.order = index::Query::Order::oldest;
  }
  return query;
}

// Everything from an empty prefix to an empty prefix, once.
class Repetition {
 public:
  Repetition(BenchPlace& place, const BenchOptions& options, Meters& meters, std::uint64_t number)
      : place_(place),
        options_(options),
        meters_(meters),
        part_(fmt::format("{}", number)),
        store_(place.open(part_)),
        random_(options.seed + number) {}

  ~Repetition() {
    // Before their files go.
    cache_.reset();
    index_.reset();
  }
  Repetition(const Repetition&) = delete;
  Repetition& operator=(const Repetition&) = delete;

  IngestReport run(const std::string& input) {
    IngestReport report = ingest(input);
    targets_ = choose_targets(*index_, k_targets, random_);
    cold_gets();
    open_cache();
    cached_gets();
    batch_gets();
    searches();
    rebuild();
    for (HitRateMeter& rate : meters_.hit_rates) hit_rate(rate);
    return report;
  }

 private:
  // A part of a repetition that counts for one step.
  template <typename Work>
  void step(StepMeter& meter, Work work) {
    check_stop(options_);
    meter.begin();
    const store::Traffic before = store_->traffic();
    work();
    meter.end(traffic_between(before, store_->traffic()));
  }

  void tell(std::string_view what, std::size_t done, std::size_t all) const {
    check_stop(options_);
    options_.progress(what, done, all);
  }

  [[nodiscard]] std::optional<index::Index> open_index(const std::string& name) const {
    return index::Index::open(place_.local(name), store_->url(), index::Index::Access::write);
  }

  IngestReport ingest(const std::string& input) {
    const auto open = [this] { return open_index("index.sqlite"); };
    index_ = open();  // made before the clock runs, as it is before most ingests
    IngestReport report;
    step(meters_.ingest, [&] {
      options_.progress("ingest", 0, 1);
      meters_.ingest.time([&] { report = ingest_file(input, *store_, open, options_); });
      meters_.ingest.count(report.stored, report.bytes_in);
    });
    return report;
  }

  void gets(StepMeter& meter, std::string_view what, FrameReader& frames) {
    step(meter, [&] {
      BenchGetter getter(frames, *index_);
      for (std::size_t i = 0; i < targets_.size(); ++i) {
        tell(what, i, targets_.size());
        meter.time([&] { getter.get({targets_[i].id}); });
      }
      meter.count(getter.runs(), getter.bytes());
    });
  }

  void cold_gets() {
    FrameReader frames(*store_, nullptr);
    gets(meters_.cold_get, "cold get", frames);
  }

  // Holds all frames of the targets from here on.
  void open_cache() {
    cache::Limits limits;
    limits.bytes = std::numeric_limits<std::int64_t>::max();
    cache_ = std::make_unique<cache::FrameCache>(place_.local("cache"), store_->url(), limits,
                                                 [](const std::string&) {});
    frames_ = std::make_unique<FrameReader>(*store_, cache_.get());
    std::vector<index::Location> locations;
    for (const BenchTarget& target : targets_) locations.push_back(target.location);
    warm(*frames_, *cache_, *index_, locations,
         [](const std::string& why) { throw base::Error(base::ErrorKind::corrupt, why); });
    if (!cache_->fault().empty()) throw base::Error(base::ErrorKind::io, cache_->fault());
  }

  void cached_gets() { gets(meters_.cached_get, "cached get", *frames_); }

  void batch_gets() {
    FrameReader frames(*store_, nullptr);
    step(meters_.batch_get, [&] {
      BenchGetter getter(frames, *index_);
      for (std::size_t i = 0; i < k_batch_gets; ++i) {
        tell("batch get", i, k_batch_gets);
        shuffle(targets_, random_);
        std::vector<std::string> ids;
        for (const BenchTarget& target : targets_) {
          if (ids.size() < k_batch_ids) ids.push_back(target.id);
        }
        meters_.batch_get.time([&] { getter.get(ids); });
      }
      meters_.batch_get.count(getter.runs(), getter.bytes());
    });
  }

  void searches() {
    step(meters_.search, [&] {
      std::uint64_t found = 0;
      for (std::size_t i = 0; i < targets_.size(); ++i) {
        tell("search", i, targets_.size());
        const index::Query query = query_for(targets_[i], i);
        meters_.search.time([&] { index_->search(query, [&found](const index::Hit&) { ++found; }); });
      }
      meters_.search.count(found, 0);
    });
  }

  void rebuild() {
    {
      std::optional<index::Index> index = open_index("rebuilt.sqlite");
      step(meters_.rebuild, [&] {
        options_.progress("rebuild", 0, 1);
        SyncReport report;
        meters_.rebuild.time([&] { report = flow::rebuild(*store_, *index, {}); });
        if (!report.broken.empty()) throw base::Error(base::ErrorKind::corrupt, report.broken.front());
        meters_.rebuild.count(report.runs, 0);
      });
    }
    index::Index::remove(place_.local("rebuilt.sqlite"));
  }

  // Takes the run's frames out of the cache.
  void forget(const index::Location& location) {
    const std::string key = index_->batch(location.batch).key;
    for (const run::Frame& frame : index_->frames(location.batch, location.raw_offset, location.length))
      cache_->reject(key, frame.offset, frame.stored);
  }

  void hit_rate(HitRateMeter& rate) {
    const std::size_t hits = k_hit_rate_gets * rate.rate.rate / 100;
    std::vector<bool> plan(k_hit_rate_gets, false);
    std::vector<std::size_t> order(k_hit_rate_gets);
    for (std::size_t i = 0; i < order.size(); ++i) order[i] = i;
    shuffle(order, random_);
    for (std::size_t i = 0; i < hits; ++i) plan[order[i]] = true;
    const std::uint64_t requests = store_->traffic().requests;
    BenchGetter getter(*frames_, *index_);
    for (std::size_t i = 0; i < plan.size(); ++i) {
      tell("hit rates", i, plan.size());
      const BenchTarget& target = targets_[random_.below(targets_.size())];
      if (!plan[i]) forget(target.location);
      const std::uint64_t misses = cache_->misses();
      rate.meter.time([&] { getter.get({target.id}); });
      if (cache_->misses() == misses) ++rate.rate.hits;
    }
    rate.rate.gets += plan.size();
    rate.rate.requests += store_->traffic().requests - requests;
  }

  BenchPlace& place_;
  const BenchOptions& options_;
  Meters& meters_;
  const std::string part_;
  std::unique_ptr<store::ObjectStore> store_;
  std::optional<index::Index> index_;
  std::unique_ptr<cache::FrameCache> cache_;
  std::unique_ptr<FrameReader> frames_;
  BenchRandom random_;
  std::vector<BenchTarget> targets_;
};

}  // namespace

BenchScenario run_bench(const BenchPlan& plan, BenchPlace& place, const BenchOptions& options) {
  if (plan.writers > 0) return run_concurrent_bench(plan, place, options);
  std::string input = plan.input;
  if (input.empty()) {
    input = place.local("runs.ndjson");
    write_bench_input(plan, options, input, 0, plan.runs);
  }
  Meters meters;
  for (const unsigned rate : k_bench_hit_rates) meters.hit_rates.emplace_back().rate.rate = rate;
  IngestReport report;
  for (std::uint64_t i = 0; i < options.repeat; ++i) {
    report = Repetition(place, options, meters, i).run(input);
    place.remove(std::to_string(i));
    index::Index::remove(place.local("index.sqlite"));
    place.remove_local("cache");
  }
  if (plan.input.empty()) place.remove_local("runs.ndjson");

  BenchScenario scenario{plan.name, report.stored, report.bytes_in, report.bytes_stored, {}, {}};
  for (const StepMeter* meter : {&meters.ingest, &meters.cold_get, &meters.cached_get, &meters.batch_get,
                                 &meters.search, &meters.rebuild})
    scenario.steps.push_back(meter->result());
  for (HitRateMeter& rate : meters.hit_rates) {
    rate.rate.time = rate.meter.result().time;
    scenario.hit_rates.push_back(rate.rate);
  }
  return scenario;
}

}  // namespace runctl::flow
