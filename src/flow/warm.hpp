// Frames of runs into the cache, before anybody asks for the runs.
#pragma once

#include <cstdint>
#include <functional>
#include <span>
#include <string>

#include "cache/frame_cache.hpp"
#include "flow/frame_reader.hpp"
#include "index/index.hpp"

namespace runctl::flow {

struct WarmReport {
  std::uint64_t runs = 0;
  std::uint64_t fetched = 0;  // frames that were read from the store
  std::uint64_t there = 0;    // frames that the cache had already
  std::uint64_t broken = 0;   // frames that cannot be had
};

// Reads the frames of these runs that the cache does not have, a window of them at a time; `broken` is told
// of those that cannot be had. Throws base::Error where store or index fail.
WarmReport warm(FrameReader& frames, cache::FrameCache& cache, index::Index& index,
                std::span<const index::Location> locations,
                const std::function<void(const std::string& why)>& broken);

}  // namespace runctl::flow
