// The identity of a run or trace: 16 bytes, whatever text it was written as.
#pragma once

#include <array>
#include <compare>
#include <cstdint>
#include <cstring>
#include <functional>
#include <optional>
#include <string>
#include <string_view>

namespace runctl::run {

struct Id {
  std::array<std::uint8_t, 16> bytes{};

  friend auto operator<=>(const Id&, const Id&) = default;
};

// The id that `text` stands for: the 16 bytes of a UUID (RFC 9562, section 4: 8-4-4-4-12 hexadecimal digits
// of either case), and the XXH3-128 of anything else.
Id id_of_text(std::string_view text);

// Absent unless `text` is a UUID.
std::optional<Id> parse_uuid(std::string_view text);

// The 36 characters of a UUID, in lower case.
std::string uuid_text(const Id& id);

// A UUID made from content: the same content and time give the same id. With a time it has the layout of
// UUIDv7 (RFC 9562, section 5.7), its random bits taken from the hash; without one it is a UUIDv8
// (section 5.8). `milliseconds` since 1970.
Id derived_id(std::string_view content, std::optional<std::int64_t> milliseconds);

// A fresh UUIDv7 of `milliseconds` since 1970 and 74 bits of `random`.
Id new_uuid_v7(std::int64_t milliseconds, const std::array<std::uint8_t, 16>& random);

// The time in a UUIDv7, in milliseconds since 1970; absent in other ids.
std::optional<std::int64_t> uuid_v7_milliseconds(const Id& id);

}  // namespace runctl::run

template <>
struct std::hash<runctl::run::Id> {
  std::size_t operator()(const runctl::run::Id& id) const noexcept {
    std::uint64_t halves[2];
    std::memcpy(halves, id.bytes.data(), sizeof halves);
    return (halves[0] * 0x9E3779B97F4A7C15u) ^ halves[1];
  }
};
