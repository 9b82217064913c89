#include "flow/version_spacer.hpp"

#include <algorithm>
#include <thread>

namespace runctl::flow {

VersionSpacer::VersionSpacer(std::chrono::milliseconds step, index::Index& index)
    : step_(step), index_(index) {
  if (!spaces()) return;
  // The margin is for clocks that disagree a little.
  const std::int64_t newest = index_.status().newest_modified_ns;
  const auto now = std::chrono::system_clock::now().time_since_epoch();
  const std::int64_t age = std::chrono::nanoseconds(now).count() - newest;
  recent_in_index_ = newest != 0 && age < std::chrono::nanoseconds(2 * step_).count();
}

void VersionSpacer::wait_for(const run::Table& table) {
  if (!spaces()) return;
  const auto now = Clock::now();
  std::erase_if(recent_, [&](const Put& put) { return now - put.time > margin(); });
  for (const Put& put : recent_) {
    const bool again = std::any_of(table.ids.begin(), table.ids.end(),
                                   [&put](const run::Id& id) { return put.ids.contains(id); });
    if (again) std::this_thread::sleep_until(put.time + margin());
  }
  if (recent_in_index_ && now - opened_ < margin() && knows_one_of(table))
    std::this_thread::sleep_until(opened_ + margin());
}

void VersionSpacer::note(const run::Table& table) {
  if (spaces()) recent_.push_back({Clock::now(), {table.ids.begin(), table.ids.end()}});
}

bool VersionSpacer::knows_one_of(const run::Table& table) {
  return std::any_of(table.ids.begin(), table.ids.end(),
                     [this](const run::Id& id) { return !index_.find(id).empty(); });
}

}  // namespace runctl::flow
