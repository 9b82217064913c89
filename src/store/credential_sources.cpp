#include "store/credential_sources.hpp"

#include <fcntl.h>
#include <fmt/format.h>
#include <poll.h>
#include <spawn.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <chrono>
#include <csignal>

#include <nlohmann/json.hpp>

#include "base/bytes.hpp"
#include "base/error.hpp"
#include "base/file.hpp"
#include "http/date.hpp"
#include "http/retry.hpp"
#include "store/s3_xml.hpp"

namespace runctl::store {

namespace {

using base::Error;
using base::ErrorKind;
using Steady = std::chrono::steady_clock;
using std::chrono::milliseconds;

constexpr std::size_t k_max_answer = 64 << 10;
constexpr milliseconds k_process_time{60'000};
constexpr milliseconds k_container_time{5'000};
constexpr milliseconds k_instance_time{1'000};

// The descriptor's owner.
class Descriptor {
 public:
  explicit Descriptor(int fd) : fd_(fd) {}
  Descriptor(const Descriptor&) = delete;
  Descriptor& operator=(const Descriptor&) = delete;
  ~Descriptor() { reset(); }
  void reset() {
    if (fd_ >= 0) close(fd_);
    fd_ = -1;
  }
  [[nodiscard]] int get() const { return fd_; }

 private:
  int fd_;
};

// Reads to the end, or as long as `until` and k_max_answer let it; absent where they did not.
std::optional<std::string> read_all(int fd, Steady::time_point until) {
  std::string out;
  for (;;) {
    const auto left = std::chrono::ceil<milliseconds>(until - Steady::now());
    pollfd waiting{fd, POLLIN, 0};
    const int ready = left.count() <= 0 ? 0 : poll(&waiting, 1, static_cast<int>(left.count()));
    if (ready < 0 && errno == EINTR) continue;
    if (ready <= 0) return std::nullopt;
    char buffer[4096];
    const ssize_t got = read(fd, buffer, sizeof buffer);
    if (got < 0 && errno == EINTR) continue;
    if (got < 0) return std::nullopt;
    if (got == 0) return out;
    out.append(buffer, static_cast<std::size_t>(got));
    if (out.size() > k_max_answer) return std::nullopt;
  }
}

pid_t spawn_shell(const std::string& command, int stdout_fd, const std::string& source) {
  posix_spawn_file_actions_t actions;
  posix_spawn_file_actions_init(&actions);
  posix_spawn_file_actions_addopen(&actions, STDIN_FILENO, "/dev/null", O_RDONLY, 0);
  posix_spawn_file_actions_adddup2(&actions, stdout_fd, STDOUT_FILENO);
  std::string shell = "sh";
  std::string flag = "-c";
  std::string text = command;
  char* const arguments[] = {shell.data(), flag.data(), text.data(), nullptr};
  pid_t pid = -1;
  const int failed = posix_spawn(&pid, "/bin/sh", &actions, nullptr, arguments, environ);
  posix_spawn_file_actions_destroy(&actions);
  if (failed != 0) base::throw_errno(source + ": credential_process", failed);
  return pid;
}

std::string read_token(const std::string& path, const std::string& what) {
  std::string out;
  try {
    out = base::read_file(path, k_max_answer).value_or("");
  } catch (const Error& error) {
    throw Error(ErrorKind::usage, what + ": cannot be read: " + error.what());
  }
  if (out.empty()) throw Error(ErrorKind::usage, what + ": " + path + ": is not there, or empty");
  while (out.ends_with('\n') || out.ends_with('\r')) out.pop_back();
  return out;
}

[[noreturn]] void fail_remote(const std::string& source, const http::Response& response) {
  const std::string why = response.failure != http::Failure::none
                              ? response.reason
                              : fmt::format("answered with status {}", response.status);
  throw Error(ErrorKind::remote, fmt::format("credentials from {}: {}", source, base::printable(why)));
}

// Asks up to three times; these services stumble when many processes start at once.
http::Response ask(http::Client& client, const http::Request& request) {
  http::Response response;
  milliseconds delay{0};
  for (int attempt = 0; attempt < 3; ++attempt, delay = delay * 2 + milliseconds{200}) {
    http::Request copy = request;
    copy.delay = delay;
    response = client.perform(std::move(copy));
    if (!http::is_transient(response.failure) && !http::is_transient_status(response.status)) break;
  }
  return response;
}

// Host of an http or https URL, without port and brackets; empty where there is none.
std::string host_of(const std::string& url) {
  const std::size_t start = url.find("://");
  if (start == std::string::npos) return {};
  const std::string rest = url.substr(start + 3);
  const std::string authority = rest.substr(0, rest.find_first_of("/?#"));
  if (authority.find('@') != std::string::npos) return {};
  if (authority.starts_with('[')) return authority.substr(1, authority.find(']') - 1);
  return authority.substr(0, authority.find(':'));
}

}  // namespace

std::optional<Credentials> parse_credentials_json(const std::string& text) {
  const nlohmann::json json = nlohmann::json::parse(text, nullptr, false);
  if (!json.is_object()) return std::nullopt;
  const auto field = [&json](const char* name) {
    const auto found = json.find(name);
    return found != json.end() && found->is_string() ? found->get<std::string>() : std::string{};
  };
  Credentials out;
  out.keys = {field("AccessKeyId"), field("SecretAccessKey"), field("Token")};
  if (out.keys.session_token.empty()) out.keys.session_token = field("SessionToken");
  if (out.keys.access_key_id.empty() || out.keys.secret_access_key.empty()) return std::nullopt;
  const std::string expiration = field("Expiration");
  if (!expiration.empty()) {
    out.expires_at = http::parse_iso_time(expiration);
    if (!out.expires_at) return std::nullopt;
  }
  return out;
}

Credentials credentials_from_process(const std::string& command, const std::string& source) {
  int ends[2];
  if (pipe2(ends, O_CLOEXEC) != 0) base::throw_errno(source + ": credential_process", errno);
  const Descriptor reading(ends[0]);
  Descriptor writing(ends[1]);
  const pid_t pid = spawn_shell(command, writing.get(), source);
  writing.reset();
  const auto answer = read_all(reading.get(), Steady::now() + k_process_time);
  if (!answer) kill(pid, SIGKILL);
  int status = 0;
  while (waitpid(pid, &status, 0) < 0 && errno == EINTR) {
  }
  const std::string what = source + ": credential_process";
  if (!answer) throw Error(ErrorKind::usage, what + ": did not answer within a minute and 64 KiB");
  if (!WIFEXITED(status) || WEXITSTATUS(status) != 0) {
    throw Error(ErrorKind::usage,
                fmt::format("{}: failed with status {}", what,
                            WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status)));
  }
  auto found = parse_credentials_json(*answer);
  if (!found) throw Error(ErrorKind::usage, what + ": printed no JSON with AccessKeyId and SecretAccessKey");
  found->source = "credential_process of " + source;
  return *found;
}

Credentials credentials_from_web_identity(const WebIdentity& identity, const CredentialContext& context,
                                          http::Client& client) {
  const std::string token = read_token(identity.token_file, identity.source);
  const std::string form = sigv4::canonical_query({{"Action", "AssumeRoleWithWebIdentity"},
                                                   {"Version", "2011-06-15"},
                                                   {"RoleArn", identity.role_arn},
                                                   {"RoleSessionName", identity.session_name},
                                                   {"WebIdentityToken", token}});
  http::Request request;
  request.method = "POST";
  request.url = context.environment("AWS_ENDPOINT_URL_STS")
                    .value_or(fmt::format("https://sts.{}.amazonaws.com{}", context.region,
                                          context.region.starts_with("cn-") ? ".cn" : "")) +
                "/";
  request.headers = {{"Content-Type", "application/x-www-form-urlencoded"}};
  request.body = {form};
  const http::Response response = ask(client, request);
  const auto root = parse_xml(response.body);
  if (response.status >= 400 && response.status < 500 && response.status != 429) {
    const XmlElement* const error = root ? root->child("Error") : nullptr;
    throw Error(ErrorKind::usage,
                fmt::format("credentials from {}: STS refused the role or token: {}", identity.source,
                            base::printable(error ? error->text_of("Code") : "no reason given", 80)));
  }
  const XmlElement* const result = root ? root->child("AssumeRoleWithWebIdentityResult") : nullptr;
  const XmlElement* const keys = result ? result->child("Credentials") : nullptr;
  if (!response.ok() || keys == nullptr) fail_remote(identity.source, response);
  Credentials out;
  out.keys = {std::string(keys->text_of("AccessKeyId")), std::string(keys->text_of("SecretAccessKey")),
              std::string(keys->text_of("SessionToken"))};
  out.expires_at = http::parse_iso_time(keys->text_of("Expiration"));
  out.source = "web identity (" + identity.source + ")";
  if (out.keys.access_key_id.empty() || out.keys.secret_access_key.empty())
    fail_remote(identity.source, response);
  return out;
}

bool is_container_uri_allowed(const std::string& uri) {
  if (!uri.starts_with("http://") && !uri.starts_with("https://")) return false;
  const std::string host = host_of(uri);
  const bool loopback_v4 =
      host.starts_with("127.") && host.find_first_not_of("0123456789.") == std::string::npos;
  return loopback_v4 || host == "localhost" || host == "::1" || host == "169.254.170.2" ||
         host == "169.254.170.23" || host == "fd00:ec2::23";
}

std::optional<Credentials> credentials_from_container(const CredentialContext& context,
                                                      http::Client& client) {
  const auto relative = context.environment("AWS_CONTAINER_CREDENTIALS_RELATIVE_URI");
  const auto full = context.environment("AWS_CONTAINER_CREDENTIALS_FULL_URI");
  if (!relative && !full) return std::nullopt;
  http::Request request;
  request.url = relative ? "http://169.254.170.2" + *relative : *full;
  request.proxy = http::Proxy::never;
  request.timeout = k_container_time;
  if (!is_container_uri_allowed(request.url)) {
    throw Error(ErrorKind::usage,
                "AWS_CONTAINER_CREDENTIALS_FULL_URI: only loopback, 169.254.170.2, 169.254.170.23 and "
                "fd00:ec2::23 are asked for credentials");
  }
  std::optional<std::string> token = context.environment("AWS_CONTAINER_AUTHORIZATION_TOKEN");
  if (const auto file = context.environment("AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE")) {
    token = read_token(*file, "AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE");
  }
  if (token) {
    if (token->find_first_of("\r\n") != std::string::npos) {
      throw Error(ErrorKind::usage, "the container authorization token has a line break in it");
    }
    request.headers.emplace_back("Authorization", *token);
  }
  const http::Response response = ask(client, request);
  auto found = response.ok() ? parse_credentials_json(response.body) : std::nullopt;
  if (!found) fail_remote("the container endpoint", response);
  found->source = "container endpoint";
  return found;
}

std::optional<Credentials> credentials_from_instance(const CredentialContext& context, http::Client& client) {
  if (context.environment("AWS_EC2_METADATA_DISABLED").value_or("") == "true") return std::nullopt;
  std::string base =
      context.environment("AWS_EC2_METADATA_SERVICE_ENDPOINT").value_or("http://169.254.169.254");
  while (base.ends_with('/')) base.pop_back();
  const auto until = Steady::now() + k_instance_time;
  const auto fetch = [&](const char* method, const std::string& path, http::Headers headers) -> std::string {
    http::Request request;
    request.method = method;
    request.url = base + path;
    request.headers = std::move(headers);
    request.proxy = http::Proxy::never;
    request.timeout = std::max(std::chrono::ceil<milliseconds>(until - Steady::now()), milliseconds{1});
    request.rule.max_bytes = k_max_answer;
    http::Response response = client.perform(std::move(request));
    return response.ok() ? std::move(response.body) : std::string{};
  };
  const std::string token =
      fetch("PUT", "/latest/api/token", {{"X-aws-ec2-metadata-token-ttl-seconds", "21600"}});
  // It becomes a header's value, which neither has several lines nor a NUL (RFC 9110, section 5.5).
  if (token.empty() || token.find_first_of(std::string_view("\r\n\0", 3)) != std::string::npos)
    return std::nullopt;
  const http::Headers authorized{{"X-aws-ec2-metadata-token", token}};
  const std::string roles = "/latest/meta-data/iam/security-credentials/";
  const std::string role = fetch("GET", roles, authorized);
  const std::string name = role.substr(0, role.find_first_of("\r\n"));
  if (name.empty()) return std::nullopt;
  auto found =
      parse_credentials_json(fetch("GET", roles + sigv4::uri_encode(name, sigv4::Slash::encode), authorized));
  if (found) found->source = "instance metadata";
  return found;
}

}  // namespace runctl::store
