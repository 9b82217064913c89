// The pure halves of the HTTP client: which answers are refused, and when a request is made again.
#include <doctest/doctest.h>

#include <string>

#include "http/message.hpp"
#include "http/retry.hpp"
#include "http/transfer.hpp"

namespace {

using namespace runctl::http;
using std::chrono::milliseconds;

Failure judged(int status, Headers headers, BodyRule rule) {
  Response head;
  head.status = status;
  head.headers = std::move(headers);
  return check_head(head, rule).failure;
}

BodyRule range(std::uint64_t offset, std::uint64_t length) {
  BodyRule rule;
  rule.range = ByteRange{offset, length};
  return rule;
}

TEST_CASE("header names are found in either case") {
  const Headers headers{{"Content-Length", "1"}, {"ETAG", "a"}, {"etag", "b"}};
  CHECK(find_header(headers, "content-length") == "1");
  CHECK(find_header(headers, "ETag") == "a");
  CHECK_FALSE(find_header(headers, "Content"));
}

TEST_CASE("a range is answered by exactly that range") {
  CHECK(judged(206, {{"Content-Range", "bytes 10-19/100"}, {"Content-Length", "10"}}, range(10, 10)) ==
        Failure::none);
  CHECK(judged(206, {{"content-range", "bytes 10-19/*"}}, range(10, 10)) == Failure::none);
  for (const char* other : {"bytes 10-18/100", "bytes 9-19/100", "bytes 10-20/100", "bytes 10-19",
                            "10-19/100", "bytes 10-19/x", "bytes 10-19/100 ", "bytes -10/100", "bytes 0--1/0",
                            "bytes */100", "", "bytes 10-18446744073709551616/100", "bytes 10-19/20x"}) {
    CAPTURE(other);
    CHECK(judged(206, {{"Content-Range", other}}, range(10, 10)) == Failure::mismatch);
  }
  CHECK(judged(206, {}, range(10, 10)) == Failure::mismatch);
  CHECK(judged(206, {{"Content-Range", "bytes 10-19/100"}, {"Content-Length", "11"}}, range(10, 10)) ==
        Failure::mismatch);
}

TEST_CASE("an object that ends before the range does is told apart") {
  CHECK(judged(206, {{"Content-Range", "bytes 10-14/15"}}, range(10, 10)) == Failure::too_short);
  CHECK(judged(206, {{"Content-Range", "bytes 10-19/19"}}, range(10, 10)) == Failure::too_short);
  CHECK(judged(206, {{"Content-Range", "bytes 10-19/20"}}, range(10, 10)) == Failure::none);
}

TEST_CASE("a whole object answers a range only where it is that range") {
  CHECK(judged(200, {{"Content-Length", "10"}}, range(0, 10)) == Failure::none);
  CHECK(judged(200, {{"Content-Length", "11"}}, range(0, 10)) == Failure::mismatch);
  CHECK(judged(200, {{"Content-Length", "10"}}, range(1, 10)) == Failure::mismatch);
  CHECK(judged(200, {}, range(0, 10)) == Failure::mismatch);
}

TEST_CASE("answers that are too large are refused by their length") {
  BodyRule rule;
  rule.max_bytes = 100;
  CHECK(judged(200, {{"Content-Length", "100"}}, rule) == Failure::none);
  CHECK(judged(200, {{"Content-Length", "101"}}, rule) == Failure::mismatch);
  CHECK(judged(206, {{"Content-Length", "10"}}, rule) == Failure::mismatch);
  CHECK(judged(500, {{"Content-Length", "100000"}}, rule) == Failure::none);
}

TEST_CASE("an answer whose head comes to no end is given up") {
  for (const char* const line : {"HTTP/1.1 100 Continue\r\n", "X-Header: x\r\n"}) {
    Transfer transfer;
    int taken = 0;
    while (taken < 10'000 && transfer.take_header(line)) ++taken;
    CHECK(taken == 200);
    CHECK(transfer.response.failure == Failure::mismatch);
  }
  Transfer trailers;
  CHECK(trailers.take_header("HTTP/1.1 200 OK\r\n"));
  CHECK(trailers.take_header("\r\n"));
  int taken = 0;
  while (taken < 10'000 && trailers.take_header("T: x\r\n")) ++taken;
  CHECK(taken == 198);
}

TEST_CASE("failures that may pass are told from those that will not") {
  for (const int status : {408, 429, 500, 502, 503, 504}) CHECK(is_transient_status(status));
  for (const int status : {200, 301, 400, 403, 404, 409, 412, 416, 501})
    CHECK_FALSE(is_transient_status(status));
  for (const Failure f :
       {Failure::resolve, Failure::connect, Failure::timeout, Failure::broken, Failure::mismatch}) {
    CHECK(is_transient(f));
  }
  for (const Failure f :
       {Failure::none, Failure::bad_url, Failure::certificate, Failure::too_short, Failure::cancelled}) {
    CHECK_FALSE(is_transient(f));
  }
}

TEST_CASE("the back-off grows, is drawn from its whole range, and ends") {
  RetryPolicy policy;
  policy.attempts = 12;
  policy.budget = milliseconds{1'000'000};
  Backoff highest(policy);
  Backoff lowest(policy);
  for (const int ceiling : {200, 400, 800, 1600, 3200, 6400, 12800, 20000, 20000, 20000, 20000}) {
    CHECK(highest.next(milliseconds{0}, 0.999999, Failure::none, {})->count() == ceiling - 1);
    CHECK(lowest.next(milliseconds{0}, 0, Failure::none, {})->count() == 0);
  }
  CHECK_FALSE(highest.next(milliseconds{0}, 0, Failure::none, {}));
  CHECK(highest.attempts_made() == 12);
}

TEST_CASE("the server's wish is honoured up to the cap, and never past the budget") {
  const RetryPolicy policy;
  CHECK(Backoff(policy).next(milliseconds{0}, 0.5, Failure::none, milliseconds{3000})->count() == 3000);
  CHECK(Backoff(policy).next(milliseconds{0}, 0.5, Failure::none, milliseconds{10})->count() == 100);
  CHECK(Backoff(policy).next(milliseconds{0}, 0.5, Failure::none, milliseconds{120'000})->count() == 20'000);
  CHECK(Backoff(policy).next(milliseconds{70'000}, 0, Failure::none, milliseconds{120'000}));
  CHECK_FALSE(Backoff(policy).next(milliseconds{70'001}, 0, Failure::none, milliseconds{120'000}));
}

TEST_CASE("a server that cannot be reached is tried less often") {
  Backoff backoff{RetryPolicy{}};
  CHECK(backoff.next(milliseconds{0}, 0, Failure::connect, {}));
  CHECK(backoff.next(milliseconds{0}, 0, Failure::resolve, {}));
  CHECK_FALSE(backoff.next(milliseconds{0}, 0, Failure::connect, {}));
}

TEST_CASE("Retry-After is a number of seconds or a date") {
  constexpr std::int64_t now = 1369353600;  // 2013-05-24T00:00:00Z
  CHECK(parse_retry_after("120", now)->count() == 120'000);
  CHECK(parse_retry_after("Fri, 24 May 2013 00:00:30 GMT", now)->count() == 30'000);
  CHECK(parse_retry_after("Thu, 23 May 2013 00:00:30 GMT", now)->count() == 0);
  for (const char* bad : {"", "-1", "1.5", "soon", "99999999999", "12 "})
    CHECK_FALSE(parse_retry_after(bad, now));
}

}  // namespace
