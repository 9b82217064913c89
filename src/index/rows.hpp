// What the rows of the index say of runs.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <unordered_map>

#include "index/query.hpp"
#include "index/sqlite.hpp"
#include "index/terms.hpp"

namespace runctl::index {

// Reads one row at a time.
class Rows {
 public:
  explicit Rows(Database& database);

  [[nodiscard]] bool has_old() const { return has_old_; }
  // Whether the run has a later version.
  bool is_old(std::uint32_t row);

  // Stands on the row of a run, of which the next calls tell. Throws Error(corrupt) where there is none.
  void go_to(std::uint32_t row);
  [[nodiscard]] std::int64_t name() const { return select_.number(7); }  // 0: none, as of the type
  [[nodiscard]] std::int64_t run_type() const { return select_.number(8); }
  [[nodiscard]] bool error() const { return select_.number(12) != 0; }
  [[nodiscard]] std::optional<std::int64_t> duration() const {
    return select_.is_null(11) ? std::nullopt : std::optional(select_.number(11));
  }
  [[nodiscard]] std::uint64_t order() const {
    return order_of(select_.is_null(10) ? base::k_no_time : select_.number(10));
  }
  [[nodiscard]] run::Id trace() const;
  [[nodiscard]] Location location() const;
  run::Facts facts();

 private:
  using Texts = std::unordered_map<std::int64_t, std::string>;
  std::optional<run::Id> parent();

  Statement select_;
  Statement select_id_;
  Statement select_old_;
  Statement select_name_;
  Statement select_text_;
  Texts names_;
  Texts texts_;
  std::uint32_t row_ = 0;
  bool has_old_ = false;
};

}  // namespace runctl::index
