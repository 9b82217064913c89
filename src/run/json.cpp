#include "run/json.hpp"

#include <algorithm>
#include <bit>

#include "base/bytes.hpp"
#include "base/utf8.hpp"
#include "run/json_bytes.hpp"

namespace runctl::run {

namespace {

#if defined(__SSE2__)
constexpr std::uint32_t k_last = 1U << 31U;

// Of the backslashes those that begin an escape, and are not themselves escaped. The byte before the first
// bit begins none.
std::uint32_t escapes_of(std::uint32_t backslashes) {
  if ((backslashes & backslashes << 1U) == 0) return backslashes;
  std::uint32_t escapes = 0;
  for (std::uint32_t rest = backslashes; rest != 0;) {
    const std::uint32_t first = rest & (~rest + 1);
    escapes |= first;
    rest &= ~(first | first << 1U);
  }
  return escapes;
}
#endif

// Passes over string content: plain bytes and the most frequent escapes. Returns where the first other byte
// stands: a quote, a backslash, a control character, or one of a multi-byte character. Sets `escaped` where
// it has passed an escape; of the last bytes, and without SSE2, it passes none. Code and prose have an escape
// in every line, so these must not cost a branch each.
const char* skip_content(const char* at, const char* end, [[maybe_unused]] bool& escaped) {
#if defined(__SSE2__)
  while (end - at >= 32) {
    const Bytes32 bytes(at);
    const std::uint32_t quotes = bytes.equal('"');
    const std::uint32_t backslashes = bytes.equal('\\');
    std::uint32_t stops = quotes | bytes.below_space();
    std::uint32_t escapes = 0;
    if (backslashes != 0) {
      escapes = escapes_of(backslashes);
      const std::uint32_t known = quotes | backslashes | bytes.equal('n') | bytes.equal('t');
      stops = (stops & ~(escapes << 1U)) | (escapes & ~(known >> 1U) & ~k_last);
    }
    if (stops != 0) {
      const int passed = std::countr_zero(stops);
      escaped = escaped || (escapes & ((1U << static_cast<unsigned>(passed)) - 1)) != 0;
      return at + passed;
    }
    escaped = escaped || (escapes & ~k_last) != 0;
    at += (escapes & k_last) != 0 ? 31 : 32;  // an escape that reaches further is looked at again
  }
#endif
  while (at < end) {
    const auto byte = static_cast<unsigned char>(*at);
    if (byte < 0x20 || byte >= 0x80 || byte == '"' || byte == '\\') break;
    ++at;
  }
  return at;
}

bool is_digit(char c) { return c >= '0' && c <= '9'; }

}  // namespace

// What a walk over the text has found. Each step takes where it starts and returns where it ends; null after
// it has set `result` to a failure.
struct JsonScanner::State {
  const char* const begin;
  const char* const end;
  Scan result{};
  bool escaped = false;  // whether the string read last has escapes
  bool on_one_line = true;

  explicit State(std::string_view text) : begin(text.data()), end(text.data() + text.size()) {}

  // The byte at `at`, or NUL at the end: NUL is valid nowhere outside of a string.
  [[nodiscard]] char peek(const char* at) const { return at < end ? *at : '\0'; }

  const char* fail(const char* at, const char* reason) {
    result = {at == end ? Verdict::truncated : Verdict::invalid, static_cast<std::size_t>(at - begin),
              reason};
    return nullptr;
  }

  const char* skip_space(const char* at) {
    for (; at < end && is_json_space(*at); ++at) {
      if (*at == '\n') on_one_line = false;
    }
    return at;
  }

  // `at` stands on the opening quote.
  const char* string(const char* at) {
    ++at;
    escaped = false;
    while (true) {
      at = skip_content(at, end, escaped);
      if (at == end) return fail(at, "the text ends inside a string");
      if (*at == '"') return at + 1;
      at = unusual(at);
      if (at == nullptr) return nullptr;
    }
  }

  // What skip_content() stops at, but a quote.
  const char* unusual(const char* at) {
    const auto byte = static_cast<unsigned char>(*at);
    if (byte == '\\') return escape(at);
    if (byte < 0x20) return fail(at, "a control character in a string must be written as an escape");
    return multibyte(at);
  }

  const char* escape(const char* at) {
    escaped = true;
    if (end - at < 2) return fail(end, "the text ends inside a string");
    if (at[1] != 'u') {
      if (meaning_of(at[1]) == '\0') return fail(at, "unknown escape in a string");
      return at + 2;
    }
    for (std::ptrdiff_t i = 2; i < 6; ++i) {
      if (at + i == end) return fail(end, "the text ends inside a string");
      if (base::hex_value(at[i]) == base::k_no_digit) return fail(at, "\\u needs four hexadecimal digits");
    }
    return at + 6;
  }

  const char* multibyte(const char* at) {
    do {
      const std::string_view rest(at, static_cast<std::size_t>(end - at));
      const std::size_t length = base::utf8_sequence_length(rest);
      if (length == 0) {
        // A character cut by the end of the text may become whole when more text comes.
        if (rest.size() < 4 && static_cast<unsigned char>(*at) >= 0xC2 && cut_by_end(rest))
          return fail(end, "the text ends inside a string");
        return fail(at, "the bytes are not UTF-8");
      }
      at += length;
    } while (at < end && static_cast<unsigned char>(*at) >= 0x80);
    return at;
  }

