#include "cache/usage.hpp"

#include <fcntl.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <filesystem>
#include <string>
#include <thread>

#include "base/bytes.hpp"
#include "base/error.hpp"
#include "base/hash.hpp"

namespace runctl::cache {

namespace {

constexpr const char* k_name = "usage";
constexpr std::string_view k_magic = "rctluse1";
constexpr std::size_t k_size = 8 + 8 + 3 * 8 + k_shards * 16;

// Where it lies, and what does not work there: for messages.
std::string complaint(int directory) {
  std::error_code failure;
  const auto path = std::filesystem::read_symlink("/proc/self/fd/" + std::to_string(directory), failure);
  return (path / k_name).string() + ": the cache cannot be changed";
}

// magic, XXH3-64 of what follows, hits, misses, since when, then bytes and entries of each shard.
std::string encode(const Usage& usage) {
  std::string body;
  body.reserve(k_size);
  base::append_number(body, usage.hits);
  base::append_number(body, usage.misses);
  base::append_number(body, usage.counted_since_ns);
  for (const Usage::Shard& shard : usage.shards) {
    base::append_number(body, shard.bytes);
    base::append_number(body, shard.entries);
  }
  std::string out(k_magic);
  base::append_number(out, base::xxh3_64(body));
  return out + body;
}

std::optional<Usage> decode(std::string_view bytes) {
  if (bytes.size() != k_size || !bytes.starts_with(k_magic)) return std::nullopt;
  base::ByteReader reader(bytes.substr(k_magic.size()));
  if (reader.number<std::uint64_t>() != base::xxh3_64(reader.rest())) return std::nullopt;
  Usage usage;
  usage.hits = reader.number<std::uint64_t>();
  usage.misses = reader.number<std::uint64_t>();
  usage.counted_since_ns = reader.number<std::int64_t>();
  for (Usage::Shard& shard : usage.shards) {
    shard.bytes = reader.number<std::uint64_t>();
    shard.entries = reader.number<std::uint64_t>();
  }
  return usage;
}

std::optional<Usage> read_from(int file) {
  char bytes[k_size + 1];
  const ssize_t got = ::pread(file, bytes, sizeof bytes, 0);
  if (got < 0) return std::nullopt;
  return decode({bytes, static_cast<std::size_t>(got)});
}

}  // namespace

std::uint64_t Usage::bytes() const {
  std::uint64_t sum = 0;
  for (const Shard& shard : shards) sum += shard.bytes;
  return sum;
}

std::optional<UsageLock> UsageLock::acquire(int directory, std::chrono::milliseconds patience) {
  UsageLock lock;
  lock.file_ = base::FileDescriptor(
      ::openat(directory, k_name, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK, 0600));
  if (!lock.file_) {
    const int why = errno;
    base::throw_errno(complaint(directory), why);
  }
  const auto deadline = std::chrono::steady_clock::now() + patience;
  while (::flock(lock.file_.get(), LOCK_EX | LOCK_NB) != 0) {
    if (errno != EWOULDBLOCK && errno != EINTR) {
      const int why = errno;
      base::throw_errno(complaint(directory), why);
    }
    if (std::chrono::steady_clock::now() >= deadline) return std::nullopt;
    std::this_thread::sleep_for(std::chrono::microseconds(300));
  }
  const auto known = read_from(lock.file_.get());
  lock.unknown_ = !known;
  if (known) lock.usage = *known;
  return lock;
}

void UsageLock::save() {
  const std::string bytes = encode(usage);
  const ssize_t written = ::pwrite(file_.get(), bytes.data(), bytes.size(), 0);
  if (written != static_cast<ssize_t>(bytes.size()))
    base::throw_errno("the usage of the cache cannot be written", written < 0 ? errno : ENOSPC);
  // What was there before and made no sense may have been longer.
  if (unknown_ && ::ftruncate(file_.get(), static_cast<off_t>(k_size)) != 0)
    base::throw_errno("the usage of the cache cannot be written", errno);
  unknown_ = false;
}

std::optional<Usage> read_usage(int directory) {
  const base::FileDescriptor file(
      ::openat(directory, k_name, O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK));
  return file ? read_from(file.get()) : std::nullopt;
}

std::uint64_t usage_file_bytes(int directory) {
  struct stat status {};
  if (::fstatat(directory, k_name, &status, AT_SYMLINK_NOFOLLOW) != 0) return 0;
  return static_cast<std::uint64_t>(status.st_blocks) * 512;
}

}  // namespace runctl::cache
