// What every fuzz target needs. A target is one function between foreign bytes and a part of the house; it
// ends the process where something is wrong. libFuzzer calls it (scripts/fuzz), or replay.cpp with what was
// kept.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <string>
#include <string_view>

#include "base/bytes.hpp"
#include "base/utf8.hpp"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size);

namespace runctl::fuzz {

inline std::string_view bytes_of(const std::uint8_t* data, std::size_t size) {
  return {reinterpret_cast<const char*>(data), size};
}

// What must hold whatever came in.
inline void require(bool holds, const char* what) {
  if (holds) return;
  std::fprintf(stderr, "fuzz: does not hold: %s\n", what);
  std::abort();
}

// A message is one line that steers no terminal once it is shown (cmd/output), whatever it repeats.
inline void require_printable(std::string_view text) {
  for (std::size_t at = 0; at < text.size();) {
    const std::size_t length = base::utf8_sequence_length(text.substr(at));
    const auto byte = static_cast<unsigned char>(text[at]);
    const bool c1 = length == 2 && byte == 0xC2 && static_cast<unsigned char>(text[at + 1]) < 0xA0;
    require(length > 0 && byte >= 0x20 && byte != 0x7F && !c1, "a message is printable");
    at += length;
  }
}

// Takes decisions off the front of the input; the rest is text. An exhausted input answers 0.
class Input {
 public:
  explicit Input(std::string_view bytes) : rest_(bytes) {}

  std::size_t below(std::size_t limit) {
    if (rest_.empty()) return 0;
    const auto byte = static_cast<unsigned char>(rest_.front());
    rest_.remove_prefix(1);
    return byte % limit;
  }
  template <typename Number>
  Number number() {
    Number value{};
    const std::string_view raw = rest_.substr(0, sizeof value);
    std::memcpy(&value, raw.data(), raw.size());
    rest_.remove_prefix(raw.size());
    return value;
  }
  // Up to the next `separator`, which is taken too.
  std::string_view until(char separator) {
    const std::size_t end = std::min(rest_.find(separator), rest_.size());
    const std::string_view taken = rest_.substr(0, end);
    rest_.remove_prefix(std::min(end + 1, rest_.size()));
    return taken;
  }
  [[nodiscard]] std::string_view rest() const { return rest_; }

 private:
  std::string_view rest_;
};

}  // namespace runctl::fuzz
