#include "flow/batch_check.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <numeric>
#include <optional>
#include <random>
#include <string_view>

#include "base/bytes.hpp"
#include "base/error.hpp"
#include "base/hash.hpp"
#include "batch/format.hpp"
#include "batch/frame.hpp"
#include "batch/reader.hpp"
#include "batch/writer.hpp"

namespace runctl::flow {

namespace {

using base::Error;
using base::ErrorKind;

// Of an object, in one request.
constexpr std::uint64_t k_range = 4U << 20;

bool is_broken(const Error& error) {
  return error.kind() == ErrorKind::corrupt || error.kind() == ErrorKind::not_found;
}

// Takes frames in order, with gaps, and tells which runs are not those that the footer names.
class RunCheck {
 public:
  explicit RunCheck(const run::Table& footer) : footer_(footer) {}

  // The content of a frame; absent where the frame is broken.
  void add(const run::Frame& frame, std::optional<std::string_view> raw) {
    const std::uint64_t frame_end = frame.raw_offset + frame.raw;
    for (; run_ < footer_.size() && end_of_run() <= frame.raw_offset; next_run()) {
    }
    if (frame.raw_offset != read_to_) hash_.reset();  // the run's bytes in the gap are not known
    read_to_ = frame_end;
    for (; run_ < footer_.size() && offset_ < frame_end; next_run()) {
      if (offset_ >= frame.raw_offset) hash_.emplace();
      if (!raw) {
        wrong_.push_back(run_);
        hash_.reset();
      } else if (hash_) {
        take(frame, *raw);
      }
      if (end_of_run() > frame_end) return;
    }
  }

  // Positions in the footer, ascending.
  std::vector<std::uint32_t> wrong() {
    wrong_.erase(std::unique(wrong_.begin(), wrong_.end()), wrong_.end());
    return std::move(wrong_);
  }

 private:
  // Behind the run's newline.
  [[nodiscard]] std::uint64_t end_of_run() const { return offset_ + footer_.lengths[run_] + 1; }

  void next_run() {
    offset_ = end_of_run();
    ++run_;
  }

  // The part of the run that lies in the frame.
  void take(const run::Frame& frame, std::string_view raw) {
    const std::uint64_t begin = std::max(offset_, frame.raw_offset) - frame.raw_offset;
    const std::uint64_t end = std::min(end_of_run() - frame.raw_offset, std::uint64_t{frame.raw});
    std::string_view piece = raw.substr(begin, end - begin);
    const bool last = frame.raw_offset + end == end_of_run();
    const bool ends_line = !last || piece.back() == '\n';
    if (last) piece.remove_suffix(1);
    hash_->update(piece);
    if (last && (!ends_line || hash_->value() != footer_.fingerprints[run_])) wrong_.push_back(run_);
  }

  const run::Table& footer_;
  std::uint32_t run_ = 0;                   // the first that does not end before what was read
  std::uint64_t offset_ = 0;                // where it begins in the NDJSON
  std::uint64_t read_to_ = 0;               // the end of the last frame
  std::optional<base::Xxh3Stream> hash_{};  // of the run's bytes so far, where all are known
  std::vector<std::uint32_t> wrong_;
};

class BatchReading {
 public:
  BatchReading(store::ObjectStore& store, const store::ObjectInfo& object, const ReadPart& part)
      : store_(store), object_(object), part_(part) {}

  BatchCheck run() {
    try {
      check_.footer =
          batch::read_table(object_.size, [this](std::uint64_t o, std::uint64_t n) { return read(o, n); });
      check_.readable = true;
      check_group();
      if (part_.part > 0) check_data();
    } catch (const Error& error) {
      if (!is_broken(error)) throw;
      found(without_key(error.what()), all_runs());
    }
    return std::move(check_);
  }

 private:
  std::string read(std::uint64_t offset, std::uint64_t length) {
    const store::Range range{object_.key, offset, length};
    std::string read;
    store_.read({&range, 1}, [&read](std::size_t, std::string bytes) { read = std::move(bytes); });
    return read;
  }

  // The first fault is the one that is told.
  void found(const std::string& fault, std::vector<std::uint32_t> runs) {
    if (!check_.fault.empty()) return;
    check_.fault = fault;
    check_.runs = std::move(runs);
  }

