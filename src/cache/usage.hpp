// What the cache takes on disk, and how well it does: one small file that all processes share.
#pragma once

#include <array>
#include <chrono>
#include <cstdint>
#include <optional>

#include "base/file.hpp"

namespace runctl::cache {

inline constexpr unsigned k_shards = 256;  // directories that the entries are spread over

struct Usage {
  struct Shard {
    std::uint64_t bytes = 0;  // on disk, of the directory and all that is in it
    std::uint64_t entries = 0;
  };
  std::array<Shard, k_shards> shards{};
  std::uint64_t hits = 0;
  std::uint64_t misses = 0;
  std::int64_t counted_since_ns = 0;  // since 1970; 0 where nothing was counted yet

  [[nodiscard]] std::uint64_t bytes() const;
};

// The right to change the cache: whoever adds or removes entries, or counts, holds it, for as long as it
// takes to handle one entry or one shard. Readers need it not. Released by the destructor.
class UsageLock {
 public:
  // Waits at most `patience`, lest a process that was stopped stops all others; absent where that was not
  // enough. Throws base::Error(io) where the file cannot be made, read or locked.
  static std::optional<UsageLock> acquire(int directory, std::chrono::milliseconds patience);

  Usage usage;
  // The file was not there, or did not make sense: `usage` is empty, and what the shards take must be
  // measured.
  [[nodiscard]] bool unknown() const { return unknown_; }
  // Writes `usage`. Throws base::Error(io).
  void save();

 private:
  UsageLock() = default;
  base::FileDescriptor file_;
  bool unknown_ = false;
};

// What the file said last; absent where there is none or it makes no sense. Takes no lock.
std::optional<Usage> read_usage(int directory);

// Bytes that the file takes on disk; 0 where there is none.
std::uint64_t usage_file_bytes(int directory);

}  // namespace runctl::cache
