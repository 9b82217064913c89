// Keeps versions of one run apart in time: which is the latest follows from the store's modification times,
// which may be whole seconds.
#pragma once

#include <chrono>
#include <deque>
#include <unordered_set>

#include "base/clock.hpp"
#include "index/index.hpp"
#include "run/table.hpp"

namespace runctl::flow {

class VersionSpacer {
 public:
  // `step` is the store's time_step(). The index may hold what another process has stored a moment ago.
  VersionSpacer(base::Clock& clock, std::chrono::milliseconds step, index::Index& index);

  // Before a batch is put: waits until its versions are later than those put before.
  void wait_for(const run::Table& table);
  // After a batch was put.
  void note(const run::Table& table);

 private:
  struct Put {
    base::Clock::Time time;
    std::unordered_set<run::Id> ids;
  };

  [[nodiscard]] bool spaces() const { return step_.count() > 0; }
  [[nodiscard]] std::chrono::milliseconds margin() const { return step_ + std::chrono::milliseconds(100); }
  [[nodiscard]] bool knows_one_of(const run::Table& table);

  base::Clock& clock_;
  const std::chrono::milliseconds step_;
  index::Index& index_;
  const base::Clock::Time opened_ = clock_.steady();
  bool recent_in_index_ = false;
  std::deque<Put> recent_;
};

}  // namespace runctl::flow
