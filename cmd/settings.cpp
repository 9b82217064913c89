#include "settings.hpp"

#include <fmt/format.h>
#include <unistd.h>

#include <array>
#include <cstdlib>
#include <filesystem>

#include <nlohmann/json.hpp>

#include "base/error.hpp"
#include "base/file.hpp"
#include "base/hash.hpp"
#include "quantity.hpp"

namespace runctl::cmd {

namespace {

using base::Error;
using base::ErrorKind;

constexpr std::size_t k_max_config = 1U << 20;

std::optional<std::string> environment(const char* name) {
  const char* const value = std::getenv(name);
  if (value == nullptr || *value == '\0') return std::nullopt;
  return std::string(value);
}

// A directory of the XDG Base Directory Specification.
std::string xdg_directory(const char* variable, const char* below_home) {
  const auto set = environment(variable);
  if (set && set->starts_with('/')) return *set;  // the specification: relative paths are ignored
  const auto home = environment("HOME");
  if (!home) {
    throw Error(ErrorKind::usage,
                fmt::format("neither {} nor HOME is set: name the store and the index with --store "
                            "and --index",
                            variable));
  }
  return *home + "/" + below_home;
}

std::map<std::string, std::string> parse_config(const std::string& path, const std::string& text) {
  static constexpr std::array k_known = {"store",        "index",     "color",      "progress",
                                         "endpoint_url", "region",    "profile",    "addressing_style",
                                         "ca_bundle",    "cache_dir", "cache_size", "cache_max_age",
                                         "metrics_file"};
  nlohmann::json document;
  try {
    document = nlohmann::json::parse(text);
  } catch (const nlohmann::json::parse_error& error) {
    throw Error(ErrorKind::usage, fmt::format("{}: is not JSON: at byte {}", path, error.byte));
  }
  if (!document.is_object()) throw Error(ErrorKind::usage, path + ": must hold one JSON object");
  std::map<std::string, std::string> values;
  for (const auto& [name, value] : document.items()) {
    if (std::find(k_known.begin(), k_known.end(), name) == k_known.end()) {
      throw Error(ErrorKind::usage, fmt::format("{}: unknown setting \"{}\"", path, name));
    }
    if (!value.is_string()) {
      throw Error(ErrorKind::usage, fmt::format("{}: \"{}\" must be a string", path, name));
    }
    values[name] = value.get<std::string>();
  }
  return values;
}

std::optional<Setting> find(const Config& config, const std::string& name) {
  const auto found = config.values.find(name);
  if (found == config.values.end()) return std::nullopt;
  return Setting{found->second, fmt::format("{}, \"{}\"", config.path, name)};
}

Setting choose(const std::optional<std::string>& flag, const char* flag_name, const char* variable,
               const Config& config, const std::string& name, const std::string& fallback) {
  if (flag) return {*flag, flag_name};
  if (const auto value = environment(variable)) return {*value, variable};
  if (const auto value = find(config, name)) return *value;
  return {fallback, "default"};
}

CacheSettings resolve_cache(const GlobalFlags& flags, const Config& config) {
  CacheSettings cache;
  cache.refused = flags.no_cache;
  cache.directory = choose(flags.cache_dir, "--cache-dir", "RUNCTL_CACHE_DIR", config, "cache_dir", "");
  cache.asked = !cache.directory.value.empty();
  if (!cache.asked) {
    cache.directory.source = "default";
    if (environment("HOME") || environment("XDG_CACHE_HOME"))
      cache.directory.value = xdg_directory("XDG_CACHE_HOME", ".cache") + "/runctl";
  }
  const Setting size =
      choose(flags.cache_size, "--cache-size", "RUNCTL_CACHE_SIZE", config, "cache_size", "1GiB");
  cache.bytes = size_of(size);
  const Setting age =
      choose(flags.cache_max_age, "--cache-max-age", "RUNCTL_CACHE_MAX_AGE", config, "cache_max_age", "");
  if (!age.value.empty()) cache.max_age = age_of(age);
  return cache;
}

When when_of(const Setting& setting) {
  if (setting.value == "auto") return When::automatic;
  if (setting.value == "always") return When::always;
  if (setting.value == "never") return When::never;
  throw Error(ErrorKind::usage,
              fmt::format("{}: must be auto, always or never, not \"{}\"", setting.source, setting.value));
}

}  // namespace

Config read_config(const GlobalFlags& flags) {
  const auto path = flags.config ? flags.config : environment("RUNCTL_CONFIG");
  Config config;
  if (!path && !environment("HOME") && !environment("XDG_CONFIG_HOME")) return config;
  config.path = path ? *path : xdg_directory("XDG_CONFIG_HOME", ".config") + "/runctl/config.json";
  std::optional<std::string> text;
  try {
    text = base::read_file(config.path, k_max_config);
  } catch (const Error& error) {
    throw Error(ErrorKind::usage, std::string("the config file cannot be read: ") + error.what());
  }
  if (text)
    config.values = parse_config(config.path, *text);
  else if (path)
    throw Error(ErrorKind::usage, config.path + ": the config file is not there");
  return config;
}

Setting metrics_file(const GlobalFlags& flags) {
  Setting setting = choose(flags.metrics_file, "--metrics-file", "RUNCTL_METRICS_FILE", flags.configured,
                           "metrics_file", "");
  if (setting.value.empty()) return setting;
  // /dev/stdout or /proc/self/fd/1 may lead to a file, which is not to be replaced.
  std::error_code failure;
  const std::string plain = std::filesystem::absolute(setting.value, failure).lexically_normal().string();
  const bool device =
      (plain.starts_with("/dev/") && !plain.starts_with("/dev/shm/")) || plain.starts_with("/proc/");
  if (setting.value == "-" || device) {
    throw Error(ErrorKind::usage, fmt::format("{}: \"{}\": must name a file, which is replaced at the end",
                                              setting.source, setting.value));
  }
  return setting;
}

Settings resolve(const GlobalFlags& flags) {
  const Config& config = flags.configured;
  Settings settings;
  settings.store = choose(flags.store, "--store", "RUNCTL_STORE", config, "store", "");
  if (settings.store.value.empty() && settings.store.source != "default") {
    throw Error(ErrorKind::usage, settings.store.source + ": must name a directory or URL, and is empty");
  }
  if (settings.store.value.empty()) {
    settings.store.value = xdg_directory("XDG_DATA_HOME", ".local/share") + "/runctl/store";
  }
  settings.index = choose(flags.index, "--index", "RUNCTL_INDEX", config, "index", "");
  settings.s3 = {flags.endpoint_url.value_or(""), flags.region.value_or(""), flags.profile.value_or(""),
                 flags.ca_bundle.value_or(""), flags.addressing_style.value_or("")};
  const auto configured = [&config](const char* name) {
    return find(config, name).value_or(Setting{}).value;
  };
  settings.s3_configured.values = {configured("endpoint_url"), configured("region"), configured("profile"),
                                   configured("ca_bundle"), configured("addressing_style")};
  settings.s3_configured.file = config.path;
  if (flags.no_sign_request) settings.sign = store::SignRequests::no;
  settings.cache = resolve_cache(flags, config);
  settings.color = when_of(choose(flags.color, "--color", "RUNCTL_COLOR", config, "color", "auto"));
  // https://no-color.org: set and not empty means none, unless the user asks for it on the spot.
  if (environment("NO_COLOR") && !flags.color) settings.color = When::never;
  settings.progress =
      when_of(choose(flags.progress, "--progress", "RUNCTL_PROGRESS", config, "progress", "auto"));
  settings.json = flags.json;
  settings.quiet = flags.quiet;
  settings.verbose = flags.verbose;
  return settings;
}

bool has_state_directory() { return environment("HOME") || environment("XDG_STATE_HOME"); }

std::string state_path(const std::string& kind, const std::string& owner) {
  return fmt::format("{}/runctl/{}/{:016x}", xdg_directory("XDG_STATE_HOME", ".local/state"), kind,
                     base::xxh3_64(owner));
}

}  // namespace runctl::cmd
