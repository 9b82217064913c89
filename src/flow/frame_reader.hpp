// Frames of batches: from the cache where there is one that has them, from the store where not.
#pragma once

#include <cstdint>
#include <functional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "cache/frame_cache.hpp"
#include "index/index.hpp"
#include "run/table.hpp"
#include "store/object_store.hpp"

namespace runctl::flow {

// A frame and the batch that it lies in.
struct FramePlace {
  std::string key;
  run::Frame frame;
};

// The frames that hold `length` bytes from `raw_offset` of a batch's NDJSON, as the index knows them. An
// index is a file like any other: where its frames cannot be those of a batch, Error(corrupt) names the
// batch.
std::vector<run::Frame> frames_of(index::Index& index, std::int64_t batch, std::uint64_t raw_offset,
                                  std::uint64_t length);

// Plans the requests: frames that lie near each other are read in one range. The frame, not the range, is
// what the cache keeps, for the same frame is read in other company the next time.
class FrameReader {
 public:
  // `cache` may be null; nobody else may use it meanwhile.
  FrameReader(store::ObjectStore& store, cache::FrameCache* cache) : store_(store), cache_(cache) {}

  using Sink = std::function<void(std::size_t which, std::string_view raw)>;
  using Failure = std::function<void(std::size_t which, const std::string& why)>;

  // Gives each frame's content, decompressed and checked, with its position in `places`, in any order; or why
  // it cannot be had, naming the batch: absent, short or broken. `places` ascend by key and offset. All that
  // is not in the cache is asked of the store at once. Throws base::Error where the store fails.
  void read(std::span<const FramePlace> places, const Sink& sink, const Failure& failed);

  // The frames of one batch, which lie one behind the other, in order and a few MiB at a time; the first that
  // cannot be had is thrown as Error(corrupt) or Error(not_found).
  void read_in_order(const std::string& key, std::span<const run::Frame> frames, const Sink& sink);

 private:
  bool read_cached(const std::string& key, const run::Frame& frame, std::size_t which, const Sink& sink);
  using RangeBytes = std::function<void(std::size_t index, const std::string& bytes)>;
  void read_ranges(const std::vector<store::Range>& ranges, const RangeBytes& sink, const Failure& failed);

  store::ObjectStore& store_;
  cache::FrameCache* cache_;
};

}  // namespace runctl::flow
