#include "store/sigv4.hpp"

#include <fmt/format.h>

#include <algorithm>

#include "base/bytes.hpp"
#include "base/hash.hpp"
#include "http/date.hpp"

namespace runctl::store::sigv4 {

namespace {

using Pairs = std::vector<std::pair<std::string, std::string>>;

constexpr std::string_view k_algorithm = "AWS4-HMAC-SHA256";
constexpr std::string_view k_terminator = "aws4_request";
constexpr std::string_view k_token = "X-Amz-Security-Token";

bool unreserved(char c) {
  return (c >= 'A' && c <= 'Z') || (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || c == '-' || c == '.' ||
         c == '_' || c == '~';
}

std::string lower(std::string_view text) {
  std::string out(text);
  for (char& c : out) {
    if (c >= 'A' && c <= 'Z') c = static_cast<char>(c - 'A' + 'a');
  }
  return out;
}

// Without blanks at the ends, and with each run of inner ones made one.
std::string trimmed(std::string_view value) {
  std::string out;
  for (const char c : value) {
    const bool blank = c == ' ' || c == '\t' || c == '\r' || c == '\n';
    if (!blank) {
      out += c;
    } else if (!out.empty() && out.back() != ' ') {
      out += ' ';
    }
  }
  if (!out.empty() && out.back() == ' ') out.pop_back();
  return out;
}

// RFC 3986, section 5.2.4, and no empty segments.
std::string without_dot_segments(std::string_view path) {
  std::vector<std::string_view> kept;
  std::string_view last;
  for (std::size_t at = 0; at <= path.size();) {
    const std::size_t end = std::min(path.find('/', at), path.size());
    last = path.substr(at, end - at);
    at = end + 1;
    if (last == "..") {
      if (!kept.empty()) kept.pop_back();
    } else if (!last.empty() && last != ".") {
      kept.push_back(last);
    }
  }
  std::string out;
  for (const std::string_view segment : kept) {
    out += '/';
    out += segment;
  }
  const bool ends_in_slash = last.empty() || last == "." || last == "..";
  if (out.empty() || ends_in_slash) out += '/';
  return out;
}

std::string canonical_path(const std::string& path, PathRule rule) {
  if (path.empty()) return "/";
  return rule == PathRule::as_sent ? path : uri_encode(without_dot_segments(path), Slash::keep);
}

// Name to value, sorted by name, repeated names joined by a comma.
std::map<std::string, std::string> canonical_headers(const Pairs& headers) {
  std::map<std::string, std::string> out;
  for (const auto& [name, value] : headers) {
    const auto [entry, is_new] = out.try_emplace(lower(name), trimmed(value));
    if (!is_new) entry->second.append(",").append(trimmed(value));
  }
  return out;
}

std::string signed_names(const std::map<std::string, std::string>& headers) {
  std::string out;
  for (const auto& [name, value] : headers) {
    if (!out.empty()) out += ';';
    out += name;
  }
  return out;
}

std::string scope_text(const Scope& scope, std::int64_t seconds) {
  return fmt::format("{}/{}/{}/{}", http::format_compact_time(seconds).substr(0, 8), scope.region,
                     scope.service, k_terminator);
}

std::string signature(const std::string& text, const Keys& keys, const Scope& scope, std::int64_t seconds) {
  const std::string day = http::format_compact_time(seconds).substr(0, 8);
  base::Sha256Digest key = base::hmac_sha256(fmt::format("AWS4{}", keys.secret_access_key), day);
  for (const std::string_view step :
       {std::string_view(scope.region), std::string_view(scope.service), k_terminator}) {
    key = base::hmac_sha256(base::as_bytes(key), step);
  }
  return base::to_hex(base::as_bytes(base::hmac_sha256(base::as_bytes(key), text)));
}

}  // namespace

std::string uri_encode(std::string_view text, Slash slash) {
  constexpr std::string_view digits = "0123456789ABCDEF";
  std::string out;
  out.reserve(text.size());
  for (const char c : text) {
    if (unreserved(c) || (c == '/' && slash == Slash::keep)) {
      out += c;
    } else {
      const auto byte = static_cast<unsigned char>(c);
      out += '%';
      out += digits[byte >> 4];
      out += digits[byte & 15];
    }
  }
  return out;
}

std::string canonical_query(const Pairs& query) {
  Pairs encoded;
  encoded.reserve(query.size());
  for (const auto& [name, value] : query) {
    encoded.emplace_back(uri_encode(name, Slash::encode), uri_encode(value, Slash::encode));
  }
  std::sort(encoded.begin(), encoded.end());
  std::string out;
  for (const auto& [name, value] : encoded) {
    if (!out.empty()) out += '&';
    out.append(name).append("=").append(value);
  }
  return out;
}

std::string canonical_request(const Request& request, const Rules& rules) {
  const auto headers = canonical_headers(request.headers);
  std::string lines;
  for (const auto& [name, value] : headers) lines.append(name).append(":").append(value).append("\n");
  return fmt::format("{}\n{}\n{}\n{}\n{}\n{}", request.method, canonical_path(request.path, rules.path),
                     canonical_query(request.query), lines, signed_names(headers), request.payload_hash);
}

std::string string_to_sign(const std::string& canonical, const Scope& scope, std::int64_t seconds) {
  return fmt::format("{}\n{}\n{}\n{}", k_algorithm, http::format_compact_time(seconds),
                     scope_text(scope, seconds), base::to_hex(base::as_bytes(base::sha256(canonical))));
}

Pairs sign_headers(Request request, const Keys& keys, const Scope& scope, std::int64_t seconds,
                   const Rules& rules) {
  Pairs added{{"x-amz-date", http::format_compact_time(seconds)}};
  const bool has_token = !keys.session_token.empty();
  if (has_token && rules.token == TokenRule::sign) added.emplace_back(lower(k_token), keys.session_token);
  request.headers.insert(request.headers.end(), added.begin(), added.end());
  const std::string text = string_to_sign(canonical_request(request, rules), scope, seconds);
  added.emplace_back("authorization", fmt::format("{} Credential={}/{}, SignedHeaders={}, Signature={}",
                                                  k_algorithm, keys.access_key_id, scope_text(scope, seconds),
                                                  signed_names(canonical_headers(request.headers)),
                                                  signature(text, keys, scope, seconds)));
  if (has_token && rules.token == TokenRule::append_after)
    added.emplace_back(lower(k_token), keys.session_token);
  return added;
}

std::string presign_query(Request request, const Keys& keys, const Scope& scope, std::int64_t seconds,
                          std::int64_t lifetime, const Rules& rules) {
  const bool has_token = !keys.session_token.empty();
  Pairs& query = request.query;
  query.emplace_back("X-Amz-Algorithm", k_algorithm);
  query.emplace_back("X-Amz-Credential", keys.access_key_id + "/" + scope_text(scope, seconds));
  query.emplace_back("X-Amz-Date", http::format_compact_time(seconds));
  query.emplace_back("X-Amz-Expires", std::to_string(lifetime));
  query.emplace_back("X-Amz-SignedHeaders", signed_names(canonical_headers(request.headers)));
  if (has_token && rules.token == TokenRule::sign) query.emplace_back(k_token, keys.session_token);
  const std::string text = string_to_sign(canonical_request(request, rules), scope, seconds);
  query.emplace_back("X-Amz-Signature", signature(text, keys, scope, seconds));
  if (has_token && rules.token == TokenRule::append_after) query.emplace_back(k_token, keys.session_token);
  return canonical_query(query);
}

}  // namespace runctl::store::sigv4
