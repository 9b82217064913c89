// The text that a JSON string stands for and back, and JSON laid out for people.
#include <algorithm>
#include <bit>
#include <optional>

#include "base/bytes.hpp"
#include "base/utf8.hpp"
#include "run/json.hpp"
#include "run/json_bytes.hpp"

namespace runctl::run {

namespace {

// The first backslash at or after `from`, or the end. Escapes lie close together: a call for each is most of
// what it costs to find them.
std::size_t find_escape(std::string_view body, std::size_t from) {
  std::size_t at = from;
#if defined(__SSE2__)
  for (; body.size() - at >= 32; at += 32) {
    const std::uint32_t backslashes = Bytes32(body.data() + at).equal('\\');
    if (backslashes != 0) return at + static_cast<std::size_t>(std::countr_zero(backslashes));
  }
#endif
  return std::min(body.find('\\', at), body.size());
}

}  // namespace

bool Member::is(std::string_view name) const { return key_escaped ? unescape(key) == name : key == name; }

std::string unescape(std::string_view body) {
  std::string text;
  text.reserve(body.size());
  append_unescaped(text, body);
  return text;
}

void append_unescaped(std::string& text, std::string_view body, std::size_t enough) {
  const auto hex4 = [body](std::size_t i) -> std::optional<std::uint32_t> {
    if (i + 6 > body.size() || body[i] != '\\' || body[i + 1] != 'u') return std::nullopt;
    std::uint32_t value = 0;
    for (std::size_t k = i + 2; k < i + 6; ++k) value = value * 16 + base::hex_value(body[k]);
    return value;
  };
  for (std::size_t i = 0; i < body.size() && text.size() <= enough;) {
    const std::size_t begin = i;
    i = find_escape(body, begin);
    text.append(body, begin, i - begin);
    if (i == body.size()) return;
    const auto unit = hex4(i);
    if (!unit) {
      text += meaning_of(body[i + 1]);
      i += 2;
      continue;
    }
    i += 6;
    const auto low = *unit >= 0xD800 && *unit < 0xDC00 ? hex4(i) : std::nullopt;
    if (low && *low >= 0xDC00 && *low < 0xE000) {
      base::append_utf8(text, 0x10000 + ((*unit - 0xD800) << 10) + (*low - 0xDC00));
      i += 6;
    } else {
      base::append_utf8(text, *unit);
    }
  }
}

std::string quote(std::string_view text) {
  const auto append_unit = [](std::string& out, std::uint32_t unit) {
    constexpr std::string_view k_digits = "0123456789abcdef";
    out += "\\u";
    for (int shift = 12; shift >= 0; shift -= 4)
      out += k_digits[(unit >> static_cast<unsigned>(shift)) & 15U];
  };
  std::string quoted = "\"";
  for (std::size_t i = 0; i < text.size();) {
    const char c = text[i];
    if (c == '"' || c == '\\') {
      quoted += '\\';
      quoted += c;
      ++i;
    } else if (static_cast<unsigned char>(c) < 0x20 || c == 0x7F) {
      append_unit(quoted, static_cast<unsigned char>(c));
      ++i;
    } else if (const std::size_t length = base::utf8_sequence_length(text.substr(i)); length != 0) {
      quoted += text.substr(i, length);
      i += length;
    } else if (c == '\xED' && i + 2 < text.size() && (text[i + 1] & 0xE0) == 0xA0 &&
               (text[i + 2] & 0xC0) == 0x80) {
      append_unit(quoted, 0xD000U | ((static_cast<std::uint32_t>(text[i + 1]) & 0x3FU) << 6U) |
                              (static_cast<std::uint32_t>(text[i + 2]) & 0x3FU));
      i += 3;
    } else {
      quoted += "\uFFFD";
      ++i;
    }
  }
  return quoted + '"';
}

std::string indent(std::string_view json) {
  std::string text;
  std::size_t depth = 0;
  const auto new_line = [&] { text.append("\n").append(2 * depth, ' '); };
  const auto next_solid = [json](std::size_t i) {
    while (i < json.size() && is_json_space(json[i])) ++i;
    return i;
  };
  for (std::size_t i = next_solid(0); i < json.size(); i = next_solid(i)) {
    const char c = json[i];
    if (c == '"') {
      const std::size_t begin = i;
      for (++i; json[i] != '"'; ++i) {
        if (json[i] == '\\') ++i;
      }
      text += json.substr(begin, ++i - begin);
      continue;
    }
    ++i;
    if (c == '{' || c == '[') {
      const std::size_t next = next_solid(i);
      text += c;
      if (json[next] == '}' || json[next] == ']') {
        text += json[next];
        i = next + 1;
      } else {
        ++depth;
        new_line();
      }
    } else if (c == '}' || c == ']') {
      --depth;
      new_line();
      text += c;
    } else if (c == ',') {
      text += c;
      new_line();
    } else {
      text += c;
      if (c == ':') text += ' ';
    }
  }
  return text;
}

}  // namespace runctl::run
