// The bytes of an entry: a compressed frame, and of which frame of which store it is.
//
//   8  magic "rctlfrm1"; its last digit is the version
//   8  XXH3-64 of everything behind these 16 bytes
//   4  length of the identity
//   4  length of the frame
//      identity: the store's URL, the batch's key, the frame's offset and length in it, each with a newline
//      the frame
//
// Numbers are little-endian. The file's name is the XXH3-128 of the identity in hexadecimal; the identity in
// the file makes an entry that has the name of another a miss.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

namespace runctl::cache {

inline constexpr std::size_t k_head_bytes = 24;
inline constexpr std::size_t k_name_length = 32;
// Larger files are no entries: a frame holds at most 16 MiB (batch/format.hpp), compressed little more.
inline constexpr std::uint64_t k_max_entry_bytes = 24U << 20;

std::string identity_of(std::string_view store_url, std::string_view key, std::uint64_t offset,
                        std::uint64_t length);
std::string name_of(std::string_view identity);
// Whether a file of this name can be an entry.
bool is_entry_name(std::string_view name);

// What is written before the frame: head and identity.
std::string head_of(std::string_view identity, std::string_view frame);

// The frame in the bytes of a file that is to be the entry of `identity`; absent where it is anything else.
std::optional<std::string_view> frame_in(std::string_view file, std::string_view identity);

// Why a file of this name and content is no entry; empty where it is one.
std::string fault_of(std::string_view name, std::string_view file);

}  // namespace runctl::cache
