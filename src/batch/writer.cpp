#include "batch/writer.hpp"

#include <algorithm>
#include <utility>

#include "base/bytes.hpp"
#include "base/time.hpp"
#include "batch/format.hpp"
#include "batch/reader.hpp"
#include "run/json.hpp"

namespace runctl::batch {

namespace {

// A frame is what one `get` reads: small enough to cost no time, large enough to keep the ratio of the whole
// file. Measured on five sets of real runs: frames of 64 KiB compressed cost 2 to 28 % against one stream.
constexpr std::uint64_t k_frame_stored_target = 64U << 10;
constexpr std::uint64_t k_frame_raw_min = 64U << 10;
constexpr std::uint64_t k_frame_raw_max = 1U << 20;
// Batches of tiny runs end here: what is kept of a run outside of its frame takes memory too, and several
// batches are under way at once.
constexpr std::size_t k_runs_max = 3U << 14;
// A seek table of so many entries is half of what a reader fetches first.
constexpr std::size_t k_frames_max = 1U << 13;
// Until the first ratios are known.
constexpr std::uint64_t k_frame_raw_first = 512U << 10;
// A frame's size follows from the ratio of the one this many before it, so that as many can be compressed
// at once and the cuts do not depend on which is done first.
constexpr std::size_t k_lookback = 4;
// A field of a split run that is at least this long gets frames of its own.
constexpr std::size_t k_own_frame_field = 128U << 10;
// The footer names where the first of a split run's fields lie, and all that have frames of their own.
constexpr std::size_t k_listed_fields = 256;
constexpr std::size_t k_listed_key = 1024;
// A text longer than this is not kept in memory for the sake of a frame.
constexpr std::size_t k_kept_text = 4U << 20;

}  // namespace

std::string group_of(const run::Table& table) {
  if (table.starts.empty()) return std::string(k_mixed_group);
  const std::int64_t first = table.starts.front();
  const bool one_day = first != base::k_no_time &&
                       std::all_of(table.starts.begin(), table.starts.end(), [&](std::int64_t start) {
                         return start != base::k_no_time && (start == first || base::same_day(start, first));
                       });
  // Times with a zone may lie a little outside of the years that a day's name can have.
  return one_day && is_day_group(base::day_text(first)) ? base::day_text(first) : std::string(k_mixed_group);
}

std::vector<std::string_view> Batch::parts() const {
  std::vector<std::string_view> views(frame_bytes.begin(), frame_bytes.end());
  views.push_back(trailer);
  return views;
}

base::Sha256 hash_frames(PendingBatch& pending) {
  base::Sha256 hash;
  for (PendingFrame& frame : pending.frames) hash.update(frame.stored());
  return hash;
}

Batch complete(PendingBatch pending) {
  RunColumns runs = encode_runs(pending.table);
  return complete(pending, std::move(runs), hash_frames(pending));
}

Batch complete(PendingBatch& pending, RunColumns runs, base::Sha256 hash) {
  Batch batch;
  batch.table = std::move(pending.table);
  for (PendingFrame& frame : pending.frames) {
    batch.frame_bytes.push_back(std::move(frame.stored()));
    batch.table.frames.push_back(
        {0, static_cast<std::uint32_t>(batch.frame_bytes.back().size()), 0, frame.raw()});
  }
  place_frames(batch.table.frames);
  const std::string footer = encode_footer(batch.table, std::move(runs));
  batch.trailer = footer + encode_seek_table(batch.table.frames, footer.size());
  hash.update(batch.trailer);
  for (const std::string_view part : batch.parts()) batch.size += part.size();
  batch.digest = hash.finish();
  batch.key = std::string(k_batch_prefix) + group_of(batch.table) + "/" +
              base::to_hex(base::as_bytes(batch.digest)) + std::string(k_batch_suffix);
  return batch;
}

void FrameContent::add(std::string_view bytes, const Text& text) {
  const std::less_equal<const char*> up_to;
  if (text == nullptr || text->size() > k_kept_text || !up_to(text->data(), bytes.data()) ||
      !up_to(bytes.data() + bytes.size(), text->data() + text->size())) {
    copy(bytes);
  } else if (text_ == text && left_.data() + left_.size() == bytes.data()) {
    left_ = {left_.data(), left_.size() + bytes.size()};
  } else {
    if (!left_.empty()) copy({});
    left_ = bytes;
    text_ = text;
  }
}

void FrameContent::add_newline() {
  const char* const end = left_.data() + left_.size();
  if (text_ != nullptr && end != text_->data() + text_->size() && *end == '\n')
    left_ = {left_.data(), left_.size() + 1};
  else
    copy("\n");
}

std::string_view FrameContent::joined() {
  if (copied_.empty()) return left_;
  copy({});
  return copied_;
}

// Behind what was left in its text, which is no longer needed then.
void FrameContent::copy(std::string_view bytes) {
  if (copied_.empty()) copied_.reserve(reserved_);
  copied_.append(left_).append(bytes);
  left_ = {};
  text_.reset();
}

Writer::Writer(std::uint64_t batch_bytes, Compress compress)
    : batch_bytes_(batch_bytes), compress_(std::move(compress)), frame_target_(k_frame_raw_first) {}

bool Writer::must_finish_before(const run::Record& record) const {
  if (empty()) return false;
  const run::Table& table = pending_.table;
  if (raw_bytes_ + record.json.size() + 1 > batch_bytes_ || at_limit()) return true;
  const std::int64_t last = table.starts.back();
  return in_time_order_ && last != base::k_no_time && record.start_time != base::k_no_time &&
         record.start_time >= last && !base::same_day(record.start_time, last);
}

// Whether another run could make the batch larger than a reader accepts, or its seek table longer than the
// tail that a reader asks for first. What one run adds is bounded: see run::Table and the constants above.
bool Writer::at_limit() const {
  constexpr std::size_t k_room = 16384;
  const run::Table& table = pending_.table;
  return table.size() == k_runs_max || pending_.frames.size() >= k_frames_max ||
         table.texts.bytes() > k_max_text_bytes / 2 || table.texts.size() + k_room > k_max_items ||
         table.tags.size() + k_room > k_max_items || table.metadata.size() + k_room > k_max_items ||
         table.fields.size() + k_room > k_max_items;
}

void Writer::add(const run::Record& record, const run::Arena& arena, const FrameContent::Text& text) {
  run::Table& table = pending_.table;
  if (!empty()) {
    const std::int64_t last = table.starts.back();
    in_time_order_ = in_time_order_ && last != base::k_no_time && record.start_time >= last;
  }
  table.append(record, arena);
  raw_bytes_ += record.json.size() + 1;
  if (record.json.size() + 1 > k_frame_raw_max) {
    add_split(record.json, text);
    return;
  }
  if (frame_.size() > 0 && frame_.size() + record.json.size() + 1 > frame_target_) flush_frame();
  frame_.add(record.json, text);
  frame_.add_newline();
}

// A run bigger than a frame is cut around its large fields, and every piece to the size of a frame.
void Writer::add_split(std::string_view json, const FrameContent::Text& text) {
  flush_frame();
  run::JsonScanner scanner;
  scanner.scan(json);
  const auto run = static_cast<std::uint32_t>(pending_.table.size() - 1);
  std::vector<std::size_t> cuts;
  for (const run::Member& member : scanner.members()) {
    const auto offset = static_cast<std::size_t>(member.value.data() - json.data());
    const bool large = member.value.size() >= k_own_frame_field;
    if (large) {
      cuts.push_back(offset);
      cuts.push_back(offset + member.value.size());
    }
    const auto position = static_cast<std::size_t>(&member - scanner.members().data());
    if ((!large && position >= k_listed_fields) || member.key.size() > k_listed_key) continue;
    const std::string key = member.key_escaped ? run::unescape(member.key) : std::string(member.key);
    // Of equal keys the last counts.
    std::erase_if(pending_.table.fields,
                  [&, name = pending_.table.texts.number_of(key)](const run::FieldSpan& span) {
                    return span.run == run && span.name == name;
                  });
    pending_.table.fields.push_back({run, pending_.table.texts.number_of(key),
                                     static_cast<std::uint32_t>(offset),
                                     static_cast<std::uint32_t>(member.value.size())});
  }
  cuts.push_back(json.size());
  std::size_t begin = 0;
  for (const std::size_t cut : cuts) {
    while (begin < cut) {
      const std::size_t length = std::min<std::size_t>(cut - begin, k_frame_raw_max);
      frame_.add(json.substr(begin, length), text);
      begin += length;
      if (begin == json.size()) frame_.add_newline();
      flush_frame();
    }
  }
}

void Writer::flush_frame() {
  if (frame_.size() == 0) return;
  const auto raw = static_cast<std::uint32_t>(frame_.size());
  pending_.frames.emplace_back(compress_(std::exchange(frame_, {})), raw);
  frame_target_ = next_frame_target();
  frame_.reserve(frame_target_);
}

std::uint64_t Writer::next_frame_target() {
  const std::size_t next = pending_.frames.size();
  if (next < k_lookback) return k_frame_raw_first;
  PendingFrame& earlier = pending_.frames[next - k_lookback];
  const std::uint64_t wanted = k_frame_stored_target * earlier.raw() / earlier.stored().size();
  return std::clamp(wanted, k_frame_raw_min, k_frame_raw_max);
}

PendingBatch Writer::finish() {
  flush_frame();
  PendingBatch done = std::move(pending_);
  pending_ = {};
  frame_target_ = k_frame_raw_first;
  raw_bytes_ = 0;
  in_time_order_ = true;
  return done;
}

}  // namespace runctl::batch
