// The tables of the index (runctl-batch(5), INDEX).
#pragma once

#include <string>

#include "index/sqlite.hpp"

namespace runctl::index {

// PRAGMA application_id of every index: "runc".
inline constexpr int k_application_id = 0x72756E63;
// PRAGMA user_version: raised with every change of the tables.
inline constexpr int k_schema_version = 1;

// Makes the tables of a new file.
void create_schema(Database& database);

// Throws Error(usage) where the file is another program's, or the index of a newer version.
void check_schema(Database& database, const std::string& path);

}  // namespace runctl::index
