// What the user has set, where: a flag beats the environment, which beats the config file, which beats the
// default.
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "store/s3_settings.hpp"

namespace runctl::cmd {

enum class When { automatic, always, never };

class Metrics;

// The config file: one JSON object of strings.
struct Config {
  std::string path;  // empty where nothing says where it could be
  std::map<std::string, std::string> values;
};

// The global flags as they were given, and what goes with them to every command.
struct GlobalFlags {
  std::optional<std::string> store;
  std::optional<std::string> index;
  std::optional<std::string> config;
  std::optional<std::string> endpoint_url;
  std::optional<std::string> region;
  std::optional<std::string> profile;
  std::optional<std::string> addressing_style;
  std::optional<std::string> ca_bundle;
  bool no_sign_request = false;
  std::optional<std::string> cache_dir;
  std::optional<std::string> cache_size;
  std::optional<std::string> cache_max_age;
  bool no_cache = false;
  std::optional<std::string> color;
  std::optional<std::string> progress;
  bool json = false;
  bool quiet = false;
  bool verbose = false;
  std::optional<std::string> metrics_file;

  Config configured;
  Metrics* metrics = nullptr;  // never null once a command runs: what it did is told here
};

// A value and where it came from, for a person.
struct Setting {
  std::string value;
  std::string source;  // "--store", "RUNCTL_STORE", "FILE, \"store\"" or "default"
};

struct CacheSettings {
  Setting directory;     // a path; empty where neither HOME nor XDG_CACHE_HOME says where it could be
  bool asked = false;    // the user has named the directory
  bool refused = false;  // --no-cache
  std::uint64_t bytes = 1ULL << 30;     // at most, on disk
  std::optional<std::int64_t> max_age;  // microseconds since the last use
};

struct Settings {
  Setting store;  // a URL or path, as it was given
  Setting index;  // a path; empty: one of its own for each store, below the state directory
  store::S3Flags s3;
  store::S3Configured s3_configured;
  store::SignRequests sign = store::SignRequests::yes;
  CacheSettings cache;
  When color = When::automatic;
  When progress = When::automatic;
  bool json = false;
  bool quiet = false;
  bool verbose = false;
};

// Reads the config file, which may be a pipe: once. Throws base::Error(usage), as the two below.
Config read_config(const GlobalFlags& flags);

// What the flags, the environment and the config file say. An error names the setting and the place.
Settings resolve(const GlobalFlags& flags);

// Where the metrics go; an empty value: nowhere. Needs none of the other settings.
Setting metrics_file(const GlobalFlags& flags);

// Whether the environment names a directory for what programs remember.
bool has_state_directory();

// A path of its own for each `owner` (a store, say) in the directory `kind` below it.
std::string state_path(const std::string& kind, const std::string& owner);

}  // namespace runctl::cmd
