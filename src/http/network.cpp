#include "http/network.hpp"

#include <fmt/format.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <pthread.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <csignal>
#include <mutex>
#include <set>
#include <thread>

#include "base/error.hpp"
#include "http/curl.hpp"

namespace runctl::http {

namespace {

using Clock = std::chrono::steady_clock;
using std::chrono::milliseconds;

constexpr long k_pooled_connections = 64;
constexpr long k_buffer = 256 << 10;

// With the authorities as hashed single files, only those that a server's chain needs are read: 9 ms for a
// first connection instead of the 41 ms that reading Debian's whole bundle takes, and 4 ms for a second.
constexpr const char* k_hashed_authorities = "/etc/ssl/certs";

// A transfer with what libcurl knows of it. Its address is stable while libcurl knows it.
struct Running {
  std::unique_ptr<Transfer> transfer;
  CURL* easy = nullptr;
  curl_slist* headers = nullptr;
  char error_text[CURL_ERROR_SIZE] = {};

  explicit Running(std::unique_ptr<Transfer> of) : transfer(std::move(of)) {}
  Running(const Running&) = delete;
  Running& operator=(const Running&) = delete;
  ~Running() {
    if (headers != nullptr) curl().slist_free_all(headers);
  }
};

// The callbacks answer libcurl with another number than it expects to end the transfer; no exception may pass
// through it.

std::size_t on_upload(char* buffer, std::size_t size, std::size_t count, void* context) {
  return static_cast<Transfer*>(context)->give(buffer, size * count);
}

int on_seek(void* context, curl_off_t offset, int origin) {
  if (origin != SEEK_SET || offset != 0) return CURL_SEEKFUNC_CANTSEEK;
  static_cast<Transfer*>(context)->rewind();
  return CURL_SEEKFUNC_OK;
}

std::size_t on_header(char* bytes, std::size_t size, std::size_t count, void* context) {
  try {
    return static_cast<Transfer*>(context)->take_header({bytes, size * count}) ? size * count : 0;
  } catch (...) {
    return 0;
  }
}

std::size_t on_body(char* bytes, std::size_t size, std::size_t count, void* context) {
  try {
    const bool go_on = static_cast<Transfer*>(context)->take_body({bytes, size * count});
    return go_on ? size * count : CURL_WRITEFUNC_ERROR;
  } catch (...) {
    return CURL_WRITEFUNC_ERROR;
  }
}

void land(Transfer& transfer) {
  Mailbox& mailbox = *transfer.mailbox;
  const std::lock_guard lock(mailbox.mutex);
  mailbox.landed.push_back({transfer.tag, std::move(transfer.response)});
  --mailbox.outstanding;
  mailbox.arrived.notify_all();
}

}  // namespace

class Network::Loop {
 public:
  explicit Loop(ClientOptions options);
  ~Loop();
  Loop(const Loop&) = delete;
  Loop& operator=(const Loop&) = delete;

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
  void configure(Running& running);
  static void configure_message(Running& running);
  void finish_ended();
  void release(const Running& running);
  std::unique_ptr<Running> take_running(CURL* easy);
  void acknowledge_quickly();
  [[nodiscard]] int milliseconds_to_wait() const;

