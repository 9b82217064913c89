// A bucket whose server answers whatever it likes. What it says may end in an error, never in a request to
// another server, a key outside of the store, or bytes that were not asked for.
//
// The input: a byte for what is asked of the bucket, one for how it is reached, then the answers, each as
// HTTP has them, with the byte 0x1E behind; what is left of the answers may be "!" and a byte for a failure.
#include <deque>
#include <map>

#include "base/error.hpp"
#include "base/hash.hpp"
#include "fuzz/target.hpp"
#include "http/client.hpp"
#include "http/date.hpp"
#include "http/retry.hpp"
#include "http/transfer.hpp"
#include "store/s3_store.hpp"
#include "store/s3_xml.hpp"

using namespace runctl;
using fuzz::Input;
using fuzz::require;

namespace {

constexpr char k_end_of_answer = '\x1E';

Input* answers = nullptr;

// Where the configuration lets a request go; `aws` where no endpoint was configured.
bool is_allowed(const std::string& url, bool aws) {
  const auto below = [&url](std::string_view base) { return url.starts_with(base); };
  if (below("http://169.254.169.254/latest/") || below("http://127.0.0.1:81/credentials") ||
      below("https://sts.us-east-1.amazonaws.com/"))
    return true;
  if (!aws) return below("http://127.0.0.1:80/") ? false : below("http://127.0.0.1:9000/some-bucket");
  constexpr std::string_view begin = "https://some-bucket.s3.";
  if (!below(begin)) return false;
  const std::string_view rest = std::string_view(url).substr(begin.size());
  const std::size_t dot = rest.find('.');
  const std::string_view region = rest.substr(0, dot);
  const std::string_view behind = dot == std::string_view::npos ? "" : rest.substr(dot);
  return region.find_first_not_of("abcdefghijklmnopqrstuvwxyz0123456789-") == std::string_view::npos &&
         (behind.starts_with(".amazonaws.com/") || behind.starts_with(".amazonaws.com.cn/"));
}

bool through_aws = false;

http::Response answer(http::Request request) {
  require(is_allowed(request.url, through_aws), "requests go where the configuration says");
  for (const auto& [name, value] : request.headers)
    require(value.find_first_of(std::string_view("\r\n\0", 3)) == std::string::npos, "a header is one line");
  http::Transfer transfer;
  transfer.request = std::move(request);
  if (answers == nullptr || answers->rest().empty()) {
    transfer.response.failure = http::Failure::cancelled;
    return transfer.response;
  }
  Input text(answers->until(k_end_of_answer));
  if (text.rest().starts_with('!')) {
    text.below(1);
    transfer.response.failure = static_cast<http::Failure>(text.below(11));
    transfer.response.reason = text.rest();
    return transfer.response;
  }
  bool wanted = true;
  for (bool head = true; head && wanted && !text.rest().empty();) {
    const std::string line(text.until('\n'));
    wanted = transfer.take_header(line + "\r\n");
    head = !line.empty();
  }
  while (wanted && !text.rest().empty()) {
    const std::string_view piece = text.rest().substr(0, 1000);
    wanted = transfer.take_body(piece);
    text = Input(text.rest().substr(piece.size()));
  }
  transfer.check_complete();
  if (transfer.request.rule.range && transfer.response.ok())
    require(transfer.response.body.size() == transfer.request.rule.range->length, "a range is all there");
  return transfer.response;
}

}  // namespace

// In the place of src/http/client.cpp.
namespace runctl::http {

class Network {};
std::deque<Landing> landed;

Client::Client(ClientOptions options) : options_(std::move(options)) {}
Client::~Client() = default;
Network& Client::network() {
  if (network_ == nullptr) network_ = std::make_unique<Network>();
  return *network_;
}
Response Client::perform(Request request) { return answer(std::move(request)); }
Flight::Flight(Client& client) : network_(client.network()) { landed.clear(); }
Flight::~Flight() = default;
void Flight::start(std::size_t tag, Request request) {
  ++under_way_;
  landed.push_back({tag, answer(std::move(request))});
}
std::optional<Landing> Flight::wait_for(std::chrono::milliseconds /*limit*/) {
  Landing landing = std::move(landed.front());
  landed.pop_front();
  --under_way_;
  return landing;
}

}  // namespace runctl::http

