#include "flow/ingest.hpp"

#include <algorithm>
#include <atomic>
#include <chrono>
#include <deque>
#include <exception>
#include <mutex>
#include <thread>
#include <unordered_set>

#include "base/error.hpp"
#include "base/queue.hpp"
#include "base/thread_pool.hpp"
#include "batch/frame.hpp"
#include "batch/writer.hpp"
#include "flow/block_source.hpp"

namespace runctl::flow {

namespace {

// How long lines of a pipe are collected: parsing each by itself would cost more.
constexpr std::chrono::milliseconds k_linger{100};

// A run's identity and its bytes' fingerprint: two of equal value are duplicates.
struct Print {
  run::Id id;
  std::uint64_t fingerprint = 0;
  friend bool operator==(const Print&, const Print&) = default;
};
struct PrintHash {
  std::size_t operator()(const Print& print) const {
    return std::hash<run::Id>{}(print.id) ^ print.fingerprint;
  }
};
using Prints = std::unordered_set<Print, PrintHash>;

// A batch on its way to the store.
struct Shipment {
  batch::PendingBatch pending;
  std::vector<std::string> ids;
};

// Keeps versions of one run apart in time: which is the latest follows from the store's modification times,
// which may be whole seconds.
class VersionSpacer {
 public:
  VersionSpacer(std::chrono::milliseconds step, std::optional<index::Index>& index)
      : step_(step), index_(index) {
    if (!spaces() || !index_) return;
    // A batch that another process stored a moment ago counts too. The margin is for clocks that disagree a
    // little.
    const std::int64_t newest = index_->status().newest_modified_ns;
    const auto now = std::chrono::system_clock::now().time_since_epoch();
    const std::int64_t age = std::chrono::nanoseconds(now).count() - newest;
    recent_in_index_ = newest != 0 && age < std::chrono::nanoseconds(2 * step_).count();
  }

  // Before a batch is put: waits until its versions are later than those put before.
  void wait_for(const run::Table& table) {
    if (!spaces()) return;
    const auto now = Clock::now();
    std::erase_if(recent_, [&](const Put& put) { return now - put.time > margin(); });
    for (const Put& put : recent_) {
      const bool again = std::any_of(table.ids.begin(), table.ids.end(),
                                     [&put](const run::Id& id) { return put.ids.contains(id); });
      if (again) std::this_thread::sleep_until(put.time + margin());
    }
    if (recent_in_index_ && now - opened_ < margin() && knows_one_of(table)) {
      std::this_thread::sleep_until(opened_ + margin());
    }
  }

  // After a batch was put.
  void note(const run::Table& table) {
    if (spaces()) recent_.push_back({Clock::now(), {table.ids.begin(), table.ids.end()}});
  }

 private:
  using Clock = std::chrono::steady_clock;
  struct Put {
    Clock::time_point time;
    std::unordered_set<run::Id> ids;
  };

  [[nodiscard]] bool spaces() const { return step_.count() > 0; }
  [[nodiscard]] std::chrono::milliseconds margin() const { return step_ + std::chrono::milliseconds(100); }
  bool knows_one_of(const run::Table& table) {
    return std::any_of(table.ids.begin(), table.ids.end(),
                       [this](const run::Id& id) { return !index_->find(id).empty(); });
  }

  const std::chrono::milliseconds step_;
  std::optional<index::Index>& index_;
  const Clock::time_point opened_ = Clock::now();
  bool recent_in_index_ = false;
  std::deque<Put> recent_;
};

// The last thread of the pipeline: completes batches, stores them, records them, one after the other and in
// input order, so that what is stored is always a prefix of the input.
class Committer {
 public:
  Committer(store::ObjectStore& store, const OpenIndex& open_index, const IngestOptions& options,
            const IngestEvents& events, std::function<void()> on_failure)
      : store_(store),
        index_(options.dry_run ? std::nullopt : open_index()),
        spacer_(store.time_step(), index_),
        events_(events),
        on_failure_(std::move(on_failure)),
        thread_([this] { work(); }) {}

  ~Committer() { stop(); }
  Committer(const Committer&) = delete;
  Committer& operator=(const Committer&) = delete;

  // False where the committer has failed; finish() then throws why.
  bool ship(Shipment shipment) { return queue_.push(std::move(shipment)); }

  // Waits until all is stored; throws what went wrong.
  void finish() {
    stop();
    if (failure_) std::rethrow_exception(failure_);
  }

  // Batches that are stored and recorded.
  [[nodiscard]] std::uint64_t committed() const { return committed_; }

  // Read after finish().
  std::uint64_t batches = 0;
  std::uint64_t bytes_stored = 0;
  std::uint64_t added = 0;

