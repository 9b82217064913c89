#include "store/s3_store.hpp"

#include <fmt/format.h>
#include <unistd.h>

#include <algorithm>
#include <charconv>
#include <random>

#include "base/bytes.hpp"
#include "base/error.hpp"
#include "base/time.hpp"
#include "http/client.hpp"
#include "http/date.hpp"
#include "store/credentials.hpp"
#include "store/s3_exchange.hpp"
#include "store/s3_listing.hpp"
#include "store/s3_multipart.hpp"
#include "store/s3_xml.hpp"

namespace runctl::store {

namespace {

using base::Error;
using base::ErrorKind;

// Enough to keep a fast link busy with ranges of 100 KB; more would only hold more memory.
constexpr std::size_t k_reads_under_way = 16;
// Of unfinished uploads.
constexpr std::size_t k_max_upload_pages = 100;

std::int64_t now_seconds() {
  return std::chrono::duration_cast<std::chrono::seconds>(std::chrono::system_clock::now().time_since_epoch())
      .count();
}

// As object_store.hpp describes keys. What other names a bucket holds is not ours.
bool is_store_key(std::string_view key) {
  for (;;) {
    const std::size_t slash = std::min(key.find('/'), key.size());
    const std::string_view segment = key.substr(0, slash);
    const auto allowed = [](char c) {
      return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '.' ||
             c == '_' || c == '-';
    };
    if (segment.empty() || segment == "." || segment == ".." ||
        !std::all_of(segment.begin(), segment.end(), allowed)) {
      return false;
    }
    if (slash == key.size()) return true;
    key.remove_prefix(slash + 1);
  }
}

std::uint64_t total_size(std::span<const std::string_view> parts) {
  std::uint64_t size = 0;
  for (const std::string_view part : parts) size += part.size();
  return size;
}

class BucketStore final : public S3Store {
 public:
  BucketStore(const S3Options& options, S3Settings settings)
      : settings_(std::move(settings)),
        multipart_threshold_(settings_.multipart_threshold.value_or(options.multipart_threshold)),
        part_size_(settings_.part_size.value_or(options.part_size)),
        conditional_create_(options.conditional_create),
        client_(client_options(options, settings_)),
        credentials_(credential_cache(options)),
        exchange_({settings_, credentials_, options.retry, now_seconds, options.log, options.interrupted},
                  client_) {}

  PutResult put(const std::string& key, std::span<const std::string_view> parts,
                const base::Sha256Digest& digest) override;
  void read(std::span<const Range> ranges, const RangeSink& sink) override;
  std::optional<ObjectInfo> head(const std::string& key) override;
  void list(const std::string& prefix, const std::function<void(const ObjectInfo&)>& visit) override;
  std::vector<std::string> list_groups(const std::string& prefix) override;
  bool remove(const std::string& key) override;
  [[nodiscard]] std::string url() const override;
  // Last-Modified tells whole seconds (RFC 9110, 5.6.7).
  [[nodiscard]] std::chrono::milliseconds time_step() const override { return std::chrono::seconds(1); }
  [[nodiscard]] Traffic traffic() const override { return exchange_.traffic(); }

  [[nodiscard]] const S3Settings& settings() const override { return settings_; }
  std::string credentials_source() override;
  [[nodiscard]] std::string region() const override { return exchange_.region(); }
  [[nodiscard]] std::optional<std::int64_t> clock_offset() const override { return exchange_.clock_offset(); }
  bool honours_conditional_create() override;
  void trust_conditional_create() override { conditional_create_ = ConditionalCreate::honoured; }
  std::vector<Upload> unfinished_uploads() override;
  void abort_upload(const Upload& upload) override;

 private:
  // Where a page of unfinished uploads starts: behind this one.
  struct UploadMarker {
    std::string key;
    std::string id;
  };

  static http::ClientOptions client_options(const S3Options& options, const S3Settings& settings) {
    http::ClientOptions out;
    out.ca_bundle = settings.ca_bundle.value;
    out.stall_timeout = options.stall_timeout;
    return out;
  }

  std::optional<UploadMarker> list_uploads(const UploadMarker& marker, std::vector<Upload>& out);
  std::shared_ptr<CredentialCache> credential_cache(const S3Options& options);
  [[nodiscard]] std::string bucket_key(const std::string& key) const;
  bool send(const std::string& key, std::span<const std::string_view> parts, std::uint64_t size,
            const base::Sha256Digest& digest, ConditionalCreate mode);

