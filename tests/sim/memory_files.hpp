// The bytes of SQLite's files, in memory while SQLite has them open: a history reads and writes them a
// thousand times. Names, and who may open what, are still the file system's.
#pragma once

#include <string>

namespace runctl::sim {

// Before SQLite opens its first file. A file may be opened by one thread of the program only.
void keep_files_in_memory();

// Writes a file that SQLite has open in this thread, beneath it: `bytes` and nothing else. False where it has
// not.
bool overwrite_in_memory(const std::string& path, const std::string& bytes);
// Of the same length, but zeros.
bool zero_in_memory(const std::string& path);

}  // namespace runctl::sim
