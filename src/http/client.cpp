#include "http/client.hpp"

#include <curl/curl.h>
#include <fmt/format.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <pthread.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <condition_variable>
#include <csignal>
#include <cstring>
#include <deque>
#include <mutex>
#include <set>
#include <thread>

#include "base/bytes.hpp"
#include "base/error.hpp"
#include "base/shared_library.hpp"

namespace runctl::http {

namespace {

using Clock = std::chrono::steady_clock;
using std::chrono::milliseconds;

// libcurl, loaded when the first request is made: linking it costs every process five milliseconds.
struct Curl {
  decltype(&curl_global_init) global_init = nullptr;
  decltype(&curl_easy_init) easy_init = nullptr;
  decltype(&curl_easy_cleanup) easy_cleanup = nullptr;
  decltype(&curl_easy_reset) easy_reset = nullptr;
  decltype(&curl_easy_setopt) setopt = nullptr;
  decltype(&curl_easy_getinfo) getinfo = nullptr;
  decltype(&curl_easy_strerror) strerror = nullptr;
  decltype(&curl_slist_append) slist_append = nullptr;
  decltype(&curl_slist_free_all) slist_free_all = nullptr;
  decltype(&curl_multi_init) multi_init = nullptr;
  decltype(&curl_multi_cleanup) multi_cleanup = nullptr;
  decltype(&curl_multi_setopt) multi_setopt = nullptr;
  decltype(&curl_multi_add_handle) multi_add = nullptr;
  decltype(&curl_multi_remove_handle) multi_remove = nullptr;
  decltype(&curl_multi_perform) multi_perform = nullptr;
  decltype(&curl_multi_poll) multi_poll = nullptr;
  decltype(&curl_multi_wakeup) multi_wakeup = nullptr;
  decltype(&curl_multi_info_read) multi_info_read = nullptr;

  Curl() {
    const base::SharedLibrary library("libcurl.so.4", "libcurl4");
    library.load(global_init, "curl_global_init");
    library.load(easy_init, "curl_easy_init");
    library.load(easy_cleanup, "curl_easy_cleanup");
    library.load(easy_reset, "curl_easy_reset");
    library.load(setopt, "curl_easy_setopt");
    library.load(getinfo, "curl_easy_getinfo");
    library.load(strerror, "curl_easy_strerror");
    library.load(slist_append, "curl_slist_append");
    library.load(slist_free_all, "curl_slist_free_all");
    library.load(multi_init, "curl_multi_init");
    library.load(multi_cleanup, "curl_multi_cleanup");
    library.load(multi_setopt, "curl_multi_setopt");
    library.load(multi_add, "curl_multi_add_handle");
    library.load(multi_remove, "curl_multi_remove_handle");
    library.load(multi_perform, "curl_multi_perform");
    library.load(multi_poll, "curl_multi_poll");
    library.load(multi_wakeup, "curl_multi_wakeup");
    library.load(multi_info_read, "curl_multi_info_read");
    if (global_init(CURL_GLOBAL_DEFAULT) != CURLE_OK) {
      throw base::Error(base::ErrorKind::io, "libcurl: cannot be initialised");
    }
  }
};

const Curl& curl() {
  static const Curl loaded;
  return loaded;
}

constexpr long k_pooled_connections = 64;
constexpr std::size_t k_max_headers = 200;
constexpr long k_buffer = 256 << 10;

// With the authorities as hashed single files, only those that a server's chain needs are read: 9 ms for a
// first connection instead of the 41 ms that reading Debian's whole bundle takes, and 4 ms for a second.
constexpr const char* k_hashed_authorities = "/etc/ssl/certs";

Failure failure_of(CURLcode code) {
  switch (code) {
    case CURLE_OK:
      return Failure::none;
    case CURLE_URL_MALFORMAT:
      return Failure::bad_url;
    case CURLE_COULDNT_RESOLVE_HOST:
    case CURLE_COULDNT_RESOLVE_PROXY:
      return Failure::resolve;
    case CURLE_COULDNT_CONNECT:
      return Failure::connect;
    case CURLE_PEER_FAILED_VERIFICATION:
    case CURLE_SSL_CACERT_BADFILE:
      return Failure::certificate;
    case CURLE_OPERATION_TIMEDOUT:
      return Failure::timeout;
    default:
      return Failure::broken;
  }
}

}  // namespace

struct Mailbox {
  std::mutex mutex;
  std::condition_variable arrived;
  std::deque<Landing> landed;
  std::size_t outstanding = 0;  // handed to the network thread and not landed yet
  std::atomic<bool> cancelled = false;
};

namespace {

// One request on its way. Its address is stable while libcurl knows it.
struct Transfer {
  std::size_t tag = 0;
  Request request;
  std::shared_ptr<Mailbox> mailbox;
  Clock::time_point due;
  CURL* easy = nullptr;
  curl_slist* headers = nullptr;
  char error_text[CURL_ERROR_SIZE] = {};
  Response response;
  bool head_complete = false;
  std::size_t part = 0;     // of the body, that is being sent
  std::size_t part_at = 0;  // bytes of it that have been sent

