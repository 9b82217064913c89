#include "s3/make_bucket.hpp"

#include <chrono>

#include "base/error.hpp"
#include "http/client.hpp"
#include "store/environment.hpp"
#include "store/s3_endpoint.hpp"
#include "store/sigv4.hpp"

namespace runctl::tests {

void make_bucket(const store::S3Settings& settings) {
  const auto environment = store::process_environment();
  const store::sigv4::Keys keys{environment("AWS_ACCESS_KEY_ID").value_or(""),
                                environment("AWS_SECRET_ACCESS_KEY").value_or(""), ""};
  const auto now = std::chrono::system_clock::now().time_since_epoch();
  const auto target = store::S3Endpoint(settings).target("", settings.region.value);
  const store::sigv4::Request request{
      "PUT", target.path, {}, {{"host", target.host}}, std::string(store::sigv4::k_unsigned_payload)};
  http::Request put;
  put.method = "PUT";
  put.url = target.url;
  put.headers = request.headers;
  put.headers.emplace_back("x-amz-content-sha256", request.payload_hash);
  store::sigv4::Request to_sign = request;
  to_sign.headers = put.headers;
  for (auto& header :
       store::sigv4::sign_headers(to_sign, keys, {settings.region.value, "s3"},
                                  std::chrono::duration_cast<std::chrono::seconds>(now).count())) {
    put.headers.push_back(std::move(header));
  }
  http::ClientOptions options;
  options.ca_bundle = settings.ca_bundle.value;
  http::Client client(options);
  const http::Response response = client.perform(std::move(put));
  if (!response.ok() && response.status != 409) {
    throw base::Error(base::ErrorKind::remote, settings.bucket + ": cannot be made: " +
                                                   std::to_string(response.status) + response.reason);
  }
}

}  // namespace runctl::tests
