// Reads batches that may have been cut, changed or made to hurt.
#pragma once

#include <cstdint>
#include <functional>
#include <string>

#include "run/table.hpp"

namespace runctl::batch {

// Returns exactly `length` bytes from `offset` of one object, or throws.
using ReadRange = std::function<std::string(std::uint64_t offset, std::uint64_t length)>;

// What the footer of an object of `size` bytes says: one read where the last 128 KiB hold it, else two.
// Throws Error(corrupt) without naming the object.
run::Table read_table(std::uint64_t size, const ReadRange& read);

// Whether `key` is named like a batch: runs/v1/GROUP/HASH.ndjson.zst.
bool is_batch_key(const std::string& key);

}  // namespace runctl::batch
