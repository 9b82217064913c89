#include "flow/fetch.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <map>

#include "base/error.hpp"
#include "base/hash.hpp"
#include "run/json.hpp"

namespace runctl::flow {

namespace {

using base::Error;
using base::ErrorKind;

// Runs are read in windows of at most so many and so many bytes, so that memory does not grow with the
// request.
constexpr std::size_t k_window_runs = 1024;
constexpr std::uint64_t k_window_bytes = 16U << 20;
// A larger run is printed while it is read; and one that is split over frames has fields that can be read
// alone.
constexpr std::uint64_t k_streamed_run = 4U << 20;
constexpr std::uint64_t k_split_run = 1U << 20;

// A frame that is needed, and what it is needed for.
struct NeededFrame {
  run::Frame frame;
  std::vector<std::size_t> slices;
};

// The part of `frame`'s content that lies in [begin, begin + length) of the NDJSON.
std::string_view overlap(const run::Frame& frame, std::string_view raw, std::uint64_t begin,
                         std::uint64_t length) {
  const std::uint64_t from = std::max(begin, frame.raw_offset);
  const std::uint64_t to = std::min(begin + length, frame.raw_offset + frame.raw);
  return from < to ? raw.substr(from - frame.raw_offset, to - from) : std::string_view{};
}

// The bytes of one run, being put together from frames.
struct Assembly {
  const index::Location* location = nullptr;
  std::string json;
  std::string failure;

