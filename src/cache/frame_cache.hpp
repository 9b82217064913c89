// Frames on the local disk: what was read from the store once need not cross the network again. Batches never
// change, so neither do their frames, and no entry is ever stale.
#pragma once

#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <string_view>

#include "cache/cleaning.hpp"
#include "cache/directory.hpp"

namespace runctl::cache {

// The cache of one store in one process, for one thread at a time; any number of processes share the
// directory. It can only help: whatever fails in it is a miss, or an entry that is not kept, and never
// reaches the caller.
class FrameCache {
 public:
  using Log = std::function<void(const std::string&)>;

  // Touches nothing yet. `log` is told, once, why nothing more is kept.
  FrameCache(std::string path, std::string store_url, const Limits& limits, Log log);
  // Adds the counts of hits and misses to those on disk.
  ~FrameCache();
  FrameCache(const FrameCache&) = delete;
  FrameCache& operator=(const FrameCache&) = delete;

  // The compressed frame at `offset` of the batch `key`, exactly as keep() was given it; absent where it is
  // not here. What is there instead of it, cut, changed, linked or foreign, is removed.
  std::optional<std::string> find(const std::string& key, std::uint64_t offset, std::uint64_t length);

  // Whether find() is likely to find it; counts nothing.
  bool contains(const std::string& key, std::uint64_t offset, std::uint64_t length);

  // Keeps a frame that the caller has found to be whole. Others may have to go for it.
  void keep(const std::string& key, std::uint64_t offset, std::string_view frame);

  // Takes back a hit: the frame is not what its checksum promised.
  void reject(const std::string& key, std::uint64_t offset, std::uint64_t length);

  // Frames that were read from the store without being looked for here one by one.
  void count_misses(std::uint64_t count) { misses_ += count; }

  // Why nothing more is kept; empty while all is well.
  [[nodiscard]] const std::string& fault() const { return fault_; }

  [[nodiscard]] std::uint64_t hits() const { return hits_; }
  [[nodiscard]] std::uint64_t misses() const { return misses_; }

 private:
  [[nodiscard]] std::string identity(const std::string& key, std::uint64_t offset,
                                     std::uint64_t length) const;
  bool ready();
  std::optional<std::string> read_entry(const std::string& identity, std::uint64_t length);
  void drop(const std::string& name);
  void write_entry(const std::string& identity, std::string_view frame);
  void count();
  void stop_keeping(const std::string& why);

  const std::string path_;
  const std::string store_url_;
  const Limits limits_;
  const Log log_;
  std::optional<Directory> directory_;
  bool usable_ = true;   // the directory can be read
  bool keeping_ = true;  // and written
  std::string fault_;
  std::uint64_t hits_ = 0;
  std::uint64_t misses_ = 0;
};

}  // namespace runctl::cache
