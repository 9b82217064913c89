// What the scanner and the resolving of escapes share: string bytes many at a time, and what an escape means.
#pragma once

#include <array>
#include <cstdint>

#if defined(__SSE2__)
#include <emmintrin.h>
#endif

namespace runctl::run {

#if defined(__SSE2__)
// 32 bytes of text; of each question about them the answers, a bit a byte, the first the lowest.
class Bytes32 {
 public:
  explicit Bytes32(const char* at)
      : low_(_mm_loadu_si128(reinterpret_cast<const __m128i*>(at))),
        high_(_mm_loadu_si128(reinterpret_cast<const __m128i*>(at + 16))) {}

  [[nodiscard]] std::uint32_t equal(char byte) const {
    const __m128i all = _mm_set1_epi8(byte);
    return bits(_mm_cmpeq_epi8(low_, all), _mm_cmpeq_epi8(high_, all));
  }
  // Control characters, and bytes of multi-byte characters: compared as signed numbers, those are negative.
  [[nodiscard]] std::uint32_t below_space() const {
    const __m128i space = _mm_set1_epi8(' ');
    return bits(_mm_cmplt_epi8(low_, space), _mm_cmplt_epi8(high_, space));
  }

 private:
  static std::uint32_t bits(__m128i low, __m128i high) {
    return static_cast<std::uint32_t>(_mm_movemask_epi8(low)) |
           static_cast<std::uint32_t>(_mm_movemask_epi8(high)) << 16U;
  }

  __m128i low_, high_;
};
#endif

// What a backslash and this letter stand for (RFC 8259, section 7); NUL where that is nothing.
inline constexpr std::array<char, 256> k_meanings = [] {
  std::array<char, 256> meanings{};
  for (const char same : {'"', '\\', '/'}) meanings[static_cast<unsigned char>(same)] = same;
  meanings['b'] = '\b';
  meanings['f'] = '\f';
  meanings['n'] = '\n';
  meanings['r'] = '\r';
  meanings['t'] = '\t';
  return meanings;
}();

inline char meaning_of(char letter) { return k_meanings[static_cast<unsigned char>(letter)]; }

}  // namespace runctl::run
