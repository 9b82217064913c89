// Where the lines of a text begin, told in one pass.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <string_view>

namespace runctl::run {

class LineCounter {
 public:
  // Counts from `begin` on. `column` bytes of its line lie before it.
  LineCounter(std::string_view text, std::size_t begin, std::uint64_t column)
      : text_(text), counted_to_(begin), line_begin_(begin), column_(column) {}

  // Newlines before `offset`. Offsets must not lie before the ones asked for earlier by more than the line
  // they are on: counting goes forward only.
  std::uint64_t line_at(std::size_t offset) {
    while (counted_to_ < offset) {
      const void* const found = std::memchr(text_.data() + counted_to_, '\n', offset - counted_to_);
      if (found == nullptr) {
        counted_to_ = offset;
        break;
      }
      counted_to_ = static_cast<std::size_t>(static_cast<const char*>(found) - text_.data()) + 1;
      line_begin_ = counted_to_;
      ++lines_;
    }
    return lines_;
  }

  // To be told by who knows it: no line ends between `begin` and `end`.
  void pass(std::size_t begin, std::size_t end) {
    line_at(begin);
    counted_to_ = std::max(counted_to_, end);
  }

  // Bytes of the line before `offset`.
  std::uint64_t column_at(std::size_t offset) {
    return line_at(offset) == 0 ? offset - line_begin_ + column_ : offset - line_begin_;
  }

 private:
  std::string_view text_;
  std::size_t counted_to_;
  std::size_t line_begin_;
  std::uint64_t column_;
  std::uint64_t lines_ = 0;
};

}  // namespace runctl::run
