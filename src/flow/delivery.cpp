#include "flow/delivery.hpp"

#include <optional>
#include <utility>
#include <vector>

#include "base/file.hpp"
#include "store/directory_store.hpp"

namespace runctl::flow {

namespace {

using base::Error;

// Of killed writers. They only take room, so one that stays is no reason to deliver nothing.
void remove_leftovers(const Spool& spool) {
  try {
    store::remove_leftovers(store::directory_leftovers(spool.directory(), store::k_leftover_microseconds));
  } catch (const Error&) {
  }
}

}  // namespace

store::ObjectInfo Delivery::put(const std::string& key, std::span<const std::string_view> parts,
                                const base::Sha256Digest& digest, const run::Table& table,
                                const index::TableKeys& keys) {
  spacer_.wait_for(table, keys);
  store::PutResult result = store_.put(key, parts, digest);
  spacer_.note(keys);
  if (result.created) {
    const std::lock_guard lock(mutex_);
    made_.insert(key);
  }
  return std::move(result.info);
}

std::size_t Delivery::record(const store::ObjectInfo& object, const run::Table& table,
                             const index::TableKeys& keys) {
  const auto added = index_.add({object.key, object.size, object.modified_ns}, table, keys);
  return made_known(object.key, added.value_or(table.size()));
}

std::size_t Delivery::record_while_put(const batch::Batch& batch, const index::TableKeys& keys,
                                       const Confirmed& confirmed) {
  const auto added = index_.add({batch.key, batch.size, 0}, batch.table, keys,
                                [&confirmed] { return confirmed().modified_ns; });
  if (!added) confirmed();
  return made_known(batch.key, added.value_or(batch.table.size()));
}

// Where another program has recorded the batch first, that did not count its runs: it did not make the
// object.
std::size_t Delivery::made_known(const std::string& key, std::size_t runs) {
  const std::lock_guard lock(mutex_);
  return made_.erase(key) > 0 ? runs : 0;
}

bool Delivery::has(const std::string& key) {
  try {
    return index_.has_batch(key) || store_.head(key).has_value();
  } catch (const Error&) {
    return false;
  }
}

bool Delivery::drain(const Spool& spool, const Delivered& delivered, const Broken& broken,
                     const std::stop_token& stop) {
  std::optional<base::FileDescriptor> lock;
  std::vector<SpooledBatch> waiting;
  try {
    lock = spool.lock();
    waiting = spool.waiting();
  } catch (const Error& error) {
    broken({spool.directory(), {}, 0}, error);
    return true;
  }
  if (!lock) return waiting.empty();
  remove_leftovers(spool);
  for (const SpooledBatch& batch : waiting) {
    if (stop.stop_requested()) return false;
    SpooledContent content;
    try {
      content = read_spooled(batch);
    } catch (const Error& error) {
      broken(batch, error);
      continue;
    }
    const std::string_view part = content.bytes;
    const index::TableKeys keys = index::keys_of(content.table);
    const store::ObjectInfo object = put(batch.key, {&part, 1}, content.digest, content.table, keys);
    delivered(batch, record(object, content.table, keys));
    try {
      remove_spooled(batch);
    } catch (const Error& error) {
      broken(batch, error);  // it will be delivered again, and hold nothing new
    }
  }
  return true;
}

}  // namespace runctl::flow
