#include "run/json.hpp"

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

// One walk over the text. Each step returns false after it has set `result` to a failure.
struct JsonScanner::State {
  const char* const begin;
  const char* const end;
  const char* at;
  Scan result{};
  bool escaped = false;  // whether the string read last has escapes

  explicit State(std::string_view text) : begin(text.data()), end(text.data() + text.size()), at(begin) {}

  // The byte at `at`, or NUL at the end: NUL is valid nowhere outside of a string.
  [[nodiscard]] char peek() const { return at < end ? *at : '\0'; }

  bool fail(const char* reason) {
    result = {at == end ? Verdict::truncated : Verdict::invalid, static_cast<std::size_t>(at - begin),
              reason};
    return false;
  }

  void skip_space() {
    while (at < end && is_json_space(*at)) ++at;
  }

  // `at` stands on the opening quote; afterwards behind the closing one.
  bool string() {
    ++at;
    escaped = false;
    while (true) {
      at = skip_content(at, end, escaped);
      if (at == end) return fail("the text ends inside a string");
      const auto byte = static_cast<unsigned char>(*at);
      if (byte == '"') {
        ++at;
        return true;
      }
      if (byte == '\\') {
        if (!escape()) return false;
      } else if (byte < 0x20) {
        return fail("a control character in a string must be written as an escape");
      } else if (!multibyte()) {
        return false;
      }
    }
  }

  bool escape() {
    escaped = true;
    if (end - at < 2) {
      at = end;
      return fail("the text ends inside a string");
    }
    if (at[1] != 'u') {
      if (meaning_of(at[1]) == '\0') return fail("unknown escape in a string");
      at += 2;
      return true;
    }
    for (std::ptrdiff_t i = 2; i < 6; ++i) {
      if (at + i == end) {
        at = end;
        return fail("the text ends inside a string");
      }
      if (base::hex_value(at[i]) == base::k_no_digit) return fail("\\u needs four hexadecimal digits");
    }
    at += 6;
    return true;
  }

  bool multibyte() {
    do {
      const std::string_view rest(at, static_cast<std::size_t>(end - at));
      const std::size_t length = base::utf8_sequence_length(rest);
      if (length == 0) {
        // A character cut by the end of the text may become whole when more text comes.
        if (rest.size() < 4 && static_cast<unsigned char>(*at) >= 0xC2 && cut_by_end(rest)) {
          at = end;
          return fail("the text ends inside a string");
        }
        return fail("the bytes are not UTF-8");
      }
      at += length;
    } while (at < end && static_cast<unsigned char>(*at) >= 0x80);
    return true;
  }

  static bool cut_by_end(std::string_view rest) {
    const auto lead = static_cast<unsigned char>(rest[0]);
    const std::size_t wanted = lead < 0xE0 ? 2 : lead < 0xF0 ? 3 : 4;
    for (std::size_t i = 1; i < rest.size(); ++i) {
      if ((static_cast<unsigned char>(rest[i]) & 0xC0) != 0x80) return false;
    }
    return rest.size() < wanted;
  }

  bool digits() {
    if (!is_digit(peek())) return fail("a digit is missing in a number");
    while (is_digit(peek())) ++at;
    return true;
  }

  bool number() {
    if (*at == '-') ++at;
    if (peek() == '0') {
      ++at;
      if (is_digit(peek())) return fail("a number must not start with 0");
    } else if (!digits()) {
      return false;
    }
    if (peek() == '.') {
      ++at;
      if (!digits()) return false;
    }
    if (peek() == 'e' || peek() == 'E') {
      ++at;
      if (peek() == '+' || peek() == '-') ++at;
      if (!digits()) return false;
    }
    return true;
  }

  bool literal(std::string_view word) {
    for (const char letter : word) {
      if (peek() != letter) return fail("a value is misspelt: true, false and null are the only words");
      ++at;
    }
    return true;
  }

  // A value that holds no other values.
  bool scalar() {
    switch (peek()) {
      case '"':
        return string();
      case 't':
        return literal("true");
      case 'f':
        return literal("false");
      case 'n':
        return literal("null");
      default:
        if (is_digit(peek()) || peek() == '-') return number();
        return fail("a value is missing");
    }
  }
};

Scan JsonScanner::scan(std::string_view text) {
  State state(text);
  members_.clear();
  in_object_.clear();
  const char* key_begin = nullptr;  // of the member of the outermost object that is being read
  const char* value_begin = nullptr;

  // Reads `"key" :` and the white space around it.
  const auto read_key = [&]() -> bool {
    if (state.peek() != '"') return state.fail("a key in double quotes is missing");
    const char* const begin = state.at;
    if (!state.string()) return false;
    if (in_object_.size() == 1) {
      key_begin = begin;
      members_.push_back({{begin + 1, static_cast<std::size_t>(state.at - begin - 2)}, {}, state.escaped});
    }
    state.skip_space();
    if (state.peek() != ':') return state.fail("':' is missing after a key");
    ++state.at;
    state.skip_space();
    if (in_object_.size() == 1) value_begin = state.at;
    return true;
  };

  while (true) {
    // A value starts here.
    const char first = state.peek();
    bool value_done = true;
    if (first == '{' || first == '[') {
      if (in_object_.size() == k_max_depth) {
        state.fail("nested deeper than 10000 levels");
        return state.result;
      }
      in_object_.push_back(first == '{' ? 1 : 0);
      ++state.at;
      state.skip_space();
      if (state.peek() != (first == '{' ? '}' : ']')) {
        if (first == '{' && !read_key()) return state.result;
        value_done = false;
      }
    } else if (!state.scalar()) {
      return state.result;
    }
    // A value or an opening bracket has been read; close what closes, up to the next value.
    while (value_done) {
      if (in_object_.empty()) {
        return {Verdict::valid, static_cast<std::size_t>(state.at - state.begin), ""};
      }
      if (in_object_.size() == 1 && key_begin != nullptr) {
        // Directly behind a member's value, or behind the opening brace of an empty object.
        members_.back().value = {value_begin, static_cast<std::size_t>(state.at - value_begin)};
        key_begin = nullptr;
      }
      state.skip_space();
      const bool object = in_object_.back() != 0;
      const char next = state.peek();
      if (next == ',') {
        ++state.at;
        state.skip_space();
        if (object && !read_key()) return state.result;
        value_done = false;
      } else if (next == (object ? '}' : ']')) {
        ++state.at;
        in_object_.pop_back();
      } else {
        state.fail(object ? "',' or '}' is missing" : "',' or ']' is missing");
        return state.result;
      }
    }
  }
}

}  // namespace runctl::run
