// A store in a local directory: keys are paths below it.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "store/object_store.hpp"

namespace runctl::store {

// The directory need not be there yet; it is made by the first put. `path` is made absolute. Throws
// Error(usage) where something else than a directory is there.
std::unique_ptr<ObjectStore> open_directory(const std::string& path);

// Half-written files below the directory of a store's url(), older than `age_microseconds`: what writers that
// were killed have left.
std::vector<std::string> directory_leftovers(const std::string& url, std::int64_t age_microseconds);
void remove_leftovers(const std::vector<std::string>& paths);

}  // namespace runctl::store
