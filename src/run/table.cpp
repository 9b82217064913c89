#include "run/table.hpp"

#include <algorithm>

#include "base/hash.hpp"

namespace runctl::run {

TextTable::Slot& TextTable::slot_of(std::string_view text, std::uint32_t hash) {
  const std::size_t mask = slots_.size() - 1;
  std::size_t at = hash & mask;
  while (slots_[at].number != 0 && (slots_[at].hash != hash || this->text(slots_[at].number) != text))
    at = (at + 1) & mask;
  return slots_[at];
}

void TextTable::grow() {
  constexpr std::size_t k_first = 64;
  std::vector<Slot> slots(std::max(k_first, 2 * slots_.size()));
  for (const Slot& slot : slots_) {
    if (slot.number == 0) continue;
    std::size_t at = slot.hash & (slots.size() - 1);
    while (slots[at].number != 0) at = (at + 1) & (slots.size() - 1);
    slots[at] = slot;
  }
  slots_ = std::move(slots);
}

std::uint32_t TextTable::number_of(std::string_view text, std::uint32_t guess) {
  if (text.empty()) return 0;
  if (guess != 0 && this->text(guess) == text) return guess;
  if (2 * (size() + 1) > slots_.size()) grow();
  const auto hash = static_cast<std::uint32_t>(base::xxh3_64(text));
  Slot& slot = slot_of(text, hash);
  if (slot.number == 0) {
    bytes_ += text;
    ends_.push_back(bytes_.size());
    slot = {hash, static_cast<std::uint32_t>(size())};
  }
  return slot.number;
}

void Table::append(const Record& record, const Arena& arena) {
  ids.push_back(record.id);
  fingerprints.push_back(record.fingerprint);
  lengths.push_back(static_cast<std::uint32_t>(record.json.size()));
  traces.push_back(record.trace_id);
  parents.push_back(record.parent_id);
  // Much of a run is as it was in the one before.
  const auto append_text = [this](std::vector<std::uint32_t>& column, std::string_view text) {
    column.push_back(texts.number_of(text.substr(0, k_max_text), column.empty() ? 0 : column.back()));
  };
  append_text(names, record.name);
  append_text(run_types, record.run_type);
  append_text(statuses, record.status);
  starts.push_back(record.start_time);
  ends.push_back(record.end_time);
  errors.push_back(record.has_error ? 1 : 0);
  const std::uint32_t tags_end = std::min(record.tags_end, record.tags_begin + k_max_tags);
  for (std::uint32_t i = record.tags_begin; i < tags_end; ++i) {
    tags.push_back(texts.number_of(arena.tags[i].substr(0, k_max_text)));
  }
  tag_ends.push_back(static_cast<std::uint32_t>(tags.size()));
  const std::size_t entries_end = metadata.size();
  std::size_t before = metadata_ends.size() < 2 ? 0 : metadata_ends[metadata_ends.size() - 2];
  for (std::uint32_t i = record.metadata_begin; i < record.metadata_end; ++i, ++before) {
    const std::uint32_t guess = before < entries_end ? metadata[before] : 0;
    metadata.push_back(texts.number_of(arena.metadata[i], guess));
  }
  metadata_ends.push_back(static_cast<std::uint32_t>(metadata.size()));
}

}  // namespace runctl::run
