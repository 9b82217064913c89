// The signer against the examples that AWS publishes and the rules of its generic test suite. The expected
// signatures of the latter were computed by a second, independent signer.
#include "store/sigv4.hpp"

#include <doctest/doctest.h>

#include <string>
#include <vector>

#include "base/bytes.hpp"
#include "base/hash.hpp"
#include "http/date.hpp"

namespace {

namespace sigv4 = runctl::store::sigv4;
using Pairs = std::vector<std::pair<std::string, std::string>>;

std::string value_of(const Pairs& headers, const std::string& name) {
  for (const auto& [each, value] : headers) {
    if (each == name) return value;
  }
  return {};
}

std::string signature_of(const Pairs& headers) {
  const std::string authorization = value_of(headers, "authorization");
  return authorization.substr(authorization.rfind('=') + 1);
}

std::string hash_of(std::string_view body) {
  return runctl::base::to_hex(runctl::base::as_bytes(runctl::base::sha256(body)));
}

// 2013-05-24T00:00:00Z and 2015-08-30T12:36:00Z.
constexpr std::int64_t k_s3_time = 1369353600;
constexpr std::int64_t k_suite_time = 1440938160;

const sigv4::Keys k_s3_keys{"AKIAIOSFODNN7EXAMPLE", "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY", ""};
const sigv4::Scope k_s3_scope{"us-east-1", "s3"};

std::string s3_signature(sigv4::Request request) {
  request.headers.emplace_back("Host", "examplebucket.s3.amazonaws.com");
  request.headers.emplace_back("x-amz-content-sha256", request.payload_hash);
  return signature_of(sigv4::sign_headers(request, k_s3_keys, k_s3_scope, k_s3_time));
}

const std::string k_empty{sigv4::k_empty_payload};

TEST_CASE("the S3 examples that AWS publishes have the published signatures") {
  CHECK(s3_signature({"GET", "/test.txt", {}, {{"Range", "bytes=0-9"}}, k_empty}) ==
        "f0e8bdb87c964420e857bd35b5d6ed310bd44f0170aba48dd91039c6036bdb41");
  CHECK(s3_signature(
            {"PUT",
             "/test%24file.text",
             {},
             {{"Date", "Fri, 24 May 2013 00:00:00 GMT"}, {"x-amz-storage-class", "REDUCED_REDUNDANCY"}},
             hash_of("Welcome to Amazon S3.")}) ==
        "98ad721746da40c64f1a55b78f14c238d841ea1380cd77a1b5971af0ece108bd");
  CHECK(s3_signature({"GET", "/", {{"lifecycle", ""}}, {}, k_empty}) ==
        "fea454ca298b7da1c68078a5d1bdbfbbe0d65c699e0f91ac7a200a0136783543");
  CHECK(s3_signature({"GET", "/", {{"max-keys", "2"}, {"prefix", "J"}}, {}, k_empty}) ==
        "34b48302e7b5fa45bde8084f4b7868a86f0a534bc59db6670ed5711ef69dc6f7");
}

TEST_CASE("the seed of the published chunked upload") {
  const sigv4::Request request{"PUT",
                               "/examplebucket/chunkObject.txt",
                               {},
                               {{"host", "s3.amazonaws.com"},
                                {"content-encoding", "aws-chunked"},
                                {"content-length", "66824"},
                                {"x-amz-content-sha256", "STREAMING-AWS4-HMAC-SHA256-PAYLOAD"},
                                {"x-amz-decoded-content-length", "66560"},
                                {"x-amz-storage-class", "REDUCED_REDUNDANCY"}},
                               "STREAMING-AWS4-HMAC-SHA256-PAYLOAD"};
  CHECK(signature_of(sigv4::sign_headers(request, k_s3_keys, k_s3_scope, k_s3_time)) ==
        "4f232c4386841ef735655705268965c44a0e4690baa4adea153f7db9fa80a0a9");
}

TEST_CASE("the published presigned URL") {
  const sigv4::Request request{"GET",
                               "/test.txt",
                               {},
                               {{"host", "examplebucket.s3.amazonaws.com"}},
                               std::string(sigv4::k_unsigned_payload)};
  CHECK(
      sigv4::presign_query(request, k_s3_keys, k_s3_scope, k_s3_time, 86400) ==
      "X-Amz-Algorithm=AWS4-HMAC-SHA256&X-Amz-Credential=AKIAIOSFODNN7EXAMPLE%2F20130524%2Fus-east-1%2Fs3%2F"
      "aws4_request&X-Amz-Date=20130524T000000Z&X-Amz-Expires=86400&X-Amz-Signature="
      "aeeed9bbccd4d02ee5c0109b86d86835f995330da4c265957d157751f604d404&X-Amz-SignedHeaders=host");
}

struct SuiteCase {
  const char* what;
  sigv4::Request request;
  const char* signature;
};

constexpr const char* k_vanilla = "5fa00fa31553b73ebf1942676e86291e8372ff2a2260956d9b8aae1d763fbf31";
const std::string k_unreserved = "-._~0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";
const std::string k_form = "Param1=value1";

sigv4::Request get(std::string path, Pairs query = {}, Pairs headers = {}) {
  return {"GET", std::move(path), std::move(query), std::move(headers), k_empty};
}

sigv4::Request post(Pairs headers = {}, std::string_view body = {}) {
  return {"POST", "/", {}, std::move(headers), hash_of(body)};
}

std::string suite_signature(sigv4::Request request, const std::string& token = {},
                            sigv4::TokenRule rule = sigv4::TokenRule::sign) {
  request.headers.emplace_back("Host", "example.amazonaws.com");
  const sigv4::Keys keys{"AKIDEXAMPLE", "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY", token};
  return signature_of(sigv4::sign_headers(request, keys, {"us-east-1", "service"}, k_suite_time,
                                          {sigv4::PathRule::normalized, rule}));
}

TEST_CASE("the rules of the generic suite") {
  const SuiteCase cases[] = {
      {"vanilla", get("/"), k_vanilla},
      {"query sorted by name, upper case first", get("/", {{"Param2", "value2"}, {"Param1", "value1"}}),
       "b97d918cfa904a5beff61c982a1b6f458b799221646efd99d3219ec94cdf2500"},
      {"same name: sorted by value, case", get("/", {{"Param1", "value2"}, {"Param1", "Value1"}}),
       "eedbc4e291e521cf13422ffca22be7d2eb8146eecf653089df300a15b2382bd1"},
      {"same name: sorted by value", get("/", {{"Param1", "value2"}, {"Param1", "value1"}}),
       "5772eed61e12b33fae39ee5e7012498b51d56abc0abb7c60486157bd471c4694"},
      {"one parameter", get("/", {{"Param1", "value1"}}),
       "a67d582fa61cc504c4bae71f336f98b97f1ea3c7a6bfe1b6e45aec72011b9aeb"},
      {"unreserved in the path", get("/" + k_unreserved),
       "07ef7494c76fa4850883e2b006601f940f8a34d404d0cfa977f52a65bbf5f24f"},
      {"unreserved in the query", get("/", {{k_unreserved, k_unreserved}}),
       "9c3e54bfcdf0b19771a7f523ee5669cdf59bc7cc0884027167c21bb143a40197"},
      {"UTF-8 in the path", get("/\xE1\x88\xB4"),
       "8318018e0b0f223aa2bbf98705b62bb787dc9c0e678f255a891fd03141be5d85"},
      {"UTF-8 in the query", get("/", {{"\xE1\x88\xB4", "bar"}}),
       "2cdec8eed098649ff3a119c94853b13c643bcf08f8b0a1d91e12c9027818dd04"},
      {"space in the path", get("/example space/"),
       "652487583200325589f1fba4c7e578f72c47cb61beeca81406b39ddec1366741"},
      {"parent segment", get("/example/.."), k_vanilla},
      {"two parent segments", get("/example1/example2/../.."), k_vanilla},
      {"above the root", get("/../.."), k_vanilla},
      {"double slash", get("//"), k_vanilla},
      {"dot segment", get("/./"), k_vanilla},
      {"pointless dot", get("/./example"),
       "ef75d96142cf21edca26f06005da7988e4f8dc83a165a80865db7089db637ec5"},
      {"slashes collapse, the last one stays", get("//example//"),
       "9a624bd73a37c9a373b5312afbebe7a714a789de108f0bdfe846570885f57e84"},
      {"repeated header, values in order",
       get("/", {}, {{"My-Header1", "value2"}, {"My-Header1", "value2"}, {"My-Header1", "value1"}}),
       "c9d5ea9f3f72853aea855b47ea873832890dbdd183b4468f858259531a5138ea"},
      {"four values, not sorted",
       get("/", {},
           {{"My-Header1", "value4"},
            {"My-Header1", "value1"},
            {"My-Header1", "value3"},
            {"My-Header1", "value2"}}),
       "08c7e5a9acfcfeb3ab6b2185e75ce8b1deb5e634ec47601a50643f830c755c01"},
      {"blanks trimmed and merged, in quotes too",
       get("/", {}, {{"My-Header1", " value1"}, {"My-Header2", " \"a   b   c\""}}),
       "acc3ed3afb60bb290fc8d2dd0098b9911fcaa05412b367055dee359757a9c736"},
      {"folded value", get("/", {}, {{"My-Header1", "value1\n  value2\n     value3"}}),
       "cfd34249e4b1c8d6b91ef74165d41a32e5fab3306300901bb65a51a73575eefd"},
      {"POST", post(), "5da7c1a2acd57cee7505fc6676e4e544621c30862966e37dddb68e92efbe5d6b"},
      {"names in lower case, values kept", post({{"My-Header1", "VALUE1"}}),
       "cdbc9802e29d2942e5e10b5bccfdd67c5f22c7c4e8ae67b53629efa58b974b7d"},
      {"body", post({{"Content-Type", "application/x-www-form-urlencoded"}}, k_form),
       "ff11897932ad3f4e8b18135d722051e5ac45fc38421b1da7b9d196a0fe09473a"},
      {"body and length",
       post({{"Content-Type", "application/x-www-form-urlencoded"}, {"Content-Length", "13"}}, k_form),
       "fec50118d90ecf934441dd37fb9a49bd7f5adb6450802ca3a0977623bbb7c27f"},
      {"body, type with parameter",
       post({{"Content-Type", "application/x-www-form-urlencoded; charset=utf8"}}, k_form),
       "1a72ec8f64bd914b0e42e42607c7fbce7fb2c7465f63e3092b3b0d39fa77a6fe"},
  };
  for (const SuiteCase& c : cases) {
    CAPTURE(c.what);
    CHECK(suite_signature(c.request) == c.signature);
  }
}

TEST_CASE("a session token is signed, or added after signing") {
  const std::string token =
      "AQoDYXdzEPT//////////"
      "wEXAMPLEtc764bNrC9SAPBSM22wDOk4x4HIZ8j4FZTwdQWLWsKWHGBuFqwAeMicRXmxfpSPfIeoIYRqTflfKD8YU"
      "uwthAx7mSEI/qkPpKPi/"
      "kMcGdQrmGdeehM4IC1NtBmUpp2wUE8phUZampKsburEDy0KPkyQDYwT7WZ0wq5VSXDvp75YU9HFvlRd8Tx6q6fE8Y"
      "QcHNVXAkiY9q6d+xo0rKwT38xVqr7ZD0u0iPPkUL64lIZbqBAz+"
      "scqKmlzm8FDrypNC9Yjc8fPOLn9FX9KSYvKTr4rvx3iSIlTJabIQwj2IC"
      "CR/oLxBA==";
  CHECK(suite_signature(post(), token) == "85d96828115b5dc0cfc3bd16ad9e210dd772bbebba041836c64533a82be05ead");
  CHECK(suite_signature(post(), token, sigv4::TokenRule::append_after) ==
        "5da7c1a2acd57cee7505fc6676e4e544621c30862966e37dddb68e92efbe5d6b");
  const sigv4::Keys keys{"AKID", "secret", token};
  const auto headers = sigv4::sign_headers(get("/", {}, {{"host", "h"}}), keys, k_s3_scope, k_s3_time);
  CHECK(value_of(headers, "x-amz-security-token") == token);
  CHECK(value_of(headers, "x-amz-date") == "20130524T000000Z");
  CHECK(sigv4::presign_query(get("/", {}, {{"host", "h"}}), keys, k_s3_scope, k_s3_time, 60)
            .find("X-Amz-Security-Token=AQoDYXdzEPT%2F%2F") != std::string::npos);
}

TEST_CASE("S3 signs a hostile path as it is sent, encoded once") {
  const std::string key = "a/./b//../\xC3\xBC+ %~*'\"#?=&@:!$(),;[]{}|\\^`<>\x01";
  const std::string encoded = sigv4::uri_encode(key, sigv4::Slash::keep);
  CHECK(encoded ==
        "a/./b//../"
        "%C3%BC%2B%20%25~%2A%27%22%23%3F%3D%26%40%3A%21%24%28%29%2C%3B%5B%5D%7B%7D%7C%5C%5E%60%3C%3E%01");
  const sigv4::Request request{
      "GET",
      "/bucket/" + encoded,
      {{"prefix", key}, {"uploads", ""}},
      {{"host", "h:8080"}, {"range", "bytes=0-9"}, {"x-amz-meta-a-b", "2"}, {"x-amz-meta-a", "1"}},
      std::string(sigv4::k_unsigned_payload)};
  const sigv4::Keys keys{"AKIDEXAMPLE", "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY", ""};
  CHECK(signature_of(sigv4::sign_headers(request, keys, k_s3_scope, k_suite_time)) ==
        "c4ef7b28d4457e0b47a972983c73a4af9ba157941ce23790d42b2f40023bf78b");
}

TEST_CASE("points in time") {
  namespace http = runctl::http;
  CHECK(http::format_compact_time(k_suite_time) == "20150830T123600Z");
  CHECK(http::parse_http_date("Fri, 24 May 2013 00:00:00 GMT") == k_s3_time);
  CHECK(http::parse_iso_time("2013-05-24T00:00:00.999Z") == k_s3_time);
  CHECK(http::parse_iso_time("2013-05-24T00:00:00Z") == k_s3_time);
  for (const char* bad : {"", "Fri, 24 May 2013 00:00:00 CET", "Fri, 31 Feb 2013 00:00:00 GMT",
                          "Fri, 24 Mai 2013 00:00:00 GMT", "Friday, 24-May-13 00:00:00 GMT"}) {
    CHECK_FALSE(http::parse_http_date(bad));
  }
  for (const char* bad :
       {"", "2013-05-24", "2013-13-24T00:00:00Z", "2013-05-24T00:00:00", "2013-05-24 00:00:00Z"}) {
    CHECK_FALSE(http::parse_iso_time(bad));
  }
}

}  // namespace
