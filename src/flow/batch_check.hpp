// One batch of the store held against itself: footer, frames, runs, and the hash in its name.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "run/table.hpp"
#include "store/object_store.hpp"

namespace runctl::flow {

// Which frames are read besides the footer.
struct ReadPart {
  double part = 0;         // of all frames, chosen at random; from 1 on every byte of the object
  std::uint64_t seed = 0;  // of the choice
};

// What was found in one batch.
struct BatchCheck {
  bool readable = false;            // the footer is whole; if not, `footer` is empty
  run::Table footer;                // that of the batch
  std::string fault;                // the first fault; empty where all is well
  std::vector<std::uint32_t> runs;  // positions in the footer of the runs that it concerns, ascending
  std::uint64_t frames_read = 0;
  std::uint64_t bytes_read = 0;  // of the object, besides the footer
};

// Holds one footer, a range of a few MiB and one frame in memory. Throws base::Error where the store fails.
// May be called from several threads at once.
BatchCheck check_batch(store::ObjectStore& store, const store::ObjectInfo& object, const ReadPart& part);

}  // namespace runctl::flow
