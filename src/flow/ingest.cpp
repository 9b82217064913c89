#include "flow/ingest.hpp"

#include <algorithm>
#include <chrono>
#include <deque>
#include <unordered_set>
#include <utility>

#include "base/error.hpp"
#include "base/thread_pool.hpp"
#include "batch/frame.hpp"
#include "batch/writer.hpp"
#include "flow/block_source.hpp"
#include "flow/committer.hpp"

namespace runctl::flow {

namespace {

// How long lines of a pipe are collected: parsing each by itself would cost more.
constexpr std::chrono::milliseconds k_linger{100};

// How many runs ahead the memory of what is known of them is asked for.
constexpr std::size_t k_ahead = 8;

// A run's identity and its bytes' fingerprint: two of equal value are duplicates.
struct Print {
  std::uint64_t fingerprint = 0;  // first: it tells two apart without a call of memcmp
  run::Id id;
  friend bool operator==(const Print&, const Print&) = default;
};

// Open addressing: a set with a node for each took a twentieth of the time of small runs.
class Prints {
 public:
  [[nodiscard]] bool contains(const Print& print) const {
    if (print == k_free) return holds_free_;
    return !slots_.empty() && slots_[place_of(print)] == print;
  }
  // So that contains() need not wait for memory: most prints lie where nothing was looked at for long.
  void prefetch(const Print& print) const {
    if (!slots_.empty()) __builtin_prefetch(&slots_[print.fingerprint & (slots_.size() - 1)]);
  }
  void insert(const Print& print) {
    if (print == k_free) {
      holds_free_ = true;
      return;
    }
    if (4 * (used_ + 1) > 3 * slots_.size()) grow();
    Print& slot = slots_[place_of(print)];
    if (slot == k_free) ++used_;
    slot = print;
  }

 private:
  static constexpr Print k_free{};

  // Of the print, or of the free slot where it belongs.
  [[nodiscard]] std::size_t place_of(const Print& print) const {
    const std::size_t mask = slots_.size() - 1;
    std::size_t at = print.fingerprint & mask;
    while (slots_[at] != print && slots_[at] != k_free) at = (at + 1) & mask;
    return at;
  }

  void grow() {
    constexpr std::size_t k_least = 1024;
    const std::vector<Print> old = std::exchange(slots_, {});
    slots_.resize(std::max(k_least, 2 * old.size()));
    for (const Print& print : old) {
      if (print != k_free) slots_[place_of(print)] = print;
    }
  }

  std::vector<Print> slots_;  // a power of two of them, at most three of four used
  std::size_t used_ = 0;
  bool holds_free_ = false;
};

// The runs that are in this ingest's batches but not yet in the index.
class InFlight {
 public:
  [[nodiscard]] bool contains(const Print& print) const {
    return open_.contains(print) ||
           std::any_of(shipped_.begin(), shipped_.end(),
                       [&print](const Prints& prints) { return prints.contains(print); });
  }
  void prefetch(const Print& print) const {
    open_.prefetch(print);
    for (const Prints& prints : shipped_) prints.prefetch(print);
  }
  // Of the batch that is being filled.
  void insert(const Print& print) { open_.insert(print); }
  void ship() { shipped_.push_back(std::exchange(open_, {})); }
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

  // `streams`: an input cannot be read again.
  Pipeline(std::vector<Input> inputs, store::ObjectStore& store, const OpenIndex& open_index,
           const IngestOptions& options, const IngestEvents& events, bool streams)
      : store_(store),
        options_(options),
        events_(events),
        pool_(options.jobs),
        source_(std::move(inputs),
                {options.records, options.max_run_bytes, options.jobs > 0 ? options.jobs + 2 : 0,
                 std::min(options.flush_interval, k_linger)},
                pool_),
        index_(open_first(open_index, streams)),
        writer_(options.batch_bytes,
                [this, level = options.level](batch::FrameContent content) {
                  return pool_.submit([content = std::move(content), level]() mutable {
                    return batch::compress_frame(content.joined(), level);
                  });
                }),
        keeps_(streams && options.spool != nullptr && !options.dry_run),
        committer_(store, open_index, options, events, keeps_, [this] { source_.cancel(); }) {}

  IngestReport run() {
    try {
      committer_.start();
      read();
      committer_.finish();
    } catch (...) {
      source_.cancel();
      if (keeps_) ship_rest();
      committer_.stop();
      committer_.complete(report_);
      report_.duplicate = 0;  // it would be all of which nothing is known
      if (events_.failed) events_.failed(report_);
      throw;
    }
    committer_.complete(report_);
    return report_;
  }

 private:
  // Files are read meanwhile: it may take making the index, and asking the store. Of a pipe nothing may be
  // taken that would be lost if there is no index.
  std::optional<index::Index> open_first(const OpenIndex& open_index, bool streams) {
    if (!streams) source_.start();
    return open_index();
  }

