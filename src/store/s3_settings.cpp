#include "store/s3_settings.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <charconv>
#include <initializer_list>

#include "base/bytes.hpp"
#include "base/error.hpp"

namespace runctl::store {

namespace {

[[noreturn]] void fail(const std::string& message) { throw base::Error(base::ErrorKind::usage, message); }

bool is_bucket_name(std::string_view name) {
  const auto allowed = [](char c) {
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '.' ||
           c == '-' || c == '_';
  };
  return name.size() >= 3 && name.size() <= 255 && std::all_of(name.begin(), name.end(), allowed) &&
         name.front() != '.' && name.front() != '-' && name.find("..") == std::string_view::npos;
}

std::string checked_prefix(const std::string& url, std::string_view prefix) {
  while (prefix.starts_with('/')) prefix.remove_prefix(1);
  while (prefix.ends_with('/')) prefix.remove_suffix(1);
  const std::string slashed = fmt::format("/{}/", prefix);
  const bool odd = slashed.find("/./") != std::string::npos || slashed.find("/../") != std::string::npos ||
                   (!prefix.empty() && slashed.find("//") != std::string::npos) ||
                   base::printable(prefix, prefix.size()) != prefix;
  if (odd) fail(url + ": the prefix must not have empty, \".\" or \"..\" segments or control characters");
  return std::string(prefix);
}

Setting first_of(std::initializer_list<Setting> candidates) {
  for (const Setting& candidate : candidates) {
    if (!candidate.value.empty()) return candidate;
  }
  return {};
}

Setting from_profile(const std::optional<AwsProfiles::Value>& found) {
  return found ? Setting{found->value, found->source} : Setting{};
}

constexpr std::uint64_t k_least_part = 5ULL << 20;
constexpr std::uint64_t k_greatest_put = 5ULL << 30;  // and part

// A size below `s3` in the profile, brought within what S3 takes, as the AWS command does.
std::optional<std::uint64_t> transfer_size(const AwsProfiles& profiles, const std::string& profile,
                                           const std::string& name, std::uint64_t least) {
  const auto found = profiles.find(profile, "s3." + name);
  if (!found) return std::nullopt;
  const std::uint64_t size = parse_transfer_size(found->value, fmt::format("{} of {}", name, found->source));
  return std::clamp(size, least, k_greatest_put);
}

// Where an endpoint may be configured, in the order of the AWS SDKs.
Setting endpoint(const S3Flags& flags, const Environment& environment, const AwsProfiles& profiles,
                 const std::string& profile, const Setting& configured) {
  const Setting flag{flags.endpoint_url, "--endpoint-url"};
  if (environment("AWS_IGNORE_CONFIGURED_ENDPOINT_URLS").value_or("") == "true") return first_of({flag});
  return first_of({flag,
                   {environment("AWS_ENDPOINT_URL_S3").value_or(""), "AWS_ENDPOINT_URL_S3"},
                   {environment("AWS_ENDPOINT_URL").value_or(""), "AWS_ENDPOINT_URL"},
                   configured,
                   from_profile(profiles.find_service(profile, "s3.endpoint_url")),
                   from_profile(profiles.find(profile, "endpoint_url"))});
}

}  // namespace

AddressingStyle parse_addressing_style(const std::string& text, const std::string& source) {
  if (text.empty() || text == "auto") return AddressingStyle::automatic;
  if (text == "path") return AddressingStyle::path;
  if (text == "virtual") return AddressingStyle::virtual_host;
  fail(fmt::format("{}: \"{}\" is no addressing style; use auto, path or virtual", source,
                   base::printable(text, 40)));
}

std::uint64_t parse_transfer_size(const std::string& text, const std::string& source) {
  std::uint64_t number = 0;
  const char* const end = text.data() + text.size();
  const auto [rest, failure] = std::from_chars(text.data(), end, number);
  std::string unit;  // "MiB" is "MB"
  for (const char c : std::string_view(rest, static_cast<std::size_t>(end - rest))) {
    const char upper = c >= 'a' && c <= 'z' ? static_cast<char>(c - 'a' + 'A') : c;
    if (upper != ' ' && !(upper == 'I' && unit.size() == 1)) unit += upper;
  }
  constexpr std::string_view k_units[] = {"", "KB", "MB", "GB", "TB"};
  const auto* const known = std::find(std::begin(k_units), std::end(k_units), unit);
  const auto shift = static_cast<unsigned>(10 * (known - std::begin(k_units)));
  if (failure != std::errc() || known == std::end(k_units) || number == 0 || number > (UINT64_MAX >> shift)) {
    fail(fmt::format("{}: \"{}\" is no size; give one as 64MB", source, base::printable(text, 40)));
  }
  return number << shift;
}

bool is_region(std::string_view text) {
  const auto allowed = [](char c) { return (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || c == '-'; };
  return !text.empty() && text.size() <= 63 && std::all_of(text.begin(), text.end(), allowed);
}

S3Settings resolve_s3_settings(const std::string& url, const S3Flags& flags, const Environment& environment,
                               const AwsProfiles& profiles, const S3Configured& configured) {
  const auto in_config = [&configured](const std::string& value, const char* name) {
    return Setting{value, fmt::format("{}, \"{}\"", configured.file, name)};
  };
  constexpr std::string_view scheme = "s3://";
  if (!url.starts_with(scheme)) fail(base::printable(url) + ": not an S3 URL; it reads s3://BUCKET[/PREFIX]");
  const std::string_view rest = std::string_view(url).substr(scheme.size());
  const std::size_t slash = std::min(rest.find('/'), rest.size());
  S3Settings out;
  out.bucket = rest.substr(0, slash);
  if (!is_bucket_name(out.bucket)) {
    fail(base::printable(url) + ": no valid bucket name; an S3 URL reads s3://BUCKET[/PREFIX]");
  }
  out.prefix = checked_prefix(base::printable(url), rest.substr(slash));

  out.profile = first_of({{flags.profile, "--profile"},
                          {environment("AWS_PROFILE").value_or(""), "AWS_PROFILE"},
                          {environment("AWS_DEFAULT_PROFILE").value_or(""), "AWS_DEFAULT_PROFILE"},
                          in_config(configured.values.profile, "profile"),
                          {"default", "default"}});
  const std::string& profile = out.profile.value;
  out.profile_is_explicit = !flags.profile.empty();
  if (out.profile.source != "default" && !profiles.has(profile)) {
    fail(fmt::format("{}: there is no profile \"{}\" in the AWS config and credentials files",
                     out.profile.source, base::printable(profile, 80)));
  }
  out.endpoint_url = endpoint(flags, environment, profiles, profile,
                              in_config(configured.values.endpoint_url, "endpoint_url"));
  out.region = first_of({{flags.region, "--region"},
                         {environment("AWS_REGION").value_or(""), "AWS_REGION"},
                         {environment("AWS_DEFAULT_REGION").value_or(""), "AWS_DEFAULT_REGION"},
                         in_config(configured.values.region, "region"),
                         from_profile(profiles.find(profile, "region")),
                         {"us-east-1", "default"}});
  if (!is_region(out.region.value)) {
    fail(fmt::format("{}: \"{}\" is no region; one reads like us-east-1", out.region.source,
                     base::printable(out.region.value, 80)));
  }
  out.ca_bundle = first_of({{flags.ca_bundle, "--ca-bundle"},
                            {environment("AWS_CA_BUNDLE").value_or(""), "AWS_CA_BUNDLE"},
                            in_config(configured.values.ca_bundle, "ca_bundle"),
                            from_profile(profiles.find(profile, "ca_bundle"))});
  out.addressing_style = first_of({{flags.addressing_style, "--addressing-style"},
                                   in_config(configured.values.addressing_style, "addressing_style"),
                                   from_profile(profiles.find(profile, "s3.addressing_style")),
                                   {"auto", "default"}});
  parse_addressing_style(out.addressing_style.value, out.addressing_style.source);
  out.multipart_threshold = transfer_size(profiles, profile, "multipart_threshold", 1);
  out.part_size = transfer_size(profiles, profile, "multipart_chunksize", k_least_part);
  return out;
}

}  // namespace runctl::store