  S3Settings settings_;
  std::uint64_t multipart_threshold_;
  std::uint64_t part_size_;
  std::atomic<ConditionalCreate> conditional_create_;
  http::Client client_;
  std::shared_ptr<CredentialCache> credentials_;
  S3Exchange exchange_;
};

std::shared_ptr<CredentialCache> BucketStore::credential_cache(const S3Options& options) {
  if (options.sign == SignRequests::no) return nullptr;
  CredentialContext context;
  context.environment = options.environment;
  context.profile = settings_.profile.value;
  context.profile_is_explicit = settings_.profile_is_explicit;
  context.region = settings_.region.value;
  context.now = now_seconds;
  const auto find = [this, context]() mutable {
    // Read anew each time: the files may have been renewed since.
    context.profiles = AwsProfiles::load(context.environment);
    return find_credentials(context, client_);
  };
  return std::make_shared<CredentialCache>(find, now_seconds);
}

std::string BucketStore::bucket_key(const std::string& key) const {
  return settings_.prefix.empty() ? key : settings_.prefix + "/" + key;
}

// Sends the object; false where the server kept one that was there before.
bool BucketStore::send(const std::string& key, std::span<const std::string_view> parts, std::uint64_t size,
                       const base::Sha256Digest& digest, ConditionalCreate mode) {
  if (size > multipart_threshold_) {
    upload_in_parts(exchange_, bucket_key(key), parts, size, part_size_);
    return true;
  }
  S3Call call;
  call.method = "PUT";
  call.key = bucket_key(key);
  call.headers = {{"content-type", "application/octet-stream"}};
  call.body.assign(parts.begin(), parts.end());
  call.payload_hash = base::to_hex(base::as_bytes(digest));
  call.expected = {200};
  if (mode == ConditionalCreate::honoured) {
    call.headers.emplace_back("if-none-match", "*");
    call.expected.push_back(412);
  }
  const S3Answer answer = exchange_.ask(call);
  // The object that is in the way of a repeated attempt is most likely the one that the first attempt stored.
  return answer.response.status == 200 || answer.attempts > 1;
}

PutResult BucketStore::put(const std::string& key, std::span<const std::string_view> parts,
                           const base::Sha256Digest& digest) {
  const std::uint64_t size = total_size(parts);
  const bool conditional = conditional_create_ == ConditionalCreate::honoured && size <= multipart_threshold_;
  if (!conditional) {
    // Overwriting would change no byte, but the time that tells which version of a run is the latest.
    if (auto info = head(key); info && info->size == size) return {std::move(*info), false};
  }
  bool created =
      send(key, parts, size, digest, conditional ? ConditionalCreate::honoured : ConditionalCreate::unknown);
  auto info = head(key);
  if (conditional && (!info || info->size != size)) {
    // Refused, and yet not there: the server has the condition the wrong way round. Or there, but cut short.
    created = send(key, parts, size, digest, ConditionalCreate::unknown);
    info = head(key);
  }
  if (!info) throw Error(ErrorKind::remote, key + ": the server took the object, but does not have it");
  if (info->size != size) {
    throw Error(ErrorKind::remote,
                fmt::format("{}: {} bytes were sent, but the server has {}", key, size, info->size));
  }
  return {std::move(*info), created};
}

void BucketStore::read(std::span<const Range> ranges, const RangeSink& sink) {
  std::vector<S3Call> calls;
  calls.reserve(ranges.size());
  for (const Range& range : ranges) {
    S3Call call;
    call.method = "GET";
    call.key = bucket_key(range.key);
    call.headers = {{"range", fmt::format("bytes={}-{}", range.offset, range.offset + range.length - 1)}};
    call.rule.range = http::ByteRange{range.offset, range.length};
    call.expected = {200, 206, 416};
    calls.push_back(std::move(call));
  }
  exchange_.ask_all(calls, k_reads_under_way, [&](std::size_t index, S3Answer answer) {
    if (answer.response.status == 416) {
      throw Error(ErrorKind::corrupt,
                  fmt::format("s3://{}/{}: the object is shorter than {} bytes", settings_.bucket,
                              calls[index].key, ranges[index].offset + ranges[index].length));
    }
    sink(index, std::move(answer.response.body));
  });
}

std::optional<ObjectInfo> BucketStore::head(const std::string& key) {
  S3Call call;
  call.method = "HEAD";
  call.key = bucket_key(key);
  call.expected = {200, 404};
  call.rule.max_bytes = UINT64_MAX;  // the length of an object that is not sent
  const S3Answer answer = exchange_.ask(call);
  if (answer.response.status == 404) return std::nullopt;
  ObjectInfo out;
  out.key = key;
  const std::string_view length = http::find_header(answer.response.headers, "content-length").value_or("");
  const auto [end, error] = std::from_chars(length.data(), length.data() + length.size(), out.size);
  const auto modified =
      http::parse_http_date(http::find_header(answer.response.headers, "last-modified").value_or(""));
  if (error != std::errc{} || end != length.data() + length.size() || !modified) {
    throw Error(ErrorKind::remote, key + ": the server does not say its length and time");
  }
  out.modified_ns = base::nanoseconds_of(*modified);
  return out;
}

void BucketStore::list(const std::string& prefix, const std::function<void(const ObjectInfo&)>& visit) {
  const std::size_t root = bucket_key("").size();
  ListSink sink;
  sink.object = [&](ObjectInfo info) {
    info.key.erase(0, root);
    if (is_store_key(info.key)) visit(info);
  };
  list_bucket(exchange_, {bucket_key(prefix), ""}, sink);
}

std::vector<std::string> BucketStore::list_groups(const std::string& prefix) {
  const std::string whole = bucket_key(prefix);
  std::vector<std::string> out;
  ListSink sink;
  sink.group = [&](std::string group) {
    group.erase(0, whole.size());
    if (group.ends_with('/')) group.pop_back();
    if (is_store_key(group)) out.push_back(std::move(group));
  };
  list_bucket(exchange_, {whole, "/"}, sink);
  // With their slashes "a-b/" comes before "a/".
  std::sort(out.begin(), out.end());
  return out;
}

bool BucketStore::remove(const std::string& key) {
  // DELETE answers 204 whether or not there was something.
  const bool there = head(key).has_value();
  S3Call call;
  call.method = "DELETE";
  call.key = bucket_key(key);
  call.expected = {200, 204, 404};
  if (there) exchange_.ask(call);
  return there;
}

std::string BucketStore::url() const {
  std::string out = "s3://" + settings_.bucket;
  if (!settings_.prefix.empty()) out += "/" + settings_.prefix;
  const std::string& endpoint = exchange_.endpoint().custom();
  return endpoint.empty() ? out : out + "?endpoint-url=" + endpoint;
}

std::string BucketStore::credentials_source() {
  return credentials_ == nullptr ? "none" : credentials_->get().source;
}

bool BucketStore::honours_conditional_create() {
  const std::string key = "runctl-probe";
  const std::string body =
      "runctl asks with this object whether If-None-Match is honoured; it may be removed\n";
  S3Call call;
  call.method = "PUT";
  call.key = bucket_key(key);
  call.headers = {{"content-type", "text/plain"}, {"if-none-match", "*"}};
  call.body = {body};
  call.payload_hash = base::to_hex(base::as_bytes(base::sha256(body)));
  call.expected = {200, 412, 304, 501};
  // It may be there since an earlier probe; otherwise the second attempt must be refused.
  S3Answer answer = exchange_.ask(call);
  if (answer.response.status == 200) answer = exchange_.ask(call);
  const bool honoured = answer.response.status == 412;
  if (honoured) conditional_create_ = ConditionalCreate::honoured;
  return honoured;
}

std::vector<S3Store::Upload> BucketStore::unfinished_uploads() {
  std::vector<Upload> out;
  std::optional<UploadMarker> marker = UploadMarker{};
  // A server that never comes to an end must not hold us for ever.
  for (std::size_t page = 0; marker && page < k_max_upload_pages; ++page) marker = list_uploads(*marker, out);
  return out;
}

// Adds one page, of 1,000 at most; where the next one starts.
std::optional<BucketStore::UploadMarker> BucketStore::list_uploads(const UploadMarker& marker,
                                                                   std::vector<Upload>& out) {
  S3Call call;
  call.method = "GET";
  const std::string root = bucket_key("");
  // A bucket may hold other programs' uploads.
  call.query = {{"uploads", ""}, {"prefix", root + "runs/v1/"}};
  if (!marker.key.empty()) call.query.emplace_back("key-marker", marker.key);
  if (!marker.id.empty()) call.query.emplace_back("upload-id-marker", marker.id);
  call.xml_root = "ListMultipartUploadsResult";
  const auto answer = parse_xml(exchange_.ask(call).response.body);
  for (const XmlElement& each : answer->children) {
    const std::string_view key = each.text_of("Key");
    if (each.name != "Upload" || !key.starts_with(root)) continue;
    const std::int64_t begun = http::parse_iso_time(each.text_of("Initiated")).value_or(0);
    out.push_back({std::string(key.substr(root.size())), std::string(each.text_of("UploadId")),
                   base::nanoseconds_of(begun)});
  }
  UploadMarker next{std::string(answer->text_of("NextKeyMarker")),
                    std::string(answer->text_of("NextUploadIdMarker"))};
  if (answer->text_of("IsTruncated") != "true" || next.key.empty()) return std::nullopt;
  return next;
}

void BucketStore::abort_upload(const Upload& upload) {
  S3Call call;
  call.method = "DELETE";
  call.key = bucket_key(upload.key);
  call.query = {{"uploadId", upload.id}};
  call.expected = {200, 204, 404};
  exchange_.ask(call);
}

}  // namespace

std::unique_ptr<S3Store> open_s3(const S3Options& options) {
  const AwsProfiles profiles = AwsProfiles::load(options.environment);
  S3Settings settings =
      resolve_s3_settings(options.url, options.flags, options.environment, profiles, options.configured);
  if (!settings.ca_bundle.value.empty() && ::access(settings.ca_bundle.value.c_str(), R_OK) != 0) {
    throw Error(ErrorKind::usage, fmt::format("{}: {}: the file of certificate authorities cannot be read",
                                              settings.ca_bundle.source, settings.ca_bundle.value));
  }
  return std::make_unique<BucketStore>(options, std::move(settings));
}

}  // namespace runctl::store
