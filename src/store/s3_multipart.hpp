// Uploads in parts, for objects too large for one PUT ("Uploading and copying objects using multipart upload"
// in the Amazon S3 user guide: at most 10,000 parts, each but the last of at least 5 MiB).
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "store/s3_exchange.hpp"

namespace runctl::store {

inline constexpr std::uint64_t k_max_parts = 10'000;

// `wished`, or more where `size` bytes would need more than k_max_parts parts.
std::uint64_t part_size_for(std::uint64_t size, std::uint64_t wished);

// The pieces of the concatenation of `parts` that make up its bytes [offset, offset + length).
std::vector<std::string_view> slice_parts(std::span<const std::string_view> parts, std::uint64_t offset,
                                          std::uint64_t length);

// Stores the concatenation of `parts` (`size` bytes) as `key`, `part_size` bytes at a time. All of it or
// nothing: where it fails, the upload is aborted as far as the server still answers, and the error thrown.
void upload_in_parts(S3Exchange& exchange, const std::string& key, std::span<const std::string_view> parts,
                     std::uint64_t size, std::uint64_t part_size);

}  // namespace runctl::store
