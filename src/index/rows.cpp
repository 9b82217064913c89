#include "index/rows.hpp"

#include <algorithm>

#include "base/error.hpp"

namespace runctl::index {

namespace {

// Texts of rows are remembered up to so many.
constexpr std::size_t k_texts_kept = 10'000;

run::Id id_at(const Statement& select, int column) {
  run::Id id;
  const std::string_view bytes = select.bytes(column);
  if (bytes.size() == id.bytes.size()) std::copy(bytes.begin(), bytes.end(), id.bytes.begin());
  return id;
}

const std::string& text(Statement& select, std::unordered_map<std::int64_t, std::string>& known,
                        std::int64_t row) {
  static const std::string none;
  if (row == 0) return none;
  if (known.size() >= k_texts_kept) known.clear();
  const auto [entry, added] = known.try_emplace(row);
  if (added) {
    if (select.bind(1, row).step()) entry->second = select.bytes(0);
    select.reset();
  }
  return entry->second;
}

}  // namespace

Rows::Rows(Database& database)
    : select_(database.prepare("SELECT id, trace, parent, fingerprint, batch, raw_offset, length, name, "
                               "run_type, status, start, "
                               "duration, error FROM run WHERE run = ?1")),
      select_id_(database.prepare("SELECT id FROM run WHERE run = ?1")),
      select_old_(database.prepare("SELECT 1 FROM old_version WHERE run = ?1")),
      select_name_(database.prepare("SELECT value FROM name WHERE name = ?1")),
      select_text_(database.prepare("SELECT value FROM text WHERE text = ?1")),
      has_old_(database.number("SELECT EXISTS(SELECT 1 FROM old_version)") != 0) {}

bool Rows::is_old(std::uint32_t row) {
  if (!has_old_) return false;
  const bool old = select_old_.bind(1, row).step();
  select_old_.reset();
  return old;
}

void Rows::go_to(std::uint32_t row) {
  select_.reset();
  row_ = row;
  if (!select_.bind(1, row).step()) {
    throw base::Error(base::ErrorKind::corrupt,
                      "the index lacks the row of a run; run 'runctl index rebuild'");
  }
}

run::Id Rows::trace() const { return select_.is_null(1) ? id_at(select_, 0) : id_at(select_, 1); }

Location Rows::location() const {
  return {row_, select_.number(4), static_cast<std::uint64_t>(select_.number(5)),
          static_cast<std::uint32_t>(select_.number(6)), static_cast<std::uint64_t>(select_.number(3))};
}

run::Facts Rows::facts() {
  run::Facts facts;
  facts.id = id_at(select_, 0);
  facts.trace = trace();
  facts.parent = parent();
  facts.name = text(select_name_, names_, select_.number(7));
  facts.run_type = text(select_text_, texts_, select_.number(8));
  facts.status = text(select_text_, texts_, select_.number(9));
  if (!select_.is_null(10)) facts.start = select_.number(10);
  if (!select_.is_null(11)) {
    facts.end = static_cast<std::int64_t>(static_cast<std::uint64_t>(facts.start) +
                                          static_cast<std::uint64_t>(select_.number(11)));
  }
  facts.error = error();
  return facts;
}

std::optional<run::Id> Rows::parent() {
  if (select_.is_null(2)) return std::nullopt;
  if (select_.bytes(2).size() == sizeof(run::Id::bytes)) return id_at(select_, 2);
  std::optional<run::Id> id;
  // A broken index may name any distance: sums wrap.
  const std::uint64_t other = row_ + static_cast<std::uint64_t>(select_.number(2));
  if (select_id_.bind(1, static_cast<std::int64_t>(other)).step()) id = id_at(select_id_, 0);
  select_id_.reset();
  return id;
}

}  // namespace runctl::index
