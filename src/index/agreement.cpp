// The index held against the footers that it repeats.
#include <algorithm>
#include <limits>

#include "index/index.hpp"
#include "index/schema.hpp"
#include "index/tables.hpp"

namespace runctl::index {

namespace {

run::Id id_of(std::string_view bytes) {
  run::Id id;
  std::copy_n(bytes.begin(), std::min(bytes.size(), id.bytes.size()), id.bytes.begin());
  return id;
}

bool same_place(const run::Frame& a, const run::Frame& b) {
  return a.offset == b.offset && a.stored == b.stored && a.raw_offset == b.raw_offset && a.raw == b.raw;
}

// Where the runs of a footer begin in the batch's NDJSON.
std::vector<std::uint64_t> offsets_of(const run::Table& footer) {
  std::vector<std::uint64_t> offsets;
  std::uint64_t offset = 0;
  for (const std::uint32_t length : footer.lengths) {
    offsets.push_back(offset);
    offset += std::uint64_t{length} + 1;
  }
  return offsets;
}

}  // namespace

std::unordered_map<std::string, RunsOfBatch> Index::runs_by_batch() {
  const Snapshot snapshot(tables_->database);
  std::unordered_map<std::int64_t, RunsOfBatch> by_number;
  Statement runs = tables_->database.prepare("SELECT batch, id FROM run");
  while (runs.step()) {
    RunsOfBatch& found = by_number[runs.number(0)];
    ++found.count;
    if (found.first.size() < k_first_runs) found.first.push_back(id_of(runs.bytes(1)));
  }
  std::unordered_map<std::string, RunsOfBatch> by_key;
  Statement batches = tables_->database.prepare("SELECT batch, key FROM batch");
  while (batches.step()) {
    if (auto found = by_number.extract(batches.number(0)))
      by_key.emplace(batches.bytes(1), std::move(found.mapped()));
  }
  for (auto& [number, found] : by_number) {
    RunsOfBatch& lost = by_key[""];
    lost.count += found.count;
    if (lost.first.empty()) lost.first = std::move(found.first);
  }
  return by_key;
}

Agreement Index::compare(std::string_view key, const run::Table& footer, std::uint64_t expected) {
  const Snapshot snapshot(tables_->database);
  Agreement agreement;
  Statement select = tables_->database.prepare("SELECT batch, size FROM batch WHERE key = ?1");
  if (!select.bind_text(1, key).step()) return agreement;
  agreement.known = true;
  const std::int64_t batch = select.number(0);
  agreement.size = static_cast<std::uint64_t>(select.number(1));
  const std::vector<run::Frame> known = frames(batch, 0, std::numeric_limits<std::int64_t>::max());
  agreement.same_frames =
      std::equal(known.begin(), known.end(), footer.frames.begin(), footer.frames.end(), same_place);

  const std::vector<std::uint64_t> offsets = offsets_of(footer);
  std::uint64_t here = 0;
  Statement place = tables_->database.prepare(
      "SELECT run.batch, raw_offset, length FROM run JOIN batch USING(batch) WHERE run = ?1");
  std::vector<bool> found(footer.size(), false);
  tables_->ids.find_many(postings_of(footer.ids), [&](std::uint32_t i, std::uint32_t row) {
    std::uint64_t fingerprint = 0;
    if (!tables_->is_run(row, footer.ids[i], fingerprint) || fingerprint != footer.fingerprints[i]) return;
    if (!place.bind(1, row).step()) {
      // The index has lost the batch that it looks for the run in.
    } else if (place.number(0) != batch) {
      found[i] = true;  // a copy in a batch that was stored earlier
    } else if (place.number(2) == footer.lengths[i]) {
      // The run itself, or where a batch holds it twice, the first of the two.
      const auto offset = static_cast<std::uint64_t>(place.number(1));
      const auto at = std::lower_bound(offsets.begin(), offsets.end(), offset) - offsets.begin();
      const auto position = static_cast<std::size_t>(at);
      found[i] = position < offsets.size() && offsets[position] == offset &&
                 footer.ids[position] == footer.ids[i] &&
                 footer.fingerprints[position] == footer.fingerprints[i];
      if (found[i] && position == i) ++here;
    }
    place.reset();
  });
  for (std::uint32_t i = 0; i < footer.size(); ++i) {
    if (!found[i]) agreement.lost.push_back(i);
  }
  if (here != expected) {
    // Others may have recorded batches since.
    Statement count = tables_->database.prepare("SELECT count(*) FROM run WHERE batch = ?1");
    count.bind(1, batch).step();
    expected = static_cast<std::uint64_t>(count.number(0));
  }
  agreement.strangers = expected - std::min(here, expected);
  return agreement;
}

}  // namespace runctl::index
