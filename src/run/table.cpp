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

std::uint32_t TextTable::number_of(std::string_view text) {
  if (text.empty()) return 0;
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
  names.push_back(texts.number_of(record.name.substr(0, k_max_text)));
  run_types.push_back(texts.number_of(record.run_type.substr(0, k_max_text)));
  statuses.push_back(texts.number_of(record.status.substr(0, k_max_text)));
  starts.push_back(record.start_time);
  ends.push_back(record.end_time);
  errors.push_back(record.has_error ? 1 : 0);
  const std::uint32_t tags_end = std::min(record.tags_end, record.tags_begin + k_max_tags);
  for (std::uint32_t i = record.tags_begin; i < tags_end; ++i) {
    tags.push_back(texts.number_of(arena.tags[i].substr(0, k_max_text)));
  }
  tag_ends.push_back(static_cast<std::uint32_t>(tags.size()));
  for (std::uint32_t i = record.metadata_begin; i < record.metadata_end; ++i) {
    metadata.push_back(texts.number_of(arena.metadata[i]));
  }
  metadata_ends.push_back(static_cast<std::uint32_t>(metadata.size()));
}

}  // namespace runctl::run
