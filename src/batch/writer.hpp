// Builds a batch from runs: cuts frames, has them compressed, and puts footer and seek table behind them.
#pragma once

#include <cstdint>
#include <functional>
#include <future>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "base/hash.hpp"
#include "base/text.hpp"
#include "batch/footer.hpp"
#include "run/record.hpp"
#include "run/table.hpp"

namespace runctl::batch {

// A finished batch, ready to be stored: the object is the concatenation of parts().
struct Batch {
  std::string key;
  std::vector<std::string> frame_bytes;
  std::string trailer;  // footer and seek table
  run::Table table;
  base::Sha256Digest digest{};
  std::uint64_t size = 0;  // of the object, in bytes

  [[nodiscard]] std::vector<std::string_view> parts() const;
};

// A frame that may still be in work.
class PendingFrame {
 public:
  PendingFrame(std::future<std::string> work, std::uint32_t raw) : work_(std::move(work)), raw_(raw) {}

  // The compressed frame; waits for it.
  std::string& stored() {
    if (work_.valid()) stored_ = work_.get();
    return stored_;
  }
  [[nodiscard]] std::uint32_t raw() const { return raw_; }

 private:
  std::future<std::string> work_;
  std::string stored_;
  std::uint32_t raw_;
};

// The group of keys that a batch of these runs belongs to: the day on which all start, or "mixed".
std::string group_of(const run::Table& table);

struct PendingBatch {
  std::vector<PendingFrame> frames;
  run::Table table;
};

// The hash of the frames, which it waits for: of the object's bytes those that come first. The table may be
// read meanwhile.
base::Sha256 hash_frames(PendingBatch& pending);

// Completes the batch and empties `pending`, of which `runs` are the columns of the table and `hash` is that
// of the frames.
Batch complete(PendingBatch& pending, RunColumns runs, base::Sha256 hash);
Batch complete(PendingBatch pending);

// What a frame is made of. Lines that follow each other in the text they were read from are left there; what
// comes from elsewhere is copied before them.
class FrameContent {
 public:
  using Text = std::shared_ptr<const base::Text>;

  // `bytes` lie in `text`, or anywhere until this returns.
  void add(std::string_view bytes, const Text& text);
  void add_newline();
  void reserve(std::size_t size) { reserved_ = size; }

  [[nodiscard]] std::size_t size() const { return copied_.size() + left_.size(); }
  // The whole content in one piece, which stands as long as this does.
  [[nodiscard]] std::string_view joined();

 private:
  void copy(std::string_view bytes);

  std::string copied_;
  std::string_view left_;  // of text_, behind what was copied
  Text text_;
  std::size_t reserved_ = 0;
};

// Takes runs in order. The object depends on the runs and the level alone, not on the time, the machine or
// the number of threads. Not thread-safe.
class Writer {
 public:
  // Gives a frame's content to be compressed.
  using Compress = std::function<std::future<std::string>(FrameContent content)>;

  // A batch is full when it holds `batch_bytes` of raw NDJSON.
  Writer(std::uint64_t batch_bytes, Compress compress);

  // Whether the batch must be finished before this run: it is full, or the input comes in time order and
  // the run starts on another day.
  [[nodiscard]] bool must_finish_before(const run::Record& record) const;

  // `text` is what the record was read from; it must not change while anyone else holds it.
  void add(const run::Record& record, const run::Arena& arena, const FrameContent::Text& text);

  [[nodiscard]] bool empty() const { return pending_.table.size() == 0; }

  // Gives the batch away and starts anew.
  PendingBatch finish();

 private:
  [[nodiscard]] bool at_limit() const;
  void add_split(std::string_view json, const FrameContent::Text& text);
  void flush_frame();
  std::uint64_t next_frame_target();

  const std::uint64_t batch_bytes_;
  const Compress compress_;
  PendingBatch pending_;
  FrameContent frame_;
  std::uint64_t frame_target_;
  std::uint64_t raw_bytes_ = 0;
  bool in_time_order_ = true;
};

}  // namespace runctl::batch
