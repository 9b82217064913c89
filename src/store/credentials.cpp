#include "store/credentials.hpp"

#include <fmt/format.h>

#include "base/error.hpp"
#include "store/credential_sources.hpp"

namespace runctl::store {

namespace {

using base::Error;
using base::ErrorKind;

// Temporary credentials are replaced this long before they end, so that no request is under way then.
constexpr std::int64_t k_refresh_margin = 300;

std::optional<Credentials> from_environment(const Environment& environment) {
  const auto id = environment("AWS_ACCESS_KEY_ID");
  const auto secret = environment("AWS_SECRET_ACCESS_KEY");
  if (!id && !secret) return std::nullopt;
  if (!id || !secret) {
    throw Error(ErrorKind::usage,
                fmt::format("{} is set, but {} is not", id ? "AWS_ACCESS_KEY_ID" : "AWS_SECRET_ACCESS_KEY",
                            id ? "AWS_SECRET_ACCESS_KEY" : "AWS_ACCESS_KEY_ID"));
  }
  Credentials out;
  out.keys = {*id, *secret, environment("AWS_SESSION_TOKEN").value_or("")};
  out.source = "environment";
  return out;
}

std::optional<Credentials> from_web_identity(const CredentialContext& context, http::Client& client) {
  WebIdentity identity;
  const auto file = context.environment("AWS_WEB_IDENTITY_TOKEN_FILE");
  const auto role = context.environment("AWS_ROLE_ARN");
  if (file && role && !context.profile_is_explicit) {
    identity = {*role, *file, context.environment("AWS_ROLE_SESSION_NAME").value_or("runctl"),
                "AWS_WEB_IDENTITY_TOKEN_FILE"};
  } else {
    const auto profile_file = context.profiles.find(context.profile, "web_identity_token_file");
    const auto profile_role = context.profiles.find(context.profile, "role_arn");
    if (!profile_file || !profile_role) return std::nullopt;
    const auto name = context.profiles.find(context.profile, "role_session_name");
    identity = {profile_role->value, profile_file->value, name ? name->value : "runctl",
                profile_file->source};
  }
  return credentials_from_web_identity(identity, context, client);
}

// Kinds of profile that need more than the files say; the AWS command line can turn them into keys.
void refuse_unsupported_profile(const CredentialContext& context) {
  for (const char* key : {"role_arn", "sso_session", "sso_start_url", "login_session"}) {
    const auto found = context.profiles.find(context.profile, key);
    if (!found) continue;
    throw Error(ErrorKind::usage,
                fmt::format("{}: {} is not supported; add to a profile: credential_process = aws configure "
                            "export-credentials --profile {}",
                            found->source, key, context.profile));
  }
}

std::optional<Credentials> from_profile(const CredentialContext& context) {
  const auto id = context.profiles.find(context.profile, "aws_access_key_id");
  const auto secret = context.profiles.find(context.profile, "aws_secret_access_key");
  // A role is assumed with the keys of its source; the keys beside it would be the wrong ones.
  const bool assumes_role = context.profiles.find(context.profile, "role_arn").has_value();
  if (id && secret && !assumes_role) {
    const auto token = context.profiles.find(context.profile, "aws_session_token");
    Credentials out;
    out.keys = {id->value, secret->value, token ? token->value : ""};
    out.source = id->source;
    return out;
  }
  if (id.has_value() != secret.has_value()) {
    throw Error(ErrorKind::usage,
                fmt::format("{}: has only one of aws_access_key_id and aws_secret_access_key",
                            (id ? id : secret)->source));
  }
  if (const auto process = context.profiles.find(context.profile, "credential_process")) {
    return credentials_from_process(process->value, process->source);
  }
  refuse_unsupported_profile(context);
  return std::nullopt;
}

// A key with a line break would end the header that carries it; no real one has one.
std::optional<Credentials> checked(std::optional<Credentials> found) {
  if (!found) return found;
  for (const std::string* text : {&found->keys.access_key_id, &found->keys.session_token}) {
    for (const char c : *text) {
      if (static_cast<unsigned char>(c) <= ' ' || c == 0x7F) {
        throw Error(ErrorKind::usage,
                    "credentials from " + found->source +
                        ": blanks or control characters in the access key id or session token");
      }
    }
  }
  return found;
}

}  // namespace

std::optional<Credentials> find_credentials(const CredentialContext& context, http::Client& client) {
  if (!context.profile_is_explicit) {
    if (auto found = from_environment(context.environment)) return checked(std::move(found));
  }
  if (auto found = from_web_identity(context, client)) return checked(std::move(found));
  if (auto found = from_profile(context)) return checked(std::move(found));
  if (auto found = credentials_from_container(context, client)) return checked(std::move(found));
  return checked(credentials_from_instance(context, client));
}

CredentialCache::CredentialCache(Finder finder, std::function<std::int64_t()> now)
    : finder_(std::move(finder)), now_(std::move(now)) {}

void CredentialCache::fetch() {
  auto found = finder_();
  if (!found) {
    throw Error(ErrorKind::usage,
                "no AWS credentials found; set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or a profile "
                "(--profile), or use --no-sign-request for a public bucket");
  }
  current_ = std::move(found);
}

Credentials CredentialCache::get() {
  const std::lock_guard lock(mutex_);
  if (!current_) {
    fetch();
  } else if (current_->expires_at && now_() > *current_->expires_at - k_refresh_margin) {
    try {
      fetch();
    } catch (const Error&) {
      // Their source stumbles, but they are good for some minutes yet.
      if (now_() >= *current_->expires_at) throw;
    }
  }
  return *current_;
}

bool CredentialCache::reload(const Credentials& refused) {
  const std::lock_guard lock(mutex_);
  const auto same = [&](const Credentials& other) {
    return other.keys.access_key_id == refused.keys.access_key_id &&
           other.keys.session_token == refused.keys.session_token &&
           other.keys.secret_access_key == refused.keys.secret_access_key;
  };
  if (!current_ || same(*current_)) fetch();
  return !same(*current_);
}

}  // namespace runctl::store
