// The directory that holds the cache: DIR/v1/ab/NAME, where `ab` is the shard, the first byte of the name.
// Everything in v1 is ours; of DIR we make and use nothing else.
#pragma once

#include <bitset>
#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "base/file.hpp"
#include "cache/eviction.hpp"
#include "cache/usage.hpp"

namespace runctl::cache {

enum class Make { no, yes };

// What lies in one shard.
struct Listing {
  std::vector<Entry> entries;          // whatever has an entry's name
  std::vector<std::string> leftovers;  // half-written files older than an hour: of writers that were killed
  std::uint64_t bytes = 0;             // on disk, of the directory and all that is in it
};

// Files are opened below descriptors that follow no link, so that nothing leads out of the cache.
class Directory {
 public:
  // With Make::no absent where there is no cache yet. Throws base::Error(io) where it cannot be made, cannot
  // be entered, belongs to another user, or others may write into it.
  static std::optional<Directory> open(const std::string& path, Make make);

  [[nodiscard]] int descriptor() const { return root_.get(); }
  // Bytes on disk of what is in no shard: DIR, v1 and the files in it.
  [[nodiscard]] std::uint64_t own_bytes() const;
  // For messages.
  [[nodiscard]] std::string path_of(unsigned shard, const std::string& name) const;

  // The descriptor holds no file where the shard is not there or is no directory. With Make::yes throws
  // base::Error(io) then.
  [[nodiscard]] base::FileDescriptor shard(unsigned shard, Make make) const;
  // Which shards there are; some of them may be no directories. Throws base::Error(io).
  [[nodiscard]] std::bitset<k_shards> shards() const;
  // Absent where there is no such shard. Throws base::Error(io).
  [[nodiscard]] std::optional<Listing> list(unsigned shard) const;
  // Removes the shard's directory if it is empty; false where it is not.
  [[nodiscard]] bool remove_shard(unsigned shard) const;

 private:
  Directory(std::string path, base::FileDescriptor root) : path_(std::move(path)), root_(std::move(root)) {}

  std::string path_;  // of v1
  base::FileDescriptor root_;
};

// The shard that the entry lies in.
unsigned shard_of(const std::string& name);

// Bytes on disk of an open file or directory.
std::uint64_t disk_bytes(int file);

}  // namespace runctl::cache
