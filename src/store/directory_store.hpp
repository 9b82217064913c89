// A store in a local directory: keys are paths below it.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "store/object_store.hpp"

namespace runctl::store {

// The directory need not be there yet; it is made by the first put. `path` is made absolute. Throws
// Error(usage) where something else than a directory is there.
std::unique_ptr<ObjectStore> open_directory(const std::string& path);

// The directory of a url() that open_directory() made.
std::string directory_of(const std::string& url);

// What is written for longer than this was left by a writer that was killed; what is younger may belong to
// one that is at work.
inline constexpr std::int64_t k_leftover_microseconds = std::int64_t{3600} * 1'000'000;

// Half-written files below `directory`, older than `age_microseconds`.
std::vector<std::string> directory_leftovers(const std::string& directory, std::int64_t age_microseconds);
void remove_leftovers(const std::vector<std::string>& paths);

}  // namespace runctl::store
