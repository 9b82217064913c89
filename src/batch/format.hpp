// The byte grammar of a batch (runctl-batch(5)), shared by writer and reader.
//
//   batch      = frame... footer seek-table
//   frame      = one Zstandard frame with content size and checksum (RFC 8878, 3.1.1)
//   footer     = skippable frame (RFC 8878, 3.1.2) with magic k_footer_magic
//   seek-table = skippable frame of the zstd seekable format 0.1.0 (zstd, contrib/seekable_format), without
//                checksums; it has one entry for each frame, and one, with decompressed size 0, for the
//                footer
//
// All numbers are little-endian.
#pragma once

#include <cstdint>
#include <string_view>

namespace runctl::batch {

inline constexpr std::uint32_t k_footer_magic = 0x184D2A5B;
inline constexpr std::uint32_t k_seek_table_magic = 0x184D2A5E;
inline constexpr std::uint32_t k_seekable_magic = 0x8F92EAB1;

// u32 magic and u32 size of content, in front of every skippable frame.
inline constexpr std::uint64_t k_skippable_head = 8;
// u32 compressed and u32 decompressed size of one frame.
inline constexpr std::uint64_t k_seek_entry = 8;
// u32 number of entries, u8 descriptor (0: no checksums), u32 k_seekable_magic.
inline constexpr std::uint64_t k_seek_foot = 9;

// The footer's content: this magic, seven u32 counts (runs, frames, texts, traces, tags, fields, columns),
// then the columns, each u32 tag, u32 size, bytes; last the XXH3-64 of all content before it.
inline constexpr std::string_view k_footer_version = "RUNCTLB1";

// A reader skips columns whose tag it does not know. Never reuse or renumber: these are stored for ever.
enum class Column : std::uint32_t {
  id_high = 1,      // bytes 0 to 7 of the run's id, as a big-endian number
  id_low = 2,       // bytes 8 to 15
  fingerprint = 3,  // XXH3-64 of the run's bytes
  length = 4,       // of the run in bytes, without its newline
  trace = 5,  // 0: the run's own id; odd: trace number (value - 1) / 2 of the batch; even: the id of the run
              // that lies unzigzag(value / 2) behind this one
  trace_high = 6,  // the traces and parents of the batch that are no run's id in it
  trace_low = 7,
  text_length = 8,  // the batch's texts, numbered from 1; 0 is the empty text
  text_bytes = 9,
  name = 10,  // numbers of texts
  run_type = 11,
  status = 12,
  start = 13,         // zigzag(start - start of the run before that has one), in microseconds since 1970
  end = 14,           // zigzag(end - start), or of the last start where the run has none
  flags = 15,         // k_has_start | k_has_end | k_has_error
  tag_count = 16,     // tags of the run
  tag = 17,           // numbers of texts, run after run
  field_run = 18,     // fields of runs that are split over frames: position of the run,
  field_name = 19,    // number of the text that is its key,
  field_offset = 20,  // where its value lies, in bytes from the run's first byte
  field_length = 21,
  frame_stored = 22,  // compressed and decompressed size of each frame
  frame_raw = 23,
  parent = 24,          // of the run, see k_parent_is_trace; absent in batches of the first version, as are
  metadata_count = 25,  // the "KEY=VALUE" texts of the run, and
  metadata = 26,        // their numbers, run after run; both are left out where no run has any
};

// A parent: 0 for none, this for the run's trace, else 1 more than the number that a trace would have.
inline constexpr std::uint64_t k_parent_is_trace = 1;

inline constexpr std::uint8_t k_has_start = 1;
inline constexpr std::uint8_t k_has_end = 2;
inline constexpr std::uint8_t k_has_error = 4;

// What a reader accepts at most, so that a small object cannot make it allocate much.
inline constexpr std::uint32_t k_max_runs = 1U << 20;
inline constexpr std::uint32_t k_max_frames = 1U << 15;
inline constexpr std::uint32_t k_max_items = 1U << 22;  // of texts, of tags and of fields
inline constexpr std::uint64_t k_max_frame_raw = 16U << 20;
// Compressed, a frame is hardly larger than its content, and never by as much as this.
inline constexpr std::uint64_t k_max_frame_growth = 1U << 20;
inline constexpr std::uint64_t k_max_footer = 256U << 20;
inline constexpr std::uint64_t k_max_text_bytes = 64U << 20;

// Batches lie under this prefix, in a group for each UTC day on which all their runs start, or in "mixed".
inline constexpr std::string_view k_batch_prefix = "runs/v1/";
inline constexpr std::string_view k_mixed_group = "mixed";
inline constexpr std::string_view k_batch_suffix = ".ndjson.zst";

}  // namespace runctl::batch
