#include "metrics.hpp"

#include <fmt/format.h>

#include <charconv>
#include <chrono>
#include <cmath>
#include <filesystem>
#include <optional>

#include "base/bytes.hpp"
#include "base/error.hpp"
#include "base/file.hpp"
#include "flow/ingest.hpp"
#include "interrupt.hpp"

namespace runctl::cmd {

namespace {

namespace fs = std::filesystem;

constexpr std::size_t k_max_file = 1U << 20;
constexpr std::string_view k_head = "# HELP runctl_";  // of every file that text() makes

constexpr const char* k_requests = "runctl_store_requests_total";

// The textfile collector wants one help text for each name, over all files: they depend on nothing.
struct Family {
  Count count;
  const char* name;
  const char* help;
};
constexpr Family k_counters[] = {
    {Count::runs_read, "runctl_runs_read_total", "Records that ingest read."},
    {Count::runs_stored, "runctl_runs_stored_total", "Runs that ingest stored."},
    {Count::runs_duplicate, "runctl_runs_duplicate_total", "Records whose run was stored before."},
    {Count::runs_rejected, "runctl_runs_rejected_total", "Records that are no runs."},
    {Count::runs_spooled, "runctl_runs_spooled_total", "Runs put into the spool because the store was away."},
    {Count::runs_delivered, "runctl_runs_delivered_total", "New runs delivered from the spool."},
    {Count::runs_returned, "runctl_runs_returned_total", "Runs that get or search printed."},
    {Count::batches_stored, "runctl_batches_stored_total", "Batches that ingest stored."},
    {Count::input_bytes, "runctl_input_bytes_total", "Bytes of text that ingest read, decompressed."},
    {Count::stored_bytes, "runctl_stored_bytes_total", "Bytes of the batches that ingest stored."},
    {Count::output_bytes, "runctl_output_bytes_total", "Bytes that get or search printed."},
    {Count::requests, k_requests,
     "Requests to the store, those sent again included, by kind and HTTP status."},
    {Count::retries, "runctl_store_retries_total", "Requests to the store that were sent again."},
    {Count::store_read_bytes, "runctl_store_read_bytes_total", "Bytes read from the store."},
    {Count::store_written_bytes, "runctl_store_written_bytes_total", "Bytes sent to the store."},
    {Count::cache_hits, "runctl_cache_hits_total", "Frames that came from the cache."},
    {Count::cache_misses, "runctl_cache_misses_total", "Frames that were not in the cache."},
};
constexpr const char* k_last_success = "runctl_last_success_timestamp_seconds";

// A label's value: any UTF-8, in which three characters are escaped.
std::string escaped(std::string_view text) {
  std::string out;
  for (const char c : text) {
    if (c == '\\' || c == '"') out += '\\';
    if (c == '\n')
      out += "\\n";
    else
      out += c;
  }
  return out;
}

double seconds(base::Clock::Time time) { return std::chrono::duration<double>(time).count(); }

std::string label(const char* name, std::string_view value) {
  return fmt::format("{}=\"{}\"", name, escaped(value));
}

// Takes `name="..."` from the front of the text, whatever the value.
bool skip_label(std::string_view& text, std::string_view name) {
  if (!text.starts_with(name) || !text.substr(name.size()).starts_with("=\"")) return false;
  for (std::size_t i = name.size() + 2; i < text.size(); ++i) {
    if (text[i] == '\\') {
      ++i;
    } else if (text[i] == '"') {
      text.remove_prefix(i + 1);
      return true;
    }
  }
  return false;
}

bool skip_text(std::string_view& text, std::string_view start) {
  if (!text.starts_with(start)) return false;
  text.remove_prefix(start.size());
  return true;
}

bool skip_some_of(std::string_view& text, std::string_view characters) {
  const std::size_t length = std::min(text.find_first_not_of(characters), text.size());
  text.remove_prefix(length);
  return length > 0;
}

// Whether text() writes a sample of this name with such labels behind those of the command and the file.
bool is_own(std::string_view name, std::string_view labels) {
  if (name != k_requests) return labels.empty();
  return skip_text(labels, ",kind=\"") && skip_some_of(labels, "abcdefghijklmnopqrstuvwxyz") &&
         skip_text(labels, "\",status=\"") &&
         (skip_text(labels, "none") || skip_some_of(labels, "0123456789")) && labels == "\"";
}

template <typename Number>
std::optional<Number> number_of(std::string_view text) {
  Number number = 0;
  const auto [end, failure] = std::from_chars(text.data(), text.data() + text.size(), number);
  if (failure != std::errc() || end != text.data() + text.size()) return std::nullopt;
  return number;
}

// The samples of one command in a file that an earlier one has written: by name, and by the labels that stand
// behind those of the command and the file. What is no such line is passed over.
using Samples = std::map<std::string, std::map<std::string, std::string_view>>;

Samples samples_of(std::string_view text, const std::string& command) {
  Samples samples;
  const std::string own = label("command", command) + ",";
  while (!text.empty()) {
    const std::size_t length = std::min(text.find('\n'), text.size());
    const std::string_view line = text.substr(0, length);
    text.remove_prefix(std::min(length + 1, text.size()));
    const std::size_t brace = line.find('{');
    const std::size_t end = line.rfind("} ");
    if (line.starts_with('#') || brace == std::string_view::npos || end == std::string_view::npos ||
        end < brace)
      continue;
    std::string_view labels = line.substr(brace + 1, end - brace - 1);
    if (!labels.starts_with(own)) continue;
    labels.remove_prefix(own.size());
    const std::string_view name = line.substr(0, brace);
    if (!skip_label(labels, "file") || !is_own(name, labels)) continue;
    samples[std::string(name)][std::string(labels)] = line.substr(end + 2);
  }
  return samples;
}

// Puts the families together, each with its head.
class Writer {
 public:
  // `labels`: those that every sample has.
  explicit Writer(std::string labels) : labels_(std::move(labels)) {}

