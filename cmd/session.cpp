#include "session.hpp"

#include <fmt/format.h>

#include "base/error.hpp"
#include "interrupt.hpp"
#include "output.hpp"
#include "store/directory_store.hpp"
#include "sync.hpp"

namespace runctl::cmd {

namespace {

// What the index remembers of the store.
constexpr const char* k_conditional_create = "conditional_create";

}  // namespace

void apply_color(const Settings& settings) {
  set_message_color(settings.color == When::always ||
                    (settings.color == When::automatic && stderr_is_terminal()));
}

cache::Limits limits_of(const CacheSettings& settings) {
  cache::Limits limits;
  limits.bytes = settings.bytes;
  if (settings.max_age) limits.oldest_use_ns = (now_microseconds() - *settings.max_age) * 1000;
  return limits;
}

Session::Session(const GlobalFlags& flags) : settings_(resolve(flags)), metrics_(*flags.metrics) {
  open_store();
  apply_color(settings_);
  open_cache();
  index_path_ =
      settings_.index.value.empty() ? state_path("index", store_->url()) + ".sqlite" : settings_.index.value;
}

Session::~Session() {
  metrics_.add(store_->traffic());
  if (cache_ == nullptr) return;
  metrics_.add(Count::cache_hits, cache_->hits());
  metrics_.add(Count::cache_misses, cache_->misses());
}

std::unique_ptr<store::S3Store> Session::open_bucket(const std::string& url) const {
  store::S3Options options;
  options.url = url;
  options.flags = settings_.s3;
  options.configured = settings_.s3_configured;
  options.sign = settings_.sign;
  options.interrupted = Interruption::is_overdue;
  if (settings_.verbose) options.log = [](const std::string& line) { note(line); };
  return store::open_s3(options);
}

void Session::open_store() {
  const std::string& url = settings_.store.value;
  if (url.starts_with("s3://")) {
    std::unique_ptr<store::S3Store> bucket = open_bucket(url);
    bucket_ = bucket.get();
    store_ = std::move(bucket);
    return;
  }
  const bool is_file_url = url.starts_with("file://");
  const std::string path = is_file_url ? url.substr(7) : url;
  if ((is_file_url && !path.starts_with('/')) || (!is_file_url && url.find("://") != std::string::npos)) {
    throw base::Error(
        base::ErrorKind::usage,
        fmt::format("{}: \"{}\" is no store: give a directory, file:///DIR or s3://BUCKET[/PREFIX]",
                    settings_.store.source, url));
  }
  store_ = store::open_directory(path);
}

std::unique_ptr<store::ObjectStore> Session::open_below(const std::string& prefix) {
  if (bucket_ == nullptr) return store::open_directory(store::directory_of(store_->url()) + "/" + prefix);
  std::string url = settings_.store.value;
  while (url.ends_with('/')) url.pop_back();
  std::unique_ptr<store::S3Store> bucket = open_bucket(url + "/" + prefix);
  if (!creates_conditionally_) creates_conditionally_ = bucket->honours_conditional_create();
  if (*creates_conditionally_) bucket->trust_conditional_create();
  return bucket;
}

void Session::open_cache() {
  const CacheSettings& wanted = settings_.cache;
  const bool on = !wanted.refused && wanted.bytes > 0 && !wanted.directory.value.empty() &&
                  (bucket_ != nullptr || wanted.asked);
  if (on) {
    cache::FrameCache::Log log = [](const std::string&) {};
    if (settings_.verbose) log = [](const std::string& line) { note(line); };
    cache_ =
        std::make_unique<cache::FrameCache>(wanted.directory.value, store_->url(), limits_of(wanted), log);
  }
  frames_ = std::make_unique<flow::FrameReader>(*store_, cache_.get());
}

void Session::prepare_to_store(index::Index& index) {
  if (bucket_ == nullptr) return;
  const std::optional<std::string> known = index.setting(k_conditional_create);
  if (!known) {
    remember_conditional_create(index, bucket_->honours_conditional_create());
  } else if (*known == "honoured") {
    bucket_->trust_conditional_create();
  }
}

void Session::remember_conditional_create(index::Index& index, bool honoured) {
  index.set_setting(k_conditional_create, honoured ? "honoured" : "ignored");
}

flow::Spool Session::spool(std::uint64_t max_bytes) const {
  return {state_path("spool", store_->url()), max_bytes};
}

index::Index Session::index_for_writing() const {
  return std::move(*index::Index::open(index_path_, store_->url(), index::Index::Access::write));
}

std::optional<index::Index> Session::index_for_reading() const {
  return index::Index::open(index_path_, store_->url(), index::Index::Access::read);
}

void Session::report_traffic() const {
  if (!settings_.verbose) return;
  const store::Traffic traffic = store_->traffic();
  const std::uint64_t frames = cache_ ? cache_->hits() + cache_->misses() : 0;
  note(fmt::format("{}, {} read, {} written{}", counted(traffic.requests, "request", "requests"),
                   human_bytes(traffic.bytes_read), human_bytes(traffic.bytes_written),
                   frames == 0 ? std::string()
                               : fmt::format("; {} of {} from the cache", human_count(cache_->hits()),
                                             counted(frames, "frame", "frames"))));
}

}  // namespace runctl::cmd
