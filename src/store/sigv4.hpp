// AWS Signature Version 4: a pure function of request, credentials and time ("Authenticating Requests:
// Using the Authorization Header" and "Using Query Parameters" in the Amazon S3 API reference).
#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace runctl::store::sigv4 {

// What the caller proves to hold. `session_token` is empty for long-term keys.
struct Keys {
  std::string access_key_id;
  std::string secret_access_key;
  std::string session_token;
};

// Where a signature is valid.
struct Scope {
  std::string region;
  std::string service = "s3";
};

enum class PathRule {
  as_sent,     // S3: the path is encoded once, `.` and `..` and `//` are ordinary
  normalized,  // every other service: dot segments removed, then encoded a second time
};

enum class TokenRule {
  sign,          // the session token is among the signed headers or parameters
  append_after,  // it is added to the request after signing (some services of AWS want that)
};

// A request, before it is encoded. Header names may be of either case; names that repeat are merged in order.
struct Request {
  std::string method;
  std::string path = "/";                                    // as it is sent: already percent-encoded
  std::vector<std::pair<std::string, std::string>> query;    // decoded names and values
  std::vector<std::pair<std::string, std::string>> headers;  // exactly those to sign; `host` is required
  std::string payload_hash;  // hexadecimal SHA-256 of the body, or UNSIGNED-PAYLOAD
};

struct Rules {
  PathRule path = PathRule::as_sent;
  TokenRule token = TokenRule::sign;
};

// The SHA-256 of no bytes, in hexadecimal.
inline constexpr std::string_view k_empty_payload =
    "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";
inline constexpr std::string_view k_unsigned_payload = "UNSIGNED-PAYLOAD";

// Percent-encodes all but the unreserved characters of RFC 3986; a '/' stays where `keep_slash` says so.
enum class Slash { keep, encode };
std::string uri_encode(std::string_view text, Slash slash);

// The query string of `query`, encoded and sorted as it is signed, so that it can be sent as it is.
std::string canonical_query(const std::vector<std::pair<std::string, std::string>>& query);

// The middle stages, for tests and for explaining a refused signature. Neither holds the secret.
std::string canonical_request(const Request& request, const Rules& rules = {});
std::string string_to_sign(const std::string& canonical, const Scope& scope, std::int64_t seconds);

// The headers to send besides `request.headers`: x-amz-date, authorization and, where the keys have a
// token, x-amz-security-token. x-amz-date and the token are signed too. `seconds` count from 1970 (UTC).
std::vector<std::pair<std::string, std::string>> sign_headers(Request request, const Keys& keys,
                                                              const Scope& scope, std::int64_t seconds,
                                                              const Rules& rules = {});

// The encoded query string that makes `request` valid for `lifetime` seconds without an Authorization
// header. S3 wants the payload hash UNSIGNED-PAYLOAD.
std::string presign_query(Request request, const Keys& keys, const Scope& scope, std::int64_t seconds,
                          std::int64_t lifetime, const Rules& rules = {});

}  // namespace runctl::store::sigv4
