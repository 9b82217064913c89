// What several commands do when the index may lag behind the store.
#pragma once

#include <optional>
#include <string>

#include "flow/sync.hpp"
#include "session.hpp"

namespace runctl::cmd {

// The name of the setting that holds when the index last agreed with the whole store: microseconds since
// 1970.
inline constexpr const char* k_synced = "synced";

// Brings the index up to date, shows progress, and notes down when a whole sync was done. Broken batches are
// named on standard error.
flow::SyncReport sync_index(Session& session, index::Index& index, const flow::SyncScope& scope);

// Now, in microseconds since 1970.
std::int64_t now_microseconds();

// "3 min ago", of a time at or before `now`.
std::string age_text(std::int64_t then, std::int64_t now);

}  // namespace runctl::cmd
