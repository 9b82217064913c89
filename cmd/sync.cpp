#include "sync.hpp"

#include <fmt/format.h>

#include <chrono>

#include "base/error.hpp"
#include "interrupt.hpp"
#include "output.hpp"
#include "progress.hpp"

namespace runctl::cmd {

flow::SyncReport sync_index(Session& session, index::Index& index, const flow::SyncScope& scope) {
  const Metrics::Phase phase(session.metrics(), "sync");
  const std::int64_t started = now_microseconds();
  ProgressLine progress(session.settings().progress, session.settings().quiet);
  flow::SyncReport report =
      flow::sync(session.store(), index, scope, [&progress](std::uint64_t done, std::uint64_t all) {
        if (Interruption::signal() != 0) {
          throw base::Error(base::ErrorKind::interrupted,
                            fmt::format("interrupted: {} of {} new batches were read; run the same command "
                                        "again to go on",
                                        done, all));
        }
        progress.update(done, all, fmt::format("{} of {} new batches", human_count(done), human_count(all)));
      });
  progress.clear();
  for (const std::string& broken : report.broken) note(broken);
  if (scope.since || scope.only) return report;
  if (first_sync_is_due(index)) index.set_setting(k_first_sync, "done");
  if (report.broken.empty()) index.set_setting(k_synced, std::to_string(started));
  return report;
}

bool first_sync_is_due(index::Index& index) { return index.setting(k_first_sync) == "due"; }

std::int64_t now_microseconds() {
  const auto now = std::chrono::system_clock::now().time_since_epoch();
  return std::chrono::duration_cast<std::chrono::microseconds>(now).count();
}

std::string age_text(std::int64_t then, std::int64_t now) {
  const std::int64_t seconds = (now - then) / 1'000'000;
  if (seconds < 120) return fmt::format("{} s ago", seconds);
  if (seconds < 7200) return fmt::format("{} min ago", seconds / 60);
  if (seconds < 172'800) return fmt::format("{} h ago", seconds / 3600);
  return fmt::format("{} days ago", seconds / 86'400);
}

}  // namespace runctl::cmd
