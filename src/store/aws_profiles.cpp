#include "store/aws_profiles.hpp"

#include <fmt/format.h>

#include "base/error.hpp"
#include "base/file.hpp"

namespace runctl::store {

namespace {

constexpr std::string_view k_blanks = " \t\r";
constexpr std::size_t k_max_file = 4U << 20;

std::string_view trim(std::string_view text) {
  const std::size_t first = text.find_first_not_of(k_blanks);
  if (first == std::string_view::npos) return {};
  return text.substr(first, text.find_last_not_of(k_blanks) - first + 1);
}

std::string lower(std::string_view text) {
  std::string out(text);
  for (char& c : out) {
    if (c >= 'A' && c <= 'Z') c = static_cast<char>(c - 'A' + 'a');
  }
  return out;
}

// `profile  "my name"` becomes `profile my name`.
std::string plain_header(std::string_view header) {
  header = trim(header);
  const std::size_t blank = header.find_first_of(k_blanks);
  if (blank == std::string_view::npos) return std::string(header);
  std::string_view name = trim(header.substr(blank));
  if (name.size() >= 2 && name.front() == '"' && name.back() == '"') name = name.substr(1, name.size() - 2);
  return fmt::format("{} {}", header.substr(0, blank), name);
}

std::string read_if_there(const std::string& path) {
  try {
    return base::read_file(path, k_max_file).value_or("");
  } catch (const base::Error& error) {
    throw base::Error(base::ErrorKind::usage, std::string("cannot be read: ") + error.what());
  }
}

std::string path_of(const Environment& environment, const char* variable, const std::string& name) {
  const std::string home = environment("HOME").value_or("");
  std::string path = environment(variable).value_or(home.empty() ? "" : home + "/.aws/" + name);
  if (path.starts_with("~/") && !home.empty()) path.replace(0, 1, home);
  return path;
}

std::string config_section(const std::string& profile) {
  return profile == "default" ? profile : "profile " + profile;
}

}  // namespace

IniSections parse_ini(std::string_view text) {
  IniSections sections;
  std::map<std::string, std::string>* section = nullptr;
  std::string parent;  // the key that indented lines belong to
  while (!text.empty()) {
    const std::size_t end = std::min(text.find('\n'), text.size());
    const std::string_view line = text.substr(0, end);
    text.remove_prefix(std::min(end + 1, text.size()));
    const std::string_view content = trim(line);
    if (content.empty() || content.front() == '#' || content.front() == ';') continue;
    const bool indented = line.front() == ' ' || line.front() == '\t';
    if (!indented && content.front() == '[') {
      const std::size_t close = content.find(']');
      section =
          close == std::string_view::npos ? nullptr : &sections[plain_header(content.substr(1, close - 1))];
      parent.clear();
      continue;
    }
    const std::size_t equals = content.find('=');
    if (section == nullptr || equals == std::string_view::npos) continue;
    std::string key = lower(trim(content.substr(0, equals)));
    if (indented && !parent.empty()) {
      key = fmt::format("{}.{}", parent, key);
    } else {
      parent = key;
    }
    (*section)[key] = trim(content.substr(equals + 1));
  }
  return sections;
}

AwsProfiles AwsProfiles::load(const Environment& environment) {
  AwsProfiles out;
  out.config_path_ = path_of(environment, "AWS_CONFIG_FILE", "config");
  out.credentials_path_ = path_of(environment, "AWS_SHARED_CREDENTIALS_FILE", "credentials");
  if (!out.config_path_.empty()) out.config_ = parse_ini(read_if_there(out.config_path_));
  if (!out.credentials_path_.empty()) out.credentials_ = parse_ini(read_if_there(out.credentials_path_));
  // `[profile default]` is another spelling of `[default]`, and wins over it.
  if (const auto spelled = out.config_.find("profile default"); spelled != out.config_.end()) {
    out.config_["default"] = spelled->second;
  }
  return out;
}

bool AwsProfiles::has(const std::string& profile) const {
  return credentials_.contains(profile) || config_.contains(config_section(profile));
}

std::optional<AwsProfiles::Value> AwsProfiles::find_in_config(const std::string& section,
                                                              const std::string& key) const {
  const auto found = config_.find(section);
  if (found == config_.end()) return std::nullopt;
  const auto value = found->second.find(key);
  if (value == found->second.end() || value->second.empty()) return std::nullopt;
  return Value{value->second, fmt::format("[{}] in {}", section, config_path_)};
}

std::optional<AwsProfiles::Value> AwsProfiles::find(const std::string& profile,
                                                    const std::string& key) const {
  if (const auto found = credentials_.find(profile); found != credentials_.end()) {
    const auto value = found->second.find(key);
    if (value != found->second.end() && !value->second.empty()) {
      return Value{value->second, fmt::format("[{}] in {}", profile, credentials_path_)};
    }
  }
  return find_in_config(config_section(profile), key);
}

std::optional<AwsProfiles::Value> AwsProfiles::find_service(const std::string& profile,
                                                            const std::string& key) const {
  const auto services = find(profile, "services");
  return services ? find_in_config("services " + services->value, key) : std::nullopt;
}

}  // namespace runctl::store
