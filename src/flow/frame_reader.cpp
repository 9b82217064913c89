#include "flow/frame_reader.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <deque>
#include <future>
#include <optional>
#include <thread>
#include <utility>

#include "base/error.hpp"
#include "base/thread_pool.hpp"
#include "batch/format.hpp"
#include "batch/frame.hpp"

namespace runctl::flow {

namespace {

using base::Error;
using base::ErrorKind;

// Frames that lie no further apart are read in one range: the bytes between cost less than a request.
constexpr std::uint64_t k_range_gap = 64U << 10;
constexpr std::uint64_t k_range_max = 4U << 20;
// Of fewer frames decompressing takes no longer than starting threads for it.
constexpr std::size_t k_worth_threads = 8;
// Frames that may be decompressed before they are used, of up to 1 MiB each.
constexpr std::size_t k_unpacked_ahead = 4;
// No object is larger, compressed or not: sums of offsets and sizes below it do not overflow.
constexpr std::uint64_t k_max_object = std::uint64_t{1} << 60;

// Positions of frames that one range covers.
struct PlannedRange {
  store::Range range;
  std::vector<std::size_t> frames;
};

bool is_broken(const Error& error) {
  return error.kind() == ErrorKind::corrupt || error.kind() == ErrorKind::not_found;
}

std::string_view stored_in(const std::string& bytes, const store::Range& range, const run::Frame& frame) {
  return std::string_view(bytes).substr(frame.offset - range.offset, frame.stored);
}

// What the store gave, decompressed.
std::string unpack(const std::string& key, const run::Frame& frame, std::string_view stored) {
  try {
    return batch::decompress_frame(stored, frame.raw);
  } catch (const Error& error) {
    throw Error(error.kind(), fmt::format("{}: {}", key, error.what()));
  }
}

// Frames that are being decompressed, in order.
struct Unpacking {
  std::deque<std::future<std::string>> frames;

  Unpacking() = default;
  // What is not taken, because something else has failed, still looks into the range's bytes.
  ~Unpacking() {
    for (const std::future<std::string>& frame : frames) frame.wait();
  }
  Unpacking(const Unpacking&) = delete;
  Unpacking& operator=(const Unpacking&) = delete;

