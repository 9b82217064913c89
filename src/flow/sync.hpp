// The index made to agree with the store, from the footers of its batches.
#pragma once

#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <vector>

#include "index/index.hpp"
#include "store/object_store.hpp"

namespace runctl::flow {

struct SyncReport {
  std::uint64_t batches = 0;  // that were added
  std::uint64_t runs = 0;     // that were added
  // Batches that could not be read, "KEY: WHY"; their runs are not in the index.
  std::vector<std::string> broken;
};

// Called after each batch: how many of how many are done.
using SyncProgress = std::function<void(std::uint64_t done, std::uint64_t all)>;

// Which batches are looked for.
struct SyncScope {
  // UTC days, YYYY-MM-DD. With `only`, that day's batches; else with `since`, those of that day and later.
  // Both leave batches of mixed days in.
  std::optional<std::string> since;
  std::optional<std::string> only;
};

// Adds the batches of the store that the index does not have. Never removes any, however short the listing.
// Reads no payload: days are listed in parallel, then at most two requests for each new batch, many under way
// at once.
SyncReport sync(store::ObjectStore& store, index::Index& index, const SyncScope& scope,
                const SyncProgress& progress);

// Makes the index anew in one transaction. If the store cannot be listed or read, it stays as it was; batches
// that are broken are left out.
SyncReport rebuild(store::ObjectStore& store, index::Index& index, const SyncProgress& progress);

}  // namespace runctl::flow
