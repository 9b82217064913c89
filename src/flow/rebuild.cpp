#include "flow/rebuild.hpp"

#include <algorithm>
#include <tuple>

#include "base/error.hpp"
#include "batch/format.hpp"
#include "batch/reader.hpp"

namespace runctl::flow {

namespace {

run::Table read_footer(store::ObjectStore& store, const store::ObjectInfo& object) {
  return batch::read_table(object.size, [&](std::uint64_t offset, std::uint64_t length) {
    const store::Range range{object.key, offset, length};
    std::string bytes;
    store.read({&range, 1}, [&bytes](std::size_t, std::string got) { bytes = std::move(got); });
    return bytes;
  });
}

}  // namespace

RebuildReport rebuild(store::ObjectStore& store, index::Index& index, const RebuildProgress& progress) {
  std::vector<store::ObjectInfo> objects;
  store.list(std::string(batch::k_batch_prefix), [&objects](const store::ObjectInfo& object) {
    if (batch::is_batch_key(object.key)) objects.push_back(object);
  });
  // The order in which they were stored decides which version of a run is the latest.
  std::sort(objects.begin(), objects.end(), [](const store::ObjectInfo& a, const store::ObjectInfo& b) {
    return std::tie(a.modified_ns, a.key) < std::tie(b.modified_ns, b.key);
  });
  RebuildReport report;
  std::size_t next = 0;
  index.rebuild([&](index::BatchInfo& batch, run::Table& table) {
    while (next < objects.size()) {
      const store::ObjectInfo& object = objects[next++];
      if (progress) progress(next, objects.size());
      try {
        table = read_footer(store, object);
      } catch (const base::Error& error) {
        if (error.kind() != base::ErrorKind::corrupt) throw;
        report.broken.push_back(object.key + ": " + error.what());
        continue;
      }
      batch = {object.key, object.size, object.modified_ns};
      ++report.batches;
      return true;
    }
    return false;
  });
  report.runs = static_cast<std::uint64_t>(index.status().runs);
  return report;
}

}  // namespace runctl::flow
