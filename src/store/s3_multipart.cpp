#include "store/s3_multipart.hpp"

#include <fmt/format.h>

#include <algorithm>

#include "base/bytes.hpp"
#include "base/error.hpp"
#include "base/hash.hpp"
#include "store/s3_xml.hpp"

namespace runctl::store {

namespace {

constexpr std::size_t k_parts_under_way = 4;

std::string begin_upload(S3Exchange& exchange, const std::string& key) {
  S3Call call;
  call.method = "POST";
  call.key = key;
  call.query = {{"uploads", ""}};
  call.headers = {{"content-type", "application/octet-stream"}};
  call.xml_root = "InitiateMultipartUploadResult";
  const S3Answer answer = exchange.ask(call);
  const auto root = parse_xml(answer.response.body);
  std::string id(root ? root->text_of("UploadId") : "");
  if (id.empty())
    throw base::Error(base::ErrorKind::remote, key + ": the server began an upload without an id");
  return id;
}

void abort_quietly(S3Exchange& exchange, const std::string& key, const std::string& id) {
  S3Call call;
  call.method = "DELETE";
  call.key = key;
  call.query = {{"uploadId", id}};
  call.expected = {200, 204, 404};
  try {
    exchange.ask(call);
  } catch (const base::Error&) {
    // The error that led here is the one to report; `doctor` lists what was left behind.
  }
}

std::vector<std::string> upload_parts(S3Exchange& exchange, const std::string& key, const std::string& id,
                                      std::span<const std::string_view> parts, std::uint64_t size,
                                      std::uint64_t part_size) {
  std::vector<S3Call> calls;
  for (std::uint64_t offset = 0; offset < size; offset += part_size) {
    S3Call call;
    call.method = "PUT";
    call.key = key;
    call.query = {{"partNumber", std::to_string(calls.size() + 1)}, {"uploadId", id}};
    call.body = slice_parts(parts, offset, std::min(part_size, size - offset));
    base::Sha256 hash;
    for (const std::string_view piece : call.body) hash.update(piece);
    call.payload_hash = base::to_hex(base::as_bytes(hash.finish()));
    calls.push_back(std::move(call));
  }
  std::vector<std::string> tags(calls.size());
  exchange.ask_all(calls, k_parts_under_way, [&](std::size_t index, const S3Answer& answer) {
    const auto tag = http::find_header(answer.response.headers, "etag");
    if (!tag || tag->empty())
      throw base::Error(base::ErrorKind::remote, key + ": an uploaded part got no ETag");
    tags[index] = *tag;
  });
  return tags;
}

void complete_upload(S3Exchange& exchange, const std::string& key, const std::string& id,
                     const std::vector<std::string>& tags) {
  std::string body = "<CompleteMultipartUpload xmlns=\"http://s3.amazonaws.com/doc/2006-03-01/\">";
  for (std::size_t i = 0; i < tags.size(); ++i) {
    body +=
        fmt::format("<Part><PartNumber>{}</PartNumber><ETag>{}</ETag></Part>", i + 1, escape_xml(tags[i]));
  }
  body += "</CompleteMultipartUpload>";
  S3Call call;
  call.method = "POST";
  call.key = key;
  call.query = {{"uploadId", id}};
  call.headers = {{"content-type", "application/xml"}};
  call.body = {body};
  call.payload_hash = base::to_hex(base::as_bytes(base::sha256(body)));
  call.xml_root = "CompleteMultipartUploadResult";
  // An upload that is gone may have been completed by an attempt whose answer was lost; the caller's look at
  // the object tells.
  call.expected = {200, 404};
  exchange.ask(call);
}

}  // namespace

std::uint64_t part_size_for(std::uint64_t size, std::uint64_t wished) {
  return std::max<std::uint64_t>({wished, 1, (size + k_max_parts - 1) / k_max_parts});
}

std::vector<std::string_view> slice_parts(std::span<const std::string_view> parts, std::uint64_t offset,
                                          std::uint64_t length) {
  std::vector<std::string_view> out;
  for (const std::string_view part : parts) {
    if (length == 0) break;
    if (offset >= part.size()) {
      offset -= part.size();
      continue;
    }
    const std::string_view piece = part.substr(offset, length);
    out.push_back(piece);
    offset = 0;
    length -= piece.size();
  }
  return out;
}

void upload_in_parts(S3Exchange& exchange, const std::string& key, std::span<const std::string_view> parts,
                     std::uint64_t size, std::uint64_t part_size) {
  const std::string id = begin_upload(exchange, key);
  try {
    complete_upload(exchange, key, id,
                    upload_parts(exchange, key, id, parts, size, part_size_for(size, part_size)));
  } catch (const base::Error&) {
    abort_quietly(exchange, key, id);
    throw;
  }
}

}  // namespace runctl::store
