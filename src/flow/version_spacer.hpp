// Keeps versions of one run apart in time: which is the latest follows from the store's modification times,
// which may be whole seconds.
#pragma once

#include <chrono>
#include <cstdint>
#include <deque>
#include <vector>

#include "base/clock.hpp"
#include "index/index.hpp"
#include "index/table_keys.hpp"
#include "run/table.hpp"

namespace runctl::flow {

class VersionSpacer {
 public:
  // `step` is the store's time_step(). The index may hold what another process has stored a moment ago.
  VersionSpacer(base::Clock& clock, std::chrono::milliseconds step, index::Index& index);

  // Whether waiting may look into the index, which belongs to one thread.
  [[nodiscard]] bool asks_index() const { return recent_in_index_; }

  // Before a batch is put: waits until its versions are later than those put before. `keys` are those of the
  // table.
  void wait_for(const run::Table& table, const index::TableKeys& keys);
  // After a batch was put.
  void note(const index::TableKeys& keys);

 private:
  struct Put {
    base::Clock::Time time;
    std::vector<std::uint64_t> ids;  // their keys, ascending
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
