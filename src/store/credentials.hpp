// Whose name requests are signed in, found as every AWS tool finds it.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <mutex>
#include <optional>
#include <string>

#include "http/client.hpp"
#include "store/aws_profiles.hpp"
#include "store/environment.hpp"
#include "store/sigv4.hpp"

namespace runctl::store {

// The secret parts of `keys` are for the signer alone: never for a log, a message or an argument list.
struct Credentials {
  sigv4::Keys keys;
  std::optional<std::int64_t> expires_at;  // seconds since 1970 (UTC); absent: they do not expire
  std::string source;                      // such as "environment" or "instance metadata", for people
};

// Everything that decides which credentials are found.
struct CredentialContext {
  Environment environment;
  AwsProfiles profiles;
  std::string profile = "default";
  bool profile_is_explicit = false;   // named by a flag: then it beats the environment
  std::string region;                 // where web identities are exchanged
  std::function<std::int64_t()> now;  // seconds since 1970
};

// Looks in this order and takes the first that is there: environment (unless a profile was named by a flag),
// web identity, shared files (keys, then credential_process), container endpoint, instance metadata (v2, at
// most one second in all). Absent where nothing is configured. A source that is configured and fails throws:
// Error(usage) where the configuration is at fault, Error(remote) where its server is.
std::optional<Credentials> find_credentials(const CredentialContext& context, http::Client& client);

// The credentials of one store, fetched when they are first needed and again shortly before they expire.
// May be used from several threads at once.
class CredentialCache {
 public:
  using Finder = std::function<std::optional<Credentials>()>;
  CredentialCache(Finder finder, std::function<std::int64_t()> now);

  // Throws Error(usage) saying what to set where there are none.
  Credentials get();

  // After the server called `refused` expired: looks again, unless someone did since. True where the
  // credentials are others now.
  bool reload(const Credentials& refused);

 private:
  void fetch();  // with mutex_ held

  Finder finder_;
  std::function<std::int64_t()> now_;
  std::mutex mutex_;
  std::optional<Credentials> current_;
};

}  // namespace runctl::store
