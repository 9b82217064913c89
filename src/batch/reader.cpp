#include "batch/reader.hpp"

#include <algorithm>

#include "base/error.hpp"
#include "base/time.hpp"
#include "batch/footer.hpp"
#include "batch/format.hpp"

namespace runctl::batch {

namespace {

using base::Error;
using base::ErrorKind;

// Holds the seek table of every batch that a writer makes, and the whole footer of most small ones.
constexpr std::uint64_t k_tail = 128U << 10;

}  // namespace

run::Table read_table(std::uint64_t size, const ReadRange& read) {
  if (size == 0) throw Error(ErrorKind::corrupt, "the object is empty");
  std::uint64_t tail_size = std::min(size, k_tail);
  std::string tail = read(size - tail_size, tail_size);
  auto layout = decode_layout(tail, size);
  if (!layout) {
    // No writer makes so long a seek table; another's may be.
    tail_size = std::min(size, k_skippable_head + (k_max_frames + 1) * k_seek_entry + k_seek_foot);
    tail = read(size - tail_size, tail_size);
    layout = decode_layout(tail, size);
    if (!layout) throw Error(ErrorKind::corrupt, "the seek table is broken");
  }
  const std::uint64_t tail_offset = size - tail_size;
  if (layout->footer_offset >= tail_offset) {
    const auto begin = static_cast<std::size_t>(layout->footer_offset - tail_offset);
    return decode_footer(std::string_view(tail).substr(begin, layout->footer_size), *layout);
  }
  if (layout->footer_size == 0) throw Error(ErrorKind::corrupt, "the footer is missing");
  // Only what the tail does not hold is fetched.
  const std::uint64_t missing = std::min(tail_offset - layout->footer_offset, layout->footer_size);
  std::string footer = read(layout->footer_offset, missing);
  footer += std::string_view(tail).substr(0, layout->footer_size - missing);
  return decode_footer(footer, *layout);
}

bool is_batch_key(const std::string& key) {
  std::string_view rest = key;
  if (!rest.starts_with(k_batch_prefix) || !rest.ends_with(k_batch_suffix)) return false;
  rest.remove_prefix(k_batch_prefix.size());
  rest.remove_suffix(k_batch_suffix.size());
  const std::size_t slash = rest.find('/');
  if (slash == std::string_view::npos) return false;
  const std::string_view group = rest.substr(0, slash);
  const std::string_view hash = rest.substr(slash + 1);
  const auto time = base::parse_iso_time(group);
  const bool day = time && base::day_text(*time) == group;
  return (day || group == k_mixed_group) && hash.size() == 64 &&
         hash.find_first_not_of("0123456789abcdef") == std::string_view::npos;
}

}  // namespace runctl::batch
