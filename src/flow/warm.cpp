#include "flow/warm.hpp"

#include <map>
#include <set>
#include <unordered_map>
#include <utility>
#include <vector>

namespace runctl::flow {

namespace {

// Frames that are asked of the store at once: enough to keep a link busy, and little memory.
constexpr std::size_t k_window_frames = 256;

}  // namespace

WarmReport warm(FrameReader& frames, cache::FrameCache& cache, index::Index& index,
                std::span<const index::Location> locations,
                const std::function<void(const std::string& why)>& broken) {
  WarmReport report;
  std::map<std::pair<std::string_view, std::uint64_t>, run::Frame> window;  // by batch and offset
  std::unordered_map<std::int64_t, std::string> keys;
  const auto read_window = [&] {
    std::vector<FramePlace> places;
    for (const auto& [place, frame] : window) places.push_back({std::string(place.first), frame});
    frames.read(
        places, [&](std::size_t, std::string_view) { ++report.fetched; },
        [&](std::size_t, const std::string& why) {
          ++report.broken;
          broken(why);
        });
    window.clear();
  };
  std::set<std::pair<std::string_view, std::uint64_t>> seen;
  for (const index::Location& location : locations) {
    ++report.runs;
    std::string& key = keys[location.batch];
    if (key.empty()) key = index.batch(location.batch).key;
    for (const run::Frame& frame : frames_of(index, location.batch, location.raw_offset, location.length)) {
      if (!seen.emplace(key, frame.offset).second) continue;
      if (cache.contains(key, frame.offset, frame.stored))
        ++report.there;
      else
        window[{key, frame.offset}] = frame;
    }
    if (window.size() >= k_window_frames) read_window();
  }
  read_window();
  return report;
}

}  // namespace runctl::flow
