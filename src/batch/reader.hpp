// Reads batches that may have been cut, changed or made to hurt.
#pragma once

#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <string_view>
#include <utility>

#include "batch/footer.hpp"
#include "run/table.hpp"

namespace runctl::batch {

// A part of one object.
struct ByteRange {
  std::uint64_t offset = 0;
  std::uint64_t length = 0;
};

// Reads what the footer of a batch says, by asking for one range after the other: one where the last 128 KiB
// of the object hold the footer, else two. Whoever holds many of these can read many batches at once.
class TableReader {
 public:
  TableReader() = default;
  // Of an object of `size` bytes. Throws Error(corrupt), as do all others, without naming the object.
  explicit TableReader(std::uint64_t size);

  // What must be read next; absent when the table is complete.
  [[nodiscard]] std::optional<ByteRange> wanted() const { return wanted_; }
  // Exactly the bytes of wanted().
  void give(std::string_view bytes);
  // The table, once nothing is wanted.
  run::Table take() { return std::move(table_); }

 private:
  std::uint64_t size_ = 0;
  std::optional<ByteRange> wanted_;
  std::string tail_;  // the last bytes of the object that are known
  std::optional<Layout> layout_;
  run::Table table_;
};

// Returns exactly `length` bytes from `offset` of one object, or throws.
using ReadRange = std::function<std::string(std::uint64_t offset, std::uint64_t length)>;

// The same for one batch alone.
run::Table read_table(std::uint64_t size, const ReadRange& read);

// Whether `group` is the name of a UTC day, YYYY-MM-DD.
bool is_day_group(std::string_view group);

// Whether `key` is named like a batch: runs/v1/GROUP/HASH.ndjson.zst.
bool is_batch_key(const std::string& key);

}  // namespace runctl::batch