 private:
  void stop() {
    queue_.close();
    if (thread_.joinable()) thread_.join();
  }

  void work() {
    try {
      while (auto shipment = queue_.pop()) {
        commit(batch::complete(std::move(shipment->pending)));
        if (events_.stored) events_.stored(shipment->ids);
        ++committed_;
      }
    } catch (...) {
      failure_ = std::current_exception();
      queue_.close();
      on_failure_();
    }
  }

  void commit(const batch::Batch& batch) {
    if (index_) {
      const std::vector<std::string_view> parts = batch.parts();
      spacer_.wait_for(batch.table);
      const store::PutResult put = store_.put(batch.key, parts, batch.digest);
      spacer_.note(batch.table);
      const auto recorded = index_->add({batch.key, put.info.size, put.info.modified_ns}, batch.table);
      // A batch that was there before, from a killed ingest or one that goes on beside this, holds
      // duplicates; one that this ingest made and another program recorded first does not.
      if (put.created) added += recorded.value_or(batch.table.size());
    } else {
      added += batch.table.size();
    }
    ++batches;
    bytes_stored += batch.size;
  }

  store::ObjectStore& store_;
  std::optional<index::Index> index_;
  VersionSpacer spacer_;
  const IngestEvents& events_;
  const std::function<void()> on_failure_;
  base::Queue<Shipment> queue_{1};
  std::exception_ptr failure_;
  std::atomic<std::uint64_t> committed_{0};
  std::thread thread_;  // last: it uses all of the above
};

// The runs that are in this ingest's batches but not yet in the index.
class InFlight {
 public:
  [[nodiscard]] bool contains(const Print& print) const {
    return open_.contains(print) ||
           std::any_of(shipped_.begin(), shipped_.end(),
                       [&print](const Prints& prints) { return prints.contains(print); });
  }
  // Of the batch that is being filled.
  void insert(const Print& print) { open_.insert(print); }
  void ship() {
    shipped_.push_back(std::move(open_));
    open_.clear();
  }
  // Forgets batches that the index knows by now.
  void forget(std::uint64_t committed) {
    for (; forgotten_ < committed; ++forgotten_) shipped_.pop_front();
  }

 private:
  Prints open_;
  std::deque<Prints> shipped_;
  std::uint64_t forgotten_ = 0;
};

class Pipeline {
 public:
  using Clock = BlockSource::Clock;

  Pipeline(store::ObjectStore& store, const OpenIndex& open_index, const IngestOptions& options,
           const IngestEvents& events)
      : store_(store),
        options_(options),
        events_(events),
        index_(open_index()),
        pool_(options.jobs),
        writer_(options.batch_bytes,
                [this, level = options.level](std::string raw) {
                  auto shared = std::make_shared<std::string>(std::move(raw));
                  return pool_.submit([shared, level] { return batch::compress_frame(*shared, level); });
                }),
        committer_(store, open_index, options, events, [this] { cancel_input(); }) {}

  IngestReport run(std::vector<Input> inputs) {
    const auto linger = std::min(options_.flush_interval, k_linger);
    BlockSource source(std::move(inputs),
                       {options_.records, options_.max_run_bytes, options_.jobs + 2, linger}, pool_);
    const InputScope scope(*this, source);
    const std::stop_callback on_stop(options_.stop, [this] { cancel_input(); });
    bool nothing_in_input = true;
    while (true) {
      const ParsedBlock* const parsed = source.next(flush_at_);
      if (parsed == nullptr) {
        if (source.ended() || !ship()) break;
        continue;
      }
      streams_ = parsed->streams;
      const run::Block& block = *parsed->block;
      nothing_in_input = nothing_in_input && block.records.empty() && block.rejects.empty();
      const bool go_on = take(*parsed);
      if (events_.progress) events_.progress({source.file_bytes(), source.text_bytes(), report_.read});
      if (!go_on || (flush_at_ && Clock::now() >= *flush_at_ && !ship())) break;
      if (!parsed->input_ends) continue;
      if (nothing_in_input && events_.empty_input) events_.empty_input(parsed->input);
      nothing_in_input = true;
    }
    ship();
    committer_.finish();
    report_.bytes_in = source.text_bytes();
    report_.batches = committer_.batches;
    report_.bytes_stored = committer_.bytes_stored;
    report_.stored = committer_.added;
    // Others may have stored the same runs while this went on.
    report_.duplicate = report_.read - report_.rejected - report_.stored;
    return report_;
  }

