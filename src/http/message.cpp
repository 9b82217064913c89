#include "http/message.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <charconv>

#include "base/bytes.hpp"

namespace runctl::http {

namespace {

char lower(char c) { return c >= 'A' && c <= 'Z' ? static_cast<char>(c - 'A' + 'a') : c; }

bool equal_ignoring_case(std::string_view a, std::string_view b) {
  return std::equal(a.begin(), a.end(), b.begin(), b.end(),
                    [](char x, char y) { return lower(x) == lower(y); });
}

// Takes a decimal number off the front of `text`.
std::optional<std::uint64_t> take_number(std::string_view& text) {
  std::uint64_t value = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (error != std::errc{}) return std::nullopt;
  text.remove_prefix(static_cast<std::size_t>(end - text.data()));
  return value;
}

std::optional<std::uint64_t> content_length(const Response& head) {
  const auto text = find_header(head.headers, "content-length");
  if (!text) return std::nullopt;
  std::string_view rest = *text;
  const auto value = take_number(rest);
  return rest.empty() ? value : std::nullopt;
}

struct ContentRange {
  std::uint64_t first = 0;
  std::uint64_t last = 0;
  std::optional<std::uint64_t> total;
};

// RFC 9110, section 14.4, in the form that answers a range request: "bytes 0-9/100" or "bytes 0-9/*".
std::optional<ContentRange> parse_content_range(std::string_view text) {
  constexpr std::string_view unit = "bytes ";
  if (!text.starts_with(unit)) return std::nullopt;
  text.remove_prefix(unit.size());
  const auto first = take_number(text);
  if (!first || !text.starts_with('-')) return std::nullopt;
  text.remove_prefix(1);
  const auto last = take_number(text);
  if (!last || !text.starts_with('/')) return std::nullopt;
  text.remove_prefix(1);
  if (text == "*") return ContentRange{*first, *last, std::nullopt};
  const auto total = take_number(text);
  if (!total || !text.empty()) return std::nullopt;
  return ContentRange{*first, *last, total};
}

Verdict check_partial(const Response& head, const ByteRange& range) {
  const std::uint64_t last = range.offset + range.length - 1;
  const auto text = find_header(head.headers, "content-range");
  if (!text) return {Failure::mismatch, "the answer to a range request has no Content-Range"};
  const auto got = parse_content_range(*text);
  if (got && got->total && *got->total <= last) {
    return {Failure::too_short,
            fmt::format("the object has {} bytes, but bytes up to {} were asked for", *got->total, last)};
  }
  if (!got || got->first != range.offset || got->last != last) {
    return {Failure::mismatch, fmt::format("asked for bytes {}-{}, but the answer's Content-Range is \"{}\"",
                                           range.offset, last, base::printable(*text, 60))};
  }
  const auto length = content_length(head);
  if (length && *length != range.length) {
    return {Failure::mismatch,
            fmt::format("asked for {} bytes, but the answer's Content-Length is {}", range.length, *length)};
  }
  return {};
}

// A whole object answers a range request only where it is exactly what was asked for.
Verdict check_whole(const Response& head, const ByteRange& range) {
  if (range.offset == 0 && content_length(head) == range.length) return {};
  return {Failure::mismatch, "the server ignored the range and answered with the whole object"};
}

}  // namespace

std::optional<std::string_view> find_header(const Headers& headers, std::string_view name) {
  for (const auto& [key, value] : headers) {
    if (equal_ignoring_case(key, name)) return value;
  }
  return std::nullopt;
}

Verdict check_head(const Response& head, const BodyRule& rule) {
  if (head.status < 200 || head.status > 299) return {};
  if (rule.range && head.status == 206) return check_partial(head, *rule.range);
  if (rule.range && head.status == 200) return check_whole(head, *rule.range);
  if (rule.range || head.status == 206) {
    return {Failure::mismatch, fmt::format("unexpected status {}", head.status)};
  }
  const auto length = content_length(head);
  if (length && *length > rule.max_bytes) {
    return {Failure::mismatch,
            fmt::format("the answer has {} bytes, at most {} were expected", *length, rule.max_bytes)};
  }
  return {};
}

}  // namespace runctl::http
