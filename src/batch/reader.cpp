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

TableReader::TableReader(std::uint64_t size) : size_(size) {
  if (size == 0) throw Error(ErrorKind::corrupt, "the object is empty");
  const std::uint64_t length = std::min(size, k_tail);
  wanted_ = ByteRange{size - length, length};
}

void TableReader::give(std::string_view bytes) {
  wanted_.reset();
  tail_.insert(0, bytes);
  if (!layout_) layout_ = decode_layout(tail_, size_);
  if (!layout_) {
    // No writer makes so long a seek table; another's may be.
    const std::uint64_t longest = k_skippable_head + (k_max_frames + 1) * k_seek_entry + k_seek_foot;
    if (tail_.size() >= std::min(size_, longest)) throw Error(ErrorKind::corrupt, "the seek table is broken");
    const std::uint64_t missing = std::min(size_, longest) - tail_.size();
    wanted_ = ByteRange{size_ - tail_.size() - missing, missing};
    return;
  }
  const std::uint64_t tail_offset = size_ - tail_.size();
  if (layout_->footer_offset < tail_offset) {
    // Only what the tail does not hold is fetched.
    wanted_ = ByteRange{layout_->footer_offset, tail_offset - layout_->footer_offset};
    return;
  }
  const auto begin = static_cast<std::size_t>(layout_->footer_offset - tail_offset);
  table_ = decode_footer(std::string_view(tail_).substr(begin, layout_->footer_size), *layout_);
  tail_.clear();
}

run::Table read_table(std::uint64_t size, const ReadRange& read) {
  TableReader reader(size);
  while (const auto wanted = reader.wanted()) reader.give(read(wanted->offset, wanted->length));
  return reader.take();
}

bool is_day_group(std::string_view group) {
  const auto time = base::parse_iso_time(group);
  return time && base::day_text(*time) == group;
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
  return (is_day_group(group) || group == k_mixed_group) && hash.size() == 64 &&
         hash.find_first_not_of("0123456789abcdef") == std::string_view::npos;
}

}  // namespace runctl::batch
