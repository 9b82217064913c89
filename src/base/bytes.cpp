#include "base/bytes.hpp"

#include "base/utf8.hpp"

namespace runctl::base {

namespace {

constexpr char k_digits[] = "0123456789abcdef";

}  // namespace

std::string to_hex(std::string_view bytes) {
  std::string text;
  text.reserve(bytes.size() * 2);
  for (const char c : bytes) {
    const auto byte = static_cast<unsigned char>(c);
    text += k_digits[byte >> 4];
    text += k_digits[byte & 15];
  }
  return text;
}

std::optional<std::string> from_hex(std::string_view text) {
  if (text.size() % 2 != 0) return std::nullopt;
  std::string bytes;
  bytes.reserve(text.size() / 2);
  for (std::size_t i = 0; i < text.size(); i += 2) {
    const std::uint8_t high = hex_value(text[i]);
    const std::uint8_t low = hex_value(text[i + 1]);
    if (high == k_no_digit || low == k_no_digit) return std::nullopt;
    bytes += static_cast<char>(high * 16 + low);
  }
  return bytes;
}

std::string printable(std::string_view text, std::size_t limit) {
  std::string safe;
  std::size_t i = 0;
  while (i < text.size() && i < limit) {
    const auto byte = static_cast<unsigned char>(text[i]);
    const std::size_t length = byte < 0x80 ? 1 : utf8_sequence_length(text.substr(i));
    // U+0080 to U+009F are control characters too (ISO 6429 C1), encoded as C2 80 to C2 9F.
    const bool control = byte < 0x20 || byte == 0x7F ||
                         (byte == 0xC2 && length == 2 && static_cast<unsigned char>(text[i + 1]) < 0xA0);
    if (length == 0 || control) {
      safe += "\\x";
      safe += k_digits[byte >> 4];
      safe += k_digits[byte & 15];
      ++i;
    } else {
      safe += text.substr(i, length);
      i += length;
    }
  }
  if (i < text.size()) safe += "...";
  return safe;
}

}  // namespace runctl::base
