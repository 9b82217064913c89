#include "flow/ingest.hpp"

#include <atomic>
#include <deque>
#include <exception>
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

// The last thread of the pipeline: completes batches, stores them, records them, one after the other and in
// input order, so that what is stored is always a prefix of the input.
class Committer {
 public:
  Committer(store::ObjectStore& store, const OpenIndex& open_index, const IngestOptions& options,
            const IngestEvents& events)
      : store_(store), open_index_(open_index), options_(options), events_(events), thread_([this] {
          work();
        }) {}

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
      std::optional<index::Index> index;
      if (!options_.dry_run) index = open_index_();
      while (auto shipment = queue_.pop()) {
        commit(batch::complete(std::move(shipment->pending)), index);
        if (events_.stored) events_.stored(shipment->ids);
        ++committed_;
      }
    } catch (...) {
      failure_ = std::current_exception();
      queue_.close();
    }
  }

  void commit(const batch::Batch& batch, std::optional<index::Index>& index) {
    if (index) {
      const std::vector<std::string_view> parts = batch.parts();
      const store::PutResult put = store_.put(batch.key, parts, batch.digest);
      added += index->add({batch.key, put.info.size, put.info.modified_ns}, batch.table);
    } else {
      added += batch.table.size();
    }
    ++batches;
    bytes_stored += batch.size;
  }

  store::ObjectStore& store_;
  const OpenIndex& open_index_;
  const IngestOptions& options_;
  const IngestEvents& events_;
  base::Queue<Shipment> queue_{1};
  std::exception_ptr failure_;
  std::atomic<std::uint64_t> committed_{0};
  std::thread thread_;  // last: it uses all of the above
};

// The runs that are in this ingest's batches but not yet in the index.
class InFlight {
 public:
  // False where the run is there already.
  bool insert(const Print& print) {
    for (const Prints& prints : shipped_) {
      if (prints.contains(print)) return false;
    }
    return open_.insert(print).second;
  }
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
  Pipeline(store::ObjectStore& store, const OpenIndex& open_index, const IngestOptions& options,
           const IngestEvents& events)
      : options_(options),
        events_(events),
        index_(open_index()),
        pool_(options.jobs),
        writer_(options.batch_bytes,
                [this, level = options.level](std::string raw) {
                  auto shared = std::make_shared<std::string>(std::move(raw));
                  return pool_.submit([shared, level] { return batch::compress_frame(*shared, level); });
                }),
        committer_(store, open_index, options, events) {}

  IngestReport run(std::vector<Input> inputs) {
    BlockSource source(std::move(inputs), {options_.id_policy, options_.max_run_bytes, options_.jobs + 2},
                       pool_);
    bool nothing_in_input = true;
    while (auto parsed = source.next()) {
      const run::Block& block = *parsed->block;
      nothing_in_input = nothing_in_input && block.records.empty() && block.rejects.empty();
      const bool go_on = take(*parsed);
      if (events_.progress) events_.progress({source.file_bytes(), source.text_bytes(), report_.read});
      if (!go_on) break;
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
  // False where the ingest ends here.
  bool take(const ParsedBlock& parsed) {
    const run::Block& block = *parsed.block;
    in_flight_.forget(committer_.committed());
    std::vector<run::Id> ids;
    std::vector<std::uint64_t> fingerprints;
    for (const run::Record& record : block.records) {
      ids.push_back(record.id);
      fingerprints.push_back(record.fingerprint);
    }
    const std::vector<bool> known =
        index_ ? index_->contains(ids, fingerprints) : std::vector<bool>(ids.size(), false);
    std::size_t next_reject = 0;
    for (std::size_t i = 0; i <= block.records.size(); ++i) {
      for (; next_reject < block.rejects.size() && block.rejects[next_reject].position == i; ++next_reject) {
        reject(parsed, block.rejects[next_reject]);
        if (options_.stop_at_first_reject) return false;
      }
      if (i == block.records.size()) break;
      ++report_.read;
      const run::Record& record = block.records[i];
      if (known[i] || !in_flight_.insert({record.id, record.fingerprint})) continue;
      if (!store(record, block.arena)) return false;
    }
    return true;
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
    if (events_.stored) shipment_ids_.emplace_back(record.id_text);
    return true;
  }

  // Sends the batch off; false where the committer has failed.
  bool ship() {
    if (writer_.empty()) return true;
    in_flight_.ship();
    Shipment shipment{writer_.finish(), std::move(shipment_ids_)};
    shipment_ids_.clear();
    return committer_.ship(std::move(shipment));
  }

  const IngestOptions& options_;
  const IngestEvents& events_;
  std::optional<index::Index> index_;
  base::ThreadPool pool_;
  batch::Writer writer_;
  InFlight in_flight_;
  std::vector<std::string> shipment_ids_;
  IngestReport report_;
  Committer committer_;
};

}  // namespace

IngestReport ingest(std::vector<Input> inputs, store::ObjectStore& store, const OpenIndex& open_index,
                    const IngestOptions& options, const IngestEvents& events) {
  return Pipeline(store, open_index, options, events).run(std::move(inputs));
}

}  // namespace runctl::flow