  Transfer() = default;
  Transfer(const Transfer&) = delete;
  Transfer& operator=(const Transfer&) = delete;
  ~Transfer() {
    if (headers != nullptr) curl().slist_free_all(headers);
  }

  [[nodiscard]] curl_off_t body_size() const {
    curl_off_t size = 0;
    for (const std::string_view bytes : request.body) size += static_cast<curl_off_t>(bytes.size());
    return size;
  }
};

// The callbacks answer libcurl with 0 (or another number than it expects) to end the transfer; no exception
// may pass through it.

std::size_t on_upload(char* buffer, std::size_t size, std::size_t count, void* context) {
  Transfer& transfer = *static_cast<Transfer*>(context);
  std::size_t room = size * count;
  std::size_t given = 0;
  while (room > 0 && transfer.part < transfer.request.body.size()) {
    const std::string_view rest = transfer.request.body[transfer.part].substr(transfer.part_at);
    const std::size_t taken = std::min(room, rest.size());
    std::memcpy(buffer + given, rest.data(), taken);
    given += taken;
    room -= taken;
    transfer.part_at += taken;
    if (taken == rest.size()) {
      ++transfer.part;
      transfer.part_at = 0;
    }
  }
  return given;
}

// Asked for when a pooled connection turns out to be dead after the upload began.
int on_seek(void* context, curl_off_t offset, int origin) {
  Transfer& transfer = *static_cast<Transfer*>(context);
  if (origin != SEEK_SET || offset != 0) return CURL_SEEKFUNC_CANTSEEK;
  transfer.part = 0;
  transfer.part_at = 0;
  return CURL_SEEKFUNC_OK;
}

std::string_view without_blanks(std::string_view text) {
  const std::size_t first = text.find_first_not_of(" \t\r\n");
  if (first == std::string_view::npos) return {};
  return text.substr(first, text.find_last_not_of(" \t\r\n") - first + 1);
}

// The status in "HTTP/1.1 200 OK"; 0 where there is none.
int status_of(std::string_view line) {
  const std::size_t blank = line.find(' ');
  if (blank == std::string_view::npos || line.size() < blank + 4) return 0;
  int status = 0;
  for (const char c : line.substr(blank + 1, 3)) {
    if (c < '0' || c > '9') return 0;
    status = status * 10 + (c - '0');
  }
  return status;
}

// Takes one line of the head; false ends the transfer.
bool take_header(Transfer& transfer, std::string_view line) {
  Response& response = transfer.response;
  if (transfer.head_complete) return true;  // a trailer
  if (line.starts_with("HTTP/")) {          // of the answer, or of a 100 Continue before it
    response.status = status_of(line);
    response.headers.clear();
    return true;
  }
  if (without_blanks(line).empty()) {
    if (response.status < 200) return true;
    transfer.head_complete = true;
    Verdict verdict = check_head(response, transfer.request.rule);
    response.failure = verdict.failure;
    response.reason = std::move(verdict.reason);
    return response.failure == Failure::none;
  }
  const std::size_t colon = line.find(':');
  if (colon == std::string_view::npos) return true;
  if (response.headers.size() == k_max_headers) {
    response.failure = Failure::mismatch;
    response.reason = "the answer has too many headers";
    return false;
  }
  response.headers.emplace_back(line.substr(0, colon), without_blanks(line.substr(colon + 1)));
  return true;
}

std::size_t on_header(char* bytes, std::size_t size, std::size_t count, void* context) {
  try {
    return take_header(*static_cast<Transfer*>(context), {bytes, size * count}) ? size * count : 0;
  } catch (...) {
    return 0;
  }
}

// Takes a piece of the body; false ends the transfer.
bool take_body(Transfer& transfer, std::string_view bytes) {
  Response& response = transfer.response;
  const BodyRule& rule = transfer.request.rule;
  if (response.status < 200 || response.status > 299) {
    response.body +=
        bytes.substr(0, k_max_error_body - std::min<std::size_t>(k_max_error_body, response.body.size()));
    return true;
  }
  const std::uint64_t limit = rule.range ? rule.range->length : rule.max_bytes;
  if (response.body.size() + bytes.size() > limit) {
    response.failure = Failure::mismatch;
    response.reason = fmt::format("the answer is longer than {} bytes", limit);
    return false;
  }
  if (rule.range && response.body.empty()) response.body.reserve(rule.range->length);
  response.body += bytes;
  return true;
}

std::size_t on_body(char* bytes, std::size_t size, std::size_t count, void* context) {
  try {
    return take_body(*static_cast<Transfer*>(context), {bytes, size * count}) ? size * count
                                                                              : CURL_WRITEFUNC_ERROR;
  } catch (...) {
    return CURL_WRITEFUNC_ERROR;
  }
}

}  // namespace

// libcurl's multi handle and the thread that drives it.
class Network {
 public:
  explicit Network(ClientOptions options);
  ~Network();
  Network(const Network&) = delete;
  Network& operator=(const Network&) = delete;

