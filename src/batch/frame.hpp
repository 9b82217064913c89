// Zstandard frames (RFC 8878). The only user of zstd.h.
#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <string_view>

namespace runctl::batch {

inline constexpr int k_default_level = 3;
inline constexpr int k_min_level = 1;
inline constexpr int k_max_level = 22;

// One independent frame with content size and checksum. Safe to call from several threads.
std::string compress_frame(std::string_view raw, int level);

// The content of the one frame that `stored` is, which must be exactly `raw_size` bytes; its checksum is
// verified. Throws Error(corrupt) saying why, without naming the object. The caller has capped raw_size.
std::string decompress_frame(std::string_view stored, std::uint64_t raw_size);

// Whether `bytes` start as a zstd frame, skippable or not, does.
bool is_zstd(std::string_view bytes);

// Reads a zstd stream of any number of frames, with windows up to 128 MiB, as it arrives.
class StreamDecompressor {
 public:
  StreamDecompressor();
  ~StreamDecompressor();
  StreamDecompressor(const StreamDecompressor&) = delete;
  StreamDecompressor& operator=(const StreamDecompressor&) = delete;

  // Takes bytes from the front of `stored` and writes at most out.size() bytes; returns how many it wrote.
  // Throws Error(input) on bytes that are no zstd stream.
  std::size_t read(std::string_view& stored, std::span<char> out);

  // True between frames: a stream may end here.
  [[nodiscard]] bool complete() const { return complete_; }

 private:
  struct Context;
  std::unique_ptr<Context> context_;
  bool complete_ = true;
};

}  // namespace runctl::batch
