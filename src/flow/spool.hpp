// Batches that could not be stored, each in a file of its own, until they can be.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "base/file.hpp"
#include "base/hash.hpp"
#include "batch/writer.hpp"
#include "run/table.hpp"

namespace runctl::flow {

struct SpooledBatch {
  std::string path;
  std::string key;         // in the store that it is meant for
  std::uint64_t size = 0;  // bytes
};

// One directory for each store. A file TIME.GROUP.HASH.ndjson.zst is the object
// runs/v1/GROUP/HASH.ndjson.zst; TIME (nanoseconds since 1970, 20 digits) keeps the order. Any number of
// processes may add at once.
class Spool {
 public:
  // Holds at most `max_bytes`. The directory is made, for its owner alone, when the first batch comes.
  Spool(std::string directory, std::uint64_t max_bytes)
      : directory_(std::move(directory)), max_bytes_(max_bytes) {}

  [[nodiscard]] const std::string& directory() const { return directory_; }
  // Of all that lies there, what is being written included. Throws Error(io) where that cannot be read.
  [[nodiscard]] bool has_room_for(std::uint64_t bytes) const;

  // Durable on return, whether there is room or not; returns the file's path. Throws Error(io).
  [[nodiscard]] std::string add(const batch::Batch& batch) const;

  // What waits, oldest first. Throws Error(io) where the directory cannot be read.
  [[nodiscard]] std::vector<SpooledBatch> waiting() const;

  // Held by whoever delivers, so that no other does; absent where another holds it, or there is no directory.
  [[nodiscard]] std::optional<base::FileDescriptor> lock() const;

 private:
  const std::string directory_;
  const std::uint64_t max_bytes_;
};

// A batch as it came back from the spool.
struct SpooledContent {
  std::string bytes;
  base::Sha256Digest digest{};
  run::Table table;
};

// Throws Error(corrupt) where the file is not what its name says.
SpooledContent read_spooled(const SpooledBatch& batch);

// After it was stored and recorded.
void remove_spooled(const SpooledBatch& batch);

}  // namespace runctl::flow
