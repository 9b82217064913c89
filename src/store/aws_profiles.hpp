// The files that AWS tools share: ~/.aws/config and ~/.aws/credentials ("Shared config and credentials files"
// in the AWS SDKs and Tools reference). They hold secrets: nothing of them is ever printed but names.
#pragma once

#include <map>
#include <optional>
#include <string>
#include <string_view>

#include "store/environment.hpp"

namespace runctl::store {

// Section header, without brackets and in its plain form, to key to value. A nested value, such as
// addressing_style in the indented lines under `s3 =`, has the key "s3.addressing_style".
using IniSections = std::map<std::string, std::map<std::string, std::string>>;

// Reads the dialect of the AWS tools: comments are whole lines that start with # or ;, keys are
// case-insensitive, later values win. Lines that mean nothing are skipped, as those tools do.
IniSections parse_ini(std::string_view text);

class AwsProfiles {
 public:
  // Reads AWS_CONFIG_FILE and AWS_SHARED_CREDENTIALS_FILE, or their defaults under HOME; absent files are
  // empty. Throws Error(usage) where a file is there and cannot be read.
  static AwsProfiles load(const Environment& environment);

  struct Value {
    std::string value;
    std::string source;  // "profile NAME in FILE"
  };
  [[nodiscard]] bool has(const std::string& profile) const;
  // The credentials file beats the config file.
  [[nodiscard]] std::optional<Value> find(const std::string& profile, const std::string& key) const;
  // `key` in the [services NAME] section that the profile points to.
  [[nodiscard]] std::optional<Value> find_service(const std::string& profile, const std::string& key) const;

 private:
  [[nodiscard]] std::optional<Value> find_in_config(const std::string& section, const std::string& key) const;

  std::string config_path_;
  std::string credentials_path_;
  IniSections config_;
  IniSections credentials_;
};

}  // namespace runctl::store
