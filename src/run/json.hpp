// One strict reading of one JSON value (RFC 8259), without building anything: is it valid, where does it end,
// where do its members lie. Faster than a parser that builds a tree, and the only verdict in the house.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace runctl::run {

// Arrays and objects may nest this deep; deeper input is refused.
inline constexpr std::size_t k_max_depth = 10'000;

// A member of an object, as it stands in the text.
struct Member {
  std::string_view key;    // between the quotes, escapes untouched
  std::string_view value;  // without the white space around it
  bool key_escaped = false;
  bool value_escaped = false;  // whether the value, if it is a string, has escapes; says nothing of others
  std::uint32_t depth = 1;     // of the objects around it: 1 for those of the outermost

  // Whether `name` is what the key stands for.
  [[nodiscard]] bool is(std::string_view name) const;
};

enum class Verdict {
  valid,      // the value ends at `end`
  truncated,  // the text ends inside the value: more text could make it valid
  invalid,    // the grammar breaks at `end`, for `reason`
};

struct Scan {
  Verdict verdict = Verdict::invalid;
  std::size_t end = 0;      // offset into the text
  const char* reason = "";  // for a person, where not valid
  bool on_one_line = true;  // where valid: no newline stands between the tokens; no other place may hold one
};

class JsonScanner {
 public:
  // Of the outermost object's members with the keys `opened`, which must outlive this, the members are told
  // too.
  explicit JsonScanner(std::span<const std::string_view> opened = {}) : opened_(opened) {}

  // Reads the value that starts at text[0] (no white space before it). If it is valid and an object,
  // members() then holds its own members, in order; views into `text`. One that is opened and an object is
  // followed by its members, and so on for each object that is the value of one of these; not for objects in
  // arrays. Text after the value is not looked at.
  Scan scan(std::string_view text);

  [[nodiscard]] const std::vector<Member>& members() const { return members_; }

 private:
  struct State;
  [[nodiscard]] bool is_opened(const Member& member) const;

  std::span<const std::string_view> opened_;
  std::vector<Member> members_;
  std::vector<char> in_object_;  // of each container around what is read whether it is an object
  // The objects whose members are told are the outermost ones, without a gap: of each the position in
  // `members_` of the member that is read; npos between two.
  std::vector<std::size_t> told_;
};

// The text a JSON string stands for: `body` is what lies between its quotes, already known to be valid. Lone
// surrogate escapes become WTF-8, so that different strings stay different.
std::string unescape(std::string_view body);
// The same, behind what `text` holds. No more is resolved once that is longer than `enough`.
void append_unescaped(std::string& text, std::string_view body, std::size_t enough = std::string::npos);

// `text` as a JSON string with its quotes. Reverses unescape: what is no UTF-8 (WTF-8 has surrogates) becomes
// an escape where it is a surrogate, and U+FFFD elsewhere.
std::string quote(std::string_view text);

// Valid JSON with line breaks and two spaces a level; strings and numbers stay as they are written.
std::string indent(std::string_view json);

inline bool is_json_space(char c) { return c == ' ' || c == '\t' || c == '\n' || c == '\r'; }

}  // namespace runctl::run
