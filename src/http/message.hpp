// What is asked of a server, what came back, and what may come back: the values that client.hpp moves.
#pragma once

#include <chrono>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace runctl::http {

using Headers = std::vector<std::pair<std::string, std::string>>;

// The value of the first header called `name`, in either case.
std::optional<std::string_view> find_header(const Headers& headers, std::string_view name);

// `length` bytes from `offset`.
struct ByteRange {
  std::uint64_t offset = 0;
  std::uint64_t length = 0;
};

// What a body must be, checked against the answer's head so that a wrong answer is dropped unread.
struct BodyRule {
  std::uint64_t max_bytes =
      1 << 20;                     // of a success; the body of an error answer is cut off at k_max_error_body
  std::optional<ByteRange> range;  // the answer must be exactly these bytes of the object
};

inline constexpr std::uint64_t k_max_error_body = 64 << 10;

enum class Proxy { as_configured, never };

struct Request {
  std::string method = "GET";
  std::string url;                     // http or https; sent as it is, no part of it normalised
  Headers headers;                     // besides those that carry the message (Content-Length, Connection)
  std::vector<std::string_view> body;  // borrowed until the response is there; sent with Content-Length
  BodyRule rule;
  std::chrono::milliseconds delay{0};    // how long to wait before it is sent
  std::chrono::milliseconds timeout{0};  // for all of it; 0: only the time-outs of the client apply
  Proxy proxy = Proxy::as_configured;
};

enum class Failure {
  none,         // an answer came: look at its status
  bad_url,      // nothing was sent
  resolve,      // no address for the host
  connect,      // no route, refused
  no_tls,       // the port does not speak TLS
  certificate,  // the server is not who it should be, or the CA bundle cannot be read
  timeout,      // nothing or too little came for too long
  broken,       // the connection ended before the answer did, or what came is not HTTP
  mismatch,     // the answer contradicts the request; its body was not read
  too_short,    // the object ends before the range asked for does
  cancelled,    // the caller no longer waits
};

struct Response {
  Failure failure = Failure::none;
  std::string reason;  // one line about the failure, without secrets
  int status = 0;      // 0 where no head came
  Headers headers;
  std::string body;

  [[nodiscard]] bool ok() const { return failure == Failure::none && status >= 200 && status < 300; }
};

// Judges a complete head. `failure` none: read the body. Pure.
struct Verdict {
  Failure failure = Failure::none;
  std::string reason;
};
Verdict check_head(const Response& head, const BodyRule& rule);

}  // namespace runctl::http
