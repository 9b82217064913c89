#include "flow/version_spacer.hpp"

#include <algorithm>

namespace runctl::flow {

namespace {

// Whether both, which ascend, hold the same key. Two ids that shared one would only cost a wait.
bool have_common(const std::vector<std::uint64_t>& keys, const std::vector<index::Posting>& ids) {
  auto key = keys.begin();
  for (const index::Posting& id : ids) {
    while (key != keys.end() && *key < id.key) ++key;
    if (key == keys.end()) return false;
    if (*key == id.key) return true;
  }
  return false;
}

}  // namespace

VersionSpacer::VersionSpacer(base::Clock& clock, std::chrono::milliseconds step, index::Index& index)
    : clock_(clock), step_(step), index_(index) {
  if (!spaces()) return;
  // The margin is for clocks that disagree a little.
  const std::int64_t newest = index_.status().newest_modified_ns;
  const std::int64_t age = clock_.since_1970().count() - newest;
  recent_in_index_ = newest != 0 && age < std::chrono::nanoseconds(2 * step_).count();
}

void VersionSpacer::wait_for(const run::Table& table, const index::TableKeys& keys) {
  if (!spaces()) return;
  const base::Clock::Time now = clock_.steady();
  std::erase_if(recent_, [&](const Put& put) { return now - put.time > margin(); });
  for (const Put& put : recent_) {
    if (have_common(put.ids, keys.ids)) clock_.sleep_until(put.time + margin());
  }
  if (recent_in_index_ && now - opened_ < margin() && knows_one_of(table))
    clock_.sleep_until(opened_ + margin());
}

void VersionSpacer::note(const index::TableKeys& keys) {
  if (!spaces()) return;
  Put& put = recent_.emplace_back(Put{clock_.steady(), {}});
  put.ids.reserve(keys.ids.size());
  for (const index::Posting& id : keys.ids) put.ids.push_back(id.key);
}

bool VersionSpacer::knows_one_of(const run::Table& table) {
  return std::any_of(table.ids.begin(), table.ids.end(),
                     [this](const run::Id& id) { return !index_.find(id).empty(); });
}

}  // namespace runctl::flow
