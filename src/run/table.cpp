#include "run/table.hpp"

#include <algorithm>

namespace runctl::run {

std::uint32_t TextTable::number_of(std::string_view text) {
  if (text.empty()) return 0;
  const auto found = numbers_.find(text);
  if (found != numbers_.end()) return found->second;
  const auto number = static_cast<std::uint32_t>(texts_.size() + 1);
  const auto added = numbers_.emplace(std::string(text), number).first;
  texts_.push_back(&added->first);
  bytes_ += text.size();
  return number;
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
