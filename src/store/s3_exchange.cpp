#include "store/s3_exchange.hpp"

#include <fmt/format.h>

#include <algorithm>

#include "base/bytes.hpp"
#include "http/date.hpp"
#include "store/s3_xml.hpp"

namespace runctl::store {

namespace {

using std::chrono::milliseconds;
using Steady = std::chrono::steady_clock;

// S3 accepts signatures that are 15 minutes off; a clock that is further off than this is worth correcting.
constexpr std::int64_t k_tolerated_skew = 300;

bool is_expired(const ServiceError& error) {
  return error.code == "ExpiredToken" || error.code == "ExpiredTokenException" ||
         error.code == "TokenRefreshRequired" || error.code == "InvalidToken";
}

// Uploads are begun and ended with POST; their parts are put.
std::string_view kind_of(const S3Call& call) {
  if (call.method == "GET") return call.key.empty() ? "list" : "get";
  if (call.method == "HEAD") return "head";
  if (call.method == "PUT") return "put";
  return call.method == "DELETE" ? "delete" : "post";
}

bool contradicts_root(const S3Call& call, const http::Response& response) {
  if (call.xml_root.empty() || response.status != 200) return false;
  const auto root = parse_xml(response.body);
  return !root || root->name != call.xml_root;
}

}  // namespace

// What one call has been through.
struct S3Exchange::Attempt {
  explicit Attempt(const http::RetryPolicy& policy) : backoff(policy) {}

