#include "flow/delivery.hpp"

#include <optional>
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

store::PutResult Delivery::put(const std::string& key, std::span<const std::string_view> parts,
                               const base::Sha256Digest& digest, const run::Table& table,
                               const index::TableKeys& keys) {
  spacer_.wait_for(table, keys);
  store::PutResult result = store_.put(key, parts, digest);
  spacer_.note(keys);
  return result;
}

std::size_t Delivery::record(const store::PutResult& put, const run::Table& table,
                             const index::TableKeys& keys) {
  const auto added = index_.add({put.info.key, put.info.size, put.info.modified_ns}, table, keys);
  // A batch that was there before, from a killed ingest or one that goes on beside this, holds duplicates;
  // one that this ingest made and another program recorded first does not.
  return put.created ? added.value_or(table.size()) : 0;
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
    const store::PutResult result = put(batch.key, {&part, 1}, content.digest, content.table, keys);
    delivered(batch, record(result, content.table, keys));
    try {
      remove_spooled(batch);
    } catch (const Error& error) {
      broken(batch, error);  // it will be delivered again, and hold nothing new
    }
  }
  return true;
}

}  // namespace runctl::flow
