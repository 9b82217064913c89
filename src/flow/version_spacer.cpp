#include "flow/version_spacer.hpp"

#include <algorithm>

namespace runctl::flow {

VersionSpacer::VersionSpacer(base::Clock& clock, std::chrono::milliseconds step, index::Index& index)
    : clock_(clock), step_(step), index_(index) {
  if (!spaces()) return;
  // The margin is for clocks that disagree a little.
  const std::int64_t newest = index_.status().newest_modified_ns;
  const std::int64_t age = clock_.since_1970().count() - newest;
  recent_in_index_ = newest != 0 && age < std::chrono::nanoseconds(2 * step_).count();
}

void VersionSpacer::wait_for(const run::Table& table) {
  if (!spaces()) return;
  const base::Clock::Time now = clock_.steady();
  std::erase_if(recent_, [&](const Put& put) { return now - put.time > margin(); });
  for (const Put& put : recent_) {
    const bool again = std::any_of(table.ids.begin(), table.ids.end(),
                                   [&put](const run::Id& id) { return put.ids.contains(id); });
    if (again) clock_.sleep_until(put.time + margin());
  }
  if (recent_in_index_ && now - opened_ < margin() && knows_one_of(table))
    clock_.sleep_until(opened_ + margin());
}

void VersionSpacer::note(const run::Table& table) {
  if (spaces()) recent_.push_back({clock_.steady(), {table.ids.begin(), table.ids.end()}});
}

bool VersionSpacer::knows_one_of(const run::Table& table) {
  return std::any_of(table.ids.begin(), table.ids.end(),
                     [this](const run::Id& id) { return !index_.find(id).empty(); });
}

}  // namespace runctl::flow
