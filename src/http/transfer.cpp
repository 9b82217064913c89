#include "http/transfer.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <cstring>

namespace runctl::http {

namespace {

// Of all heads of an answer, 100 Continue and trailers included.
constexpr std::size_t k_max_headers = 200;
// Memory that is set aside before any of it has come.
constexpr std::uint64_t k_max_reserve = 32U << 20;

std::string_view without_blanks(std::string_view text) {
  const std::size_t first = text.find_first_not_of(" \t\r\n");
  if (first == std::string_view::npos) return {};
  return text.substr(first, text.find_last_not_of(" \t\r\n") - first + 1);
}

// The status in "HTTP/1.1 200 OK"; 0 where there is none.
int status_of(std::string_view line) {
  const std::size_t blank = line.find(' ');
  if (blank == std::string_view::npos || line.size() < blank + 4) return 0;
  int status = 0;
  for (const char c : line.substr(blank + 1, 3)) {
    if (c < '0' || c > '9') return 0;
    status = status * 10 + (c - '0');
  }
  return status;
}

}  // namespace

std::uint64_t Transfer::body_size() const {
  std::uint64_t size = 0;
  for (const std::string_view bytes : request.body) size += bytes.size();
  return size;
}

std::size_t Transfer::give(char* buffer, std::size_t room) {
  std::size_t given = 0;
  while (given < room && part_ < request.body.size()) {
    const std::string_view rest = request.body[part_].substr(part_at_);
    const std::size_t taken = rest.copy(buffer + given, room - given);
    given += taken;
    part_at_ += taken;
    if (taken == rest.size()) {
      ++part_;
      part_at_ = 0;
    }
  }
  return given;
}

void Transfer::rewind() {
  part_ = 0;
  part_at_ = 0;
}

bool Transfer::take_header(std::string_view line) {
  // A server that goes on with heads or trailers for ever must not hold us for ever.
  if (++header_lines_ > k_max_headers) {
    response.failure = Failure::mismatch;
    response.reason = "the answer has too many headers";
    return false;
  }
  if (head_complete_) return true;  // a trailer
  if (line.starts_with("HTTP/")) {  // of the answer, or of a 100 Continue before it
    response.status = status_of(line);
    response.headers.clear();
    return true;
  }
  if (without_blanks(line).empty()) {
    if (response.status < 200) return true;
    head_complete_ = true;
    Verdict verdict = check_head(response, request.rule);
    response.failure = verdict.failure;
    response.reason = std::move(verdict.reason);
    return response.failure == Failure::none;
  }
  const std::size_t colon = line.find(':');
  if (colon == std::string_view::npos) return true;
  response.headers.emplace_back(line.substr(0, colon), without_blanks(line.substr(colon + 1)));
  return true;
}

bool Transfer::take_body(std::string_view bytes) {
  const BodyRule& rule = request.rule;
  std::string& body = response.body;
  if (response.status < 200 || response.status > 299) {
    body += bytes.substr(0, k_max_error_body - body.size());
    cut_off = body.size() == k_max_error_body;
    return !cut_off;
  }
  const std::uint64_t limit = rule.range ? rule.range->length : rule.max_bytes;
  if (body.size() + bytes.size() > limit) {
    response.failure = Failure::mismatch;
    response.reason = fmt::format("the answer is longer than {} bytes", limit);
    return false;
  }
  if (rule.range && body.empty()) body.reserve(std::min(rule.range->length, k_max_reserve));
  body += bytes;
  return true;
}

void Transfer::check_complete() {
  const auto& range = request.rule.range;
  if (!range || !response.ok() || response.body.size() == range->length) return;
  response.failure = Failure::broken;
  response.reason = fmt::format("the answer ended after {} of {} bytes", response.body.size(), range->length);
}

}  // namespace runctl::http