 private:
  // The time in which a failing committer may end the reading: a producer that is still writing must not keep
  // the program from telling that the store is gone.
  class InputScope {
   public:
    InputScope(Pipeline& pipeline, BlockSource& source) : pipeline_(pipeline) {
      const std::lock_guard lock(pipeline_.source_mutex_);
      pipeline_.source_ = &source;
    }
    ~InputScope() {
      const std::lock_guard lock(pipeline_.source_mutex_);
      pipeline_.source_ = nullptr;
    }
    InputScope(const InputScope&) = delete;
    InputScope& operator=(const InputScope&) = delete;

   private:
    Pipeline& pipeline_;
  };

  void cancel_input() {
    const std::lock_guard lock(source_mutex_);
    if (source_ != nullptr) source_->cancel();
  }

  // False where the ingest ends here.
  bool take(const ParsedBlock& parsed) {
    const run::Block& block = *parsed.block;
    // A dry run records nothing, so nothing may be forgotten.
    if (!options_.dry_run) in_flight_.forget(committer_.committed());
    std::vector<run::Id> ids;
    std::vector<std::uint64_t> fingerprints;
    for (const run::Record& record : block.records) {
      ids.push_back(record.id);
      fingerprints.push_back(record.fingerprint);
    }
    const std::vector<std::int64_t> known =
        index_ ? index_->batches_of(ids, fingerprints) : std::vector<std::int64_t>(ids.size(), 0);
    std::size_t next_reject = 0;
    for (std::size_t i = 0; i <= block.records.size(); ++i) {
      for (; next_reject < block.rejects.size() && block.rejects[next_reject].position == i; ++next_reject) {
        reject(parsed, block.rejects[next_reject]);
        if (options_.stop_at_first_reject) return false;
      }
      if (i == block.records.size()) break;
      ++report_.read;
      const run::Record& record = block.records[i];
      if (known[i] != 0) {
        require_in_store(known[i]);
        continue;
      }
      if (in_flight_.contains({record.id, record.fingerprint})) continue;
      if (!store(record, block.arena)) return false;
    }
    return true;
  }

  // A duplicate is one only if the batch that holds it is still there: the store is the truth, not the index.
  void require_in_store(std::int64_t batch) {
    if (!in_store_.insert(batch).second) return;
    const index::BatchInfo info = index_->batch(batch);
    const auto object = store_.head(info.key);
    if (object && object->size == info.size) return;
    throw base::Error(
        base::ErrorKind::corrupt,
        info.key + ": the index names it, but the store " + store_.url() +
            " does not hold it; 'runctl index rebuild' makes the index agree, then ingest again");
  }

  void reject(const ParsedBlock& parsed, const run::Reject& fault) {
    if (!fault.continuation) {
      ++report_.read;
      ++report_.rejected;
    }
    if (events_.rejected) {
      events_.rejected(
          {parsed.input, parsed.first_line + fault.line, fault.column, fault.reason, fault.bytes});
    }
  }

  bool store(const run::Record& record, const run::Arena& arena) {
    if (writer_.must_finish_before(record) && !ship()) return false;
    writer_.add(record, arena);
    if (streams_ && !flush_at_ && options_.flush_interval.count() > 0)
      flush_at_ = Clock::now() + options_.flush_interval;
    in_flight_.insert({record.id, record.fingerprint});
    if (events_.stored) shipment_ids_.emplace_back(record.id_text);
    return true;
  }

  // Sends the batch off; false where the committer has failed.
  bool ship() {
    flush_at_.reset();
    if (writer_.empty()) return true;
    in_flight_.ship();
    Shipment shipment{writer_.finish(), std::move(shipment_ids_)};
    shipment_ids_.clear();
    return committer_.ship(std::move(shipment));
  }

  store::ObjectStore& store_;
  const IngestOptions& options_;
  const IngestEvents& events_;
  std::optional<index::Index> index_;
  std::unordered_set<std::int64_t> in_store_;  // batches of the index that were found there
  base::ThreadPool pool_;
  batch::Writer writer_;
  InFlight in_flight_;
  std::vector<std::string> shipment_ids_;
  bool streams_ = false;                       // the block that is taken comes from a pipe
  std::optional<Clock::time_point> flush_at_;  // when the batch that is being filled must go
  IngestReport report_;
  std::mutex source_mutex_;
  BlockSource* source_ = nullptr;
  Committer committer_;
};

}  // namespace

IngestReport ingest(std::vector<Input> inputs, store::ObjectStore& store, const OpenIndex& open_index,
                    const IngestOptions& options, const IngestEvents& events) {
  return Pipeline(store, open_index, options, events).run(std::move(inputs));
}

}  // namespace runctl::flow
