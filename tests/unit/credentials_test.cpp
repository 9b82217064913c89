// The search for credentials where no server is asked: files, environment, processes, precedence.
#include "store/credentials.hpp"

#include <doctest/doctest.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>
#include <map>
#include <string>

#include "base/error.hpp"
#include "store/credential_sources.hpp"

namespace {

using namespace runctl;
using namespace runctl::store;
using Variables = std::map<std::string, std::string>;

Environment environment(const Variables& variables) {
  return [variables](const std::string& name) -> std::optional<std::string> {
    const auto found = variables.find(name);
    return found == variables.end() ? std::nullopt : std::optional(found->second);
  };
}

// A home directory with AWS files, gone with the object.
class Home {
 public:
  Home(const std::string& config, const std::string& credentials) {
    std::string pattern = (std::filesystem::temp_directory_path() / "runctl-home-XXXXXX").string();
    path_ = mkdtemp(pattern.data());
    std::filesystem::create_directory(path_ / ".aws");
    std::ofstream(path_ / ".aws/config") << config;
    std::ofstream(path_ / ".aws/credentials") << credentials;
  }
  Home(const Home&) = delete;
  Home& operator=(const Home&) = delete;
  ~Home() { std::filesystem::remove_all(path_); }

  std::optional<Credentials> find(Variables variables, const std::string& flag = {}) const {
    variables["HOME"] = path_.string();
    variables["AWS_EC2_METADATA_DISABLED"] = "true";
    CredentialContext context;
    context.environment = environment(variables);
    context.profiles = AwsProfiles::load(context.environment);
    context.profile = flag.empty() ? "default" : flag;
    context.profile_is_explicit = !flag.empty();
    http::Client client{http::ClientOptions{}};
    return find_credentials(context, client);
  }