namespace {

void require_key(std::string_view key) {
  require(!key.empty() && !key.starts_with('/') && key.find("..") != 0 &&
              key.find("/../") == std::string_view::npos && !key.ends_with("/.."),
          "a key lies below the store");
  require(base::printable(key, key.size()) == key, "a key is printable");
}

// Environments in which credentials come from other servers.
store::Environment environment_of(std::size_t which) {
  static const std::map<std::string, std::string> k_keys{{"AWS_ACCESS_KEY_ID", "AKID"},
                                                         {"AWS_SECRET_ACCESS_KEY", "secret"}};
  static const std::map<std::string, std::string> k_session{
      {"AWS_ACCESS_KEY_ID", "AKID"}, {"AWS_SECRET_ACCESS_KEY", "secret"}, {"AWS_SESSION_TOKEN", "token"}};
  static const std::map<std::string, std::string> k_container{
      {"AWS_CONTAINER_CREDENTIALS_FULL_URI", "http://127.0.0.1:81/credentials"}};
  static const std::map<std::string, std::string> k_identity{
      {"AWS_ROLE_ARN", "arn:aws:iam::1:role/x"}, {"AWS_WEB_IDENTITY_TOKEN_FILE", "/proc/self/comm"}};
  static const std::map<std::string, std::string> k_machine{};
  static const std::map<std::string, std::string>* const k_all[] = {&k_keys,      &k_keys,     &k_session,
                                                                    &k_container, &k_identity, &k_machine};
  const auto* const values = k_all[which];
  return [values](const std::string& name) -> std::optional<std::string> {
    const auto found = values->find(name);
    return found == values->end() ? std::nullopt : std::optional(found->second);
  };
}

void ask(store::S3Store& bucket, std::size_t what) {
  const std::string key = "runs/v1/mixed/0.ndjson.zst";
  switch (what) {
    case 0:
      bucket.list("runs/v1/", [](const store::ObjectInfo& info) {
        require_key(info.key);
        require(info.key.starts_with("runs/v1/"), "a listing stays below its prefix");
      });
      break;
    case 1:
      for (const std::string& group : bucket.list_groups("runs/v1/")) require_key(group);
      break;
    case 2:
      bucket.head(key);
      break;
    case 3: {
      const store::Range ranges[] = {{key, 0, 10}, {key, 1U << 30, 5}, {key, 7, 1ULL << 40}};
      bucket.read(ranges, [&ranges](std::size_t index, const std::string& bytes) {
        require(bytes.size() == ranges[index].length, "a range has as many bytes as were asked for");
      });
      break;
    }
    case 4:
      for (const auto& upload : bucket.unfinished_uploads()) bucket.abort_upload(upload);
      break;
    case 5:
      bucket.honours_conditional_create();
      break;
    case 6:
      bucket.trust_conditional_create();
      [[fallthrough]];
    case 7: {
      const std::string_view parts[] = {"some ", "bytes"};
      bucket.put(key, parts, base::sha256("some bytes"));
      break;
    }
    case 8: {
      const std::string large(100, 'x');
      const std::string_view parts[] = {large};
      bucket.put(key, parts, base::sha256(large));
      break;
    }
    default:
      bucket.remove(key);
  }
}

// The pure parts, by themselves.
void parse(std::string_view text) {
  store::parse_xml(text);
  const auto date = http::parse_http_date(text);
  const auto time = http::parse_iso_time(text);
  for (const auto& seconds : {date, time}) {
    if (seconds) require(http::format_compact_time(*seconds).size() >= 16, "a time can be written");
  }
  if (const auto delay = http::parse_retry_after(text, 1'700'000'000))
    require(delay->count() >= 0, "a delay is not negative");
  if (const auto root = store::parse_xml("<a>" + store::escape_xml(text) + "</a>"))
    require(root->text == text, "escaped text is the same text");
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  Input input(fuzz::bytes_of(data, size));
  const std::size_t what = input.below(12);
  const std::size_t how = input.below(12);
  if (what == 11) {
    parse(input.rest());
    return 0;
  }
  answers = &input;
  through_aws = how >= 6;
  store::S3Options options;
  options.url = "s3://some-bucket/a/prefix";
  if (!through_aws) options.flags.endpoint_url = "http://127.0.0.1:9000";
  options.environment = environment_of(how % 6);
  options.multipart_threshold = 64;
  options.part_size = 40;
  options.log = [](const std::string& line) { fuzz::require_printable(line); };
  try {
    ask(*store::open_s3(options), what);
  } catch (const base::Error& error) {
    fuzz::require_printable(error.what());
  }
  answers = nullptr;
  return 0;
}
