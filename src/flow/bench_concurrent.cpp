// Writers and readers at once, each as a process of its own would be: with its own connections and its own
// handle of the index that they share.
#include <fmt/format.h>

#include <atomic>
#include <exception>
#include <latch>
#include <memory>
#include <mutex>
#include <thread>

#include "base/error.hpp"
#include "flow/bench_steps.hpp"

namespace runctl::flow {

namespace {

constexpr const char* k_part = "concurrent";
constexpr const char* k_index = "index.sqlite";
constexpr std::size_t k_targets = 200;

std::string input_name(std::uint64_t writer) { return fmt::format("runs-{}.ndjson", writer); }

class ConcurrentRepetition {
 public:
  ConcurrentRepetition(const BenchPlan& plan, BenchPlace& place, const BenchOptions& options,
                       std::uint64_t number)
      : plan_(plan),
        place_(place),
        options_(options),
        number_(number),
        ready_(static_cast<std::ptrdiff_t>(plan.writers + plan.readers + 1)),
        writing_(plan.writers) {}

  // What the readers get is there before: the file that belongs to no writer.
  void prepare() {
    const std::unique_ptr<store::ObjectStore> store = place_.open(k_part);
    url_ = store->url();
    ingest_file(
        place_.local(input_name(0)), *store, [this] { return open_index(); }, options_);
    std::optional<index::Index> index = open_index();
    BenchRandom random(options_.seed + number_);
    targets_ = choose_targets(*index, k_targets, random);
  }

  void run(StepMeter& ingests, StepMeter& gets) {
    ingests.begin();
    gets.begin();
    std::vector<std::thread> threads;
    for (std::uint64_t i = 0; i < plan_.writers; ++i)
      threads.emplace_back([this, i, &ingests] { guarded([&] { write(i + 1, ingests); }, &writing_); });
    for (std::uint64_t i = 0; i < plan_.readers; ++i)
      threads.emplace_back([this, i, &gets] { guarded([&] { read(i, gets); }, nullptr); });
    ready_.arrive_and_wait();
    const auto started = StepMeter::Clock::now();
    for (std::thread& thread : threads) thread.join();
    const std::chrono::duration<double> seconds = StepMeter::Clock::now() - started;
    if (failure_) std::rethrow_exception(failure_);
    check_stop(options_);
    ingests.set_seconds(seconds.count());
    gets.set_seconds(seconds.count());
    ingests.end(written_);
    gets.end(read_);
  }

 private:
  [[nodiscard]] std::optional<index::Index> open_index() const {
    return index::Index::open(place_.local(k_index), url_, index::Index::Access::write);
  }

  // Runs a thread's work; the first failure is kept. `running` counts down at its end.
  template <typename Work>
  void guarded(Work work, std::atomic<std::uint64_t>* running) {
    try {
      work();
    } catch (...) {
      const std::lock_guard lock(mutex_);
      if (!failure_) failure_ = std::current_exception();
    }
    if (running != nullptr) --*running;
  }

  // Everybody begins when all have their handles.
  void wait_for_others() { ready_.arrive_and_wait(); }

  void write(std::uint64_t writer, StepMeter& meter) {
    std::unique_ptr<store::ObjectStore> store;
    std::exception_ptr failure;
    try {
      store = place_.open(k_part);
    } catch (...) {
      failure = std::current_exception();
    }
    wait_for_others();
    if (failure) std::rethrow_exception(failure);
    const auto started = StepMeter::Clock::now();
    const IngestReport report = ingest_file(
        place_.local(input_name(writer)), *store, [this] { return open_index(); }, options_);
    const auto time = StepMeter::Clock::now() - started;
    const std::lock_guard lock(mutex_);
    meter.add(time);
    meter.count(report.stored, report.bytes_in);
    add(written_, store->traffic());
  }

  void read(std::uint64_t reader, StepMeter& meter) {
    std::unique_ptr<store::ObjectStore> store;
    std::optional<index::Index> index;
    std::exception_ptr failure;
    try {
      store = place_.open(k_part);
      index = open_index();
    } catch (...) {
      failure = std::current_exception();
    }
    wait_for_others();
    if (failure) std::rethrow_exception(failure);
    FrameReader frames(*store, nullptr);
    BenchGetter getter(frames, *index);
    std::vector<StepMeter::Clock::duration> times;
    for (std::size_t i = reader; writing_ > 0 || times.empty(); ++i) {
      if (options_.stop.stop_requested()) break;
      const auto started = StepMeter::Clock::now();
      getter.get({targets_[i % targets_.size()].id});
      times.push_back(StepMeter::Clock::now() - started);
    }
    const std::lock_guard lock(mutex_);
    for (const auto time : times) meter.add(time);
    meter.count(getter.runs(), getter.bytes());
    add(read_, store->traffic());
  }

  static void add(store::Traffic& sum, const store::Traffic& more) {
    sum.requests += more.requests;
    sum.bytes_read += more.bytes_read;
    sum.bytes_written += more.bytes_written;
    sum.retries += more.retries;
  }

  const BenchPlan& plan_;
  BenchPlace& place_;
  const BenchOptions& options_;
  const std::uint64_t number_;
  std::string url_;
  std::vector<BenchTarget> targets_;
  std::latch ready_;
  std::atomic<std::uint64_t> writing_;
  std::mutex mutex_;
  std::exception_ptr failure_;
  store::Traffic written_;
  store::Traffic read_;
};

}  // namespace

BenchScenario run_concurrent_bench(const BenchPlan& plan, BenchPlace& place, const BenchOptions& options) {
  for (std::uint64_t i = 0; i <= plan.writers; ++i)
    write_bench_input(plan, options, place.local(input_name(i)), i * plan.runs, plan.runs);
  StepMeter ingests(k_bench_steps[0]);
  StepMeter gets(k_bench_steps[1]);
  BenchOptions each = options;
  each.jobs = std::max<std::size_t>(1, options.jobs / plan.writers);
  for (std::uint64_t i = 0; i < options.repeat; ++i) {
    options.progress("writing and reading", i, options.repeat);
    check_stop(options);
    ConcurrentRepetition repetition(plan, place, each, i);
    repetition.prepare();
    repetition.run(ingests, gets);
    place.remove(k_part);
    index::Index::remove(place.local(k_index));
  }
  for (std::uint64_t i = 0; i <= plan.writers; ++i) place.remove_local(input_name(i));
  BenchScenario scenario{plan.name, plan.runs * plan.writers, 0, 0, {}, {}};
  scenario.steps = {ingests.result()};
  if (plan.readers > 0) scenario.steps.push_back(gets.result());
  scenario.bytes = scenario.steps.front().bytes / options.repeat;
  scenario.stored_bytes = scenario.steps.front().bytes_written / options.repeat;
  return scenario;
}

}  // namespace runctl::flow