  std::string next() {
    std::future<std::string> frame = std::move(frames.front());
    frames.pop_front();
    return frame.get();
  }
};

std::size_t unpacking_threads() { return std::clamp(std::thread::hardware_concurrency(), 1U, 4U); }

}  // namespace

std::vector<run::Frame> frames_of(index::Index& index, std::int64_t batch, std::uint64_t raw_offset,
                                  std::uint64_t length) {
  std::vector<run::Frame> frames = index.frames(batch, raw_offset, length);
  bool sane =
      frames.empty() || (frames.front().raw_offset <= raw_offset && frames.front().offset <= k_max_object &&
                         frames.front().raw_offset <= k_max_object);
  for (std::size_t i = 0; i < frames.size() && sane; ++i) {
    const run::Frame& frame = frames[i];
    sane = frame.raw <= batch::k_max_frame_raw && frame.stored <= frame.raw + batch::k_max_frame_growth &&
           (i == 0 || (frames[i - 1].raw_offset + frames[i - 1].raw == frame.raw_offset &&
                       frames[i - 1].offset + frames[i - 1].stored == frame.offset));
  }
  const std::uint64_t end = frames.empty() ? 0 : frames.back().raw_offset + frames.back().raw;
  if (sane && (length == 0 || (end > raw_offset && end - raw_offset >= length))) return frames;
  throw Error(
      ErrorKind::corrupt,
      fmt::format("{}: the index looks for frames where none can be; run 'runctl index rebuild' to make "
                  "it anew from the store",
                  index.batch(batch).key));
}

// From the cache to the sink; false where it is not there.
bool FrameReader::read_cached(const std::string& key, const run::Frame& frame, std::size_t which,
                              const Sink& sink) {
  if (cache_ == nullptr) return false;
  const auto stored = cache_->find(key, frame.offset, frame.stored);
  if (!stored) return false;
  std::string raw;
  try {
    raw = batch::decompress_frame(*stored, frame.raw);
  } catch (const Error&) {
    cache_->reject(key, frame.offset, frame.stored);
    return false;
  }
  sink(which, raw);
  return true;
}

void FrameReader::read(std::span<const FramePlace> places, const Sink& sink, const Failure& failed) {
  std::vector<PlannedRange> plan;
  std::size_t missing = 0;
  for (std::size_t i = 0; i < places.size(); ++i) {
    const auto& [key, frame] = places[i];
    if (read_cached(key, frame, i, sink)) continue;
    ++missing;
    const std::uint64_t end = frame.offset + frame.stored;
    const bool near = !plan.empty() && plan.back().range.key == key &&
                      frame.offset <= plan.back().range.offset + plan.back().range.length + k_range_gap &&
                      end - plan.back().range.offset <= k_range_max;
    if (!near) plan.push_back({{key, frame.offset, 0}, {}});
    plan.back().range.length = end - plan.back().range.offset;
    plan.back().frames.push_back(i);
  }
  std::vector<store::Range> ranges;
  for (const PlannedRange& planned : plan) ranges.push_back(planned.range);
  if (ranges.empty()) return;
  // Writing to the cache takes as long as decompressing, so one thread does the one and others the other, for
  // one range at a time, so that no more than that waits.
  base::ThreadPool keeper(cache_ != nullptr && missing > 1 ? 1 : 0);
  base::ThreadPool unpackers(missing < k_worth_threads ? 0 : unpacking_threads());
  std::vector<std::future<void>> kept;
  const auto use = [&](std::size_t range, const std::string& bytes) {
    for (std::future<void>& frame : kept) frame.get();
    kept.clear();
    const std::vector<std::size_t>& frames = plan[range].frames;
    Unpacking unpacking;
    std::size_t begun = 0;
    for (const std::size_t i : frames) {
      for (; begun < frames.size() && unpacking.frames.size() < k_unpacked_ahead; ++begun) {
        unpacking.frames.push_back(
            unpackers.submit([&place = places[frames[begun]],
                              stored = stored_in(bytes, ranges[range], places[frames[begun]].frame)] {
              return unpack(place.key, place.frame, stored);
            }));
      }
      std::string raw;
      try {
        raw = unpacking.next();
      } catch (const Error& error) {
        failed(i, error.what());
        continue;
      }
      const auto& [key, frame] = places[i];
      if (cache_ != nullptr) {
        kept.push_back(keeper.submit(
            [this, &place = places[i], copy = std::string(stored_in(bytes, ranges[range], frame))] {
              cache_->keep(place.key, place.frame.offset, copy);
            }));
      }
      sink(i, raw);
    }
  };
  read_ranges(ranges, use, [&](std::size_t range, const std::string& why) {
    for (const std::size_t i : plan[range].frames) failed(i, why);
  });
}

// All ranges at once; where one is broken, one by one, to tell the good from the bad.
void FrameReader::read_ranges(const std::vector<store::Range>& ranges, const RangeBytes& sink,
                              const Failure& failed) {
  std::vector<bool> done(ranges.size(), false);
  try {
    store_.read(ranges, [&](std::size_t which, const std::string& bytes) {
      sink(which, bytes);
      done[which] = true;
    });
    return;
  } catch (const Error& error) {
    if (!is_broken(error)) throw;
  }
  for (std::size_t i = 0; i < ranges.size(); ++i) {
    if (done[i]) continue;
    try {
      store_.read({&ranges[i], 1}, [&](std::size_t, const std::string& bytes) { sink(i, bytes); });
    } catch (const Error& error) {
      if (!is_broken(error)) throw;
      failed(i, error.what());
    }
  }
}

void FrameReader::read_in_order(const std::string& key, std::span<const run::Frame> frames,
                                const Sink& sink) {
  for (std::size_t begin = 0; begin < frames.size();) {
    if (read_cached(key, frames[begin], begin, sink)) {
      ++begin;
      continue;
    }
    // As many as may be, up to one that the cache has, are one range.
    store::Range range{key, frames[begin].offset, frames[begin].stored};
    std::size_t end = begin + 1;
    while (end < frames.size() && range.length + frames[end].stored <= k_range_max &&
           (cache_ == nullptr || !cache_->contains(key, frames[end].offset, frames[end].stored)))
      range.length += frames[end++].stored;
    store_.read({&range, 1}, [&](std::size_t, const std::string& bytes) {
      for (std::size_t i = begin; i < end; ++i) {
        const std::string_view stored = stored_in(bytes, range, frames[i]);
        const std::string raw = unpack(key, frames[i], stored);
        if (cache_ != nullptr) cache_->keep(key, frames[i].offset, stored);
        sink(i, raw);
      }
    });
    if (cache_ != nullptr) cache_->count_misses(end - begin - 1);  // the first was looked for
    begin = end;
  }
}

}  // namespace runctl::flow
