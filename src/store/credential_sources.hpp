// The places that hand out credentials when asked: a process, AWS STS, a container's agent, a machine's
// metadata service. The order in which they are asked is credentials.cpp's.
#pragma once

#include <optional>
#include <string>

#include "store/credentials.hpp"

namespace runctl::store {

// Runs the shell command `command` (a profile's credential_process) and reads its answer from its stdout.
// Messages name `source` and never repeat what the process printed. Throws Error(usage).
Credentials credentials_from_process(const std::string& command, const std::string& source);

struct WebIdentity {
  std::string role_arn;
  std::string token_file;
  std::string session_name;
  std::string source;
};
// STS AssumeRoleWithWebIdentity in `context.region` (or at AWS_ENDPOINT_URL_STS). Throws Error(usage) where
// the token or the role is refused, Error(remote) where STS cannot be reached.
Credentials credentials_from_web_identity(const WebIdentity& identity, const CredentialContext& context,
                                          http::Client& client);

// Whether a container's credential URI may be asked: plain or TLS, but only on this machine or at the
// addresses that ECS and EKS use; anything else could be someone who collects tokens.
bool is_container_uri_allowed(const std::string& uri);

// Absent where AWS_CONTAINER_CREDENTIALS_RELATIVE_URI and _FULL_URI are not set.
std::optional<Credentials> credentials_from_container(const CredentialContext& context, http::Client& client);

// Instance metadata service, version 2. Absent where nothing answers within a second in all, where
// AWS_EC2_METADATA_DISABLED says so, or where the machine has no role.
std::optional<Credentials> credentials_from_instance(const CredentialContext& context, http::Client& client);

// The keys in the JSON that processes, containers and instances answer with; absent where it is malformed
// or incomplete. Processes say "SessionToken" where the others say "Token".
std::optional<Credentials> parse_credentials_json(const std::string& text);

}  // namespace runctl::store
