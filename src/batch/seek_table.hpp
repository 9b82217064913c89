// The seek table at the end of a batch, and what it says about where things lie: pure functions.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "run/table.hpp"

namespace runctl::batch {

// Offsets set from the sizes.
void place_frames(std::vector<run::Frame>& frames);

// The seek table, as a skippable frame, behind a footer of `footer_size` bytes.
std::string encode_seek_table(const std::vector<run::Frame>& frames, std::uint64_t footer_size);

// Where things lie in a batch, by its seek table.
struct Layout {
  std::vector<run::Frame> frames;
  std::uint64_t footer_offset = 0;
  std::uint64_t footer_size = 0;
};

// Reads the seek table in `tail`, the last bytes of an object of `object_size` bytes. Absent where the tail
// is too short to hold it. Throws Error(corrupt) where it is no batch.
std::optional<Layout> decode_layout(std::string_view tail, std::uint64_t object_size);

}  // namespace runctl::batch
