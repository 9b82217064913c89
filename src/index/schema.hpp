// The tables of the index (runctl-batch(5), INDEX).
#pragma once

#include <string>

#include "index/sqlite.hpp"

namespace runctl::index {

// PRAGMA application_id of every index: "runc".
inline constexpr int k_application_id = 0x72756E63;
// PRAGMA user_version: raised with every change of the tables.
inline constexpr int k_schema_version = 2;

// Makes the tables of a new file for the index of a store, whose setting "first_sync" is "due" until the
// store was asked what it holds. Does not wait for the disk.
void create_schema(Database& database, const std::string& store_url);

// The schema version of a file. Throws Error(usage) where it is another program's, or the index of a newer
// version, and Error(corrupt) where its tables are not those of that version, to the letter.
int schema_version(Database& database, const std::string& path);

// Brings an index of an older version to this one, in one transaction: killed or failing, it stays what it
// was.
void migrate(Database& database);

// The tables without a file's pragmas, for `migrate`.
void create_tables(Database& database);

}  // namespace runctl::index
