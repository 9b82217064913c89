// The files that configure: runctl's own, the shared AWS files, and the JSON in which credentials come. The
// input: a byte for which, then the text; of the two AWS files, each with the byte 0x1E behind.
#include <sys/mman.h>
#include <unistd.h>

#include "base/error.hpp"
#include "base/file.hpp"
#include "fuzz/target.hpp"
#include "settings.hpp"
#include "store/aws_profiles.hpp"
#include "store/credential_sources.hpp"
#include "store/s3_endpoint.hpp"
#include "store/s3_settings.hpp"

namespace {

using namespace runctl;
using fuzz::Input;
using fuzz::require;

// A file of this content that has a name, and goes away.
class File {
 public:
  explicit File(std::string_view content) : file_(::memfd_create("fuzz", MFD_CLOEXEC)) {
    base::write_all(file_.get(), content, "memfd");
  }
  [[nodiscard]] std::string path() const { return "/proc/self/fd/" + std::to_string(file_.get()); }

 private:
  base::FileDescriptor file_;
};

void check_endpoint(const store::S3Settings& settings) {
  const store::S3Endpoint endpoint(settings);
  const auto target = endpoint.target("a key/with \n odd characters", settings.region.value);
  require(target.url.starts_with("http://") || target.url.starts_with("https://"), "a URL has a scheme");
  for (const char c : target.url) require(c > 0x20 && c < 0x7F, "a URL is plain");
  require(target.host.find_first_of("@/?#\\") == std::string::npos, "a host is a host");
}

void read_config(std::string_view text) {
  const File file(text);
  cmd::GlobalFlags flags;
  flags.config = file.path();
  const cmd::Settings settings = cmd::resolve(flags);
  if (!settings.store.value.starts_with("s3://")) return;
  const store::AwsProfiles none;
  check_endpoint(store::resolve_s3_settings(
      settings.store.value, settings.s3, [](const std::string&) { return std::nullopt; }, none,
      settings.s3_configured));
}

void read_profiles(Input input) {
  const std::string_view profile = input.until('\x1E');
  const File config(input.until('\x1E'));
  const File credentials(input.rest());
  const auto environment = [&](const std::string& name) -> std::optional<std::string> {
    if (name == "AWS_CONFIG_FILE") return config.path();
    if (name == "AWS_SHARED_CREDENTIALS_FILE") return credentials.path();
    if (name == "AWS_PROFILE") return std::string(profile);
    return std::nullopt;
  };
  check_endpoint(store::resolve_s3_settings("s3://some-bucket/prefix", {}, environment,
                                            store::AwsProfiles::load(environment)));
}

void read_credentials(std::string_view text) {
  const auto found = store::parse_credentials_json(std::string(text));
  if (found) {
    require(!found->keys.access_key_id.empty() && !found->keys.secret_access_key.empty(),
            "credentials are whole");
  }
}

void check_container_uri(std::string_view text) {
  const std::string uri(text);
  if (!store::is_container_uri_allowed(uri)) return;
  // As libcurl reads it: what stands behind the host ends it.
  const std::size_t host = uri.find("://") + 3;
  require(uri.substr(host, uri.find_first_of("/?#", host) - host).find('@') == std::string::npos,
          "no other host hides behind a user");
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  // Nothing of the machine's own configuration.
  static const bool k_clean = [] {
    ::clearenv();
    ::setenv("HOME", "/nonexistent", 1);
    return true;
  }();
  require(k_clean, "the environment is empty");
  Input input(fuzz::bytes_of(data, size));
  try {
    switch (input.below(4)) {
      case 0:
        read_config(input.rest());
        break;
      case 1:
        read_profiles(input);
        break;
      case 2:
        read_credentials(input.rest());
        break;
      default:
        check_container_uri(input.rest());
    }
  } catch (const base::Error& error) {
    require(error.kind() == base::ErrorKind::usage || error.kind() == base::ErrorKind::io,
            "a fault of the configuration is told as one");
  }
  return 0;
}
