// The last stage of an ingest: takes complete batches, stores them, records them, both in input order, so
// that what is stored is always a prefix of the input. A batch is stored while the one before it is recorded;
// and, where the store is a directory, while it is recorded itself.
#pragma once

#include <atomic>
#include <chrono>
#include <condition_variable>
#include <cstdint>
#include <exception>
#include <functional>
#include <future>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <thread>
#include <unordered_map>
#include <unordered_set>
#include <vector>

#include "base/error.hpp"
#include "base/queue.hpp"
#include "base/thread_pool.hpp"
#include "batch/writer.hpp"
#include "flow/delivery.hpp"
#include "flow/ingest.hpp"
#include "index/index.hpp"
#include "index/table_keys.hpp"
#include "store/object_store.hpp"

namespace runctl::flow {

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
  bool ship(Shipment shipment);

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

  // A batch that may have been put, or be on its way to the store.
  struct PutBatch {
    CompleteBatch complete;
    std::future<store::ObjectInfo> ahead;  // what the other thread's put gives, which was not asked yet
    std::optional<store::ObjectInfo> object;
  };
  struct Arrival {
    std::future<std::shared_ptr<PutBatch>> batch;
    std::vector<std::string> ids;
    std::optional<FilePlace> place;
  };

  [[nodiscard]] bool is_ending();
  void wait_for_retry();
  std::future<std::shared_ptr<PutBatch>> put(std::future<CompleteBatch> batch);
  void work();
  bool try_to_take(Arrival& arrival);
  void take(Arrival& arrival);
  bool settle(PutBatch& put);
  bool attempt(PutBatch& put);
  const store::ObjectInfo& object_of(PutBatch& put);
  static void end_ahead(PutBatch& put);
  store::ObjectInfo store(const CompleteBatch& complete);
  bool set_aside(PutBatch& put);
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

  // Puts batches in their order: it has one thread. Once something has failed, what comes later may have to
  // wait, and is put by the committing thread in its turn.
  std::atomic<bool> puts_ahead_{false};
  base::ThreadPool uploads_;

  base::Queue<Arrival> queue_{1};
  std::exception_ptr failure_;
  std::atomic<std::uint64_t> committed_{0};
  std::thread thread_;  // last: it uses all of the above; none where there are no jobs
};

}  // namespace runctl::flow
