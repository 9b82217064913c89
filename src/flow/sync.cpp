#include "flow/sync.hpp"

#include <algorithm>
#include <tuple>
#include <unordered_set>

#include "base/error.hpp"
#include "base/thread_pool.hpp"
#include "batch/format.hpp"
#include "batch/reader.hpp"

namespace runctl::flow {

namespace {

using base::Error;
using base::ErrorKind;

// Batches whose footers are read together; a footer of a large batch is about a megabyte.
constexpr std::size_t k_window = 16;

bool in_scope(const std::string& group, const SyncScope& scope) {
  if (group == batch::k_mixed_group) return true;
  if (scope.only) return group == *scope.only;
  return !scope.since || group >= *scope.since;
}

// All batches in scope, in the order in which they were stored: it decides which version of a run is the
// latest.
std::vector<store::ObjectInfo> list_batches(store::ObjectStore& store, const SyncScope& scope) {
  const std::string prefix(batch::k_batch_prefix);
  std::vector<std::string> groups;
  for (const std::string& group : store.list_groups(prefix)) {
    if (in_scope(group, scope)) groups.push_back(group);
  }
  std::vector<store::ObjectInfo> objects;
  base::ThreadPool pool(std::min(groups.size(), store.calls_at_once()));
  std::vector<std::future<std::vector<store::ObjectInfo>>> listings;
  for (const std::string& group : groups) {
    listings.push_back(pool.submit([&store, key_prefix = prefix + group + "/"] {
      std::vector<store::ObjectInfo> found;
      store.list(key_prefix, [&found](const store::ObjectInfo& object) {
        if (batch::is_batch_key(object.key)) found.push_back(object);
      });
      return found;
    }));
  }
  for (auto& listing : listings) {
    for (store::ObjectInfo& object : listing.get()) objects.push_back(std::move(object));
  }
  std::sort(objects.begin(), objects.end(), [](const store::ObjectInfo& a, const store::ObjectInfo& b) {
    return std::tie(a.modified_ns, a.key) < std::tie(b.modified_ns, b.key);
  });
  return objects;
}

// Gives the footers of many batches one by one, reading several at once.
class FooterSource {
 public:
  FooterSource(store::ObjectStore& store, std::vector<store::ObjectInfo> objects, SyncReport& report,
               const SyncProgress& progress)
      : store_(store), objects_(std::move(objects)), report_(report), progress_(progress) {
    // What is recorded is taken for stored by every ingest that comes after.
    store_.make_durable(objects_);
  }

  // The next batch that can be read; false at the end.
  bool next(index::BatchInfo& batch, run::Table& table) {
    while (true) {
      // Those that were given out before are recorded by now.
      if (progress_ && done_ > 0) progress_(done_, objects_.size());
      if (done_ == objects_.size()) return false;
      if (done_ == window_begin_ + window_.size()) read_window();
      const store::ObjectInfo& object = objects_[done_];
      Entry& entry = window_[done_ - window_begin_];
      ++done_;
      if (!entry.failure.empty()) {
        report_.broken.push_back(object.key + ": " + entry.failure);
        continue;
      }
      batch = {object.key, object.size, object.modified_ns};
      table = entry.reader.take();
      return true;
    }
  }

 private:
  struct Entry {
    batch::TableReader reader;
    std::string failure;
  };

  void read_window() {
    window_.clear();
    window_begin_ = done_;
    const std::size_t end = std::min(objects_.size(), done_ + k_window);
    for (std::size_t i = done_; i < end; ++i) {
      Entry& entry = window_.emplace_back();
      attempt(entry, [&] { entry.reader = batch::TableReader(objects_[i].size); });
    }
    while (read_wanted()) {
    }
  }

  // Reads what every batch of the window wants next; false where none wants more.
  bool read_wanted() {
    std::vector<store::Range> ranges;
    std::vector<Entry*> entries;
    for (std::size_t i = 0; i < window_.size(); ++i) {
      const auto wanted = window_[i].reader.wanted();
      if (!wanted || !window_[i].failure.empty()) continue;
      ranges.push_back({objects_[window_begin_ + i].key, wanted->offset, wanted->length});
      entries.push_back(&window_[i]);
    }
    if (ranges.empty()) return false;
    std::vector<bool> read(ranges.size(), false);
    const auto take = [&](std::size_t which, std::string bytes) {
      read[which] = true;
      attempt(*entries[which], [&] { entries[which]->reader.give(bytes); });
    };
    try {
      store_.read(ranges, take);
    } catch (const Error& error) {
      if (error.kind() != ErrorKind::corrupt) throw;
      // One by one, to tell which it is.
      for (std::size_t i = 0; i < ranges.size(); ++i) {
        if (read[i]) continue;
        attempt(*entries[i], [&] {
          store_.read({&ranges[i], 1}, [&](std::size_t, std::string bytes) { take(i, std::move(bytes)); });
        });
      }
    }
    return true;
  }

  template <typename Action>
  static void attempt(Entry& entry, Action action) {
    try {
      action();
    } catch (const Error& error) {
      if (error.kind() != ErrorKind::corrupt) throw;
      entry.failure = error.what();
    }
  }

  store::ObjectStore& store_;
  const std::vector<store::ObjectInfo> objects_;
  SyncReport& report_;
  const SyncProgress& progress_;
  std::vector<Entry> window_;
  std::size_t window_begin_ = 0;
  std::size_t done_ = 0;
};

}  // namespace

// A batch that the index knows and the listing does not name is asked for by its key: if the store has it,
// the listing is short, and nothing may be concluded from it.
void refuse_short_listing(store::ObjectStore& store, const std::vector<store::ObjectInfo>& listed,
                          const std::vector<std::string>& known) {
  std::unordered_set<std::string_view> names;
  for (const store::ObjectInfo& object : listed) names.insert(object.key);
  for (const std::string& key : known) {
    if (!names.contains(key) && store.head(key)) {
      throw Error(ErrorKind::remote,
                  key + ": is in the store, but its listing does not name it; the index stays as it is");
    }
  }
}

SyncReport sync(store::ObjectStore& store, index::Index& index, const SyncScope& scope,
                const SyncProgress& progress) {
  SyncReport report;
  std::vector<store::ObjectInfo> objects = list_batches(store, scope);
  std::erase_if(objects, [&index](const store::ObjectInfo& object) { return index.has_batch(object.key); });
  FooterSource footers(store, std::move(objects), report, progress);
  index::BatchInfo batch;
  run::Table table;
  while (footers.next(batch, table)) {
    report.runs += index.add(batch, table).value_or(0);
    ++report.batches;
  }
  return report;
}

SyncReport rebuild(store::ObjectStore& store, index::Index& index, const SyncProgress& progress) {
  SyncReport report;
  std::optional<FooterSource> footers;
  const std::vector<std::string> known = index.batch_keys();
  index.rebuild([&](index::BatchInfo& batch, run::Table& table) {
    // Listed inside the transaction: a batch that another process records before it begins is in the listing,
    // and one that is recorded later waits for its end.
    if (!footers) {
      std::vector<store::ObjectInfo> listed = list_batches(store, {});
      refuse_short_listing(store, listed, known);
      footers.emplace(store, std::move(listed), report, progress);
    }
    if (!footers->next(batch, table)) return false;
    ++report.batches;
    return true;
  });
  report.runs = static_cast<std::uint64_t>(index.status().runs);
  return report;
}

}  // namespace runctl::flow
