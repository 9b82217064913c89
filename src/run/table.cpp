#include "run/table.hpp"

#include <algorithm>
#include <array>

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
  return number_of_prepared(text, prepare(text));
}

std::uint32_t TextTable::prepare(std::string_view text) const {
  const auto hash = static_cast<std::uint32_t>(base::xxh3_64(text));
  if (!slots_.empty()) __builtin_prefetch(&slots_[hash & (slots_.size() - 1)]);
  return hash;
}

std::uint32_t TextTable::number_of_prepared(std::string_view text, std::uint32_t hash) {
  if (2 * (size() + 1) > slots_.size()) grow();
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
  append_metadata(
      std::span(arena.metadata).subspan(record.metadata_begin, record.metadata_end - record.metadata_begin));
  metadata_ends.push_back(static_cast<std::uint32_t>(metadata.size()));
}

void Table::append_metadata(std::span<const std::string_view> entries) {
  // Most are as they were in the run before. Each of the others would wait for memory if they came one by
  // one.
  constexpr std::size_t k_at_once = 16;
  const std::size_t end = metadata.size();
  std::size_t before = metadata_ends.size() < 2 ? 0 : metadata_ends[metadata_ends.size() - 2];
  for (; !entries.empty(); entries = entries.subspan(std::min(entries.size(), k_at_once))) {
    const std::span<const std::string_view> some = entries.first(std::min(entries.size(), k_at_once));
    const std::size_t begin = metadata.size();
    std::array<std::uint32_t, k_at_once> hashes{};
    for (std::size_t i = 0; i < some.size(); ++i, ++before) {
      const std::uint32_t guess = before < end ? metadata[before] : 0;
      const bool same = guess != 0 && texts.text(guess) == some[i];
      metadata.push_back(same ? guess : 0);
      if (!same) hashes[i] = texts.prepare(some[i]);
    }
    for (std::size_t i = 0; i < some.size(); ++i) {
      if (metadata[begin + i] == 0) metadata[begin + i] = texts.number_of_prepared(some[i], hashes[i]);
    }
  }
}

}  // namespace runctl::run
