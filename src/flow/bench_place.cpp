#include "flow/bench_place.hpp"

#include <fmt/format.h>
#include <sys/stat.h>

#include <algorithm>
#include <cerrno>
#include <chrono>
#include <cstdlib>
#include <filesystem>
#include <optional>
#include <random>

#include "base/error.hpp"

namespace runctl::flow {

namespace {

namespace fs = std::filesystem;
using base::Error;
using base::ErrorKind;

std::string new_prefix() {
  std::random_device device;
  const std::uint64_t random = (std::uint64_t{device()} << 32) | device();
  return fmt::format("{}{:016x}", k_bench_prefix, random);
}

std::string make_directory() {
  std::error_code failure;
  const fs::path parent = fs::temp_directory_path(failure);
  if (failure)
    throw Error(ErrorKind::io, "TMPDIR: there is no directory for temporary files: " + failure.message());
  std::string pattern = (parent / (std::string(k_bench_prefix) + "XXXXXX")).string();
  if (::mkdtemp(pattern.data()) == nullptr) base::throw_errno(pattern, errno);
  return pattern;
}

// The path of a store that is a directory.
std::optional<std::string> path_of(const store::ObjectStore& store) {
  constexpr std::string_view k_scheme = "file://";
  const std::string url = store.url();
  if (!url.starts_with(k_scheme)) return std::nullopt;
  return url.substr(k_scheme.size());
}

std::vector<std::string> missing_directories(const store::ObjectStore& store) {
  std::vector<std::string> missing;
  const auto root = path_of(store);
  std::error_code failure;
  for (fs::path at = root.value_or(""); !at.empty() && !fs::exists(at, failure); at = at.parent_path())
    missing.push_back(at.string());
  return missing;
}

void remove_tree(const std::string& path) {
  std::error_code failure;
  fs::remove_all(path, failure);
  if (failure) throw Error(ErrorKind::io, path + ": cannot be removed: " + failure.message());
}

void remove_below(store::ObjectStore& store, const std::string& prefix) {
  if (const auto root = path_of(store)) {
    remove_tree(*root + "/" + prefix);
    return;
  }
  std::vector<std::string> keys;
  store.list(prefix + "/", [&keys](const store::ObjectInfo& object) { keys.push_back(object.key); });
  for (const std::string& key : keys) store.remove(key);
}

// When something was stored there last, in nanoseconds since 1970; 0 where nothing is there.
std::int64_t last_stored(store::ObjectStore& store, const std::string& prefix) {
  std::int64_t newest = 0;
  store.list(prefix + "/",
             [&newest](const store::ObjectInfo& object) { newest = std::max(newest, object.modified_ns); });
  const auto root = path_of(store);
  struct stat status {};
  if (newest == 0 && root && ::stat((*root + "/" + prefix).c_str(), &status) == 0)
    newest = std::int64_t{status.st_mtim.tv_sec} * 1'000'000'000;
  return newest;
}

}  // namespace

BenchPlace::BenchPlace(store::ObjectStore& store, OpenBelow open,
                       std::function<void(const std::string&)> trouble)
    : store_(store),
      open_(std::move(open)),
      trouble_(std::move(trouble)),
      prefix_(new_prefix()),
      directory_(make_directory()),
      missing_(missing_directories(store)) {}

BenchPlace::~BenchPlace() {
  try {
    remove_below(store_, prefix_);
    std::error_code ignored;
    for (const std::string& directory : missing_) fs::remove(directory, ignored);  // unless it is in use
  } catch (const std::exception& error) {
    trouble_(
        fmt::format("{}/{}: could not be removed: {}; 'runctl doctor --clear-leftovers' does it an hour "
                    "from now",
                    store_.url(), prefix_, error.what()));
  }
  try {
    remove_tree(directory_);
  } catch (const std::exception& error) {
    trouble_(error.what());
  }
}

std::unique_ptr<store::ObjectStore> BenchPlace::open(const std::string& part) const {
  return open_(prefix_ + "/" + part);
}

void BenchPlace::remove(const std::string& part) { remove_below(store_, prefix_ + "/" + part); }

void BenchPlace::remove_local(const std::string& name) const { remove_tree(local(name)); }

std::vector<std::string> bench_leftovers(store::ObjectStore& store, std::int64_t age_microseconds) {
  const std::int64_t now = std::chrono::duration_cast<std::chrono::nanoseconds>(
                               std::chrono::system_clock::now().time_since_epoch())
                               .count();
  std::vector<std::string> found;
  for (const std::string& group : store.list_groups("")) {
    if (!group.starts_with(k_bench_prefix)) continue;
    if ((now - last_stored(store, group)) / 1000 > age_microseconds) found.push_back(group);
  }
  return found;
}

void remove_bench_leftover(store::ObjectStore& store, const std::string& prefix) {
  remove_below(store, prefix);
}

}  // namespace runctl::flow