  ClientOptions options_;
  bool hashed_authorities_ = false;
  CURLM* multi_ = nullptr;
  std::vector<CURL*> idle_;
  std::set<curl_socket_t> sockets_;
  std::vector<std::unique_ptr<Transfer>> waiting_;  // for their time to come
  std::vector<std::unique_ptr<Running>> running_;
  std::mutex mutex_;
  std::vector<std::unique_ptr<Transfer>> incoming_;  // guarded by mutex_
  std::atomic<bool> stopping_ = false;
  std::thread thread_;
};

Network::Loop::Loop(ClientOptions options)
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

Network::Loop::~Loop() {
  stopping_ = true;
  wake();
  thread_.join();
  for (const auto& running : running_) {
    curl().multi_remove(multi_, running->easy);
    curl().easy_cleanup(running->easy);
  }
  for (CURL* const easy : idle_) curl().easy_cleanup(easy);
  curl().multi_cleanup(multi_);
}

void Network::Loop::submit(std::unique_ptr<Transfer> transfer) {
  {
    const std::lock_guard lock(mutex_);
    incoming_.push_back(std::move(transfer));
  }
  wake();
}

void Network::Loop::run() {
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

void Network::Loop::collect_incoming() {
  const std::lock_guard lock(mutex_);
  for (auto& transfer : incoming_) waiting_.push_back(std::move(transfer));
  incoming_.clear();
}

void Network::Loop::drop_cancelled() {
  const auto drop = [](Transfer& transfer) {
    if (!transfer.mailbox->cancelled) return false;
    transfer.response = {};
    transfer.response.failure = Failure::cancelled;
    land(transfer);
    return true;
  };
  std::erase_if(waiting_, [&](const auto& transfer) { return drop(*transfer); });
  std::erase_if(running_, [&](const auto& running) {
    if (!running->transfer->mailbox->cancelled) return false;
    release(*running);  // first: once it has landed, its body may be gone
    return drop(*running->transfer);
  });
}

void Network::Loop::start_due() {
  const auto now = Clock::now();
  for (auto& transfer : waiting_) {
    if (transfer->due <= now) start(std::move(transfer));
  }
  std::erase(waiting_, nullptr);
}

void Network::Loop::start(std::unique_ptr<Transfer> transfer) {
  auto running = std::make_unique<Running>(std::move(transfer));
  if (idle_.empty()) {
    running->easy = curl().easy_init();
  } else {
    running->easy = idle_.back();
    idle_.pop_back();
  }
  if (running->easy == nullptr) {
    running->transfer->response.failure = Failure::broken;
    running->transfer->response.reason = "out of memory";
    land(*running->transfer);
    return;
  }
  configure(*running);
  curl().multi_add(multi_, running->easy);
  running_.push_back(std::move(running));
}

void Network::Loop::configure(Running& running) {
  const Request& request = running.transfer->request;
  const auto set = [easy = running.easy](CURLoption option, auto value) {
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
  set(CURLOPT_ERRORBUFFER, running.error_text);
  set(CURLOPT_BUFFERSIZE, k_buffer);
  set(CURLOPT_UPLOAD_BUFFERSIZE, k_buffer);
  set(CURLOPT_CONNECTTIMEOUT_MS, static_cast<long>(options_.connect_timeout.count()));
  set(CURLOPT_LOW_SPEED_LIMIT, 1024L);
  set(CURLOPT_LOW_SPEED_TIME, static_cast<long>(options_.stall_timeout.count()));
  set(CURLOPT_TIMEOUT_MS, static_cast<long>(request.timeout.count()));
  set(CURLOPT_SOCKOPTFUNCTION, &Loop::on_socket_open);
  set(CURLOPT_SOCKOPTDATA, this);
  set(CURLOPT_CLOSESOCKETFUNCTION, &Loop::on_socket_close);
  set(CURLOPT_CLOSESOCKETDATA, this);
  if (request.proxy == Proxy::never) set(CURLOPT_NOPROXY, "*");
  if (!options_.ca_bundle.empty()) {
    set(CURLOPT_CAINFO, options_.ca_bundle.c_str());
    set(CURLOPT_CAPATH, static_cast<const char*>(nullptr));
  } else if (hashed_authorities_) {
    set(CURLOPT_CAINFO, static_cast<const char*>(nullptr));
    set(CURLOPT_CAPATH, k_hashed_authorities);
  }
  configure_message(running);
}

void Network::Loop::configure_message(Running& running) {
  Transfer& transfer = *running.transfer;
  const Request& request = transfer.request;
  const auto set = [easy = running.easy](CURLoption option, auto value) {
    curl().setopt(easy, option, value);
  };
  // libcurl would ask for a 100 Continue before every upload, and wait a second for it in vain.
  running.headers = curl().slist_append(running.headers, "Expect:");
  for (const auto& [name, value] : request.headers) {
    // "name;" is how libcurl is told of a header without a value.
    const std::string line = value.empty() ? name + ";" : fmt::format("{}: {}", name, value);
    running.headers = curl().slist_append(running.headers, line.c_str());
  }
  set(CURLOPT_HTTPHEADER, running.headers);
  set(CURLOPT_HEADERFUNCTION, &on_header);
  set(CURLOPT_HEADERDATA, &transfer);
  set(CURLOPT_WRITEFUNCTION, &on_body);
  set(CURLOPT_WRITEDATA, &transfer);
  if (request.method == "HEAD") {
    set(CURLOPT_NOBODY, 1L);
  } else if (request.method == "PUT" || request.method == "POST") {
    set(CURLOPT_UPLOAD, 1L);
    set(CURLOPT_INFILESIZE_LARGE, static_cast<curl_off_t>(transfer.body_size()));
    set(CURLOPT_READFUNCTION, &on_upload);
    set(CURLOPT_READDATA, &transfer);
    set(CURLOPT_SEEKFUNCTION, &on_seek);
    set(CURLOPT_SEEKDATA, &transfer);
  }
  set(CURLOPT_CUSTOMREQUEST, request.method.c_str());
}

void Network::Loop::finish_ended() {
  int left = 0;
  while (CURLMsg* const message = curl().multi_info_read(multi_, &left)) {
    if (message->msg != CURLMSG_DONE) continue;
    const CURLcode code = message->data.result;
    const std::unique_ptr<Running> running = take_running(message->easy_handle);
    Transfer& transfer = *running->transfer;
    Response& response = transfer.response;
    if (response.failure != Failure::none || transfer.cut_off) {
      // We ended it; what libcurl says of that is no news.
    } else if (code == CURLE_OK) {
      transfer.check_complete();
    } else {
      response.failure = failure_of(code, running->error_text);
      response.reason = running->error_text[0] != 0 ? running->error_text : curl().strerror(code);
    }
    release(*running);
    land(transfer);
  }
}

// The handle is kept for the next transfer, the connection stays in the pool of the multi handle.
void Network::Loop::release(const Running& running) {
  curl().multi_remove(multi_, running.easy);
  curl().easy_reset(running.easy);
  idle_.push_back(running.easy);
}

std::unique_ptr<Running> Network::Loop::take_running(CURL* easy) {
  const auto found =
      std::find_if(running_.begin(), running_.end(), [easy](const auto& r) { return r->easy == easy; });
  std::unique_ptr<Running> running = std::move(*found);
  running_.erase(found);
  return running;
}

int Network::Loop::on_socket_open(void* context, curl_socket_t socket, curlsocktype) {
  static_cast<Loop*>(context)->sockets_.insert(socket);
  return CURL_SOCKOPT_OK;
}

int Network::Loop::on_socket_close(void* context, curl_socket_t socket) {
  static_cast<Loop*>(context)->sockets_.erase(socket);
  return close(socket);
}

// A server that leaves Nagle's algorithm on sends the body of a small answer only once its head has been
// acknowledged, which the kernel puts off for 40 ms unless asked not to. The wish is forgotten with each
// packet sent, so it is renewed before each wait.
void Network::Loop::acknowledge_quickly() {
  const int on = 1;
  for (const curl_socket_t socket : sockets_) setsockopt(socket, IPPROTO_TCP, TCP_QUICKACK, &on, sizeof on);
}

int Network::Loop::milliseconds_to_wait() const {
  milliseconds wait{1000};
  const auto now = Clock::now();
  for (const auto& transfer : waiting_) {
    wait = std::min(wait, std::chrono::ceil<milliseconds>(transfer->due - now));
  }
  return static_cast<int>(std::max(wait, milliseconds{0}).count());
}

Network::Network(const ClientOptions& options) : loop_(std::make_unique<Loop>(options)) {}
Network::~Network() = default;
void Network::submit(std::unique_ptr<Transfer> transfer) { loop_->submit(std::move(transfer)); }
void Network::wake() { loop_->wake(); }

}  // namespace runctl::http
