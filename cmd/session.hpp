// What nearly every command needs: the settings, the store, the index.
#pragma once

#include <memory>
#include <optional>
#include <string>

#include "flow/frame_reader.hpp"
#include "flow/spool.hpp"
#include "index/index.hpp"
#include "metrics.hpp"
#include "settings.hpp"
#include "store/object_store.hpp"
#include "store/s3_store.hpp"

namespace runctl::cmd {

// Whether messages are coloured from here on.
void apply_color(const Settings& settings);

// What the settings let the cache grow to, as of now.
cache::Limits limits_of(const CacheSettings& settings);

class Session {
 public:
  explicit Session(const GlobalFlags& flags);
  // Tells the metrics what went to the store and came from the cache.
  ~Session();
  Session(const Session&) = delete;
  Session& operator=(const Session&) = delete;

  [[nodiscard]] const Settings& settings() const { return settings_; }
  [[nodiscard]] store::ObjectStore& store() const { return *store_; }
  // The store below a prefix of this one, with connections of its own. It creates objects conditionally if
  // the bucket does, which is asked the first time.
  [[nodiscard]] std::unique_ptr<store::ObjectStore> open_below(const std::string& prefix);
  // Null where the store is a directory.
  [[nodiscard]] store::S3Store* bucket() { return bucket_; }
  // The frames of the store, through the cache where it is on.
  [[nodiscard]] flow::FrameReader& frames() { return *frames_; }
  // Null where it is off: with --no-cache, a size of 0, and for a directory unless it was asked for.
  [[nodiscard]] cache::FrameCache* cache() const { return cache_.get(); }
  [[nodiscard]] const std::string& index_path() const { return index_path_; }
  [[nodiscard]] Metrics& metrics() const { return metrics_; }

  // Made where it is absent. Each call opens it anew: an index belongs to one thread.
  [[nodiscard]] index::Index index_for_writing() const;
  // Absent where there is none yet.
  [[nodiscard]] std::optional<index::Index> index_for_reading() const;

  // Where batches for this store wait while it cannot take them.
  [[nodiscard]] flow::Spool spool(std::uint64_t max_bytes) const;

  // Before a command stores batches: asks a bucket once, and remembers in the index, whether it creates
  // objects conditionally; where it does, a batch costs a request less.
  void prepare_to_store(index::Index& index);
  static void remember_conditional_create(index::Index& index, bool honoured);

  // With -v: what the store was asked for.
  void report_traffic() const;

 private:
  Settings settings_;
  Metrics& metrics_;
  [[nodiscard]] std::unique_ptr<store::S3Store> open_bucket(const std::string& url) const;
  void open_store();
  void open_cache();

  std::unique_ptr<store::ObjectStore> store_;
  store::S3Store* bucket_ = nullptr;
  std::optional<bool> creates_conditionally_;  // where it was asked
  std::unique_ptr<cache::FrameCache> cache_;
  std::unique_ptr<flow::FrameReader> frames_;
  std::string index_path_;
};

}  // namespace runctl::cmd
