#include "cache/entry.hpp"

#include <fmt/format.h>

#include <algorithm>

#include "base/bytes.hpp"
#include "base/hash.hpp"

namespace runctl::cache {

namespace {

constexpr std::string_view k_magic = "rctlfrm1";
constexpr std::size_t k_checked_from = 16;

std::uint64_t checksum_of(std::string_view lengths_and_identity, std::string_view frame) {
  base::Xxh3Stream hash;
  hash.update(lengths_and_identity);
  hash.update(frame);
  return hash.value();
}

}  // namespace

std::string identity_of(std::string_view store_url, std::string_view key, std::uint64_t offset,
                        std::uint64_t length) {
  return fmt::format("{}\n{}\n{}\n{}\n", store_url, key, offset, length);
}

std::string name_of(std::string_view identity) {
  const auto hash = base::xxh3_128(identity);
  return base::to_hex({reinterpret_cast<const char*>(hash.data()), hash.size()});
}

bool is_entry_name(std::string_view name) {
  return name.size() == k_name_length && std::all_of(name.begin(), name.end(), [](char c) {
           return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'f');
         });
}

std::string head_of(std::string_view identity, std::string_view frame) {
  std::string checked;
  base::append_number(checked, static_cast<std::uint32_t>(identity.size()));
  base::append_number(checked, static_cast<std::uint32_t>(frame.size()));
  checked += identity;
  std::string head(k_magic);
  base::append_number(head, checksum_of(checked, frame));
  return head + checked;
}

std::optional<std::string_view> frame_in(std::string_view file, std::string_view identity) {
  base::ByteReader reader(file);
  const std::string_view magic = reader.take(k_magic.size());
  const auto checksum = reader.number<std::uint64_t>();
  const auto identity_length = reader.number<std::uint32_t>();
  const auto frame_length = reader.number<std::uint32_t>();
  const std::string_view named = reader.take(identity_length);
  const std::string_view frame = reader.rest();
  if (!reader.ok() || magic != k_magic || named != identity || frame.size() != frame_length)
    return std::nullopt;
  if (base::xxh3_64(file.substr(k_checked_from)) != checksum) return std::nullopt;
  return frame;
}

std::string fault_of(std::string_view name, std::string_view file) {
  base::ByteReader reader(file);
  const std::string_view magic = reader.take(k_magic.size());
  if (magic != k_magic) return "is no entry of this version";
  reader.number<std::uint64_t>();
  const auto identity_length = reader.number<std::uint32_t>();
  reader.number<std::uint32_t>();
  const std::string_view identity = reader.take(identity_length);
  if (!reader.ok()) return "is cut short";
  if (!frame_in(file, identity)) return "its checksum or length is wrong";
  return name_of(identity) == name ? "" : "is the entry of another frame";
}

}  // namespace runctl::cache
