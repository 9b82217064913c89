#include "batch/columns.hpp"

#include <algorithm>
#include <bit>
#include <numeric>

#include "base/bytes.hpp"
#include "base/error.hpp"
#include "batch/frame.hpp"

namespace runctl::batch {

namespace {

using base::ByteReader;
using base::Error;
using base::ErrorKind;

enum Coding : std::uint8_t { k_plain = 0, k_zstd = 1 };

// Appends `bytes` to `out` with the coding that makes it smaller in front.
void append_coded(std::string& out, std::string_view bytes) {
  const std::string compressed = bytes.empty() ? std::string() : compress_frame(bytes, k_default_level);
  const bool smaller = !bytes.empty() && compressed.size() < bytes.size();
  out += static_cast<char>(smaller ? k_zstd : k_plain);
  out += smaller ? std::string_view(compressed) : bytes;
}

// Of each number the byte at this bit. The two never overlap, which lets the compiler take several at once.
void write_plane(const std::uint64_t* __restrict numbers, std::size_t count, std::size_t bit,
                 char* __restrict plane) {
  for (std::size_t i = 0; i < count; ++i) plane[i] = static_cast<char>(numbers[i] >> bit);
}

// The `size` bytes that the rest of `reader` codes.
std::string read_coded(ByteReader& reader, std::uint64_t size) {
  const auto coding = reader.number<std::uint8_t>();
  if (!reader.ok() || coding > k_zstd) throw Error(ErrorKind::corrupt, "a column has an unknown coding");
  if (coding == k_zstd) return decompress_frame(reader.rest(), size);
  if (reader.rest().size() != size) throw Error(ErrorKind::corrupt, "a column has the wrong size");
  return std::string(reader.rest());
}

}  // namespace

std::string encode_numbers(std::vector<std::uint64_t> numbers) {
  std::uint64_t divisor = 0;
  std::uint64_t largest = 0;
  for (const std::uint64_t number : numbers) {
    if (divisor != 1 && number != 0) divisor = std::gcd(divisor, number);
    largest = std::max(largest, number);
  }
  if (divisor == 0) divisor = 1;
  const auto width = static_cast<std::size_t>((std::bit_width(largest / divisor) + 7) / 8);
  if (divisor != 1) {
    for (std::uint64_t& number : numbers) number /= divisor;
  }
  std::string planes(width * numbers.size(), '\0');
  for (std::size_t plane = 0; plane < width; ++plane) {
    write_plane(numbers.data(), numbers.size(), 8 * plane, planes.data() + plane * numbers.size());
  }
  std::string stored;
  base::append_number<std::uint64_t>(stored, divisor);
  base::append_number<std::uint8_t>(stored, static_cast<std::uint8_t>(width));
  append_coded(stored, planes);
  return stored;
}

std::vector<std::uint64_t> decode_numbers(std::string_view stored, std::size_t count) {
  ByteReader reader(stored);
  const auto divisor = reader.number<std::uint64_t>();
  const std::size_t width = reader.number<std::uint8_t>();
  if (!reader.ok() || divisor == 0 || width > 8) throw Error(ErrorKind::corrupt, "a column's head is broken");
  const std::string planes = read_coded(reader, width * count);
  std::vector<std::uint64_t> numbers(count, 0);
  for (std::size_t plane = 0; plane < width; ++plane) {
    for (std::size_t i = 0; i < count; ++i) {
      const auto byte = static_cast<unsigned char>(planes[plane * count + i]);
      numbers[i] |= std::uint64_t{byte} << (8 * plane);
    }
  }
  if (divisor != 1) {
    for (std::uint64_t& number : numbers) number *= divisor;
  }
  return numbers;
}

std::string encode_bytes(std::string_view bytes) {
  std::string stored;
  base::append_number<std::uint64_t>(stored, bytes.size());
  append_coded(stored, bytes);
  return stored;
}

std::string decode_bytes(std::string_view stored, std::size_t limit) {
  ByteReader reader(stored);
  const auto size = reader.number<std::uint64_t>();
  if (!reader.ok() || size > limit) throw Error(ErrorKind::corrupt, "a column of bytes has a wrong size");
  return read_coded(reader, size);
}

}  // namespace runctl::batch
