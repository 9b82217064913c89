// The index made anew from the footers in the store.
#pragma once

#include <cstdint>
#include <functional>
#include <string>
#include <vector>

#include "index/index.hpp"
#include "store/object_store.hpp"

namespace runctl::flow {

struct RebuildReport {
  std::uint64_t batches = 0;
  std::uint64_t runs = 0;
  // Batches that could not be read, "KEY: WHY"; their runs are not in the index.
  std::vector<std::string> broken;
};

// Called after each batch: how many of how many are done.
using RebuildProgress = std::function<void(std::uint64_t done, std::uint64_t all)>;

// Reads no payload: one or two requests a batch. If the store cannot be listed or read, the index stays as it
// was.
RebuildReport rebuild(store::ObjectStore& store, index::Index& index, const RebuildProgress& progress);

}  // namespace runctl::flow
