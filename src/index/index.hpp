// The local index: which runs there are and where they lie. It repeats what the footers say, nothing more.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "base/file.hpp"
#include "index/query.hpp"
#include "index/table_keys.hpp"
#include "run/table.hpp"

namespace runctl::index {

struct BatchInfo {
  std::string key;
  std::uint64_t size = 0;        // of the object, in bytes
  std::int64_t modified_ns = 0;  // the store's word, since 1970
};

// A field of a run, relative to the run's first byte.
struct FieldPlace {
  std::uint32_t offset = 0;
  std::uint32_t length = 0;
};

// The runs that the index looks for in one batch.
struct RunsOfBatch {
  std::uint64_t count = 0;
  std::vector<run::Id> first;  // at most k_first_runs of them
};
inline constexpr std::size_t k_first_runs = 3;

// What the index says of a batch, held against its footer.
struct Agreement {
  bool known = false;  // the index has the batch; if not, the rest says nothing
  std::uint64_t size = 0;
  bool same_frames = false;
  std::vector<std::uint32_t> lost;  // positions in the footer of runs that the index does not find
  std::uint64_t strangers = 0;      // runs that it looks for in the batch, where others lie
};

struct Status {
  std::int64_t runs = 0;
  std::int64_t batches = 0;
  std::int64_t stored_bytes = 0;        // of all batches
  std::int64_t newest_modified_ns = 0;  // of the batch stored last; 0 where there is none
};

// One object for each thread. Failures are base::Error: usage for a file that is not ours or too new, corrupt
// for a broken one, io else; each names the file.
class Index {
 public:
  enum class Access { read, write };
  struct Tables;  // tables.hpp, for the parts of the index

  // Opens the index of the store `store_url` at `path`. With Access::write it is made where it is absent;
  // with Access::read, absent files give an empty optional.
  static std::optional<Index> open(const std::string& path, const std::string& store_url, Access access);

  Index(Index&&) noexcept;
  Index& operator=(Index&&) noexcept;
  ~Index();

  // Waits until the store has confirmed a batch, and returns its modification time; throws where it does not.
  using Confirmed = std::function<std::int64_t()>;
  // Records a batch in one transaction, after the store has confirmed it. Of runs that the index already has,
  // with the same id and bytes, the copy that the store took first counts. Returns how many runs are new;
  // nothing where the index has the batch already. `keys` are those of the table. With `confirmed` the batch
  // may be on its way: that is asked last, while others that write wait, and tells what batch.modified_ns
  // does not.
  std::optional<std::size_t> add(const BatchInfo& batch, const run::Table& table, const TableKeys& keys,
                                 const Confirmed& confirmed = {});
  std::optional<std::size_t> add(const BatchInfo& batch, const run::Table& table) {
    return add(batch, table, keys_of(table));
  }

  // Fills the next batch, or returns false: there are no more.
  using NextBatch = std::function<bool(BatchInfo& batch, run::Table& table)>;
  // Replaces everything by the batches that `next` gives, in one transaction: until its end, others see what
  // was there before, and if `next` throws, it stays.
  void rebuild(const NextBatch& next);

  // Removes the files of an index that can no longer be opened.
  static void remove(const std::string& path);

  // For each run of `ids`, the batch that holds one of that id and fingerprint; 0 where none does.
  std::vector<std::int64_t> batches_of(const std::vector<run::Id>& ids,
                                       const std::vector<std::uint64_t>& fingerprints);

  // All versions of a run, the latest first: by the store's modification time of the batch, then the batch's
  // key, then the place in it.
  std::vector<Location> find(const run::Id& id);
  // The same of many runs, as of one moment; each at its place in `ids`.
  std::vector<std::vector<Location>> find(const std::vector<run::Id>& ids);

  // What `ask` asks here is answered as of one moment, and locks the file once.
  void ask_at_once(const std::function<void()>& ask);

  // The latest versions of all runs of a trace, by start time; those without one come last.
  std::vector<Location> find_trace(const run::Id& trace);

  // Calls `visit` with the latest versions of the runs that match, in the query's order. Throws Error(usage)
  // for a cursor that is of another order, or older than a rebuild.
  void search(const Query& query, const std::function<void(const Hit&)>& visit);
  // How many search would visit, without limit and cursor.
  std::int64_t count(const Query& query);

  // The keys of all batches, in no order.
  std::vector<std::string> batch_keys();
  BatchInfo batch(std::int64_t batch);
  bool has_batch(std::string_view key);

  // The frames of a batch that hold the `length` bytes of NDJSON from `raw_offset` on, in order.
  std::vector<run::Frame> frames(std::int64_t batch, std::uint64_t raw_offset, std::uint64_t length);

  // Where the value of a field lies, if the index knows it: for runs that are split over frames.
  std::optional<FieldPlace> field(std::int64_t run, std::string_view name);

  Status status();

  // By key of the batch; those whose batch the index does not name are under the empty key. Reads the place
  // of every run.
  std::unordered_map<std::string, RunsOfBatch> runs_by_batch();
  // `expected` is the number of runs that runs_by_batch told of the batch: it spares counting them again.
  Agreement compare(std::string_view key, const run::Table& footer, std::uint64_t expected);

  // Small facts that belong to the index, such as when it was last made to agree with the store.
  std::optional<std::string> setting(std::string_view name);
  void set_setting(std::string_view name, std::string_view value);

 private:
  static void create(const std::string& path, const std::string& store_url,
                     base::AtomicFile::Replace replace);
  static void replace_empty(const std::string& path, const std::string& store_url);

  explicit Index(std::unique_ptr<Tables> tables);
  std::unique_ptr<Tables> tables_;
};

}  // namespace runctl::index
