// Where a benchmark works: a prefix of its own in the store, and a directory of its own on this machine. It
// touches nothing else.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "store/object_store.hpp"

namespace runctl::flow {

// What the names of all such prefixes and directories begin with.
inline constexpr std::string_view k_bench_prefix = "runctl-bench-";

// Opens the store below a prefix of the configured one; each call gives one of its own.
using OpenBelow = std::function<std::unique_ptr<store::ObjectStore>(const std::string& prefix)>;

class BenchPlace {
 public:
  // `store` is the configured store, at whose root the prefix is made. `trouble` is told what cannot be
  // removed. Throws base::Error(io) where the directory cannot be made.
  BenchPlace(store::ObjectStore& store, OpenBelow open, std::function<void(const std::string&)> trouble);
  // Removes all that was made.
  ~BenchPlace();
  BenchPlace(const BenchPlace&) = delete;
  BenchPlace& operator=(const BenchPlace&) = delete;

  // A store of its own below the prefix, for each `part`.
  [[nodiscard]] std::unique_ptr<store::ObjectStore> open(const std::string& part) const;
  // Removes it with all that is in it.
  void remove(const std::string& part);

  // A path in the directory on this machine.
  [[nodiscard]] std::string local(const std::string& name) const { return directory_ + "/" + name; }
  // Removes the file or directory of this path.
  void remove_local(const std::string& name) const;

 private:
  store::ObjectStore& store_;
  const OpenBelow open_;
  const std::function<void(const std::string&)> trouble_;
  const std::string prefix_;
  std::string directory_;
  std::vector<std::string> missing_;  // directories that the store will make for itself, innermost first
};

// Prefixes of benchmarks that were killed: those in which nothing was stored for so long. Ascending.
std::vector<std::string> bench_leftovers(store::ObjectStore& store, std::int64_t age_microseconds);
// Removes everything below one of them.
void remove_bench_leftover(store::ObjectStore& store, const std::string& prefix);

}  // namespace runctl::flow
