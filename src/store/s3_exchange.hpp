// Asks a bucket and insists on an answer: signs each request, sends many at a time, judges what comes back,
// asks again where that may help (other region, other clock, new credentials, later), and turns what
// remains into one line for a person.
#pragma once

#include <atomic>
#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <random>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "http/client.hpp"
#include "http/retry.hpp"
#include "store/credentials.hpp"
#include "store/object_store.hpp"
#include "store/s3_endpoint.hpp"
#include "store/s3_error.hpp"
#include "store/sigv4.hpp"

namespace runctl::store {

struct S3Call {
  std::string method;
  std::string key;  // the whole key in the bucket, decoded; empty: the bucket itself
  std::vector<std::pair<std::string, std::string>> query;  // decoded
  http::Headers headers;                                   // all are signed
  std::vector<std::string_view> body;                      // borrowed until the call returns
  std::string payload_hash{sigv4::k_empty_payload};
  http::BodyRule rule;
  std::vector<int> expected{200};  // statuses that are handed back; every other is an error
  // Where not empty, a 200 counts only with an XML body of this root: S3 may report an error under 200.
  std::string xml_root;
};

struct S3Answer {
  http::Response response;
  unsigned attempts = 1;
};

struct S3ExchangeOptions {
  S3Settings settings;
  std::shared_ptr<CredentialCache> credentials;  // null: requests are not signed
  http::RetryPolicy retry;
  std::function<std::int64_t()> now;            // seconds since 1970
  std::function<void(const std::string&)> log;  // one line for each retry, without secrets; may be empty
  std::function<bool()> interrupted;            // asked while it waits; may be empty
};

// May be used from several threads at once.
class S3Exchange {
 public:
  S3Exchange(S3ExchangeOptions options, http::Client& client);

  // Throws base::Error as object_store.hpp says.
  S3Answer ask(const S3Call& call);

  // At most `window` at a time. `sink` is called on this thread, once for each call, in any order. The first
  // error is thrown, and what is still under way then is dropped.
  using Sink = std::function<void(std::size_t index, S3Answer answer)>;
  void ask_all(std::span<const S3Call> calls, std::size_t window, const Sink& sink);

  [[nodiscard]] Traffic traffic() const;
  // The server's clock minus ours in seconds, by the Date of its last answer; absent before the first.
  [[nodiscard]] std::optional<std::int64_t> clock_offset() const;
  // In which the bucket turned out to be.
  [[nodiscard]] std::string region() const;
  [[nodiscard]] const S3Endpoint& endpoint() const { return endpoint_; }

 private:
  struct Attempt;

  http::Landing wait(http::Flight& flight) const;
  http::Request signed_request(const S3Call& call, Attempt& attempt);
  // How long to wait before the call is made again; absent: the answer is the caller's.
  std::optional<std::chrono::milliseconds> judge(const S3Call& call, Attempt& attempt,
                                                 http::Response& response);
  std::optional<std::chrono::milliseconds> back_off(const S3Call& call, Attempt& attempt,
                                                    const http::Response& response, const std::string& why);
  bool follow_region(Attempt& attempt, const http::Response& response, const ServiceError& error);
  bool follow_clock(Attempt& attempt, const http::Response& response, const ServiceError& error);
  bool renew_credentials(const S3Call& call, Attempt& attempt, const http::Response& response,
                         const ServiceError& error);
  RequestContext context_of(const S3Call& call, const Attempt& attempt) const;
  void note(const std::string& line) const;
  void count(const S3Call& call, const http::Response& response);
  double chance();

  S3ExchangeOptions options_;
  S3Endpoint endpoint_;
  http::Client& client_;

  mutable std::mutex mutex_;  // guards the four below
  std::string region_;
  std::optional<std::int64_t> clock_offset_;
  std::minstd_rand random_;
  std::map<RequestKind, std::uint64_t> requests_;

  std::atomic<std::int64_t> signing_offset_ = 0;  // added to our clock, once a server said that it is wrong
  std::atomic<std::uint64_t> bytes_read_ = 0;
  std::atomic<std::uint64_t> bytes_written_ = 0;
  std::atomic<std::uint64_t> retries_ = 0;
};

}  // namespace runctl::store
