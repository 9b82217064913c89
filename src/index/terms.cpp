#include "index/terms.hpp"

#include <algorithm>
#include <array>
#include <string>

#include "base/hash.hpp"
#include "base/time.hpp"

namespace runctl::index {

std::uint64_t term_key(TermKind kind, std::string_view text) {
  // Nearly all are short: see run::k_max_metadata_text.
  std::array<char, 512> term;
  if (text.size() >= term.size()) return base::xxh3_64(std::string(1, static_cast<char>(kind)).append(text));
  term[0] = static_cast<char>(kind);
  std::copy(text.begin(), text.end(), term.begin() + 1);
  return base::xxh3_64({term.data(), text.size() + 1});
}

std::uint64_t id_key(const run::Id& id) {
  const std::uint64_t hash = base::xxh3_64(bytes_of(id));
  const auto milliseconds = run::uuid_v7_milliseconds(id);
  if (!milliseconds) return hash;
  return (static_cast<std::uint64_t>(*milliseconds) << 16) | (hash & 0xFFFF);
}

std::uint64_t order_of(std::int64_t start) {
  if (start == base::k_no_time) return 0;
  return static_cast<std::uint64_t>(start) ^ (std::uint64_t{1} << 63);  // k_no_time alone would give 0
}

}  // namespace runctl::index