  void begin(const char* name, const char* type, const char* help) {
    name_ = name;
    text_ += fmt::format("# HELP {} {}\n# TYPE {} {}\n", name, help, name, type);
  }
  void sample(std::string_view more_labels, std::string_view value) {
    text_ += fmt::format("{}{{{}{}}} {}\n", name_, labels_, more_labels, value);
  }
  void gauge(const char* name, const char* help, std::string_view value) {
    begin(name, "gauge", help);
    sample("", value);
  }
  [[nodiscard]] std::string take() { return std::move(text_); }

 private:
  const std::string labels_;
  const char* name_ = "";
  std::string text_;
};

constexpr const char* k_foreign = ": is not a file of metrics that runctl wrote; name another";

// What the file holds, nothing where there is none; absent where it is not for us to replace.
std::optional<std::string> own_text(const std::string& path) {
  std::error_code failure;
  const fs::file_status there = fs::status(path, failure);
  if (!failure && fs::exists(there) &&
      (!fs::is_regular_file(there) || fs::file_size(path, failure) > k_max_file))
    return std::nullopt;
  std::string text = base::read_file(path, k_max_file).value_or("");
  if (!text.empty() && !text.starts_with(k_head)) return std::nullopt;
  return text;
}

}  // namespace

Metrics::Metrics(std::string command, base::Clock& clock)
    : command_(std::move(command)), clock_(clock), began_(clock.steady()) {}

void Metrics::add(const store::Traffic& traffic) {
  for (const auto& [request, count] : traffic.by_kind) {
    const std::string status = request.status == 0 ? "none" : std::to_string(request.status);
    counts_[{Count::requests, "," + label("kind", request.kind) + "," + label("status", status)}] += count;
  }
  add(Count::retries, traffic.retries);
  add(Count::store_read_bytes, traffic.bytes_read);
  add(Count::store_written_bytes, traffic.bytes_written);
}

void Metrics::add(const flow::IngestReport& report) {
  add(Count::runs_read, report.read);
  add(Count::runs_stored, report.stored);
  add(Count::runs_duplicate, report.duplicate);
  add(Count::runs_rejected, report.rejected);
  add(Count::runs_spooled, report.spooled);
  add(Count::runs_delivered, report.delivered);
  add(Count::batches_stored, report.batches);
  add(Count::input_bytes, report.bytes_in);
  add(Count::stored_bytes, report.bytes_stored);
}

std::string Metrics::text(const std::string& name, int status, std::string_view earlier) const {
  const Samples before = samples_of(earlier, command_);
  const auto samples_before = [&before](const char* family) {
    const auto found = before.find(family);
    return found == before.end() ? Samples::mapped_type{} : found->second;
  };
  const std::string now = fmt::format("{:.3f}", seconds(clock_.since_1970()));
  Writer out(label("command", command_) + "," + label("file", base::printable(name, name.size())));
  for (const Family& family : k_counters) {
    std::map<Labels, std::uint64_t> sums;
    for (const auto& [labels, value] : samples_before(family.name))
      sums[labels] = number_of<std::uint64_t>(value).value_or(0);
    for (const auto& [key, count] : counts_) {
      if (key.first == family.count) sums[key.second] += count;
    }
    if (sums.empty()) continue;
    out.begin(family.name, "counter", family.help);
    for (const auto& [labels, sum] : sums) out.sample(labels, std::to_string(sum));
  }
  if (!phases_.empty()) {
    out.begin("runctl_phase_seconds", "gauge", "How long the phases of the last run took.");
    for (const auto& [phase, time] : phases_)
      out.sample("," + label("phase", phase), fmt::format("{:.6f}", seconds(time)));
  }
  out.gauge("runctl_duration_seconds", "How long the last run took.",
            fmt::format("{:.6f}", seconds(clock_.steady() - began_)));
  out.gauge("runctl_exit_status", "Exit status of the last run.", std::to_string(status));
  out.gauge("runctl_last_run_timestamp_seconds", "When the last run ended, since 1970.", now);
  std::string success = "0";
  for (const auto& [labels, value] : samples_before(k_last_success)) {
    const double time = number_of<double>(value).value_or(0);
    if (time > 0 && std::isfinite(time)) success = fmt::format("{:.3f}", time);
  }
  out.gauge(k_last_success, "When a run last ended with exit status 0, since 1970; 0: none has.",
            status == 0 ? now : success);
  out.begin("runctl_build_info", "gauge", "The version of runctl, with the value 1.");
  out.sample("," + label("version", RUNCTL_VERSION), "1");
  return out.take();
}

void Metrics::require_own(const std::string& path) {
  bool own = true;
  try {
    own = own_text(path).has_value();
  } catch (const base::Error&) {
    // What cannot be read is not replaced either: write() says why.
  }
  if (!own) throw base::Error(base::ErrorKind::usage, path + k_foreign);
}

void Metrics::write(const std::string& path, int status) const {
  const std::string target = base::replacement_target(path);
  // The command itself may have made another file of this name.
  const std::optional<std::string> earlier = own_text(target);
  if (!earlier) throw base::Error(base::ErrorKind::io, path + k_foreign);
  base::AtomicFile file(target);
  const RemovedOnSignal leftover(file.temporary_path());
  file.write(text(fs::path(path).filename().string(), status, *earlier));
  // Whatever the umask: the exporter runs as another user.
  std::error_code failure;
  fs::permissions(
      file.temporary_path(),
      fs::perms::owner_read | fs::perms::owner_write | fs::perms::group_read | fs::perms::others_read,
      failure);
  if (failure)
    throw base::Error(base::ErrorKind::io, path + ": cannot be made readable: " + failure.message());
  file.commit(base::AtomicFile::Replace::yes);
}

}  // namespace runctl::cmd