  void submit(std::unique_ptr<Transfer> transfer);
  void wake() { curl().multi_wakeup(multi_); }

 private:
  static int on_socket_open(void* context, curl_socket_t socket, curlsocktype purpose);
  static int on_socket_close(void* context, curl_socket_t socket);

  void run();
  void collect_incoming();
  void drop_cancelled();
  void start_due();
  void start(std::unique_ptr<Transfer> transfer);
  void configure(Transfer& transfer);
  void configure_message(Transfer& transfer);
  void finish_ended();
  void finish(std::unique_ptr<Transfer> transfer);
  std::unique_ptr<Transfer> take_running(CURL* easy);
  void acknowledge_quickly();
  [[nodiscard]] int milliseconds_to_wait() const;

  ClientOptions options_;
  bool hashed_authorities_ = false;
  CURLM* multi_ = nullptr;
  std::vector<CURL*> idle_;
  std::set<curl_socket_t> sockets_;
  std::vector<std::unique_ptr<Transfer>> waiting_;  // for their time to come
  std::vector<std::unique_ptr<Transfer>> running_;
  std::mutex mutex_;
  std::vector<std::unique_ptr<Transfer>> incoming_;  // guarded by mutex_
  std::atomic<bool> stopping_ = false;
  std::thread thread_;
};

Network::Network(ClientOptions options)
    : options_(std::move(options)),
      hashed_authorities_(access("/etc/ssl/certs/ca-certificates.crt", R_OK) == 0),
      multi_(curl().multi_init()) {
  if (multi_ == nullptr) throw base::Error(base::ErrorKind::io, "libcurl: out of memory");
  curl().multi_setopt(multi_, CURLMOPT_MAXCONNECTS, k_pooled_connections);
  // Signals are for the main thread; and a connection that the server closed must not end the process.
  sigset_t all;
  sigset_t before;
  sigfillset(&all);
  pthread_sigmask(SIG_SETMASK, &all, &before);
  thread_ = std::thread([this] { run(); });
  pthread_sigmask(SIG_SETMASK, &before, nullptr);
}

Network::~Network() {
  stopping_ = true;
  wake();
  thread_.join();
  for (const auto& transfer : running_) {
    curl().multi_remove(multi_, transfer->easy);
    curl().easy_cleanup(transfer->easy);
  }
  for (CURL* const easy : idle_) curl().easy_cleanup(easy);
  curl().multi_cleanup(multi_);
}

void Network::submit(std::unique_ptr<Transfer> transfer) {
  {
    const std::lock_guard lock(mutex_);
    incoming_.push_back(std::move(transfer));
  }
  wake();
}

void Network::run() {
  while (!stopping_) {
    collect_incoming();
    drop_cancelled();
    start_due();
    int running = 0;
    curl().multi_perform(multi_, &running);
    finish_ended();
    acknowledge_quickly();
    curl().multi_poll(multi_, nullptr, 0, milliseconds_to_wait(), nullptr);
  }
}

void Network::collect_incoming() {
  const std::lock_guard lock(mutex_);
  for (auto& transfer : incoming_) waiting_.push_back(std::move(transfer));
  incoming_.clear();
}

void Network::drop_cancelled() {
  const auto drop = [this](std::vector<std::unique_ptr<Transfer>>& from) {
    for (auto& transfer : from) {
      if (!transfer->mailbox->cancelled) continue;
      if (transfer->easy != nullptr) curl().multi_remove(multi_, transfer->easy);
      transfer->response.failure = Failure::cancelled;
      finish(std::move(transfer));
    }
    std::erase(from, nullptr);
  };
  drop(waiting_);
  drop(running_);
}

void Network::start_due() {
  const auto now = Clock::now();
  // A transfer may fail as it starts, but never adds another: the vector only shrinks here.
  for (auto& transfer : waiting_) {
    if (transfer->due <= now) start(std::move(transfer));
  }
  std::erase(waiting_, nullptr);
}

void Network::start(std::unique_ptr<Transfer> transfer) {
  if (idle_.empty()) {
    transfer->easy = curl().easy_init();
  } else {
    transfer->easy = idle_.back();
    idle_.pop_back();
  }
  if (transfer->easy == nullptr) {
    transfer->response.failure = Failure::broken;
    transfer->response.reason = "out of memory";
    finish(std::move(transfer));
    return;
  }
  configure(*transfer);
  curl().multi_add(multi_, transfer->easy);
  running_.push_back(std::move(transfer));
}

void Network::configure(Transfer& transfer) {
  const Request& request = transfer.request;
  const auto set = [easy = transfer.easy](CURLoption option, auto value) {
    curl().setopt(easy, option, value);
  };
  set(CURLOPT_URL, request.url.c_str());
  set(CURLOPT_PROTOCOLS_STR, "http,https");
  set(CURLOPT_PATH_AS_IS, 1L);  // the path is signed as it stands
  set(CURLOPT_HTTP_VERSION, static_cast<long>(CURL_HTTP_VERSION_1_1));
  set(CURLOPT_FOLLOWLOCATION, 0L);
  set(CURLOPT_NOSIGNAL, 1L);
  set(CURLOPT_NOPROGRESS, 1L);
  set(CURLOPT_SUPPRESS_CONNECT_HEADERS, 1L);
  set(CURLOPT_USERAGENT, options_.user_agent.c_str());
  set(CURLOPT_ERRORBUFFER, transfer.error_text);
  set(CURLOPT_BUFFERSIZE, k_buffer);
  set(CURLOPT_UPLOAD_BUFFERSIZE, k_buffer);
  set(CURLOPT_CONNECTTIMEOUT_MS, static_cast<long>(options_.connect_timeout.count()));
  set(CURLOPT_LOW_SPEED_LIMIT, 1024L);
  set(CURLOPT_LOW_SPEED_TIME, static_cast<long>(options_.stall_timeout.count()));
  set(CURLOPT_TIMEOUT_MS, static_cast<long>(request.timeout.count()));
  set(CURLOPT_SOCKOPTFUNCTION, &Network::on_socket_open);
  set(CURLOPT_SOCKOPTDATA, this);
  set(CURLOPT_CLOSESOCKETFUNCTION, &Network::on_socket_close);
  set(CURLOPT_CLOSESOCKETDATA, this);
  if (request.proxy == Proxy::never) set(CURLOPT_NOPROXY, "*");
  if (!options_.ca_bundle.empty()) {
    set(CURLOPT_CAINFO, options_.ca_bundle.c_str());
    set(CURLOPT_CAPATH, static_cast<const char*>(nullptr));
  } else if (hashed_authorities_) {
    set(CURLOPT_CAINFO, static_cast<const char*>(nullptr));
    set(CURLOPT_CAPATH, k_hashed_authorities);
  }
  configure_message(transfer);
}

void Network::configure_message(Transfer& transfer) {
  const Request& request = transfer.request;
  const auto set = [easy = transfer.easy](CURLoption option, auto value) {
    curl().setopt(easy, option, value);
  };
  // libcurl would ask for a 100 Continue before every upload, and wait a second for it in vain.
  transfer.headers = curl().slist_append(transfer.headers, "Expect:");
  for (const auto& [name, value] : request.headers) {
    // "name;" is how libcurl is told of a header without a value.
    const std::string line = value.empty() ? name + ";" : name + ": " + value;
    transfer.headers = curl().slist_append(transfer.headers, line.c_str());
  }
  set(CURLOPT_HTTPHEADER, transfer.headers);
  set(CURLOPT_HEADERFUNCTION, &on_header);
  set(CURLOPT_HEADERDATA, &transfer);
  set(CURLOPT_WRITEFUNCTION, &on_body);
  set(CURLOPT_WRITEDATA, &transfer);
  if (request.method == "HEAD") {
    set(CURLOPT_NOBODY, 1L);
  } else if (request.method == "PUT" || request.method == "POST") {
    set(CURLOPT_UPLOAD, 1L);
    set(CURLOPT_INFILESIZE_LARGE, transfer.body_size());
    set(CURLOPT_READFUNCTION, &on_upload);
    set(CURLOPT_READDATA, &transfer);
    set(CURLOPT_SEEKFUNCTION, &on_seek);
    set(CURLOPT_SEEKDATA, &transfer);
  }
  set(CURLOPT_CUSTOMREQUEST, request.method.c_str());
}

void Network::finish_ended() {
  int left = 0;
  while (CURLMsg* const message = curl().multi_info_read(multi_, &left)) {
    if (message->msg != CURLMSG_DONE) continue;
    const CURLcode code = message->data.result;
    std::unique_ptr<Transfer> transfer = take_running(message->easy_handle);
    curl().multi_remove(multi_, transfer->easy);
    Response& response = transfer->response;
    const auto& range = transfer->request.rule.range;
    if (response.failure != Failure::none) {
      // The answer was refused by us; what libcurl says is that we ended the transfer.
    } else if (code != CURLE_OK) {
      response.failure = failure_of(code);
      response.reason = transfer->error_text[0] != 0 ? transfer->error_text : curl().strerror(code);
    } else if (range && response.ok() && response.body.size() != range->length) {
      response.failure = Failure::broken;
      response.reason =
          fmt::format("the answer ended after {} of {} bytes", response.body.size(), range->length);
    }
    finish(std::move(transfer));
  }
}

void Network::finish(std::unique_ptr<Transfer> transfer) {
  if (transfer->easy != nullptr) {
    curl().easy_reset(transfer->easy);
    idle_.push_back(transfer->easy);
  }
  Mailbox& mailbox = *transfer->mailbox;
  const std::lock_guard lock(mailbox.mutex);
  mailbox.landed.push_back({transfer->tag, std::move(transfer->response)});
  --mailbox.outstanding;
  mailbox.arrived.notify_all();
}

std::unique_ptr<Transfer> Network::take_running(CURL* easy) {
  const auto found =
      std::find_if(running_.begin(), running_.end(), [easy](const auto& t) { return t->easy == easy; });
  std::unique_ptr<Transfer> transfer = std::move(*found);
  running_.erase(found);
  return transfer;
}

int Network::on_socket_open(void* context, curl_socket_t socket, curlsocktype) {
  static_cast<Network*>(context)->sockets_.insert(socket);
  return CURL_SOCKOPT_OK;
}

int Network::on_socket_close(void* context, curl_socket_t socket) {
  static_cast<Network*>(context)->sockets_.erase(socket);
  return close(socket);
}

// A server that leaves Nagle's algorithm on sends the body of a small answer only once its head has been
// acknowledged, which the kernel puts off for 40 ms unless asked not to. The wish is forgotten with each
// packet sent, so it is renewed before each wait.
void Network::acknowledge_quickly() {
  const int on = 1;
  for (const curl_socket_t socket : sockets_) setsockopt(socket, IPPROTO_TCP, TCP_QUICKACK, &on, sizeof on);
}

int Network::milliseconds_to_wait() const {
  milliseconds wait{1000};
  const auto now = Clock::now();
  for (const auto& transfer : waiting_) {
    wait = std::min(wait, std::chrono::ceil<milliseconds>(transfer->due - now));
  }
  return static_cast<int>(std::max(wait, milliseconds{0}).count());
}

Client::Client(ClientOptions options) : options_(std::move(options)) {}
Client::~Client() = default;

Network& Client::network() {
  const std::lock_guard lock(starting_);
  if (network_ == nullptr) network_ = std::make_unique<Network>(options_);
  return *network_;
}

Response Client::perform(Request request) {
  Flight flight(*this);
  flight.start(0, std::move(request));
  for (;;) {
    if (auto landing = flight.wait_for(std::chrono::hours{1})) return std::move(landing->response);
  }
}

Flight::Flight(Client& client) : network_(client.network()), mailbox_(std::make_shared<Mailbox>()) {}

Flight::~Flight() {
  std::unique_lock lock(mailbox_->mutex);
  if (mailbox_->outstanding == 0) return;
  mailbox_->cancelled = true;
  network_.wake();
  mailbox_->arrived.wait(lock, [this] { return mailbox_->outstanding == 0; });
}

void Flight::start(std::size_t tag, Request request) {
  auto transfer = std::make_unique<Transfer>();
  transfer->tag = tag;
  transfer->due = Clock::now() + request.delay;
  transfer->request = std::move(request);
  transfer->mailbox = mailbox_;
  {
    const std::lock_guard lock(mailbox_->mutex);
    ++mailbox_->outstanding;
  }
  ++under_way_;
  network_.submit(std::move(transfer));
}

std::optional<Landing> Flight::wait_for(std::chrono::milliseconds limit) {
  std::unique_lock lock(mailbox_->mutex);
  if (!mailbox_->arrived.wait_for(lock, limit, [this] { return !mailbox_->landed.empty(); }))
    return std::nullopt;
  Landing landing = std::move(mailbox_->landed.front());
  mailbox_->landed.pop_front();
  --under_way_;
  return landing;
}

}  // namespace runctl::http
