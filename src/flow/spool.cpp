#include "flow/spool.hpp"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <chrono>
#include <filesystem>
#include <functional>
#include <system_error>

#include "base/bytes.hpp"
#include "base/error.hpp"
#include "batch/format.hpp"
#include "batch/reader.hpp"

namespace runctl::flow {

namespace {

namespace fs = std::filesystem;
using base::Error;
using base::ErrorKind;

constexpr std::size_t k_time_digits = 20;

// The key that a file's name stands for; empty where it stands for none.
std::string key_of(const std::string& name) {
  const std::size_t dot = name.find('.', k_time_digits + 1);
  if (name.size() <= k_time_digits || name[k_time_digits] != '.' || dot == std::string::npos) return {};
  const std::string group = name.substr(k_time_digits + 1, dot - k_time_digits - 1);
  const std::string key = fmt::format("{}{}/{}", batch::k_batch_prefix, group, name.substr(dot + 1));
  return batch::is_batch_key(key) ? key : std::string();
}

std::string name_of(const std::string& key) {
  const auto now = std::chrono::system_clock::now().time_since_epoch();
  std::string rest = key.substr(batch::k_batch_prefix.size());
  std::replace(rest.begin(), rest.end(), '/', '.');
  return fmt::format("{:020}.{}", std::chrono::nanoseconds(now).count(), rest);
}

// All that lies in the directory, which need not be there, in no order.
void visit_files(const std::string& directory,
                 const std::function<void(const fs::path& path, std::uint64_t size)>& visit) {
  std::error_code failure;
  for (fs::directory_iterator entry(directory, failure), end; !failure && entry != end;
       entry.increment(failure)) {
    std::error_code gone;  // another process may just have delivered it
    const std::uint64_t size = entry->file_size(gone);
    if (!gone) visit(entry->path(), size);
  }
  if (failure && failure != std::errc::no_such_file_or_directory)
    throw Error(ErrorKind::io, directory + ": cannot be listed: " + failure.message());
}

// The SHA-256 in a batch's key, in hexadecimal.
std::string_view hash_in(std::string_view key) {
  const std::string_view name = key.substr(key.rfind('/') + 1);
  return name.substr(0, name.size() - batch::k_batch_suffix.size());
}

}  // namespace

bool Spool::has_room_for(std::uint64_t bytes) const {
  std::uint64_t sum = bytes;
  visit_files(directory_, [&sum](const fs::path& /*path*/, std::uint64_t size) { sum += size; });
  return sum <= max_bytes_;
}

std::string Spool::add(const batch::Batch& batch) const {
  base::make_directories(directory_, 0700);
  std::string path = directory_ + "/" + name_of(batch.key);
  base::AtomicFile file(path);
  for (const std::string_view part : batch.parts()) file.write(part);
  file.commit(base::AtomicFile::Replace::yes);
  return path;
}

std::vector<SpooledBatch> Spool::waiting() const {
  std::vector<SpooledBatch> batches;
  visit_files(directory_, [&batches](const fs::path& path, std::uint64_t size) {
    const std::string key = key_of(path.filename().string());
    if (!key.empty()) batches.push_back({path.string(), key, size});
  });
  std::sort(batches.begin(), batches.end(),
            [](const SpooledBatch& a, const SpooledBatch& b) { return a.path < b.path; });
  return batches;
}

std::optional<base::FileDescriptor> Spool::lock() const {
  base::FileDescriptor directory(::open(directory_.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  if (!directory) {
    if (errno == ENOENT) return std::nullopt;
    base::throw_errno(directory_, errno);
  }
  if (::flock(directory.get(), LOCK_EX | LOCK_NB) == 0) return directory;
  if (errno != EWOULDBLOCK) base::throw_errno(directory_ + ": cannot be locked", errno);
  return std::nullopt;
}

SpooledContent read_spooled(const SpooledBatch& batch) {
  SpooledContent content;
  auto bytes = base::read_file(batch.path, batch.size);
  if (!bytes) throw Error(ErrorKind::corrupt, batch.path + ": is gone");
  content.bytes = std::move(*bytes);
  content.digest = base::sha256(content.bytes);
  if (base::to_hex(base::as_bytes(content.digest)) != hash_in(batch.key))
    throw Error(ErrorKind::corrupt, batch.path + ": is not what was put there: its SHA-256 is another");
  content.table =
      batch::read_table(content.bytes.size(), [&content](std::uint64_t offset, std::uint64_t length) {
        return content.bytes.substr(offset, length);
      });
  return content;
}

void remove_spooled(const SpooledBatch& batch) {
  if (::unlink(batch.path.c_str()) != 0 && errno != ENOENT) base::throw_errno(batch.path, errno);
}

}  // namespace runctl::flow
