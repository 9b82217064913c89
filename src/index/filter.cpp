#include "index/filter.hpp"

namespace runctl::index {

namespace {

constexpr std::uint64_t k_bits_per_key = 12;
constexpr std::uint64_t k_line = 64;  // bytes, of a processor's cache
constexpr int k_probes = 6;

// The finalizer of MurmurHash3: keys are not evenly spread where they hold times.
std::uint64_t mix(std::uint64_t key) {
  key = (key ^ (key >> 33)) * 0xFF51AFD7ED558CCDu;
  key = (key ^ (key >> 33)) * 0xC4CEB9FE1A85EC53u;
  return key ^ (key >> 33);
}

std::uint64_t line_of(std::uint64_t hash, std::uint64_t lines) { return ((hash >> 32) * lines) >> 32; }

}  // namespace

std::string make_filter(std::uint64_t keys) {
  const std::uint64_t lines = (keys * k_bits_per_key + 8 * k_line - 1) / (8 * k_line);
  return std::string(lines * k_line, '\0');
}

void add_to_filter(std::string& bits, std::uint64_t key) {
  const std::uint64_t hash = mix(key);
  char* const line = bits.data() + line_of(hash, bits.size() / k_line) * k_line;
  for (std::uint64_t probe = 0, rest = mix(hash); probe < k_probes; ++probe, rest >>= 9) {
    char& byte = line[(rest & 511) / 8];
    byte = static_cast<char>(static_cast<unsigned char>(byte) | (1U << (rest & 7)));
  }
}

bool may_contain(std::string_view bits, std::uint64_t key) {
  if (bits.size() < k_line) return true;  // none was made, or it is broken: then it must not be relied on
  const std::uint64_t hash = mix(key);
  const char* const line = bits.data() + line_of(hash, bits.size() / k_line) * k_line;
  for (std::uint64_t probe = 0, rest = mix(hash); probe < k_probes; ++probe, rest >>= 9) {
    if ((line[(rest & 511) / 8] & (1 << (rest & 7))) == 0) return false;
  }
  return true;
}

}  // namespace runctl::index
