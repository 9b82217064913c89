// Columns of numbers as a footer stores them (runctl-batch(5), COLUMNS).
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace runctl::batch {

// A column: what its numbers have in common taken out, then byte planes, then zstd where that is smaller.
//
//   u64  divisor    the greatest common divisor of all numbers, at least 1
//   u8   width      bytes that the largest quotient needs, 0 to 8
//   u8   coding     0: the planes as they are; 1: one zstd frame that holds them
//   planes          `width` planes, the lowest byte of each number first; each plane has one byte a number
std::string encode_numbers(std::vector<std::uint64_t> numbers);

// Reverses encode_numbers for `count` numbers. Throws Error(corrupt) where `stored` is anything else.
std::vector<std::uint64_t> decode_numbers(std::string_view stored, std::size_t count);

// Bytes, as a column: u64 size, u8 coding as above, then the bytes.
std::string encode_bytes(std::string_view bytes);

// Reverses encode_bytes; more than `limit` bytes are refused as Error(corrupt).
std::string decode_bytes(std::string_view stored, std::size_t limit);

}  // namespace runctl::batch