  static bool cut_by_end(std::string_view rest) {
    const auto lead = static_cast<unsigned char>(rest[0]);
    const std::size_t wanted = lead < 0xE0 ? 2 : lead < 0xF0 ? 3 : 4;
    for (std::size_t i = 1; i < rest.size(); ++i) {
      if ((static_cast<unsigned char>(rest[i]) & 0xC0) != 0x80) return false;
    }
    return rest.size() < wanted;
  }

  const char* digits(const char* at) {
    if (!is_digit(peek(at))) return fail(at, "a digit is missing in a number");
    while (is_digit(peek(at))) ++at;
    return at;
  }

  const char* number(const char* at) {
    if (*at == '-') ++at;
    if (peek(at) == '0') {
      ++at;
      if (is_digit(peek(at))) return fail(at, "a number must not start with 0");
    } else if (at = digits(at); at == nullptr) {
      return nullptr;
    }
    if (peek(at) == '.') {
      at = digits(at + 1);
      if (at == nullptr) return nullptr;
    }
    if (peek(at) == 'e' || peek(at) == 'E') {
      ++at;
      if (peek(at) == '+' || peek(at) == '-') ++at;
      return digits(at);
    }
    return at;
  }

  const char* literal(const char* at, std::string_view word) {
    for (const char letter : word) {
      if (peek(at) != letter) return fail(at, "a value is misspelt: true, false and null are the only words");
      ++at;
    }
    return at;
  }

  // A value that holds no other values.
  const char* scalar(const char* at) {
    switch (peek(at)) {
      case '"':
        return string(at);
      case 't':
        return literal(at, "true");
      case 'f':
        return literal(at, "false");
      case 'n':
        return literal(at, "null");
      default:
        if (is_digit(peek(at)) || peek(at) == '-') return number(at);
        return fail(at, "a value is missing");
    }
  }
};

bool JsonScanner::is_opened(const Member& member) const {
  return std::any_of(opened_.begin(), opened_.end(),
                     [&member](std::string_view key) { return member.is(key); });
}

Scan JsonScanner::scan(std::string_view text) {
  constexpr std::size_t k_none = std::string_view::npos;
  State state(text);
  members_.clear();
  in_object_.clear();
  told_.clear();

  // Reads `"key" :` and the white space around it.
  const auto read_key = [&](const char* at) -> const char* {
    if (state.peek(at) != '"') return state.fail(at, "a key in double quotes is missing");
    const char* const begin = at + 1;
    at = state.string(at);
    if (at == nullptr) return nullptr;
    const char* const key_end = at - 1;
    at = state.skip_space(at);
    if (state.peek(at) != ':') return state.fail(at, "':' is missing after a key");
    at = state.skip_space(at + 1);
    if (in_object_.size() == told_.size()) {
      told_.back() = members_.size();
      members_.push_back({{begin, static_cast<std::size_t>(key_end - begin)},
                          {at, at},
                          state.escaped,
                          false,
                          static_cast<std::uint32_t>(told_.size())});
    }
    return at;
  };

  const char* at = state.begin;
  while (true) {
    // A value starts here.
    const char first = state.peek(at);
    bool value_done = true;
    if (first == '{' || first == '[') {
      const std::size_t around = in_object_.size();
      if (around == k_max_depth) {
        state.fail(at, "nested deeper than 10000 levels");
        return state.result;
      }
      if (first == '{' && around == told_.size() && (around != 1 || is_opened(members_.back())))
        told_.push_back(k_none);
      in_object_.push_back(first == '{' ? 1 : 0);
      at = state.skip_space(at + 1);
      if (state.peek(at) != (first == '{' ? '}' : ']')) {
        if (first == '{') at = read_key(at);
        value_done = false;
      }
    } else {
      at = state.scalar(at);
    }
    if (at == nullptr) return state.result;
    // A value or an opening bracket has been read; close what closes, up to the next value.
    while (value_done) {
      if (in_object_.empty())
        return {Verdict::valid, static_cast<std::size_t>(at - state.begin), "", state.on_one_line};
      if (in_object_.size() == told_.size() && told_.back() != k_none) {
        // Directly behind a member's value, or behind the opening brace of an empty object.
        Member& member = members_[told_.back()];
        member.value = {member.value.data(), static_cast<std::size_t>(at - member.value.data())};
        member.value_escaped = state.escaped;
        told_.back() = k_none;
      }
      at = state.skip_space(at);
      const bool object = in_object_.back() != 0;
      const char next = state.peek(at);
      if (next == ',') {
        at = state.skip_space(at + 1);
        if (object) at = read_key(at);
        if (at == nullptr) return state.result;
        value_done = false;
      } else if (next == (object ? '}' : ']')) {
        ++at;
        in_object_.pop_back();
        if (told_.size() > in_object_.size()) told_.pop_back();
      } else {
        state.fail(at, object ? "',' or '}' is missing" : "',' or ']' is missing");
        return state.result;
      }
    }
  }
}

}  // namespace runctl::run