  void read() {
    const std::stop_callback on_stop(options_.stop, [this] {
      source_.cancel();
      committer_.end();
    });
    bool nothing_in_input = true;
    while (true) {
      const ParsedBlock* const parsed = source_.next(flush_at_);
      if (parsed == nullptr) {
        if (source_.ended() || !ship()) break;
        continue;
      }
      streams_ = parsed->streams;
      const run::Block& block = *parsed->block;
      nothing_in_input = nothing_in_input && block.records.empty() && block.rejects.empty();
      const bool go_on = take(*parsed);
      report_.bytes_in = source_.text_bytes();
      if (events_.progress) events_.progress({source_.file_bytes(), source_.text_bytes(), report_.read});
      if (!go_on) break;
      reach(parsed->place);
      if (flush_at_ && Clock::now() >= *flush_at_ && !ship()) break;
      if (!parsed->input_ends) continue;
      if (nothing_in_input && events_.empty_input) events_.empty_input(parsed->input);
      nothing_in_input = true;
    }
    if (source_.ended())
      committer_.end();
    else
      source_.cancel();
    report_.bytes_in = source_.text_bytes();
    ship();
  }

  // False where the ingest ends here.
  bool take(const ParsedBlock& parsed) {
    const run::Block& block = *parsed.block;
    const batch::FrameContent::Text text(parsed.block, &block.text);
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
      if (i + k_ahead < ids.size()) in_flight_.prefetch({fingerprints[i + k_ahead], ids[i + k_ahead]});
      ++report_.read;
      const run::Record& record = block.records[i];
      if (known[i] != 0 && is_in_store(known[i])) continue;
      if (in_flight_.contains({record.fingerprint, record.id})) continue;
      if (!store(record, block.arena, text)) return false;
    }
    return true;
  }

  // A duplicate is one only if the batch that holds it is still there: the store is the truth, not the index.
  // False where the store cannot be asked now.
  bool is_in_store(std::int64_t batch) {
    if (in_store_.contains(batch)) return true;
    if (committer_.store_is_down()) return false;
    const index::BatchInfo info = index_->batch(batch);
    std::optional<store::ObjectInfo> object;
    try {
      object = store_.head(info.key);
    } catch (const base::Error& error) {
      if (!keeps_ || !may_pass(error)) throw;
      return false;
    }
    if (!object || object->size != info.size) {
      throw base::Error(
          base::ErrorKind::corrupt,
          info.key + ": the index names it, but the store " + store_.url() +
              " does not hold it; 'runctl index rebuild' makes the index agree, then ingest again");
    }
    in_store_.insert(batch);
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

  bool store(const run::Record& record, const run::Arena& arena, const batch::FrameContent::Text& text) {
    if (writer_.must_finish_before(record) && !ship()) return false;
    writer_.add(record, arena, text);
    if (streams_ && !flush_at_ && options_.flush_interval.count() > 0)
      flush_at_ = Clock::now() + options_.flush_interval;
    in_flight_.insert({record.fingerprint, record.id});
    if (events_.stored) shipment_ids_.emplace_back(record.id_text);
    return true;
  }

  // A block of a followed file is taken, up to there.
  void reach(const std::optional<FilePlace>& place) {
    if (!place) return;
    place_ = place;
    if (writer_.empty()) send({{}, {}, place});
  }

  // Sends the batch off; false where the committer has failed.
  bool ship() {
    flush_at_.reset();
    if (writer_.empty()) return true;
    auto pending = std::make_shared<batch::PendingBatch>(writer_.finish());
    // The committer has enough to do with what cannot be done at the same time for several batches; and where
    // this is the last one, nobody else has anything to do. So it only puts together what these give.
    auto runs = pool_.submit([pending] { return batch::encode_runs(pending->table); });
    auto hash = pool_.submit([pending] { return batch::hash_frames(*pending); });
    auto keys = pool_.submit([pending, records = !options_.dry_run] {
      return records ? index::keys_of(pending->table) : index::TableKeys();
    });
    std::future<CompleteBatch> batch = std::async(
        std::launch::deferred,
        [pending, runs = std::move(runs), hash = std::move(hash), keys = std::move(keys)]() mutable {
          index::TableKeys of_table = keys.get();  // first: the table must stand until then
          return CompleteBatch{batch::complete(*pending, runs.get(), hash.get()), std::move(of_table)};
        });
    Shipment shipment{std::move(batch), std::move(shipment_ids_), place_};
    shipment_ids_.clear();
    return send(std::move(shipment));
  }

  // Reading has failed, and what was read before is nowhere else. The first failure is told.
  void ship_rest() {
    try {
      ship();
    } catch (const base::Error&) {
    }
  }

  bool send(Shipment shipment) {
    in_flight_.ship();
    return committer_.ship(std::move(shipment));
  }

  store::ObjectStore& store_;
  const IngestOptions& options_;
  const IngestEvents& events_;
  base::ThreadPool pool_;
  BlockSource source_;
  // Open throughout: when the last connection closes SQLite removes its log, and the next makes it again.
  std::optional<index::Index> index_;
  std::unordered_set<std::int64_t> in_store_;  // batches of the index that were found there
  batch::Writer writer_;
  InFlight in_flight_;
  std::vector<std::string> shipment_ids_;
  std::optional<FilePlace> place_;             // behind the last block that was taken
  bool streams_ = false;                       // the block that is taken comes from a pipe
  std::optional<Clock::time_point> flush_at_;  // when the batch that is being filled must go
  IngestReport report_;
  const bool keeps_;  // what cannot be stored waits in the spool
  Committer committer_;
};

}  // namespace

IngestReport ingest(std::vector<Input> inputs, store::ObjectStore& store, const OpenIndex& open_index,
                    const IngestOptions& options, const IngestEvents& events) {
  const bool streams =
      std::any_of(inputs.begin(), inputs.end(), [](const Input& input) { return !input.size(); });
  return Pipeline(std::move(inputs), store, open_index, options, events, streams).run();
}

}  // namespace runctl::flow
