#include "store/s3_error.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <array>

#include "base/bytes.hpp"
#include "http/retry.hpp"
#include "store/s3_settings.hpp"
#include "store/s3_xml.hpp"

namespace runctl::store {

namespace {

using base::Error;
using base::ErrorKind;
using base::printable;

// The last two say that the body which arrived is not the one that was sent.
constexpr std::array<std::string_view, 11> k_transient_codes{"InternalError",
                                                             "OperationAborted",
                                                             "ConditionalRequestConflict",
                                                             "RequestTimeout",
                                                             "RequestLimitExceeded",
                                                             "ServiceUnavailable",
                                                             "SlowDown",
                                                             "Throttling",
                                                             "ThrottlingException",
                                                             "XAmzContentSHA256Mismatch",
                                                             "BadDigest"};

std::string tries(const RequestContext& context) {
  return context.attempts > 1 ? fmt::format(" ({} attempts)", context.attempts) : "";
}

// The permission that a request needs, as policies name it.
std::string_view permission_for(const RequestContext& context) {
  const bool on_bucket = context.subject == "s3://" + context.bucket;
  if (context.method == "PUT" || context.method == "POST") return "s3:PutObject";
  if (context.method == "DELETE") return "s3:DeleteObject";
  return on_bucket ? "s3:ListBucket" : "s3:GetObject";
}

// Faults that the user can mend, by error code. Empty: not one of those.
std::string advice(const ServiceError& error, const RequestContext& context) {
  const std::string& source = context.credentials_source;
  if (error.code == "InvalidAccessKeyId") {
    return fmt::format("{} does not know the access key id (credentials from {}); check it and the endpoint",
                       context.endpoint, source);
  }
  if (error.code == "SignatureDoesNotMatch") {
    return fmt::format(
        "the signature was refused: the secret access key (credentials from {}) does not belong to "
        "the access key id",
        source);
  }
  if (error.code == "ExpiredToken" || error.code == "ExpiredTokenException" || error.code == "InvalidToken") {
    return fmt::format("the session token has expired or is not valid (credentials from {}); renew it",
                       source);
  }
  if (error.code == "NoSuchBucket") {
    return fmt::format("bucket {} does not exist at {}; create it, or check --store and --endpoint-url",
                       context.bucket, context.endpoint);
  }
  if (error.code == "RequestTimeTooSkewed")
    return "this machine's clock is wrong; set it (time is part of a signature)";
  if (error.code == "PermanentRedirect" || error.code == "AuthorizationHeaderMalformed" ||
      error.code == "IllegalLocationConstraintException") {
    return fmt::format("bucket {} is not in region {}{}; set --region", context.bucket, context.region,
                       error.region.empty() ? "" : " but in " + error.region);
  }
  return {};
}

}  // namespace

ServiceError parse_service_error(const http::Response& response) {
  ServiceError out;
  if (const auto root = parse_xml(response.body)) {
    // STS and some gateways wrap the error.
    const XmlElement* const error = root->name == "Error" ? &*root : root->child("Error");
    if (error != nullptr) {
      out.code = error->text_of("Code");
      out.message = error->text_of("Message");
      out.region = error->text_of("Region");
    }
  }
  if (const auto region = http::find_header(response.headers, "x-amz-bucket-region")) out.region = *region;
  if (!is_region(out.region)) out.region.clear();
  return out;
}

bool is_transient(const http::Response& response, const ServiceError& error) {
  if (http::is_transient_status(response.status)) return error.code != "NotImplemented";
  return std::find(k_transient_codes.begin(), k_transient_codes.end(), error.code) != k_transient_codes.end();
}

Error describe_answer(const http::Response& response, const ServiceError& error,
                      const RequestContext& context) {
  const std::string known = advice(error, context);
  if (!known.empty()) return {ErrorKind::usage, context.subject + ": " + known};
  if (response.status == 301 || response.status == 302 || response.status == 307) {
    return {ErrorKind::usage,
            fmt::format("{}: {} redirects elsewhere (status {}); check --endpoint-url and --region",
                        context.subject, context.endpoint, response.status)};
  }
  if (response.status == 401 || response.status == 403) {
    return {ErrorKind::usage,
            fmt::format("{}: access denied with {}; the bucket's policy must allow {}{}", context.subject,
                        context.credentials_source == "no credentials"
                            ? context.credentials_source
                            : "credentials from " + context.credentials_source,
                        permission_for(context),
                        error.code.empty() || error.code == "AccessDenied"
                            ? ""
                            : " (" + printable(error.code, 60) + ")")};
  }
  if (response.status == 404 && error.code == "NoSuchKey") {
    return {ErrorKind::not_found, context.subject + ": no such object"};
  }
  std::string text = fmt::format("{}: {} answered {} with status {}", context.subject, context.endpoint,
                                 context.method, response.status);
  if (!error.code.empty()) text += " " + printable(error.code, 60);
  if (!error.message.empty()) text += " (" + printable(error.message, 160) + ")";
  return {ErrorKind::remote, text + tries(context)};
}

Error describe_failure(const http::Response& response, const RequestContext& context) {
  const std::string where = context.subject + ": " + context.endpoint;
  const std::string reason = printable(response.reason, 200);
  switch (response.failure) {
    case http::Failure::bad_url:
      return {ErrorKind::usage, fmt::format("{}: not a usable URL: {}", where, reason)};
    case http::Failure::resolve:
      return {ErrorKind::remote, fmt::format("{}: {}; check the name in --endpoint-url and the network{}",
                                             where, reason, tries(context))};
    case http::Failure::connect:
      return {ErrorKind::remote, fmt::format("{}: {}; is the server up, and --endpoint-url right?{}", where,
                                             reason, tries(context))};
    case http::Failure::no_tls:
      return {ErrorKind::usage,
              fmt::format("{}: does not speak TLS on this port; write http:// in --endpoint-url, or name "
                          "the port that does",
                          where)};
    case http::Failure::certificate:
      return {
          ErrorKind::remote,
          fmt::format("{}: its certificate does not verify: {}; name its authority with --ca-bundle{}", where,
                      reason, context.ca_bundle.empty() ? "" : " (now " + context.ca_bundle + ")")};
    case http::Failure::too_short:
      return {ErrorKind::corrupt, fmt::format("{}: {}", context.subject, reason)};
    default:
      return {ErrorKind::remote,
              fmt::format("{}: {} failed: {}{}", where, context.method, reason, tries(context))};
  }
}

}  // namespace runctl::store
