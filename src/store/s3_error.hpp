// What an S3 server says went wrong, and what a person can do about it.
#pragma once

#include <string>

#include "base/error.hpp"
#include "http/message.hpp"

namespace runctl::store {

// The <Error> of an answer; all empty where it has none (the answer to a HEAD has no body).
struct ServiceError {
  std::string code;
  std::string message;
  std::string region;  // where the bucket is, by header or body; empty where not told or no region
};
ServiceError parse_service_error(const http::Response& response);

// Whether the same request may succeed later.
bool is_transient(const http::Response& response, const ServiceError& error);

// What a message needs to know of the request that failed.
struct RequestContext {
  std::string method;
  std::string subject;  // "s3://BUCKET/KEY"
  std::string bucket;
  std::string endpoint;  // "http://HOST:PORT", or the host of AWS
  std::string region;
  std::string credentials_source;  // "no credentials" for unsigned requests
  std::string ca_bundle;           // empty: the system's
  unsigned attempts = 1;
};

// The one line for an answer that is an error, and for a failure to get one.
base::Error describe_answer(const http::Response& response, const ServiceError& error,
                            const RequestContext& context);
base::Error describe_failure(const http::Response& response, const RequestContext& context);

}  // namespace runctl::store
