// A store in a local directory: keys are paths below it.
#pragma once

#include <memory>
#include <string>

#include "store/object_store.hpp"

namespace runctl::store {

// The directory need not be there yet; it is made by the first put. `path` is made absolute. Throws
// Error(usage) where something else than a directory is there.
std::unique_ptr<ObjectStore> open_directory(const std::string& path);

}  // namespace runctl::store
