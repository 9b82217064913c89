// The last stage of an ingest: takes complete batches, stores them, records them, one after the other and in
// input order, so that what is stored is always a prefix of the input.
#pragma once

#include <atomic>
#include <chrono>
#include <condition_variable>
#include <cstdint>
#include <exception>
#include <functional>
#include <future>
#include <mutex>
#include <optional>
#include <span>
#include <stop_token>
#include <string>
#include <string_view>
#include <thread>
#include <unordered_map>
#include <unordered_set>
#include <vector>

#include "base/clock.hpp"
#include "base/error.hpp"
#include "base/queue.hpp"
#include "batch/writer.hpp"
#include "flow/ingest.hpp"
#include "flow/spool.hpp"
#include "flow/version_spacer.hpp"
#include "index/index.hpp"
#include "store/object_store.hpp"

namespace runctl::flow {

// Stores batches and records them.
class Delivery {
 public:
  Delivery(store::ObjectStore& store, index::Index& index, base::Clock& clock)
      : store_(store), index_(index), spacer_(clock, store.time_step(), index) {}

  // Returns how many runs are new. `keys` are those of the table.
  std::size_t deliver(const std::string& key, std::span<const std::string_view> parts,
                      const base::Sha256Digest& digest, const run::Table& table,
                      const index::TableKeys& keys);

  using Delivered = std::function<void(const SpooledBatch& batch, std::size_t added)>;
  using Broken = std::function<void(const SpooledBatch& batch, const base::Error& why)>;
  // Whether the index or the store has the batch; false where the store does not say.
  [[nodiscard]] bool has(const std::string& key);

  // Everything that waits in the spool, oldest first, until `stop`. A file that is broken, or cannot be read
  // or removed, stays where it is and does not keep the others; nor does a spool that cannot be read. False
  // where not all was delivered, or another process is at it. Throws where the store or the index fails; what
  // is not delivered goes on waiting.
  bool drain(const Spool& spool, const Delivered& delivered, const Broken& broken,
             const std::stop_token& stop);

 private:
  store::ObjectStore& store_;
  index::Index& index_;
  VersionSpacer spacer_;
};

// A batch and what the index will find its runs by.
struct CompleteBatch {
  batch::Batch batch;
  index::TableKeys keys;  // of none in a dry run
};

// A batch on its way to the store.
struct Shipment {
  std::future<CompleteBatch> batch;  // none where only `place` is to be told
  std::vector<std::string> ids;
  std::optional<FilePlace> place;  // up to which all of the followed file is in this batch or in earlier ones
};

class Committer {
 public:
  // With `keep`, batches that cannot be stored wait in the spool. `stop_reading` is called when no more shall
  // be read.
  Committer(store::ObjectStore& store, const OpenIndex& open_index, const IngestOptions& options,
            const IngestEvents& events, bool keep, std::function<void()> stop_reading);
  ~Committer() { stop(); }
  Committer(const Committer&) = delete;
  Committer& operator=(const Committer&) = delete;

  // Delivers what waits in the spool from before; without `keep`, throws where that fails. Call once, first.
  void start();

  // False where the committer has failed; finish() then throws why.
  bool ship(Shipment shipment) {
    return thread_.joinable() ? queue_.push(std::move(shipment)) : !failure_ && try_to_take(shipment);
  }

  // From any thread: no more is read. What was read is put in the spool now, even if that is full.
  void end();

  // Waits until all is stored, or waits in the spool; throws what first went wrong.
  void finish();

  // Shipments that are done with.
  [[nodiscard]] std::uint64_t committed() const { return committed_; }
  // Whether the store has failed, and has not answered since.
  [[nodiscard]] bool store_is_down() const { return waits_; }

  // Waits until what was shipped is stored, or cannot be.
  void stop();

  // Fills in what the committer knows; after finish() or stop().
  void complete(IngestReport& report) const;

 private:
  using Clock = std::chrono::steady_clock;

  [[nodiscard]] bool is_ending();
  void wait_for_retry();
  void work();
  bool try_to_take(Shipment& shipment);
  void take(Shipment& shipment);
  bool settle(const CompleteBatch& complete);
  bool attempt(const CompleteBatch& complete);
  bool set_aside(const CompleteBatch& complete);
  bool deliver_waiting();
  void failed(const base::Error& error);
  void note_delivered_elsewhere();

  const IngestOptions& options_;
  const IngestEvents& events_;
  const bool keep_;
  const std::function<void()> stop_reading_;
  std::optional<index::Index> index_;
  std::optional<Delivery> delivery_;  // absent in a dry run
  IngestReport done_;

  std::atomic<bool> waits_{false};  // something is in the spool, or must go there
  Clock::time_point retry_at_{};
  bool told_down_ = false;
  bool told_full_ = false;
  bool lost_batch_ = false;  // neither store nor spool took the last one
  struct SetAside {
    std::string key;
    std::uint64_t runs = 0;
  };
  std::unordered_map<std::string, SetAside> set_aside_;  // our files in the spool, by path
  std::unordered_set<std::string> broken_;               // files in the spool, that were told

  std::mutex mutex_;
  std::condition_variable ended_;
  bool ending_ = false;

  base::Queue<Shipment> queue_{1};
  std::exception_ptr failure_;
  std::atomic<std::uint64_t> committed_{0};
  std::thread thread_;  // last: it uses all of the above; none where there are no jobs
};

}  // namespace runctl::flow
