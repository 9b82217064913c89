// The parts of the S3 store that need no server: settings, endpoints, XML, parts.
#include <doctest/doctest.h>

#include <map>
#include <numeric>
#include <string>

#include "base/error.hpp"
#include "store/s3_endpoint.hpp"
#include "store/s3_error.hpp"
#include "store/s3_multipart.hpp"
#include "store/s3_settings.hpp"
#include "store/s3_xml.hpp"
#include "support.hpp"

namespace {

using namespace runctl;
using namespace runctl::store;

Environment environment(std::map<std::string, std::string> variables) {
  return [variables = std::move(variables)](const std::string& name) -> std::optional<std::string> {
    const auto found = variables.find(name);
    return found == variables.end() ? std::nullopt : std::optional(found->second);
  };
}

S3Settings resolve(const std::string& url, const S3Flags& flags = {},
                   const std::map<std::string, std::string>& variables = {}) {
  return resolve_s3_settings(url, flags, environment(variables), AwsProfiles::load(environment(variables)));
}

S3Endpoint::Target target(const std::string& bucket, const S3Flags& flags, const std::string& key) {
  return S3Endpoint(resolve("s3://" + bucket, flags)).target(key, "eu-west-1");
}

TEST_CASE("S3 URLs") {
  CHECK(resolve("s3://bucket").bucket == "bucket");
  CHECK(resolve("s3://bucket").prefix == "");
  CHECK(resolve("s3://bucket/").prefix == "");
  CHECK(resolve("s3://bucket/a/b/").prefix == "a/b");
  CHECK(resolve("s3://bucket//a").prefix == "a");
  for (const char* bad :
       {"", "bucket", "s3:/bucket", "s3://", "s3://ab", "s3://-bucket", "s3://a..b", "s3://buc ket",
        "s3://bucket/a/../b", "s3://bucket/a//b", "s3://bucket/.", "s3://bucket/a\n"}) {
    CAPTURE(bad);
    CHECK_THROWS_AS(resolve(bad), base::Error);
  }
}

TEST_CASE("flags beat variables, and each value names its source") {
  const std::map<std::string, std::string> variables{{"AWS_REGION", "eu-west-1"},
                                                     {"AWS_DEFAULT_REGION", "eu-west-2"},
                                                     {"AWS_ENDPOINT_URL", "http://all"},
                                                     {"AWS_ENDPOINT_URL_S3", "http://s3"},
                                                     {"AWS_CA_BUNDLE", "/ca"}};
  const S3Settings from_variables = resolve("s3://bucket", {}, variables);
  CHECK(from_variables.region.value == "eu-west-1");
  CHECK(from_variables.region.source == "AWS_REGION");
  CHECK(from_variables.endpoint_url.value == "http://s3");
  CHECK(from_variables.ca_bundle.value == "/ca");
  S3Flags flags;
  flags.region = "us-west-2";
  flags.endpoint_url = "http://flag";
  const S3Settings from_flags = resolve("s3://bucket", flags, variables);
  CHECK(from_flags.region.value == "us-west-2");
  CHECK(from_flags.region.source == "--region");
  CHECK(from_flags.endpoint_url.value == "http://flag");
  CHECK(resolve("s3://bucket").region.value == "us-east-1");
  CHECK(resolve("s3://bucket").region.source == "default");
  CHECK(resolve("s3://bucket", {}, {{"AWS_ENDPOINT_URL", "http://all"}}).endpoint_url.source ==
        "AWS_ENDPOINT_URL");
  CHECK(resolve("s3://bucket", {},
                {{"AWS_ENDPOINT_URL", "http://all"}, {"AWS_IGNORE_CONFIGURED_ENDPOINT_URLS", "true"}})
            .endpoint_url.value.empty());
  CHECK_THROWS_AS(resolve("s3://bucket", {}, {{"AWS_PROFILE", "absent"}}), base::Error);
  CHECK_THROWS_AS(resolve("s3://bucket", {}, {{"AWS_REGION", "evil.example/"}}), base::Error);
}

TEST_CASE("sizes of uploads are those that the profile gives to all programs") {
  CHECK(parse_transfer_size("8388608", "x") == 8'388'608);
  CHECK(parse_transfer_size("8MB", "x") == 8'388'608);
  CHECK(parse_transfer_size("1gb", "x") == 1ULL << 30);
  CHECK(parse_transfer_size("16MiB", "x") == 16'777'216);
  CHECK(parse_transfer_size("8 mib", "x") == 8'388'608);
  for (const char* bad : {"", "0", "-1", "8 M", "8MiBs", "8IMB", "99999999999999999999", "99999999999TB"})
    CHECK_THROWS_AS(parse_transfer_size(bad, "x"), base::Error);
  const tests::TemporaryDirectory directory;
  const auto of_profile = [&directory](const std::string& lines) {
    tests::write_whole(directory / "config", "[default]\ns3 =\n" + lines);
    return resolve("s3://bucket", {}, {{"AWS_CONFIG_FILE", directory / "config"}});
  };
  const S3Settings given = of_profile("  multipart_threshold = 1KB\n  multipart_chunksize = 16MB\n");
  CHECK(given.multipart_threshold == 1024U);
  CHECK(given.part_size == 16U << 20);
  const S3Settings extreme = of_profile("  multipart_threshold = 1TB\n  multipart_chunksize = 1KB\n");
  CHECK(extreme.multipart_threshold == 5ULL << 30);
  CHECK(extreme.part_size == 5U << 20);
  CHECK(!of_profile("").multipart_threshold);
  CHECK_THROWS_AS(of_profile("  multipart_chunksize = much\n"), base::Error);
}

TEST_CASE("where a bucket answers") {
  CHECK(target("bucket", {}, "a/b c").url == "https://bucket.s3.eu-west-1.amazonaws.com/a/b%20c");
  CHECK(target("bucket", {}, "").url == "https://bucket.s3.eu-west-1.amazonaws.com/");
  CHECK(target("dotted.bucket", {}, "k").url == "https://s3.eu-west-1.amazonaws.com/dotted.bucket/k");
  S3Flags flags;
  flags.endpoint_url = "HTTP://127.0.0.1:7480/";
  CHECK(target("bucket", flags, "k").url == "http://127.0.0.1:7480/bucket/k");
  CHECK(target("bucket", flags, "k").host == "127.0.0.1:7480");
  CHECK(target("bucket", flags, "").path == "/bucket");
  flags.endpoint_url = "https://[::1]:443";
  CHECK(target("bucket", flags, "k").host == "[::1]");
  flags.endpoint_url = "https://minio.example:80/base/path/";
  CHECK(target("bucket", flags, "k").url == "https://minio.example:80/base/path/bucket/k");
  flags.addressing_style = "virtual";
  CHECK(target("bucket", flags, "k").url == "https://bucket.minio.example:80/base/path/k");
  flags.endpoint_url = "http://127.0.0.1";
  CHECK_THROWS_AS(target("bucket", flags, "k"), base::Error);
  flags.addressing_style = "sideways";
  CHECK_THROWS_AS(target("bucket", flags, "k"), base::Error);
}

TEST_CASE("two spellings of an endpoint are one") {
  S3Flags flags;
  for (const char* spelled : {"http://HOST:80", "http://host/", "http://host:80//"}) {
    flags.endpoint_url = spelled;
    CHECK(S3Endpoint(resolve("s3://bucket", flags)).custom() == "http://host");
  }
}

TEST_CASE("XML of a listing") {
  const auto root = parse_xml(
      "\xEF\xBB\xBF<?xml version=\"1.0\"?>\n<!-- x --><s3:List xmlns:s3=\"u\" a='>'>\n"
      "<Key>a&amp;b&#x20AC;&#10;</Key><Empty/><K><![CDATA[<&>]]></K></s3:List >\n");
  REQUIRE(root);
  CHECK(root->name == "List");
  CHECK(root->text_of("Key") == "a&b\xE2\x82\xAC\n");
  CHECK(root->text_of("K") == "<&>");
  CHECK(root->child("Empty") != nullptr);
  CHECK(root->child("Absent") == nullptr);
  CHECK(escape_xml("<a b=\"c\">&'") == "&lt;a b=&quot;c&quot;&gt;&amp;&apos;");
}

TEST_CASE("XML that is broken or hostile is absent") {
  std::string deep;
  for (int i = 0; i < 100'000; ++i) deep += "<a>";
  std::string many = "<a>";
  for (int i = 0; i < 200'000; ++i) many += "<b/>";
  many += "</a>";
  const std::string documents[] = {"",
                                   "text",
                                   "<a>",
                                   "<a></b>",
                                   "<a/><b/>",
                                   "<a/>x",
                                   "<a>&unknown;</a>",
                                   "<a>&#0;</a>",
                                   "<a>&#xD800;</a>",
                                   "<a>&#x110000;</a>",
                                   "<a>&amp</a>",
                                   "<!DOCTYPE a [<!ENTITY x \"y\">]><a>&x;</a>",
                                   "<a b></a>",
                                   "<a b=c></a>",
                                   "<a b=\"c></a>",
                                   "<a><!-- </a>",
                                   "<a><![CDATA[</a>",
                                   "< a/>",
                                   "<a",
                                   "<a/",
                                   "<>",
                                   "</a>",
                                   deep,
                                   many};
  for (const std::string& document : documents) {
    CAPTURE(document.substr(0, 60));
    CHECK_FALSE(parse_xml(document));
  }
}

TEST_CASE("every beginning of a document is broken") {
  const std::string whole = "<?xml version='1.0'?><a b='c'><d>&lt;</d><!-- e --><f><![CDATA[g]]></f></a>";
  REQUIRE(parse_xml(whole));
  for (std::size_t i = 0; i < whole.size(); ++i) CHECK_FALSE(parse_xml(whole.substr(0, i)));
}

TEST_CASE("what a server says went wrong") {
  http::Response response;
  response.status = 400;
  response.body = "<Error><Code>AuthorizationHeaderMalformed</Code><Region>eu-west-1</Region></Error>";
  CHECK(parse_service_error(response).region == "eu-west-1");
  response.headers = {{"x-amz-bucket-region", "ap-south-1"}};
  CHECK(parse_service_error(response).region == "ap-south-1");
  response.headers = {{"x-amz-bucket-region", "evil.example/#"}};
  CHECK(parse_service_error(response).region.empty());
  response.body = "<html>";
  CHECK(parse_service_error(response).code.empty());
}

TEST_CASE("messages show foreign text harmlessly and on one line") {
  http::Response response;
  response.status = 418;
  response.body = "<Error><Code>Odd\x1b[31m</Code><Message>two\nlines</Message></Error>";
  RequestContext context;
  context.method = "GET";
  context.subject = "s3://bucket/k";
  const std::string text = describe_answer(response, parse_service_error(response), context).what();
  CHECK(text.find('\n') == std::string::npos);
  CHECK(text.find('\x1b') == std::string::npos);
}

TEST_CASE("parts are as large as they must be, and no larger") {
  constexpr std::uint64_t mib = 1 << 20;
  CHECK(part_size_for(100 * mib, 32 * mib) == 32 * mib);
  CHECK(part_size_for(320'000 * mib, 32 * mib) == 32 * mib);
  const std::uint64_t large = 320'001 * mib;
  CHECK(part_size_for(large, 32 * mib) > 32 * mib);
  CHECK((large + part_size_for(large, 32 * mib) - 1) / part_size_for(large, 32 * mib) <= k_max_parts);
}

TEST_CASE("slices of pieces join to slices of the whole") {
  const std::string_view pieces[] = {"abc", "", "d", "efghij"};
  const std::string whole = "abcdefghij";
  for (std::uint64_t offset = 0; offset <= whole.size(); ++offset) {
    for (std::uint64_t length = 0; offset + length <= whole.size(); ++length) {
      std::string joined;
      for (const std::string_view piece : slice_parts(pieces, offset, length)) joined += piece;
      CHECK(joined == whole.substr(offset, length));
    }
  }
}

}  // namespace
