#include "run/id.hpp"

#include <algorithm>

#include "base/bytes.hpp"
#include "base/hash.hpp"

namespace runctl::run {

namespace {

constexpr std::size_t k_uuid_length = 36;

bool is_dash_position(std::size_t i) { return i == 8 || i == 13 || i == 18 || i == 23; }

void set_version(Id& id, std::uint8_t version) {
  id.bytes[6] = static_cast<std::uint8_t>((id.bytes[6] & 0x0F) | (version << 4));
  id.bytes[8] = static_cast<std::uint8_t>((id.bytes[8] & 0x3F) | 0x80);
}

}  // namespace

std::optional<Id> parse_uuid(std::string_view text) {
  if (text.size() != k_uuid_length) return std::nullopt;
  Id id;
  std::size_t byte = 0;
  for (std::size_t i = 0; i < k_uuid_length;) {
    if (is_dash_position(i)) {
      if (text[i] != '-') return std::nullopt;
      ++i;
      continue;
    }
    const std::uint8_t high = base::hex_value(text[i]);
    const std::uint8_t low = base::hex_value(text[i + 1]);
    if ((high | low) > 15) return std::nullopt;
    id.bytes[byte++] = static_cast<std::uint8_t>(high * 16 + low);
    i += 2;
  }
  return id;
}

Id id_of_text(std::string_view text) {
  if (const auto uuid = parse_uuid(text)) return *uuid;
  return Id{base::xxh3_128(text)};
}

std::string uuid_text(const Id& id) {
  const std::string hex = base::to_hex({reinterpret_cast<const char*>(id.bytes.data()), id.bytes.size()});
  std::string text;
  text.reserve(k_uuid_length);
  for (const char digit : hex) {
    if (is_dash_position(text.size())) text += '-';
    text += digit;
  }
  return text;
}

Id new_uuid_v7(std::int64_t milliseconds, const std::array<std::uint8_t, 16>& random) {
  Id id{random};
  for (std::size_t i = 0; i < 6; ++i) {
    id.bytes[i] = static_cast<std::uint8_t>(milliseconds >> (8 * (5 - i)));
  }
  set_version(id, 7);
  return id;
}

Id derived_id(std::string_view content, std::optional<std::int64_t> milliseconds) {
  const auto hash = base::xxh3_128(content);
  const bool in_range = milliseconds && *milliseconds >= 0 && *milliseconds < (std::int64_t{1} << 48);
  if (in_range) return new_uuid_v7(*milliseconds, hash);
  Id id{hash};
  set_version(id, 8);
  return id;
}

std::optional<std::int64_t> uuid_v7_milliseconds(const Id& id) {
  if ((id.bytes[6] >> 4) != 7 || (id.bytes[8] >> 6) != 2) return std::nullopt;
  std::int64_t milliseconds = 0;
  for (std::size_t i = 0; i < 6; ++i) milliseconds = (milliseconds << 8) | id.bytes[i];
  return milliseconds;
}

}  // namespace runctl::run
