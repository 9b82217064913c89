#include "run/record.hpp"

#include <fmt/format.h>
#include <sys/random.h>

#include <algorithm>
#include <array>
#include <ctime>
#include <optional>

#include "base/bytes.hpp"
#include "base/error.hpp"
#include "base/hash.hpp"

namespace runctl::run {

namespace {

enum Field : std::size_t {
  f_id,
  f_trace_id,
  f_parent_run_id,
  f_name,
  f_run_type,
  f_start_time,
  f_end_time,
  f_tags,
  f_error,
  f_status,
  f_inputs,
  f_outputs,
  f_metadata,
  f_extra,
  k_fields
};

constexpr std::array<std::string_view, k_fields> k_field_names = {
    "id",   "trace_id", "parent_run_id", "name",   "run_type", "start_time", "end_time",
    "tags", "error",    "status",        "inputs", "outputs",  "metadata",   "extra"};

// The values of the known fields; no data where the field is absent.
using Values = std::array<std::string_view, k_fields>;

std::size_t field_of(std::string_view key) {
  for (std::size_t i = 0; i < k_fields; ++i) {
    if (k_field_names[i] == key) return i;
  }
  return k_fields;
}

bool is_absent(std::string_view value) { return value.data() == nullptr || value == "null"; }

std::string_view body_of(std::string_view string) { return string.substr(1, string.size() - 2); }

// The text of a JSON string; a view into it where it has no escapes.
std::string_view text_of(std::string_view string, Arena& arena) {
  const std::string_view body = body_of(string);
  if (body.find('\\') == std::string_view::npos) return body;
  return arena.texts.emplace_back(unescape(body));
}

std::string wrong_type(std::size_t field, const char* wanted) {
  return fmt::format("\"{}\" must be {}", k_field_names[field], wanted);
}

// Sets `text` from a field that is a string, null or absent.
std::string read_text(const Values& values, std::size_t field, Arena& arena, std::string_view& text) {
  const std::string_view value = values[field];
  if (is_absent(value)) return {};
  if (value.front() != '"') return wrong_type(field, "a string or null");
  text = text_of(value, arena);
  return {};
}

std::string read_time(const Values& values, std::size_t field, Arena& arena, std::int64_t& time) {
  const std::string_view value = values[field];
  if (is_absent(value)) return {};
  const bool is_string = value.front() == '"';
  if (!is_string && value.front() != '-' && (value.front() < '0' || value.front() > '9')) {
    return wrong_type(field, "a time: an ISO 8601 string, a number or null");
  }
  const auto parsed =
      is_string ? base::parse_iso_time(text_of(value, arena)) : base::parse_epoch_number(value);
  if (!parsed) {
    return fmt::format("\"{}\" is no time: {}", k_field_names[field], base::printable(value, 60));
  }
  time = *parsed;
  return {};
}

std::array<std::uint8_t, 16> random_bytes() {
  std::array<std::uint8_t, 16> bytes{};
  if (getrandom(bytes.data(), bytes.size(), 0) != static_cast<ssize_t>(bytes.size())) {
    base::throw_errno("getrandom", errno);
  }
  return bytes;
}

std::int64_t now_milliseconds() {
  timespec now{};
  clock_gettime(CLOCK_REALTIME, &now);
  return std::int64_t{now.tv_sec} * 1000 + now.tv_nsec / 1'000'000;
}

// `json` with a member "id" written behind its opening brace.
std::string with_id(std::string_view json, const Id& id, bool has_members) {
  return fmt::format("{{\"id\":\"{}\"{}{}", uuid_text(id), has_members ? "," : "", json.substr(1));
}

// Every element of the array must be a string; they are appended to the arena.
std::string read_tags(std::string_view array, Arena& arena) {
  // The array is valid JSON, so a quote outside of a string opens one, and all else that is no white
  // space, comma or bracket is an element of another type.
  for (std::size_t i = 1; i + 1 < array.size();) {
    if (is_json_space(array[i]) || array[i] == ',') {
      ++i;
      continue;
    }
    if (array[i] != '"') return wrong_type(f_tags, "an array of strings or null");
    std::size_t end = i + 1;
    while (array[end] != '"') end += array[end] == '\\' ? 2 : 1;
    arena.tags.push_back(text_of(array.substr(i, end + 1 - i), arena));
    i = end + 1;
  }
  return {};
}

// The position of the metadata that LangSmith keeps in "extra", which is members[extra].
std::size_t metadata_in(std::span<const Member> members, std::size_t extra) {
  for (std::size_t i = extra + 1; i < members.size() && members[i].depth > members[extra].depth; ++i) {
    const Member& member = members[i];
    const bool own = member.depth == members[extra].depth + 1;
    if (own && member.value.front() == '{' && member.is("metadata")) return i;
  }
  return members.size();
}

}  // namespace

std::string_view TextBlocks::add(std::initializer_list<std::string_view> parts) {
  constexpr std::size_t k_block = 64U << 10;
  std::size_t size = 0;
  for (const std::string_view part : parts) size += part.size();
  if (blocks_.empty() || size_ - used_ < size) {
    size_ = std::max(size, k_block);
    used_ = 0;
    blocks_.push_back(std::make_unique_for_overwrite<char[]>(size_));
  }
  char* const text = blocks_.back().get() + used_;
  char* end = text;
  for (const std::string_view part : parts) end = std::copy(part.begin(), part.end(), end);
  used_ += size;
  return {text, size};
}

// Entries of the object that is the value of members[object].
void RecordReader::read_metadata(std::span<const Member> members, std::size_t object, Arena& arena,
                                 const Record& record) {
  const std::uint32_t outside = members[object].depth;
  std::size_t deepest = k_max_metadata_depth;  // of what is read: less within a member that is left out
  for (std::size_t i = object + 1; i < members.size() && members[i].depth > outside; ++i) {
    if (arena.metadata.size() - record.metadata_begin == options_.metadata_entries) return;
    const std::size_t depth = members[i].depth - outside;
    if (depth > deepest) continue;
    deepest = k_max_metadata_depth;
    const auto& [key, value, key_escaped, value_escaped, _] = members[i];
    // An escape is at most six times as long as what it stands for.
    if (value.front() == '[' || value == "null" || key.size() > 6 * k_max_metadata_text) {
      deepest = depth;
      continue;
    }
    entry_.resize(prefixes_[depth - 1]);
    if (value.front() == '{') {
      append_unescaped(entry_, key);
      entry_ += '.';
      prefixes_[depth] = entry_.size();
      continue;
    }
    const bool is_string = value.front() == '"';
    const std::string_view body = is_string ? body_of(value) : value;
    if (!key_escaped && !(is_string && value_escaped)) {
      if (entry_.size() + key.size() + 1 + body.size() <= k_max_metadata_text)
        arena.metadata.push_back(arena.short_texts.add({entry_, key, "=", body}));
    } else if (body.size() <= 6 * k_max_metadata_text) {
      append_unescaped(entry_, key);
      entry_ += '=';
      append_unescaped(entry_, body, k_max_metadata_text);
      if (entry_.size() <= k_max_metadata_text) arena.metadata.push_back(arena.short_texts.add({entry_}));
    }
  }
}

std::string RecordReader::read(std::string_view json, std::span<const Member> members, Arena& arena,
                               Record& record) {
  Values values{};
  std::size_t metadata = members.size();
  std::size_t extra = members.size();
  for (std::size_t i = 0; i < members.size(); ++i) {
    const Member& member = members[i];
    if (member.depth > 1) continue;
    const std::size_t field = member.key_escaped ? field_of(unescape(member.key)) : field_of(member.key);
    if (field == k_fields) continue;
    if (values[field].data() != nullptr) return fmt::format("\"{}\" is there twice", k_field_names[field]);
    values[field] = member.value;
    if (field == f_metadata) metadata = i;
    if (field == f_extra) extra = i;
  }

  record = Record{};
  std::string_view trace_id;
  std::string_view parent;
  std::string reason = read_text(values, f_trace_id, arena, trace_id);
  if (reason.empty()) reason = read_text(values, f_parent_run_id, arena, parent);
  if (reason.empty()) reason = read_text(values, f_name, arena, record.name);
  if (reason.empty()) reason = read_text(values, f_run_type, arena, record.run_type);
  if (reason.empty()) reason = read_text(values, f_status, arena, record.status);
  if (reason.empty()) reason = read_time(values, f_start_time, arena, record.start_time);
  if (reason.empty()) reason = read_time(values, f_end_time, arena, record.end_time);
  if (!reason.empty()) return reason;

  const std::string_view error = values[f_error];
  if (!is_absent(error)) {
    if (error.front() != '"' && error.front() != '{')
      return wrong_type(f_error, "a string, an object or null");
    record.has_error = true;
  }
  if (!is_absent(values[f_metadata]) && values[f_metadata].front() != '{') {
    return wrong_type(f_metadata, "an object or null");
  }
  record.tags_begin = static_cast<std::uint32_t>(arena.tags.size());
  if (!is_absent(values[f_tags])) {
    if (values[f_tags].front() != '[') return wrong_type(f_tags, "an array of strings or null");
    reason = read_tags(values[f_tags], arena);
    if (!reason.empty()) {
      arena.tags.resize(record.tags_begin);
      return reason;
    }
  }
  record.tags_end = static_cast<std::uint32_t>(arena.tags.size());

  const std::string_view id = values[f_id];
  if (id.data() != nullptr) {
    if (id.front() != '"') return wrong_type(f_id, "a string");
    record.id_text = text_of(id, arena);
    record.id = id_of_text(record.id_text);
    record.json = json;
  } else {
    std::optional<std::int64_t> milliseconds;
    if (record.start_time != base::k_no_time) milliseconds = record.start_time / 1000;
    record.id = options_.id_policy == IdPolicy::fresh ? new_uuid_v7(now_milliseconds(), random_bytes())
                                                      : derived_id(json, milliseconds);
    record.id_text = arena.texts.emplace_back(uuid_text(record.id));
    record.json = arena.texts.emplace_back(with_id(json, record.id, !members.empty()));
  }
  record.trace_id = trace_id.empty() ? record.id : id_of_text(trace_id);
  record.parent_id = parent.empty() ? record.id : id_of_text(parent);
  record.metadata_begin = static_cast<std::uint32_t>(arena.metadata.size());
  // The run's own; where it has none, the one in "extra".
  if (is_absent(values[f_metadata])) metadata = extra == members.size() ? extra : metadata_in(members, extra);
  if (metadata != members.size() && options_.metadata_entries > 0)
    read_metadata(members, metadata, arena, record);
  record.metadata_end = static_cast<std::uint32_t>(arena.metadata.size());
  record.fingerprint = base::xxh3_64(record.json);
  return {};
}

}  // namespace runctl::run
