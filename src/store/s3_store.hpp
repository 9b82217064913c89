// The store in an S3 bucket: an ObjectStore, and what only a bucket can be asked (for `doctor`).
#pragma once

#include <chrono>
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "http/retry.hpp"
#include "store/environment.hpp"
#include "store/object_store.hpp"
#include "store/s3_settings.hpp"

namespace runctl::store {

// Whether the server answers a PUT with `If-None-Match: *` by 412 where the object is there. Some ignore the
// header, so it is used only where a probe has shown that it works.
enum class ConditionalCreate { unknown, honoured };

struct S3Options {
  std::string url;  // s3://BUCKET[/PREFIX]
  S3Flags flags;
  S3Configured configured;
  SignRequests sign = SignRequests::yes;
  ConditionalCreate conditional_create = ConditionalCreate::unknown;
  http::RetryPolicy retry;
  std::chrono::seconds stall_timeout{20};
  std::uint64_t multipart_threshold = 64ULL << 20;  // bytes; larger objects go up in parts
  std::uint64_t part_size = 32ULL << 20;        // bytes, at least 5 MiB on AWS; grows to keep 10,000 parts
  std::function<void(const std::string&)> log;  // a line for each retry (-v), without secrets
  std::function<bool()> interrupted;            // asked ten times a second during a wait: true ends the call
                                                // with Error(interrupted); may be empty
  Environment environment = process_environment();
};

class S3Store : public ObjectStore {
 public:
  // How the bucket is reached, and where each value came from.
  [[nodiscard]] virtual const S3Settings& settings() const = 0;
  // Such as "environment"; "none" for unsigned requests. Throws Error(usage) where none are found.
  virtual std::string credentials_source() = 0;
  // The region that the bucket turned out to be in, where the server said so.
  [[nodiscard]] virtual std::string region() const = 0;
  // The server's clock minus this machine's, in seconds; absent before the first answer.
  [[nodiscard]] virtual std::optional<std::int64_t> clock_offset() const = 0;

  // Puts a small object of a fixed name, which stays, with the condition that it is not there. Needs only the
  // right to write.
  virtual bool honours_conditional_create() = 0;

  // From now on puts rely on it: for those who know from an earlier probe.
  virtual void trust_conditional_create() = 0;

  // Uploads in parts below the store's prefix that were begun and neither completed nor aborted; their parts
  // cost money. One of them may belong to a process that is at work right now.
  struct Upload {
    std::string key;
    std::string id;
    std::int64_t begun_ns = 0;  // since 1970-01-01T00:00:00Z
  };
  virtual std::vector<Upload> unfinished_uploads() = 0;
  virtual void abort_upload(const Upload& upload) = 0;
};

// Sends nothing yet. Throws Error(usage) where the configuration is wrong.
std::unique_ptr<S3Store> open_s3(const S3Options& options);

}  // namespace runctl::store