  void add(const run::Frame& frame, std::string_view raw) {
    json.resize(location->length);
    const std::string_view part = overlap(frame, raw, location->raw_offset, location->length);
    json.replace(std::max(frame.raw_offset, location->raw_offset) - location->raw_offset, part.size(), part);
  }
};

// How the id of a run, a JSON string, is that which is wanted.
enum class Likeness {
  none,
  stand_in,  // the wanted one is the UUID that stands for the run's in the index, as a search prints it
  same,      // the same text, or the same UUID
};

Likeness compare_id(std::string_view value, const std::string& wanted) {
  if (value.size() < 2) return Likeness::none;
  const std::string text = run::unescape(value.substr(1, value.size() - 2));
  const auto uuid = run::parse_uuid(wanted);
  if (uuid ? run::parse_uuid(text) == uuid : text == wanted) return Likeness::same;
  return uuid && run::id_of_text(text) == *uuid ? Likeness::stand_in : Likeness::none;
}

std::optional<std::string_view> find_member(const std::vector<run::Member>& members, std::string_view name) {
  // Of equal keys the last counts, as in every JSON parser at hand.
  for (auto member = members.rbegin(); member != members.rend(); ++member) {
    if (member->is(name)) return member->value;
  }
  return std::nullopt;
}

}  // namespace

Fetcher::Fetcher(FrameReader& frames, index::Index& index, FetchOptions options, FetchEvents events)
    : frames_(frames), index_(index), options_(std::move(options)), events_(std::move(events)) {}

std::vector<Fetcher::Wanted> Fetcher::locate(const std::vector<std::string>& ids) {
  std::vector<run::Id> run_ids;
  for (const std::string& id : ids) run_ids.push_back(run::id_of_text(id));
  std::vector<std::vector<index::Location>> found = index_.find(run_ids);
  std::vector<Wanted> wanted;
  for (std::size_t i = 0; i < ids.size(); ++i) {
    if (options_.all_versions && !found[i].empty()) {
      for (const index::Location& version : found[i]) wanted.push_back({ids[i], {version}});
    } else {
      wanted.push_back({ids[i], std::move(found[i])});
    }
  }
  return wanted;
}

void Fetcher::get_trace(const std::string& trace_id) {
  const std::vector<index::Location> locations = index_.find_trace(run::id_of_text(trace_id));
  get_located(locations);
  if (locations.empty()) events_.not_found(trace_id);
}

void Fetcher::get_located(const std::vector<index::Location>& locations) {
  std::vector<Wanted> wanted;
  for (const index::Location& location : locations) wanted.push_back({std::nullopt, {location}});
  get(wanted);
}

bool Fetcher::is_alone(std::uint64_t length) const {
  return length > (options_.fields.empty() ? k_streamed_run : k_split_run);
}

void Fetcher::get(const std::vector<Wanted>& wanted) {
  for (std::size_t begin = 0; begin < wanted.size();) {
    std::uint64_t bytes = 0;
    std::size_t end = begin;
    while (end < wanted.size() && end - begin < k_window_runs) {
      const std::uint64_t length = wanted[end].versions.empty() ? 0 : wanted[end].versions.front().length;
      if (is_alone(length) || bytes + length > k_window_bytes) break;
      bytes += length;
      ++end;
    }
    if (end > begin) {
      fetch_together(wanted, begin, end);
      begin = end;
    } else {
      fetch_alone(wanted[begin++]);
    }
  }
}

const std::string& Fetcher::key_of(std::int64_t batch) {
  std::string& key = keys_[batch];
  if (key.empty()) key = index_.batch(batch).key;
  return key;
}

void Fetcher::fail_corrupt(std::int64_t batch, const std::string& why) {
  throw Error(ErrorKind::corrupt, fmt::format("{}: {}", key_of(batch), why));
}

void Fetcher::fetch_together(const std::vector<Wanted>& wanted, std::size_t begin, std::size_t end) {
  std::vector<Assembly> assemblies(end - begin);
  std::map<std::pair<std::string_view, std::uint64_t>, NeededFrame> needed;  // by batch and offset
  index_.ask_at_once([&] {
    for (std::size_t i = 0; i < assemblies.size(); ++i) {
      if (wanted[begin + i].versions.empty()) continue;
      const index::Location& location = wanted[begin + i].versions.front();
      assemblies[i].location = &location;
      for (const run::Frame& frame :
           frames_of(index_, location.batch, location.raw_offset, location.length)) {
        NeededFrame& entry = needed[{key_of(location.batch), frame.offset}];
        entry.frame = frame;
        entry.slices.push_back(i);
      }
    }
  });
  std::vector<FramePlace> places;
  std::vector<const std::vector<std::size_t>*> slices;
  for (const auto& [place, entry] : needed) {
    places.push_back({std::string(place.first), entry.frame});
    slices.push_back(&entry.slices);
  }
  frames_.read(
      places,
      [&](std::size_t which, std::string_view raw) {
        for (const std::size_t slice : *slices[which]) assemblies[slice].add(places[which].frame, raw);
      },
      [&](std::size_t which, const std::string& why) {
        for (const std::size_t slice : *slices[which]) assemblies[slice].failure = why;
      });
  for (std::size_t i = 0; i < assemblies.size(); ++i) {
    const Wanted& asked = wanted[begin + i];
    if (assemblies[i].failure.empty())
      emit_or_report(asked, std::move(assemblies[i].json));
    else
      events_.broken(asked.id, assemblies[i].failure);
  }
}

void Fetcher::read_bytes(std::int64_t batch, std::uint64_t raw_offset, std::uint64_t length,
                         const PieceSink& sink) {
  const std::vector<run::Frame> frames = frames_of(index_, batch, raw_offset, length);
  frames_.read_in_order(key_of(batch), frames, [&](std::size_t which, std::string_view raw) {
    sink(overlap(frames[which], raw, raw_offset, length));
  });
}

std::string Fetcher::assemble(const index::Location& location) {
  std::string json;
  read_bytes(location.batch, location.raw_offset, location.length,
             [&json](std::string_view piece) { json += piece; });
  return json;
}

// A run too large to be put together with others. Where it breaks in the middle, what was printed is no whole
// line, and nothing can follow it.
void Fetcher::fetch_alone(const Wanted& wanted) {
  const index::Location& location = wanted.versions.front();
  const bool sure = names_itself(location, wanted.id);
  if (sure && options_.fields.empty()) {
    stream_run(location);
  } else if (!sure || !stream_fields(location)) {
    emit_or_report(wanted, assemble(location));
  }
}

// Whether the run's own id is `id`, as far as the index knows where it stands.
bool Fetcher::names_itself(const index::Location& location, const std::optional<std::string>& id) {
  if (!id) return true;
  const auto place = index_.field(location.run, "id");
  if (!place || place->length < 2) return false;
  std::string value;
  read_bytes(location.batch, location.raw_offset + place->offset, place->length,
             [&value](std::string_view piece) { value += piece; });
  return compare_id(value, *id) == Likeness::same;
}

void Fetcher::emit_or_report(const Wanted& wanted, std::string json) {
  try {
    emit(wanted, std::move(json));
  } catch (const Error& error) {
    if (error.kind() != ErrorKind::corrupt) throw;
    events_.broken(wanted.id, error.what());
  }
}

void Fetcher::stream_run(const index::Location& location) {
  base::Xxh3Stream hash;
  std::uint64_t done = 0;
  read_bytes(location.batch, location.raw_offset, location.length, [&](std::string_view piece) {
    hash.update(piece);
    done += piece.size();
    if (done == location.length && hash.value() != location.fingerprint) {
      fail_corrupt(location.batch, "the run there is not the one that was stored");
    }
    events_.bytes(piece, done == location.length);
  });
}

// False, and nothing printed, where the index does not know where all the fields lie.
bool Fetcher::stream_fields(const index::Location& location) {
  std::vector<index::FieldPlace> places;
  for (const std::string& field : options_.fields) {
    const auto place = index_.field(location.run, field);
    if (!place) return false;
    places.push_back(*place);
  }
  for (const index::FieldPlace& place : places) {
    std::uint64_t done = 0;
    read_bytes(location.batch, location.raw_offset + place.offset, place.length, [&](std::string_view piece) {
      done += piece.size();
      events_.bytes(piece, done == place.length);
    });
  }
  return true;
}

void Fetcher::emit(const Wanted& wanted, std::string json) {
  if (wanted.versions.empty()) {
    events_.not_found(*wanted.id);
    return;
  }
  // The index knows 16 bytes of each id: two ids may have one hash, and a hash may look like a UUID.
  std::optional<std::string> stand_in;
  for (std::size_t version = 0;; json = assemble(wanted.versions[version])) {
    if (base::xxh3_64(json) != wanted.versions[version].fingerprint) {
      fail_corrupt(wanted.versions[version].batch, "the run there is not the one that was stored");
    }
    if (!wanted.id) break;
    run::JsonScanner scanner;
    scanner.scan(json);
    const auto id = find_member(scanner.members(), "id");
    const Likeness likeness = id ? compare_id(*id, *wanted.id) : Likeness::none;
    if (likeness == Likeness::same) break;
    if (likeness == Likeness::stand_in && !stand_in) stand_in = std::move(json);
    if (++version < wanted.versions.size()) continue;
    if (!stand_in) {
      events_.not_found(*wanted.id);
      return;
    }
    json = std::move(*stand_in);
    break;
  }
  if (options_.fields.empty()) {
    events_.bytes(json, true);
  } else {
    emit_fields(wanted, json);
  }
}

void Fetcher::emit_fields(const Wanted& wanted, std::string_view json) {
  run::JsonScanner scanner;
  scanner.scan(json);
  std::optional<std::string> name = wanted.id;
  const auto id = name ? std::nullopt : find_member(scanner.members(), "id");
  if (id && id->size() >= 2 && id->front() == '"') name = run::unescape(id->substr(1, id->size() - 2));
  for (const std::string& field : options_.fields) {
    if (const auto value = find_member(scanner.members(), field))
      events_.bytes(*value, true);
    else
      events_.field_not_found(name, field);
  }
}

}  // namespace runctl::flow
