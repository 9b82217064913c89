#include "batch/seek_table.hpp"

#include "base/bytes.hpp"
#include "base/error.hpp"
#include "batch/format.hpp"

namespace runctl::batch {

namespace {

using base::ByteReader;
using base::Error;
using base::ErrorKind;

[[noreturn]] void corrupt(const char* why) { throw Error(ErrorKind::corrupt, why); }

}  // namespace

void place_frames(std::vector<run::Frame>& frames) {
  std::uint64_t offset = 0;
  std::uint64_t raw_offset = 0;
  for (run::Frame& frame : frames) {
    frame.offset = offset;
    frame.raw_offset = raw_offset;
    offset += frame.stored;
    raw_offset += frame.raw;
  }
}

std::string encode_seek_table(const std::vector<run::Frame>& frames, std::uint64_t footer_size) {
  std::string table;
  const auto entries = static_cast<std::uint32_t>(frames.size() + 1);
  base::append_number(table, k_seek_table_magic);
  base::append_number(table, static_cast<std::uint32_t>(entries * k_seek_entry + k_seek_foot));
  for (const run::Frame& frame : frames) {
    base::append_number(table, frame.stored);
    base::append_number(table, frame.raw);
  }
  base::append_number(table, static_cast<std::uint32_t>(footer_size));
  base::append_number(table, std::uint32_t{0});
  base::append_number(table, entries);
  base::append_number(table, std::uint8_t{0});
  base::append_number(table, k_seekable_magic);
  return table;
}

std::optional<Layout> decode_layout(std::string_view tail, std::uint64_t object_size) {
  if (tail.size() < k_seek_foot) corrupt("the object is too short to be a batch");
  ByteReader foot(tail.substr(tail.size() - k_seek_foot));
  const auto entries = foot.number<std::uint32_t>();
  const auto descriptor = foot.number<std::uint8_t>();
  const auto magic = foot.number<std::uint32_t>();
  if (magic != k_seekable_magic) corrupt("there is no seek table at the end; the object is cut or no batch");
  if (descriptor != 0 || entries == 0 || entries > k_max_frames + 1) corrupt("the seek table is broken");
  const std::uint64_t content = entries * k_seek_entry + k_seek_foot;
  if (tail.size() < k_skippable_head + content) {
    if (tail.size() == object_size) corrupt("the seek table is longer than the object");
    return std::nullopt;
  }
  ByteReader reader(tail.substr(tail.size() - k_skippable_head - content));
  if (reader.number<std::uint32_t>() != k_seek_table_magic || reader.number<std::uint32_t>() != content) {
    corrupt("the seek table is broken");
  }
  Layout layout;
  layout.frames.resize(entries - 1);
  for (run::Frame& frame : layout.frames) {
    frame.stored = reader.number<std::uint32_t>();
    frame.raw = reader.number<std::uint32_t>();
    if (frame.stored == 0 || frame.raw > k_max_frame_raw || frame.stored > frame.raw + k_max_frame_growth)
      corrupt("a frame in the seek table is out of range");
  }
  layout.footer_size = reader.number<std::uint32_t>();
  if (reader.number<std::uint32_t>() != 0) corrupt("the seek table is broken");
  if (layout.footer_size > k_max_footer) corrupt("the footer is larger than any footer may be");
  place_frames(layout.frames);
  layout.footer_offset =
      layout.frames.empty() ? 0 : layout.frames.back().offset + layout.frames.back().stored;
  if (layout.footer_offset + layout.footer_size + k_skippable_head + content != object_size) {
    corrupt("the seek table does not add up to the object's size; the object is cut or changed");
  }
  return layout;
}

}  // namespace runctl::batch
