// The store proved to be whole, and the index to agree with it.
#pragma once

#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <vector>

#include "flow/batch_check.hpp"
#include "index/index.hpp"
#include "store/object_store.hpp"

namespace runctl::flow {

enum class FaultKind {
  missing,  // the index has the batch, the store does not
  size,     // the object is longer or shorter than the index says
  broken,   // footer, frames, runs and name of the batch do not agree
  index,    // the index does not say what the footer says
  orphan,   // a whole batch that the index does not have; nothing is lost
  adopted,  // an orphan that the index has now
  foreign,  // an object that is no batch; nothing is lost
};

struct Fault {
  FaultKind kind = FaultKind::missing;
  std::string key;  // of the batch; empty where the fault is the whole index's
  std::string why;
  std::uint64_t runs = 0;      // that it concerns, as far as that is known
  std::vector<run::Id> first;  // at most index::k_first_runs of them
};

struct VerifyOptions {
  ReadPart read;
  bool repair = false;  // add orphans to the index
};

struct VerifyReport {
  std::uint64_t batches = 0;  // in the store
  std::uint64_t bytes = 0;    // of them
  std::uint64_t runs = 0;     // that the footers name
  std::uint64_t frames = 0;
  std::uint64_t frames_read = 0;
  std::uint64_t bytes_read = 0;  // besides footers
};

// Both are called on the thread that called verify.
struct VerifyEvents {
  std::function<void(const Fault&)> fault;
  // Bytes of the batches that are done, and of all.
  std::function<void(std::uint64_t done, std::uint64_t all)> progress;
};

// Changes nothing in the store. `index` may be null: then the store alone is looked at. Batches are read
// several at a time. Throws base::Error where the store fails or the index cannot be read.
VerifyReport verify(store::ObjectStore& store, index::Index* index, const VerifyOptions& options,
                    const VerifyEvents& events);

}  // namespace runctl::flow
