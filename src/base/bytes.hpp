// Bytes are std::string (owned) and std::string_view (borrowed). This header reads and writes numbers in
// them.
#pragma once

#include <array>
#include <bit>
#include <cstdint>
#include <cstring>
#include <optional>
#include <string>
#include <string_view>

namespace runctl::base {

static_assert(std::endian::native == std::endian::little,
              "stored numbers are little-endian and read by copying");

template <typename Number>
void append_number(std::string& out, Number value) {
  char raw[sizeof(Number)];
  std::memcpy(raw, &value, sizeof(Number));
  out.append(raw, sizeof(Number));
}

// The little-endian number at `from`, which must have sizeof(Number) readable bytes.
template <typename Number>
Number load_number(const char* from) {
  Number value;
  std::memcpy(&value, from, sizeof(Number));
  return value;
}

// Reads foreign bytes front to back. Every call checks what is left; once a read failed, all later
// ones fail too, so a parser may read several and check ok() once before it uses them.
class ByteReader {
 public:
  explicit ByteReader(std::string_view bytes) : rest_(bytes) {}

  template <typename Number>
  Number number() {
    const std::string_view raw = take(sizeof(Number));
    return raw.size() == sizeof(Number) ? load_number<Number>(raw.data()) : Number{};
  }

  // The next `size` bytes; empty and not ok() where fewer are left.
  std::string_view take(std::uint64_t size) {
    if (size > rest_.size()) {
      ok_ = false;
      rest_ = {};
    }
    const std::string_view taken = ok_ ? rest_.substr(0, size) : std::string_view{};
    rest_.remove_prefix(taken.size());
    return taken;
  }

  [[nodiscard]] bool ok() const { return ok_; }
  [[nodiscard]] std::string_view rest() const { return rest_; }

 private:
  std::string_view rest_;
  bool ok_ = true;
};

// Maps signed to unsigned so that small magnitudes stay small: 0, -1, 1, -2 become 0, 1, 2, 3.
constexpr std::uint64_t zigzag(std::int64_t value) {
  return (static_cast<std::uint64_t>(value) << 1) ^ static_cast<std::uint64_t>(value >> 63);
}
constexpr std::int64_t unzigzag(std::uint64_t value) {
  return static_cast<std::int64_t>(value >> 1) ^ -static_cast<std::int64_t>(value & 1);
}

inline constexpr std::uint8_t k_no_digit = 255;
inline constexpr std::array<std::uint8_t, 256> k_hex_values = [] {
  std::array<std::uint8_t, 256> values{};
  values.fill(k_no_digit);
  for (std::uint8_t i = 0; i < 10; ++i) values[static_cast<std::size_t>('0') + i] = i;
  for (std::uint8_t i = 0; i < 6; ++i) {
    values[static_cast<std::size_t>('a') + i] = static_cast<std::uint8_t>(10 + i);
    values[static_cast<std::size_t>('A') + i] = static_cast<std::uint8_t>(10 + i);
  }
  return values;
}();
// The value of a hexadecimal digit of either case; k_no_digit where it is none.
constexpr std::uint8_t hex_value(char digit) { return k_hex_values[static_cast<unsigned char>(digit)]; }

// Lower-case hexadecimal.
std::string to_hex(std::string_view bytes);
// Absent unless `text` is an even number of hexadecimal digits of either case.
std::optional<std::string> from_hex(std::string_view text);

// `text` with control characters, DEL, and bytes that are not UTF-8 written as \xNN, so that foreign text
// cannot steer a terminal; cut with "..." after `limit` bytes of input.
std::string printable(std::string_view text, std::size_t limit = 200);

}  // namespace runctl::base
