// How a batch comes into the store and the index, from an ingest or from the spool.
#pragma once

#include <cstddef>
#include <functional>
#include <mutex>
#include <span>
#include <stop_token>
#include <string>
#include <string_view>
#include <unordered_set>

#include "base/clock.hpp"
#include "base/error.hpp"
#include "base/hash.hpp"
#include "batch/writer.hpp"
#include "flow/spool.hpp"
#include "flow/version_spacer.hpp"
#include "index/index.hpp"
#include "index/table_keys.hpp"
#include "run/table.hpp"
#include "store/object_store.hpp"

namespace runctl::flow {

// Stores batches and records them.
class Delivery {
 public:
  Delivery(store::ObjectStore& store, index::Index& index, base::Clock& clock)
      : store_(store), index_(index), spacer_(clock, store.time_step(), index) {}

  // Whether put() may be called while another thread calls record().
  [[nodiscard]] bool puts_beside_records() const { return !spacer_.asks_index(); }
  // `keys` are those of the table.
  store::ObjectInfo put(const std::string& key, std::span<const std::string_view> parts,
                        const base::Sha256Digest& digest, const run::Table& table,
                        const index::TableKeys& keys);
  // What was put. Returns how many of its runs this has made known: none where the batch was in the store
  // before, from a killed ingest or one that goes on beside this.
  std::size_t record(const store::ObjectInfo& object, const run::Table& table, const index::TableKeys& keys);

  // Whether the index may be locked as long as a put takes.
  [[nodiscard]] bool records_while_put() const { return store_.is_local(); }
  // What is being put by another thread: `confirmed` waits for that, and returns or throws what it did.
  using Confirmed = std::function<store::ObjectInfo()>;
  std::size_t record_while_put(const batch::Batch& batch, const index::TableKeys& keys,
                               const Confirmed& confirmed);

  // Whether the index or the store has the batch; false where the store does not say.
  [[nodiscard]] bool has(const std::string& key);

  using Delivered = std::function<void(const SpooledBatch& batch, std::size_t added)>;
  using Broken = std::function<void(const SpooledBatch& batch, const base::Error& why)>;

  // Everything that waits in the spool, oldest first, until `stop`. A file that is broken, or cannot be read
  // or removed, stays where it is and does not keep the others; nor does a spool that cannot be read. False
  // where not all was delivered, or another process is at it. Throws where the store or the index fails; what
  // is not delivered goes on waiting.
  bool drain(const Spool& spool, const Delivered& delivered, const Broken& broken,
             const std::stop_token& stop);

 private:
  std::size_t made_known(const std::string& key, std::size_t runs);

  store::ObjectStore& store_;
  index::Index& index_;
  VersionSpacer spacer_;

  std::mutex mutex_;
  std::unordered_set<std::string> made_;  // objects that this has put where none were, and not recorded
};

}  // namespace runctl::flow