  [[nodiscard]] std::vector<std::uint32_t> all_runs() const {
    std::vector<std::uint32_t> runs(check_.footer.size());
    std::iota(runs.begin(), runs.end(), 0U);
    return runs;
  }

  // A store's message starts with the key, which stands before the fault anyway.
  [[nodiscard]] std::string without_key(std::string_view message) const {
    if (message.starts_with(object_.key + ": ")) message.remove_prefix(object_.key.size() + 2);
    return std::string(message);
  }

  // Who asks about a day lists that day and "mixed".
  void check_group() {
    std::string_view group = object_.key;
    group.remove_prefix(batch::k_batch_prefix.size());
    group = group.substr(0, group.find('/'));
    const std::string right = batch::group_of(check_.footer);
    if (group != batch::k_mixed_group && group != right)
      found("lies under the wrong day: its runs belong to \"" + right + "\"", all_runs());
  }

  [[nodiscard]] bool whole() const { return part_.part >= 1; }

  void check_data() {
    const std::vector<run::Frame>& frames = check_.footer.frames;
    const std::vector<bool> chosen = choose(frames.size());
    RunCheck runs(check_.footer);
    for (std::size_t i = 0; i < frames.size();) {
      if (!chosen[i]) {
        ++i;
        continue;
      }
      std::size_t end = i + 1;
      std::uint64_t length = frames[i].stored;
      while (end < frames.size() && chosen[end] && length + frames[end].stored <= k_range)
        length += frames[end++].stored;
      check_frames(read(frames[i].offset, length), i, end, runs);
      i = end;
    }
    std::vector<std::uint32_t> wrong = runs.wrong();
    if (!frame_fault_.empty())
      found(frame_fault_ + (broken_ == 1 ? "" : fmt::format(", and {} more frames", broken_ - 1)),
            std::move(wrong));
    else if (!wrong.empty())
      found("the runs there are not those that the footer names", std::move(wrong));
    if (whole()) check_hash();
  }

  [[nodiscard]] std::vector<bool> choose(std::size_t count) const {
    std::vector<bool> chosen(count, true);
    if (whole()) return chosen;
    std::mt19937_64 random(part_.seed);
    std::bernoulli_distribution is_chosen(part_.part);
    for (std::size_t i = 0; i < count; ++i) chosen[i] = is_chosen(random);
    // Of few frames chance may choose none.
    if (count > 0) chosen[random() % count] = true;
    return chosen;
  }

  // `stored` holds the frames from `begin` to `end`.
  void check_frames(std::string_view stored, std::size_t begin, std::size_t end, RunCheck& runs) {
    if (whole()) hash_.update(stored);
    check_.bytes_read += stored.size();
    check_.frames_read += end - begin;
    for (std::size_t i = begin; i < end; ++i) {
      const run::Frame& frame = check_.footer.frames[i];
      std::optional<std::string> raw;
      try {
        raw = batch::decompress_frame(stored.substr(0, frame.stored), frame.raw);
      } catch (const Error& error) {
        if (!is_broken(error)) throw;
        if (broken_++ == 0) frame_fault_ = fmt::format("at byte {}: {}", frame.offset, error.what());
      }
      runs.add(frame, raw);
      stored.remove_prefix(frame.stored);
    }
  }

  // The hash of the object's bytes is its name, and so covers what nothing else does.
  void check_hash() {
    const std::vector<run::Frame>& frames = check_.footer.frames;
    std::uint64_t offset = frames.empty() ? 0 : frames.back().offset + frames.back().stored;
    while (offset < object_.size) {
      const std::string bytes = read(offset, std::min(k_range, object_.size - offset));
      hash_.update(bytes);
      check_.bytes_read += bytes.size();
      offset += bytes.size();
    }
    const std::string name =
        "/" + base::to_hex(base::as_bytes(hash_.finish())) + std::string(batch::k_batch_suffix);
    if (!object_.key.ends_with(name))
      found("its bytes are not those that its name was made from", all_runs());
  }

  store::ObjectStore& store_;
  const store::ObjectInfo& object_;
  const ReadPart part_;
  BatchCheck check_;
  base::Sha256 hash_;
  std::size_t broken_ = 0;   // frames
  std::string frame_fault_;  // of the first of them
};

}  // namespace

BatchCheck check_batch(store::ObjectStore& store, const store::ObjectInfo& object, const ReadPart& part) {
  return BatchReading(store, object, part).run();
}

}  // namespace runctl::flow
