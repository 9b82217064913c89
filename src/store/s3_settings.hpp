// How to reach a bucket: what flags, environment and profile say, each value with where it came from.
#pragma once

#include <cstdint>
#include <optional>
#include <string>

#include "store/aws_profiles.hpp"
#include "store/environment.hpp"

namespace runctl::store {

enum class AddressingStyle {
  automatic,     // path for a custom endpoint or a bucket with dots, else virtual
  path,          // https://HOST/BUCKET/KEY
  virtual_host,  // https://BUCKET.HOST/KEY
};

// "auto", "path" or "virtual"; Error(usage) for anything else, naming `source`.
AddressingStyle parse_addressing_style(const std::string& text, const std::string& source);

enum class SignRequests { yes, no };

// What was said on the command line; empty: not said.
struct S3Flags {
  std::string endpoint_url;
  std::string region;
  std::string profile;
  std::string ca_bundle;
  std::string addressing_style;
};

// What runctl's own config file says; the environment beats it, the shared AWS files do not.
struct S3Configured {
  S3Flags values;
  std::string file;
};

struct Setting {
  std::string value;
  std::string source;  // such as "--region", "AWS_REGION", "[profile ci] in FILE" or "default"
};

struct S3Settings {
  std::string bucket;
  std::string prefix;    // without slashes at its ends; may be empty
  Setting endpoint_url;  // empty value: that of AWS for the region
  Setting region;
  Setting profile;
  Setting ca_bundle;  // empty value: the system's authorities
  Setting addressing_style;
  std::optional<std::uint64_t> multipart_threshold;  // bytes; where the profile has one for all programs
  std::optional<std::uint64_t> part_size;
  bool profile_is_explicit = false;  // named by a flag: then it beats credentials in the environment
};

// `url` is s3://BUCKET[/PREFIX]. Throws Error(usage) for a malformed URL, bucket, region or style and for a
// profile that is named but does not exist. Order: flags, AWS_ENDPOINT_URL_S3, AWS_ENDPOINT_URL, AWS_REGION,
// AWS_DEFAULT_REGION, AWS_CA_BUNDLE, runctl's config file, then the profile (AWS_PROFILE, else "default").
S3Settings resolve_s3_settings(const std::string& url, const S3Flags& flags, const Environment& environment,
                               const AwsProfiles& profiles, const S3Configured& configured = {});

// Bytes as the AWS command reads them: "8388608", "8MB" or "8 MiB", all of 1024 KB an MB. Throws Error(usage)
// for anything else, naming `source`.
std::uint64_t parse_transfer_size(const std::string& text, const std::string& source);

// A region may become part of a host name, so nothing else than [a-z0-9-] is one.
bool is_region(std::string_view text);

}  // namespace runctl::store