 private:
  std::filesystem::path path_;
};

std::string message_of(const std::function<void()>& action) {
  try {
    action();
  } catch (const base::Error& error) {
    CHECK(error.kind() == base::ErrorKind::usage);
    return error.what();
  }
  FAIL("no error was thrown");
  return {};
}

const Variables k_keys{{"AWS_ACCESS_KEY_ID", "ENV"}, {"AWS_SECRET_ACCESS_KEY", "env-secret"}};

TEST_CASE("the files' dialect") {
  const IniSections sections = parse_ini(
      "stray = 1\r\n# comment\n; comment\n[default]\nKey = a = b # kept\n  nested.ignored\ns3 =\n"
      "  Addressing_Style = path\n\tmax = 3\nafter=x\nafter=y\n[profile \"my "
      "name\"]\nregion=r\n[broken\nlost=1\n"
      "[ services  minio ]\ns3 = \n  endpoint_url = http://h\n[last]\nend = no newline");
  CHECK(sections.at("default").at("key") == "a = b # kept");
  CHECK(sections.at("default").at("s3.addressing_style") == "path");
  CHECK(sections.at("default").at("s3.max") == "3");
  CHECK(sections.at("default").at("after") == "y");
  CHECK(sections.at("profile my name").at("region") == "r");
  CHECK(sections.at("services minio").at("s3.endpoint_url") == "http://h");
  CHECK(sections.at("last").at("end") == "no newline");
  for (const auto& [name, values] : sections) CHECK_FALSE(values.contains("lost"));
}

TEST_CASE("profiles are found in both files, the credentials file first") {
  const Home home(
      "[default]\nregion = r1\n[profile other]\naws_access_key_id = C\naws_secret_access_key = c\n",
      "[default]\naws_access_key_id = D\naws_secret_access_key = d\naws_session_token = t\n"
      "[other]\naws_access_key_id = O\naws_secret_access_key = o\n");
  const auto found = home.find({});
  REQUIRE(found);
  CHECK(found->keys.access_key_id == "D");
  CHECK(found->keys.secret_access_key == "d");
  CHECK(found->keys.session_token == "t");
  CHECK(found->source.find("[default] in ") == 0);
  CHECK(home.find({}, "other")->keys.access_key_id == "O");
}

TEST_CASE("the environment beats the default profile, a profile named by flag beats the environment") {
  const Home home("", "[default]\naws_access_key_id = D\naws_secret_access_key = d\n");
  CHECK(home.find(k_keys)->keys.access_key_id == "ENV");
  CHECK(home.find(k_keys)->source == "environment");
  CHECK(home.find(k_keys, "default")->keys.access_key_id == "D");
}

TEST_CASE("half a key pair is a mistake, not an absence") {
  const Home home("", "[default]\naws_access_key_id = D\n");
  CHECK(message_of([&] { home.find({}); }).find("only one of") != std::string::npos);
  const std::string text = message_of([&] { home.find({{"AWS_SECRET_ACCESS_KEY", "hush"}}); });
  CHECK(text.find("AWS_ACCESS_KEY_ID is not") != std::string::npos);
  CHECK(text.find("hush") == std::string::npos);
}

TEST_CASE("nothing configured is absent") {
  const Home home("[default]\nregion = r\n", "");
  CHECK_FALSE(home.find({}));
}

TEST_CASE("credential_process") {
  const Home home(
      "[profile good]\ncredential_process = echo "
      R"('{"Version":1,"AccessKeyId":"P","SecretAccessKey":"p s","SessionToken":"T","Expiration":"2013-05-24T00:00:00Z"}')"
      "\n[profile fails]\ncredential_process = echo secret-output; exit 3\n"
      "[profile garbage]\ncredential_process = echo secret-output\n"
      "[profile huge]\ncredential_process = yes secret-output\n"
      "[profile evil]\ncredential_process = echo '{\"AccessKeyId\":\"a\\r\\nx: "
      "y\",\"SecretAccessKey\":\"s\"}'\n",
      "");
  const auto found = home.find({}, "good");
  REQUIRE(found);
  CHECK(found->keys.access_key_id == "P");
  CHECK(found->keys.secret_access_key == "p s");
  CHECK(found->keys.session_token == "T");
  CHECK(found->expires_at == 1369353600);
  CHECK(message_of([&] { home.find({}, "fails"); }).find("status 3") != std::string::npos);
  for (const char* profile : {"fails", "garbage", "huge", "evil"}) {
    CAPTURE(profile);
    CHECK(message_of([&] { home.find({}, profile); }).find("secret-output") == std::string::npos);
  }
}

TEST_CASE("kinds of profile that are not supported say what to do") {
  const Home home(
      "[profile role]\nrole_arn = arn:aws:iam::1:role/r\nsource_profile = default\n"
      "[profile sso]\nsso_session = corp\n",
      "");
  for (const char* profile : {"role", "sso"}) {
    CHECK(message_of([&] { home.find({}, profile); }).find("aws configure export-credentials --profile") !=
          std::string::npos);
  }
}

TEST_CASE("container credentials are asked for only where nobody else listens") {
  for (const char* good :
       {"http://127.0.0.1:80/x", "http://127.9.9.9/", "http://localhost/", "http://[::1]:1/",
        "http://169.254.170.2/a", "http://169.254.170.23/", "http://[fd00:ec2::23]/"}) {
    CAPTURE(good);
    CHECK(is_container_uri_allowed(good));
  }
  for (const char* bad :
       {"http://example.com/", "http://127.0.0.1.example.com/", "http://127.0.0.1@example.com/",
        "http://169.254.170.2.example.com/", "http://169.254.169.254/", "ftp://127.0.0.1/",
        "http://localhost.example.com/", "//127.0.0.1/", "", "http://example.com#127.0.0.1"}) {
    CAPTURE(bad);
    CHECK_FALSE(is_container_uri_allowed(bad));
  }
  const Home home("", "");
  CHECK(message_of([&] {
          home.find({{"AWS_CONTAINER_CREDENTIALS_FULL_URI", "http://example.com/"}});
        }).find("only loopback") != std::string::npos);
}

TEST_CASE("keys as JSON") {
  CHECK(parse_credentials_json(R"({"AccessKeyId":"a","SecretAccessKey":"b","Token":"c"})")
            ->keys.session_token == "c");
  for (const char* bad :
       {"", "[]", "{}", "null", R"({"AccessKeyId":"a"})", R"({"AccessKeyId":1,"SecretAccessKey":2})",
        R"({"AccessKeyId":"a","SecretAccessKey":"b","Expiration":"soon"})"}) {
    CHECK_FALSE(parse_credentials_json(bad));
  }
}

TEST_CASE("credentials are fetched once, and again shortly before they end") {
  std::int64_t now = 1000;
  int fetched = 0;
  bool failing = false;
  CredentialCache cache(
      [&]() -> std::optional<Credentials> {
        ++fetched;
        if (failing) throw base::Error(base::ErrorKind::remote, "stumbles");
        return Credentials{{"id" + std::to_string(fetched), "s", ""}, now + 1000, "test"};
      },
      [&] { return now; });
  CHECK(cache.get().keys.access_key_id == "id1");
  now = 1700;
  CHECK(cache.get().keys.access_key_id == "id1");
  now = 1701;
  CHECK(cache.get().keys.access_key_id == "id2");
  now = 2500;
  failing = true;
  CHECK(cache.get().keys.access_key_id == "id2");  // good until 2701
  now = 2701;
  CHECK_THROWS_AS(cache.get(), base::Error);
}

TEST_CASE("refused credentials are looked up once, by the first who was refused") {
  int fetched = 0;
  CredentialCache cache(
      [&]() -> std::optional<Credentials> {
        ++fetched;
        return Credentials{{"id" + std::to_string(std::min(fetched, 2)), "s", ""}, std::nullopt, "test"};
      },
      [] { return std::int64_t{0}; });
  const Credentials first = cache.get();
  CHECK(cache.reload(first));
  CHECK(cache.reload(first));  // someone did that already
  CHECK(fetched == 2);
  CHECK_FALSE(cache.reload(cache.get()));  // looked again, and found the same
  CHECK(fetched == 3);
}

}  // namespace