  http::Backoff backoff;
  Steady::time_point began = Steady::now();
  unsigned sent = 0;
  std::string region;
  std::int64_t signed_offset = 0;
  std::optional<Credentials> credentials;
  // Each of these cures is tried once a call, so that no server can send us in circles.
  bool region_followed = false;
  bool clock_followed = false;
  bool credentials_renewed = false;
};

S3Exchange::S3Exchange(S3ExchangeOptions options, http::Client& client)
    : options_(std::move(options)),
      endpoint_(options_.settings),
      client_(client),
      region_(options_.settings.region.value),
      random_(std::random_device{}()) {}

S3Answer S3Exchange::ask(const S3Call& call) {
  S3Answer out;
  ask_all({&call, 1}, 1, [&out](std::size_t, S3Answer answer) { out = std::move(answer); });
  return out;
}

void S3Exchange::ask_all(std::span<const S3Call> calls, std::size_t window, const Sink& sink) {
  std::vector<Attempt> attempts(calls.size(), Attempt(options_.retry));
  http::Flight flight(client_);
  std::size_t next = 0;
  while (next < calls.size() || flight.under_way() > 0) {
    if (next < calls.size() && flight.under_way() < window) {
      attempts[next].began = Steady::now();
      flight.start(next, signed_request(calls[next], attempts[next]));
      ++next;
      continue;
    }
    http::Landing landing = wait(flight);
    const S3Call& call = calls[landing.tag];
    Attempt& attempt = attempts[landing.tag];
    count(call, landing.response);
    if (const auto delay = judge(call, attempt, landing.response)) {
      ++retries_;
      http::Request again = signed_request(call, attempt);
      again.delay = *delay;
      flight.start(landing.tag, std::move(again));
    } else {
      sink(landing.tag, {std::move(landing.response), attempt.sent});
    }
  }
}

http::Landing S3Exchange::wait(http::Flight& flight) const {
  for (;;) {
    if (auto landing = flight.wait_for(milliseconds{100})) return std::move(*landing);
    if (options_.interrupted && options_.interrupted()) {
      throw base::Error(base::ErrorKind::interrupted, "interrupted");
    }
  }
}

http::Request S3Exchange::signed_request(const S3Call& call, Attempt& attempt) {
  attempt.region = region();
  attempt.signed_offset = signing_offset_;
  ++attempt.sent;
  const S3Endpoint::Target target = endpoint_.target(call.key, attempt.region);
  http::Request out;
  out.method = call.method;
  out.url = target.url;
  if (!call.query.empty()) out.url.append("?").append(sigv4::canonical_query(call.query));
  out.headers = call.headers;
  out.headers.emplace_back("host", target.host);
  out.headers.emplace_back("x-amz-content-sha256", call.payload_hash);
  out.body = call.body;
  out.rule = call.rule;
  if (options_.credentials != nullptr) {
    attempt.credentials = options_.credentials->get();
    const sigv4::Request request{call.method, target.path, call.query, out.headers, call.payload_hash};
    for (auto& header : sigv4::sign_headers(request, attempt.credentials->keys, {attempt.region, "s3"},
                                            options_.now() + attempt.signed_offset)) {
      out.headers.push_back(std::move(header));
    }
  }
  return out;
}

std::optional<milliseconds> S3Exchange::judge(const S3Call& call, Attempt& attempt,
                                              http::Response& response) {
  if (response.failure != http::Failure::none) {
    if (!http::is_transient(response.failure)) throw describe_failure(response, context_of(call, attempt));
    const auto delay = back_off(call, attempt, response, response.reason);
    if (!delay) throw describe_failure(response, context_of(call, attempt));
    return delay;
  }
  const bool expected =
      std::find(call.expected.begin(), call.expected.end(), response.status) != call.expected.end();
  const bool contradicted = contradicts_root(call, response);
  if (expected && !contradicted) return std::nullopt;

  const ServiceError error = parse_service_error(response);
  if (follow_region(attempt, response, error) || follow_clock(attempt, response, error) ||
      renew_credentials(call, attempt, response, error)) {
    note(fmt::format("{} {}: status {}{}{}: corrected, asked again", call.method,
                     context_of(call, attempt).subject, response.status, error.code.empty() ? "" : " ",
                     base::printable(error.code, 60)));
    return milliseconds{0};
  }
  // An error, or nothing that makes sense, under status 200 stands for a 500.
  const bool transient = is_transient(response, error) || (contradicted && error.code != "NoSuchUpload");
  const auto delay =
      transient ? back_off(call, attempt, response, fmt::format("status {} {}", response.status, error.code))
                : std::nullopt;
  if (!delay) throw describe_answer(response, error, context_of(call, attempt));
  return delay;
}

std::optional<milliseconds> S3Exchange::back_off(const S3Call& call, Attempt& attempt,
                                                 const http::Response& response, const std::string& why) {
  const auto header = http::find_header(response.headers, "retry-after");
  const auto wish = header ? http::parse_retry_after(*header, options_.now()) : std::nullopt;
  const auto elapsed = std::chrono::duration_cast<milliseconds>(Steady::now() - attempt.began);
  const auto delay = attempt.backoff.next(elapsed, chance(), response.failure, wish);
  if (delay) {
    note(fmt::format("{} {}: {}: attempt {} of {} in {} ms", call.method, context_of(call, attempt).subject,
                     base::printable(why, 120), attempt.backoff.attempts_made(),
                     attempt.backoff.attempts_allowed(response.failure), delay->count()));
  }
  return delay;
}

// The server's word is taken for the region alone. Where to send the request stays our decision.
bool S3Exchange::follow_region(Attempt& attempt, const http::Response& response, const ServiceError& error) {
  const bool says_so = response.status == 301 || response.status == 302 || response.status == 307 ||
                       response.status == 400 || response.status == 403;
  if (!says_so || attempt.region_followed || error.region.empty() || error.region == attempt.region)
    return false;
  attempt.region_followed = true;
  const std::lock_guard lock(mutex_);
  region_ = error.region;
  return true;
}

bool S3Exchange::follow_clock(Attempt& attempt, const http::Response& response, const ServiceError& error) {
  // The answer to a HEAD has no body that could name the reason, but a Date.
  const bool skewed = error.code == "RequestTimeTooSkewed" || (response.status == 403 && error.code.empty());
  const auto header = http::find_header(response.headers, "date");
  const auto date = header ? http::parse_http_date(*header) : std::nullopt;
  if (!skewed || !date || attempt.clock_followed) return false;
  const std::int64_t offset = *date - options_.now();
  if (std::abs(offset - attempt.signed_offset) < k_tolerated_skew) return false;
  attempt.clock_followed = true;
  signing_offset_ = offset;
  return true;
}

bool S3Exchange::renew_credentials(const S3Call& call, Attempt& attempt, const http::Response& response,
                                   const ServiceError& error) {
  const bool mute = call.method == "HEAD" && (response.status == 400 || response.status == 403);
  if (!attempt.credentials || attempt.credentials_renewed || !(is_expired(error) || mute)) return false;
  if (mute && attempt.credentials->keys.session_token.empty()) return false;
  attempt.credentials_renewed = true;
  return options_.credentials->reload(*attempt.credentials);
}

RequestContext S3Exchange::context_of(const S3Call& call, const Attempt& attempt) const {
  RequestContext out;
  out.method = call.method;
  out.bucket = options_.settings.bucket;
  out.subject = fmt::format("s3://{}{}{}", out.bucket, call.key.empty() ? "" : "/", call.key);
  out.endpoint = endpoint_.custom().empty() ? "https://" + endpoint_.target("", attempt.region).host
                                            : endpoint_.custom();
  out.region = attempt.region;
  out.credentials_source = attempt.credentials ? attempt.credentials->source : "no credentials";
  out.ca_bundle = options_.settings.ca_bundle.value;
  out.attempts = attempt.sent;
  return out;
}

void S3Exchange::note(const std::string& line) const {
  if (options_.log) options_.log(line);
}

void S3Exchange::count(const S3Call& call, const http::Response& response) {
  bytes_read_ += response.body.size();
  for (const std::string_view part : call.body) bytes_written_ += part.size();
  const auto header = http::find_header(response.headers, "date");
  const auto date = header ? http::parse_http_date(*header) : std::nullopt;
  const bool answered = response.failure == http::Failure::none;
  const std::lock_guard lock(mutex_);
  ++requests_[{kind_of(call), answered ? response.status : 0}];
  if (date) clock_offset_ = *date - options_.now();
}

double S3Exchange::chance() {
  const std::lock_guard lock(mutex_);
  return std::uniform_real_distribution<double>(0, 1)(random_);
}

Traffic S3Exchange::traffic() const {
  const std::lock_guard lock(mutex_);
  Traffic out{0, bytes_read_, bytes_written_, retries_, requests_};
  for (const auto& [kind, count] : requests_) out.requests += count;
  return out;
}

std::optional<std::int64_t> S3Exchange::clock_offset() const {
  const std::lock_guard lock(mutex_);
  return clock_offset_;
}

std::string S3Exchange::region() const {
  const std::lock_guard lock(mutex_);
  return region_;
}

}  // namespace runctl::store
