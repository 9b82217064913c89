#include "store/s3_endpoint.hpp"

#include <fmt/format.h>

#include <algorithm>

#include "base/bytes.hpp"
#include "base/error.hpp"
#include "store/sigv4.hpp"

namespace runctl::store {

namespace {

[[noreturn]] void fail(const Setting& setting, const std::string& why) {
  // A URL may carry a password, so only a clean one is repeated.
  const bool quotable = setting.value.find('@') == std::string::npos;
  throw base::Error(base::ErrorKind::usage,
                    fmt::format("{}: {}: {}; an endpoint reads https://HOST[:PORT]", setting.source,
                                quotable ? base::printable(setting.value, 120) : "(not shown)", why));
}

std::string lower(std::string_view text) {
  std::string out(text);
  for (char& c : out) {
    if (c >= 'A' && c <= 'Z') c = static_cast<char>(c - 'A' + 'a');
  }
  return out;
}

bool is_host(std::string_view host) {
  const bool bracketed = host.starts_with('[') && host.ends_with(']');
  if (bracketed) {
    host = host.substr(1, host.size() - 2);
    return !host.empty() && host.find_first_not_of("0123456789abcdef:.") == std::string_view::npos;
  }
  return !host.empty() &&
         host.find_first_not_of("abcdefghijklmnopqrstuvwxyz0123456789.-_") == std::string_view::npos;
}

bool is_address(std::string_view host) {
  return host.starts_with('[') || host.find_first_not_of("0123456789.") == std::string_view::npos;
}

bool is_port(std::string_view port) {
  return !port.empty() && port.size() <= 5 &&
         port.find_first_not_of("0123456789") == std::string_view::npos &&
         std::stoi(std::string(port)) <= 65535;
}

}  // namespace

S3Endpoint::S3Endpoint(const S3Settings& settings) : bucket_(settings.bucket) {
  const AddressingStyle style =
      parse_addressing_style(settings.addressing_style.value, settings.addressing_style.source);
  const Setting& setting = settings.endpoint_url;
  if (!setting.value.empty()) {
    const std::string_view url = setting.value;
    const std::size_t colon = url.find("://");
    if (colon == std::string_view::npos) fail(setting, "has no scheme");
    scheme_ = lower(url.substr(0, colon));
    if (scheme_ != "http" && scheme_ != "https") fail(setting, "is neither http nor https");
    if (url.find_first_of("@?#") != std::string_view::npos)
      fail(setting, "must not have a user, query or fragment");
    const std::string_view rest = url.substr(colon + 3);
    const std::size_t slash = std::min(rest.find('/'), rest.size());
    const std::string authority = lower(rest.substr(0, slash));
    base_path_ = rest.substr(slash);
    while (base_path_.ends_with('/')) base_path_.pop_back();
    if (sigv4::uri_encode(base_path_, sigv4::Slash::keep) != base_path_) fail(setting, "has an odd path");

    const std::size_t port_colon = authority.find(':', authority.starts_with('[') ? authority.find(']') : 0);
    host_ = authority.substr(0, port_colon);
    if (!is_host(host_)) fail(setting, "has no valid host");
    if (port_colon != std::string::npos) {
      const std::string port = authority.substr(port_colon + 1);
      if (!is_port(port)) fail(setting, "has no valid port");
      if (port != (scheme_ == "http" ? "80" : "443")) port_ = ":" + port;
    }
    custom_ = fmt::format("{}://{}{}{}", scheme_, host_, port_, base_path_);
  }
  const bool dotted = bucket_.find('.') != std::string::npos;
  virtual_host_ = style == AddressingStyle::virtual_host ||
                  (style == AddressingStyle::automatic && host_.empty() && !dotted);
  if (virtual_host_ && !host_.empty() && is_address(host_)) {
    fail(setting, "is an address, so the bucket cannot be part of its host name (--addressing-style path)");
  }
}

std::string S3Endpoint::host_in(const std::string& region) const {
  if (!host_.empty()) return host_;
  return fmt::format("s3.{}.amazonaws.com{}", region, region.starts_with("cn-") ? ".cn" : "");
}

S3Endpoint::Target S3Endpoint::target(const std::string& key, const std::string& region) const {
  Target out;
  out.host = (virtual_host_ ? bucket_ + "." : "") + host_in(region) + port_;
  out.path = base_path_;
  if (!virtual_host_) out.path += "/" + sigv4::uri_encode(bucket_, sigv4::Slash::encode);
  if (virtual_host_ || !key.empty()) out.path += "/" + sigv4::uri_encode(key, sigv4::Slash::keep);
  out.url = scheme_ + "://" + out.host + out.path;
  return out;
}

}  // namespace runctl::store
