// Runs out: ids → index → ranges → store → frames → bytes.
#pragma once

#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "flow/frame_reader.hpp"
#include "index/index.hpp"

namespace runctl::flow {

struct FetchOptions {
  std::vector<std::string> fields;  // names of top-level fields; empty: the whole run
  bool all_versions = false;        // the latest first
};

// All are called on the calling thread, in the order of the request.
struct FetchEvents {
  // The next bytes of a run, or of its field `field` (position in FetchOptions::fields); a large one comes in
  // several pieces, of which `last` is true for the last.
  std::function<void(std::string_view bytes, bool last)> bytes;
  // What was asked for is not there.
  std::function<void(std::string_view id)> not_found;
  // `id` as it was asked for, else as the run names itself, if it does.
  std::function<void(std::optional<std::string_view> id, std::string_view field)> field_not_found;
  // A run is in the index, but its bytes are lost or changed; `why` names the batch. `id` as it was asked
  // for; none where a trace or a search was.
  std::function<void(std::optional<std::string_view> id, const std::string& why)> broken;
};

// Gets runs out of one store by one index. Throws base::Error where store or index fail; one broken batch
// does not keep the other runs from being printed.
class Fetcher {
 public:
  Fetcher(FrameReader& frames, index::Index& index, FetchOptions options, FetchEvents events);

  // One line of the answer: a version of a run, or word that there is none.
  struct Wanted {
    std::optional<std::string> id;          // as it was asked for; none where any id will do
    std::vector<index::Location> versions;  // the one to print first; empty where there is none
  };
  // Where the index has them.
  std::vector<Wanted> locate(const std::vector<std::string>& ids);
  // Runs that lie near each other are read together, within each call.
  void get(const std::vector<Wanted>& wanted);
  void get(const std::vector<std::string>& ids) { get(locate(ids)); }
  // The runs that lie there.
  void get_located(const std::vector<index::Location>& locations);
  // All runs of a trace, by start time.
  void get_trace(const std::string& trace_id);

 private:
  void fetch_together(const std::vector<Wanted>& wanted, std::size_t begin, std::size_t end);
  void fetch_alone(const Wanted& wanted);
  [[nodiscard]] bool is_alone(std::uint64_t length) const;
  bool names_itself(const index::Location& location, const std::optional<std::string>& id);
  bool stream_fields(const index::Location& location);
  void stream_run(const index::Location& location);
  void emit(const Wanted& wanted, std::string json);
  void emit_or_report(const Wanted& wanted, std::string json);
  void emit_fields(const Wanted& wanted, std::string_view json);
  std::string assemble(const index::Location& location);
  using PieceSink = std::function<void(std::string_view piece)>;
  void read_bytes(std::int64_t batch, std::uint64_t raw_offset, std::uint64_t length, const PieceSink& sink);
  const std::string& key_of(std::int64_t batch);
  [[noreturn]] void fail_corrupt(std::int64_t batch, const std::string& why);

  FrameReader& frames_;
  index::Index& index_;
  const FetchOptions options_;
  const FetchEvents events_;
  std::unordered_map<std::int64_t, std::string> keys_;  // of batches
};

}  // namespace runctl::flow
