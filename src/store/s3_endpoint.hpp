// Where a bucket answers, and how a key is written into its URL.
#pragma once

#include <string>

#include "store/s3_settings.hpp"

namespace runctl::store {

// Immutable but for the region, which names the host where no endpoint was configured.
class S3Endpoint {
 public:
  // Throws Error(usage) where the configured endpoint is no http or https URL of a host, carries a user,
  // query or fragment, or cannot be addressed in the style asked for.
  explicit S3Endpoint(const S3Settings& settings);

  struct Target {
    std::string host;  // as the Host header has it: with the port, unless it is the scheme's own
    std::string path;  // percent-encoded
    std::string url;   // without a query
  };
  // `key` is the whole key in the bucket, decoded; empty for the bucket itself.
  [[nodiscard]] Target target(const std::string& key, const std::string& region) const;

  // The endpoint in canonical form, such as "http://127.0.0.1:7480"; empty for that of AWS.
  [[nodiscard]] const std::string& custom() const { return custom_; }

 private:
  [[nodiscard]] std::string host_in(const std::string& region) const;

  std::string bucket_;
  std::string scheme_ = "https";
  std::string host_;  // empty: that of AWS
  std::string port_;  // with its colon; empty where it is the scheme's own
  std::string base_path_;
  std::string custom_;
  bool virtual_host_ = false;
};

}  // namespace runctl::store
