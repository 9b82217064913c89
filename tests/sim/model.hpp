// What must be true of store and index, worked out from the objects of the store alone.
#pragma once

#include <cstdint>
#include <map>
#include <set>
#include <string>
#include <unordered_map>
#include <vector>

#include "bucket.hpp"
#include "index/index.hpp"
#include "runs.hpp"
#include "world.hpp"

namespace runctl::sim {

// A run in a batch.
struct Placed {
  std::size_t run = 0;  // of all_runs()
  std::uint64_t raw_offset = 0;
};

// A version of a run where an index must look for it.
struct ExpectedVersion {
  std::size_t run = 0;
  std::int64_t modified_ns = 0;
  std::string key;
  std::uint64_t raw_offset = 0;
};

// What an index that has some of the store's batches must answer.
struct Expectation {
  std::map<run::Id, std::vector<ExpectedVersion>> versions;  // the latest first
  // Ids of which a batch was overwritten by itself, on a store that ignores conditional creation: the time
  // that decides which version is the latest has changed since an index heard of it.
  std::set<run::Id> unsure;
  std::size_t batches = 0;

  // Of that version of its id.
  [[nodiscard]] bool has(const Run& run) const;
  [[nodiscard]] const std::vector<ExpectedVersion>& of(const run::Id& id) const;
  [[nodiscard]] bool is_sure(const run::Id& id) const { return !unsure.contains(id); }
};

class Model {
 public:
  Model(World& world, const Bucket& bucket) : world_(world), bucket_(bucket) {}

  // Of the batches of these keys, which must be in the store.
  Expectation expect(const std::vector<std::string>& keys);
  // Of all batches.
  Expectation expect_all() { return expect(all_keys()); }
  [[nodiscard]] std::vector<std::string> all_keys() const;

  // All that the index answers is what is expected of one that has its batches; `of` names it.
  void check_index(index::Index& index, const Expectation& expected, const std::string& of);
  // The runs that a search must find, in its order, from the rows that the index has given them.
  struct ExpectedHit {
    std::uint64_t order = 0;  // of the start
    std::uint32_t row = 0;
    std::size_t run = 0;

    [[nodiscard]] auto position() const { return std::pair(order, row); }
  };
  std::vector<ExpectedHit> expect_hits(index::Index& index, const Expectation& expected,
                                       const index::Query& query);

 private:
  const std::vector<Placed>& runs_of(const std::string& key);
  std::vector<Placed> read_batch(const std::string& key, const std::string& bytes);
  void check_versions(index::Index& index, const run::Id& id, const Expectation& expected,
                      const std::string& of);

  World& world_;
  const Bucket& bucket_;
  std::unordered_map<std::string, std::vector<Placed>> batches_;
};

}  // namespace runctl::sim
