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

// The name of the setting that is "due" in a new index until the store was asked what it holds.
inline constexpr const char* k_first_sync = "first_sync";

// Whether the index knows nothing of what the store held before it: every run would be new to it.
bool first_sync_is_due(index::Index& index);

// Brings the index up to date, shows progress, and notes down when a whole sync was done. Broken batches are
// named on standard error.
flow::SyncReport sync_index(Session& session, index::Index& index, const flow::SyncScope& scope);

// Now, in microseconds since 1970.
std::int64_t now_microseconds();

// "3 min ago", of a time at or before `now`.
std::string age_text(std::int64_t then, std::int64_t now);

}  // namespace runctl::cmd
